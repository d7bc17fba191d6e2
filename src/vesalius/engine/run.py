"""The run folder: what a training run leaves behind, readable at any moment of its life.

    recipe.yaml         the complete recipe
    config.json         department, task configuration, how the run was started
    model.safetensors   weights to use (best or last); its header holds the scores they got
    scores.json         the validation scores of those weights, per label and per case
    history.jsonl       one JSON object per logged moment
    report.html, README.md
    checkpoint/         what `--resume` needs

The folder appears under its name only once recipe, config and first weights are in it, and every
file in it is replaced as a whole, so a crash at any moment leaves something that opens.
"""

import importlib
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vesalius import __version__, files
from vesalius.engine.recipe import Recipe
from vesalius.engine.shipped import find
from vesalius.engine.task import Case, Prediction, Scores, Task
from vesalius.errors import DataError, RecipeError, StorageError

if TYPE_CHECKING:
    import torch
    from torch import nn


class Run:
    """An existing run folder.

    Args:
        folder: the folder that `train` wrote, or the name of a model that comes with the package.
        overrides: changes of the recipe, as "key.path=value"; the folder stays as it is. Of use
            for what a trained model leaves open, such as `predict.mirror=true`.

    Raises:
        DataError: it is not a run folder, or a file in it is damaged.
    """

    def __init__(self, folder: str | Path, *, overrides: Sequence[str] = ()):
        self.folder = find(folder)
        self._overrides = tuple(overrides)
        self.config: dict[str, Any] = _read_config(self.folder / "config.json")

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def department(self) -> str:
        """The department that trained it, "segment" for example."""
        return self.config["department"]

    def _room(self, name: str) -> ModuleType:
        """Return a module of the department."""
        try:
            return importlib.import_module(f"vesalius.{self.department}.{name}")
        except ModuleNotFoundError as error:
            raise DataError(
                f"{self.folder / 'config.json'} names the department '{self.department}', which "
                f"this version of Vesalius cannot open: {error}"
            ) from None

    @property
    def recipe(self) -> Recipe:
        """The complete recipe, with the overrides."""
        return self._room("recipe").RECIPE.load(self.folder / "recipe.yaml", self._overrides)

    @property
    def task(self) -> Task:
        """The task, with what it had learned from its training data."""
        return self._room("task").load_task(self.recipe, self.config["task"], self.assets)

    @property
    def assets(self) -> dict[str, str]:
        """The text files that the task keeps beside its weights, a tokenizer say: name -> text."""
        found = {}
        for name in self.config.get("assets", ()):
            path = self.folder / name
            try:
                found[name] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"{path} belongs to the run and cannot be read: {error}") from None
        return found

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was logged; a last line that a crash cut short is left out."""
        return read_history(self.folder / "history.jsonl")

    @property
    def scores(self) -> Scores | None:
        """The validation scores of the stored weights; None before the first evaluation."""
        header = weights_header(self.folder / "model.safetensors")
        text = header.get("scores")
        return Scores.from_dict(from_json(text)) if text else None

    @property
    def weights_step(self) -> int:
        """The optimiser step after which the stored weights were taken."""
        return int(weights_header(self.folder / "model.safetensors").get("step", 0))

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        rows = self.history
        return bool(rows) and rows[-1].get("kind") == "end"

    def model(self, device: "torch.device | str" = "cpu") -> "nn.Module":
        """Return the trained model in evaluation mode."""
        import torch

        with torch.random.fork_rng(devices=[]):
            model = self.task.build()
        load_weights(model, self.folder / "model.safetensors")
        return model.to(device).eval()

    def predict(self, source: str | Path, *, device: str = "auto") -> list[Prediction]:
        """Predict every case of a source (probabilities; nothing is written)."""
        return list(self.predictions(self.task.cases(source), device=device))

    def predictions(self, cases: list[Case], *, device: str = "auto", progress=None):
        """Yield predictions case by case, so that large sets need no memory for all of them."""
        import torch

        from vesalius.engine.device import autocast, choose_device, choose_precision

        place = choose_device(device)
        precision = choose_precision(self.recipe.precision, place)
        task, model = self.task, self.model(place)
        with torch.inference_mode():
            for batch in task.loader(cases, training=False):
                with autocast(precision, place):
                    found = task.predict(model, batch.to(place))
                yield from found
                if progress:
                    progress(len(found))

    def evaluate(
        self,
        source: str | Path,
        *,
        cases: list[Case] | None = None,
        device: str = "auto",
        started=None,
        progress=None,
    ) -> Scores:
        """Predict a source whose truth is known and score it.

        Args:
            source: the cases; all of them are scored.
            cases: score these, already read from the source, instead.
            device: auto, cpu, cuda, ...
            started: called with the number of cases.
            progress: called with the number of cases done since the last call.
        """
        task = self.task
        cases = task.cases(source) if cases is None else cases
        unknown = [case.id for case in cases if case.target is None]
        if unknown:
            raise DataError(f"{source}: {len(unknown)} case(s) have no truth to score", unknown)
        if started:
            started(len(cases))
        return task.score(cases, self.predictions(cases, device=device, progress=progress))


def refuse_existing(folder: Path) -> None:
    """Raise a RecipeError where `folder` holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecipeError(
            f"{folder} exists already. Go on with it by --resume, or choose another --out."
        )


