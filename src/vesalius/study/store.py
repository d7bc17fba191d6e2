"""A study's folder: what was asked, the folds, and a folder for each job.

    study.json      what was asked; a study that is repeated must ask the same
    folds.json      which case validates when
    jobs/VARIANT/r0-f0/result.json, predictions.npz, run/
    study.html, effects.csv, ...

Everything is written as a whole, `result.json` last, so the same command goes on after any crash.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vesalius import files
from vesalius.engine.recipe import Recipe
from vesalius.engine.run import from_json, to_json
from vesalius.errors import DataError, RecipeError

ASKED, FOLDS = "study.json", "folds.json"


def begin(folder: Path, asked: Mapping[str, Any]) -> bool:
    """Note what a study asks; tell whether it goes on with one that asked the same.

    Raises:
        RecipeError: the folder holds something else, or a study that asked something else.
    """
    asked = json.loads(to_json(asked))
    path = folder / ASKED
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise RecipeError(f"{folder} holds something that is no study; choose another --out")
        files.write_text(path, to_json(asked))
        return False
    try:
        before = from_json(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is damaged: {error}. Choose another --out.") from None
    names = [key for key in {**before, **asked} if before.get(key) != asked.get(key)]
    if names:
        changes = [
            f"{key}: was {_short(before.get(key))}, is {_short(asked.get(key))}" for key in names
        ]
        raise RecipeError(
            f"{folder} holds a study that asked something else; repeat its command to go on with "
            "it, or choose another --out",
            changes,
        )
    return True


def _short(value: Any) -> str:
    text = to_json(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def job_folder(folder: Path, variant: str, repeat: int, fold: int) -> Path:
    """Return where a job lies; names become safe for a file system."""
    safe = re.sub(r"[^\w\-.]+", "_", variant)
    return folder / "jobs" / safe / f"r{repeat}-f{fold}"


def honest(recipe: Recipe, repeat: int) -> Recipe:
    """Return a recipe whose held-out fold chooses nothing, with the repeat's own seed.

    The weights at the end are scored: taking the best of several evaluations on the fold whose
    score is reported would flatter, the more the noisier the training.
    """
    patch: dict[str, Any] = {"seed": recipe.seed + repeat}
    if recipe.keep == "best":
        patch |= {"keep": "last", "evaluate_every": max(1, recipe.epochs)}
    return recipe.patched(patch)
