"""What every department's `train`, `predict` and `evaluate` begin with."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vesalius.engine import distributed, run, splits
from vesalius.engine.run import Run
from vesalius.engine.task import Case
from vesalius.errors import DataError, RecipeError


def items(overrides: Iterable[str], changes: Mapping[str, Any]) -> list[str]:
    """Return changes of a recipe, given as on the command line and as keywords, in one form."""
    return [*overrides, *(f"{key}={json.dumps(value)}" for key, value in changes.items())]


def existing(out: str | Path | None) -> Run:
    """Open the run that `resume` goes on with."""
    if out is None or not Path(out).exists():
        raise RecipeError("resume goes on with an existing run: give its folder as out")
    return Run(out)


def run_folder(out: str | Path | None, name: str, *, resume: bool) -> Path:
    """Return where the run goes; refuse early what would be refused after the files are read.

    Args:
        out: the folder that was asked for; None: runs/NAME-TIME.
        name: of the department and the model, "segment-unet".
        resume: whether the folder may be there already.
    """
    if out is None and distributed.launched():
        raise RecipeError("several processes must agree on the run folder: give --out")
    if out is None:
        return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    if not resume and distributed.is_first():
        run.refuse_existing(Path(out))
    return Path(out)


def as_python(function: str, source: Any, recipe: Any, changes: Mapping[str, Any]) -> str:
    """Return the call that started a run, for its report."""
    options = "".join(f", {key}={value!r}" for key, value in changes.items() if "." not in key)
    dotted = {key: value for key, value in changes.items() if "." in key}
    options += f", **{dotted!r}" if dotted else ""
    options = f", recipe={str(recipe)!r}{options}" if recipe is not None else options
    return f"{function}({str(source)!r}{options})"


def opened(given: Run | str | Path, overrides: Sequence[str], *, free: Sequence[str]) -> Run:
    """Open a run; only what a trained model leaves open (keys that begin with `free`) may change.

    Raises:
        RecipeError: another key, or no "key=value".
    """
    for item in overrides:
        if not item.startswith(tuple(free)) or "=" not in item:
            known = ", ".join(f"{name}*" if name.endswith(".") else name for name in free)
            raise RecipeError(
                f"'{item}' cannot be changed after training; of a trained model only {known} can"
            )
    if isinstance(given, Run) and not overrides:
        return given
    return Run(given.folder if isinstance(given, Run) else given, overrides=overrides)


def usable(cases: Sequence[Case], source: str | Path, *, part: str, lack: str) -> list[Case]:
    """Return the cases of a source that serve as one part; never those it keeps for a test.

    Args:
        cases: of the source.
        source: for messages.
        part: "train" or "valid".
        lack: what a case without a truth has not, for messages.

    Raises:
        DataError: a case has no truth, or none serves.
    """
    named = {case.extra.get("split") for case in cases}
    other = {"train": "valid", "valid": "train"}[part]
    left_out = {"test", other} if part in named or part == "train" else {"test"}
    found = [case for case in cases if case.extra.get("split") not in left_out]
    blind = [case.id for case in found if case.target is None]
    if blind:
        raise DataError(f"{source}: {len(blind)} case(s) have no {lack}", blind)
    if not found:
        raise DataError(f"{source}: none of its {len(cases)} cases serves as '{part}'")
    return found


def check_apart(
    training: Sequence[Case], held: Sequence[Case], paths: Callable[[Case], Iterable[str | Path]]
) -> None:
    """Refuse validation cases that are trained on: their scores would mean nothing.

    Args:
        training, held: cases.
        paths: the files of a case.

    Raises:
        DataError: they share a file.
    """
    known = {Path(path).resolve() for case in training for path in paths(case)}
    both = [case.id for case in held if known & {Path(path).resolve() for path in paths(case)}]
    if both:
        raise DataError(
            f"{len(both)} validation case(s) are training cases too; give others, or leave valid "
            "out and a share is drawn",
            both,
        )


def held_out(found: Run, cases: Sequence[Case], source: str | Path) -> list[Case]:
    """Return the cases of a run's training source that it has not trained on.

    A run that was passed on without the names of its cases draws them again by its recipe.

    Raises:
        DataError: the source is not what the run was trained on, or nothing was held out.
    """
    split = found.config.get("split") or {}
    if isinstance(split.get("valid"), list):
        wanted = set(split["valid"])
        held = [case for case in cases if case.id in wanted]
        missing = sorted(wanted - {case.id for case in held})
        if missing:
            raise DataError(f"{source} lacks {len(missing)} case(s) that the run held out", missing)
    else:
        data, seed = found.recipe.data, found.recipe.seed  # pyright: ignore
        training, held, _ = splits.split_cases(
            cases, data.valid_share, seed, folds=data.folds, fold=data.fold
        )
        if [len(training), len(held)] != [split.get("train"), split.get("valid")]:
            raise DataError(
                f"{source} is not what the run was trained on: it would be cut into "
                f"{len(training)} and {len(held)} cases, the run had {split.get('train')} and "
                f"{split.get('valid')}"
            )
    if not held:
        raise DataError("the run held no case out: nothing to score")
    return held
