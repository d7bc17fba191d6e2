"""Trained models that come with the package, opened by name: `Run("nuclei")`.

Each is a run folder under `vesalius/weights/DEPARTMENT/NAME`, with half-precision weights, without
the names of cases, and with a model card.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from vesalius import files
from vesalius.errors import DataError, RecipeError

if TYPE_CHECKING:
    from vesalius.engine.run import Run

WEIGHTS = Path(__file__).parents[1] / "weights"


def shipped() -> dict[str, Path]:
    """Return the models of this installation: name -> folder."""
    return {path.parent.name: path.parent for path in sorted(WEIGHTS.glob("*/*/recipe.yaml"))}


def find(folder: str | Path) -> Path:
    """Return a run folder: a folder of that name, else the shipped model of that name."""
    path = Path(folder)
    if (path / "config.json").exists():
        return path
    known = shipped()
    if str(folder) in known:
        return known[str(folder)]
    names = f" Models that come with the package: {', '.join(known)}." if known else ""
    raise DataError(
        f"{path} is not a run folder: it holds no config.json. "
        f"Give the folder that `vesalius ... train --out FOLDER` wrote.{names}"
    )


def export_run(run: "Run", out: str | Path, *, half: bool = False) -> Path:
    """Write a run folder to pass on: recipe, card, weights and scores, no names of cases.

    Args:
        run: the run.
        out: folder to make.
        half: store weights as float16 (they are computed with as float32 again): half the size.
            Running statistics of normalisations stay as they are.

    Raises:
        RecipeError: the folder exists already, or a weight is too large for float16.
        StorageError: it could not be written; nothing is left behind.
    """
    from vesalius.engine.hub import write_run

    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RecipeError(f"{out} exists already; choose another name")
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with files.storage_errors(out):
        try:
            partial.mkdir(parents=True)
            # Not `save_pretrained`: its card would replace the run's own.
            write_run(run, run.model(), partial, half=half)
            if out.exists():
                out.rmdir()
            partial.rename(out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return out