def create(
    folder: Path,
    task: Task,
    recipe: Recipe,
    model: "nn.Module",
    extra: Mapping[str, Any],
    *,
    state: Any = None,
) -> None:
    """Make a run folder that opens from its first moment on.

    Raises:
        RecipeError: the folder exists already.
        StorageError: it could not be written.
    """
    refuse_existing(folder)
    partial = folder.with_name(f"{folder.name}.partial")
    assets: Mapping[str, str] = getattr(task, "assets", dict)()
    config = {
        "library_name": "vesalius",
        "vesalius_version": __version__,
        "department": task.department,
        "task": task.config(),
        "assets": sorted(assets),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **extra,
    }
    with files.storage_errors(partial):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        files.write_text(partial / "recipe.yaml", recipe.to_yaml(comments=True))
        files.write_text(partial / "config.json", to_json(config))
        save_weights(partial / "model.safetensors", model, step=0, scores=None, state=state)
        files.write_text(partial / "history.jsonl", "")
        for name, text in assets.items():
            files.write_text(partial / name, text)
        if folder.exists():
            folder.rmdir()
        os.rename(partial, folder)
        files.flush_folder(folder.parent)


def write_assets(folder: Path, assets: Mapping[str, str]) -> None:
    """Add text files that the task needs when the run is opened again, or replace them."""
    config = _read_config(folder / "config.json")
    for name, text in assets.items():
        files.write_text(folder / name, text)
    config["assets"] = sorted({*config.get("assets", ()), *assets})
    files.write_text(folder / "config.json", to_json(config))


def circumstances(model: "nn.Module", device: Any, precision: str, processes: int) -> dict:
    """Return under which circumstances a run is made, for its config and its report."""
    import platform

    import torch

    place = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "device": str(device),
        "precision": precision,
        "processes": processes,
        "machine": f"{place}, {os.cpu_count()} CPU cores, {platform.system()}",
        "versions": {
            "vesalius": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def save_weights(
    path: Path, model: "nn.Module", *, step: int, scores: Scores | None, state: Any = None
) -> None:
    """Write model.safetensors atomically, with the step and the scores in its header."""
    from safetensors.torch import save

    tensors = state if state is not None else model.state_dict()
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    header = {"format": "pt", "step": str(step), "vesalius": __version__}
    if scores is not None:
        header["scores"] = to_json(scores.to_dict())
    files.write_bytes(path, save(tensors, metadata=header))


def load_weights(model: "nn.Module", path: Path) -> None:
    """Load model.safetensors strictly."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(path), strict=True)
    except (SafetensorError, FileNotFoundError) as error:
        raise DataError(f"{path} cannot be read: {error}. Train again, or --resume.") from None
    except RuntimeError as error:
        raise DataError(f"{path} does not fit the model of recipe.yaml: {error}") from None


def weights_header(path: Path) -> dict[str, str]:
    """Return the text fields of a safetensors header."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (SafetensorError, FileNotFoundError, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def read_history(path: Path) -> list[dict[str, Any]]:
    """Read history.jsonl, leaving out a last line that a crash cut short."""
    rows = []
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = text.removesuffix("\n").split("\n") if text else []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(from_json(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise DataError(f"{path} line {number} is not JSON; remove it") from None
    return rows


class History:
    """Append to history.jsonl; rows after the step that a run resumes from are dropped first."""

    def __init__(self, path: Path, *, keep_until: int):
        self.path = path
        rows = [row for row in read_history(path) if row["step"] <= keep_until]
        rows = [row for row in rows if row["kind"] != "end"]
        files.write_text(path, "".join(f"{to_json(row)}\n" for row in rows))

    def add(self, **row: Any) -> None:
        """Append one row."""
        with files.storage_errors(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{to_json(row)}\n")


def to_json(value: Any) -> str:
    """Return JSON: NaN as null, infinities as the words "inf" and "-inf"."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


_INFINITIES = {"inf": math.inf, "-inf": -math.inf}


def from_json(text: str) -> Any:
    """Read what `to_json` wrote: null stays None, the words "inf" and "-inf" are numbers again."""
    return _restored(json.loads(text))


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_restored(item) for item in value]
    return _INFINITIES.get(value, value) if isinstance(value, str) else value


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = from_json(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged, it is not JSON: {error}. Train anew.") from None
    known = isinstance(config, dict) and isinstance(config.get("task"), dict)
    if not known or not isinstance(config.get("department"), str):
        raise DataError(f"{path} is damaged: it names no department or holds no task. Train anew.")
    return config


def write_scores(folder: Path, scores: Scores, **extra: Any) -> None:
    """Write scores.json beside the weights that got them."""
    files.write_text(folder / "scores.json", to_json({**scores.to_dict(), **extra}))


__all__ = ["Run", "StorageError", "create", "from_json", "read_history", "to_json"]
