"""Averages of weights: model soups (Wortsman et al., ICML 2022), snapshots, checkpoints.

One model of the size of one, unlike an ensemble of predictions. It works for runs that share their
start (the same pretrained encoder, or snapshots of one run); between models that were trained from
different random weights the average is nobody's. Statistics of batch normalisation are averaged
too, and are not those of the averaged weights: measure before use.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vesalius.errors import DataError, RecipeError
from vesalius.study.averaging import checked_weights

if TYPE_CHECKING:
    from torch import Tensor

    from vesalius.engine.run import Run


@dataclass(frozen=True)
class Soup:
    """Averaged weights.

    Attributes:
        state: name -> tensor, with the first member's types.
        sources: the weight files that were given.
        weights: of each source, sum 1; 0 for one that a greedy soup left out.
        taken_from_first: names of tensors that are no floating point numbers (counters) and were
            not averaged.
        score: of the soup, where it was measured.
        scores: of the single sources, where they were measured.
    """

    state: Mapping[str, "Tensor"] = field(repr=False)
    sources: tuple[Path, ...]
    weights: tuple[float, ...]
    taken_from_first: tuple[str, ...] = ()
    score: float | None = None
    scores: tuple[float, ...] = ()

    def write(self, path: str | Path) -> Path:
        """Write a .safetensors file atomically."""
        from safetensors.torch import save

        from vesalius import files

        tensors = {name: tensor.contiguous() for name, tensor in self.state.items()}
        files.write_bytes(path, save(tensors, metadata={"format": "pt"}))
        return Path(path)

    def write_run(self, out: str | Path) -> "Run":
        """Write a run folder that opens like the first source's, with these weights.

        Its config says which cases trained any source, so that held-out scores stay honest.

        Raises:
            RecipeError: the folder exists, or a source that was used is no run folder.
        """
        from vesalius.engine import run

        used = [path for path, weight in zip(self.sources, self.weights, strict=True) if weight]
        parents = [run.Run(path.parent) for path in (self.sources[0], *used)]
        extra = {
            "labels": parents[0].config.get("labels"),
            "split": _split([one.config.get("split") for one in parents]),
            "soup": {"sources": self.sources, "weights": self.weights, "score": self.score},
        }
        first = parents[0]
        run.create(Path(out), first.task, first.recipe, first.model(), extra, state=self.state)
        return run.Run(out)


def soup(
    sources: Sequence["str | Path | Run"],
    *,
    weights: Sequence[float] | None = None,
    how: Literal["uniform", "greedy"] = "uniform",
    score: Callable[[Mapping[str, "Tensor"]], float] | None = None,
) -> Soup:
    """Average the weights of several models of the same shape, tensor by tensor.

    Args:
        sources: run folders, runs, or .safetensors files.
        weights: one per source, for the uniform soup; None: equal.
        how: "uniform"; "greedy" (recipe 1 of the paper): sources by falling score, each is kept
            where the average with it scores no less.
        score: state -> score, higher is better, on cases that trained no source and are not those
            that the soup is reported on. The greedy soup needs it; the uniform one is measured
            with it where it is given.

    Raises:
        DataError: a file cannot be read, or names or shapes differ (all are listed).
        RecipeError: an unknown soup, or one that cannot be cooked so.
    """
    paths = tuple(_weight_file(source) for source in sources)
    if how not in ("uniform", "greedy"):
        raise RecipeError(f"a soup is uniform or greedy, not '{how}'")
    if how == "greedy" and (score is None or weights is not None):
        raise RecipeError("a greedy soup needs a score and finds its weights itself")
    share = checked_weights(weights, len(paths))
    kept = _refuse_different(paths)
    if how == "greedy":
        assert score is not None
        return _greedy(paths, kept, score)
    state = _average(paths, share.tolist())
    value = None if score is None else float(score(state))
    return Soup(state, paths, tuple(share.tolist()), kept, value)


def _greedy(paths: tuple[Path, ...], kept: tuple[str, ...], score: Callable) -> Soup:
    single = [float(score(_average([path], [1.0]))) for path in paths]
    order = sorted(range(len(paths)), key=lambda index: -single[index])
    chosen, best = [order[0]], single[order[0]]
    for index in order[1:]:
        tried = [*chosen, index]
        value = float(score(_average([paths[i] for i in tried], [1 / len(tried)] * len(tried))))
        if value >= best:
            chosen, best = tried, value
    # Counters are the first source's, whichever sources were chosen.
    weights = tuple(1 / len(chosen) if i in chosen else 0.0 for i in range(len(paths)))
    return Soup(_average(paths, weights), paths, weights, kept, best, tuple(single))


def _average(paths: Sequence[Path], weights: Sequence[float]) -> dict[str, "Tensor"]:
    """Return the weighted mean of each floating point tensor, the first file's of the others."""
    import torch
    from safetensors import safe_open

    made = {}
    with ExitStack() as opened:
        files = [opened.enter_context(safe_open(path, framework="pt")) for path in paths]
        for name in files[0].keys():  # noqa: SIM118 - not a mapping
            first = files[0].get_tensor(name)
            if not first.is_floating_point():
                made[name] = first
                continue
            total = torch.zeros(first.shape, dtype=torch.float64)
            for file, weight in zip(files, weights, strict=True):
                if weight:
                    total += weight * file.get_tensor(name).double()
            made[name] = total.to(first.dtype)
    return made


def _refuse_different(paths: Sequence[Path]) -> tuple[str, ...]:
    """Refuse files of other names or shapes; return the names that are not averaged."""
    shapes = [_shapes(path) for path in paths]
    first, problems = shapes[0], []
    for path, other in zip(paths[1:], shapes[1:], strict=True):
        problems += [f"{path} lacks {name}" for name in sorted(first.keys() - other.keys())]
        problems += [f"{path} has {name} too" for name in sorted(other.keys() - first.keys())]
        problems += [
            f"{path}: {name} is {other[name][1]} {other[name][0]}, in the first file "
            f"{first[name][1]} {first[name][0]}"
            for name in sorted(first.keys() & other.keys())
            if first[name][0] != other[name][0] or _floats(first[name]) != _floats(other[name])
        ]
    if problems:
        raise DataError(
            "These weights are of different models and have no average. Train them with the same "
            "recipe.model, on the same labels.",
            problems,
        )
    return tuple(sorted(name for name, kind in first.items() if not _floats(kind)))


def _floats(kind: tuple[tuple[int, ...], str]) -> bool:
    return kind[1].startswith(("F", "BF"))


def _shapes(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            views = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (tuple(v.get_shape()), v.get_dtype()) for name, v in views.items()}
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}. Give a .safetensors file.") from None


def _weight_file(source: Any) -> Path:
    path = Path(getattr(source, "folder", source))
    if path.suffix == ".safetensors":
        return path
    from vesalius.engine.shipped import find

    return find(path) / "model.safetensors"


def _split(splits: Sequence[Any]) -> dict[str, Any]:
    """Return who trained any of the sources; cases that trained none may validate."""
    how = "what trained a source of the soup"
    lists = [one for one in splits if one and isinstance(one.get("train"), list)]
    if len(lists) < len(splits):  # a source was passed on without the names of its cases
        return {"how": how, "train": None, "valid": None}
    train = sorted({name for one in lists for name in one["train"]})
    valid = sorted({name for one in lists for name in one.get("valid") or ()} - set(train))
    return {"how": how, "train": train, "valid": valid}
