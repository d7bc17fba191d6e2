"""Which prediction belongs to which truth, and what the labels are called.

Two folders are matched by case name, or two files are given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vesalius.errors import DataError, RecipeError
from vesalius.images.image import stem
from vesalius.images.layout import MASK_ENDINGS, MASK_FOLDERS, listed
from vesalius.images.read import can_read

_PROBABILITIES = "_probabilities"


@dataclass(frozen=True)
class CaseFiles:
    """One case: its name, and the files of prediction and truth."""

    case: str
    prediction: Path
    truth: Path


def pair_files(
    predictions: str | Path, truth: str | Path, *, subset: bool = False
) -> list[CaseFiles]:
    """Match predictions with truths by name, ordered by name.

    Names are compared without suffix, so .nii.gz goes with .png; a truth may also end in _mask,
    _seg, _label or the like. Of a data set (nnU-Net's, or images/ beside masks/) the folder of the
    masks is taken. Probabilities that `vesalius segment predict` wrote, and files that are no
    masks, take no part.

    Args:
        predictions: a folder, or one file.
        truth: a folder, a data set, or one file.
        subset: allow truths without a prediction, as when one fold of a data set was predicted.

    Raises:
        DataError: something does not exist, is empty, or has no partner; all are listed.
    """
    predictions, truth = Path(predictions), Path(truth)
    for path in (predictions, truth):
        if not path.exists():
            raise DataError(f"{path} does not exist. Check the path.")
    if predictions.is_file() and truth.is_file():
        return [CaseFiles(stem(predictions), predictions, truth)]
    if predictions.is_file() != truth.is_file():
        raise DataError(f"{predictions} and {truth}: give two folders, or two files.")
    problems: list[str] = []
    truth = mask_folder(truth)
    found, wanted = _by_name(predictions, problems), _by_name(truth, problems)
    for name in list(wanted):
        if name not in found and (short := _without_ending(name)) in found and short not in wanted:
            wanted[short] = wanted.pop(name)
    problems += [f"{found[name]} has no truth" for name in sorted(found.keys() - wanted.keys())]
    if not subset:
        lonely = sorted(wanted.keys() - found.keys())
        problems += [f"{wanted[name]} has no prediction" for name in lonely]
    if problems:
        raise listed(
            f"{predictions} and {truth} do not match in {len(problems)} places. Add or remove "
            "files, or say subset (--subset) to score only the cases that were predicted.",
            problems,
        )
    return [CaseFiles(name, found[name], wanted[name]) for name in sorted(found)]


def mask_folder(truth: Path) -> Path:
    """Return the folder of the masks in a data set, or the folder itself."""
    inside = {path.name.lower(): path for path in sorted(truth.iterdir()) if path.is_dir()}
    named = (inside[name] for name in ("labelstr", *MASK_FOLDERS) if name in inside)
    return next(named, truth)


def declared_values(truth: Path) -> dict[str, int]:
    """Return name -> value as the data set of the truth declares, {} if it does not."""
    from vesalius.images.layout import declared_labels

    folder = mask_folder(truth) if truth.is_dir() else truth.parent
    found = (declared_labels(place) for place in (folder, folder.parent))
    return dict(next((labels for labels in found if labels), {}))


def names_of(
    labels: Sequence[int | str] | Mapping[str, int] | None,
    declared: Mapping[str, int],
    ignore: int | None,
) -> dict[int, str] | None:
    """Return value -> name of the labels to score; None where the maps decide.

    Raises:
        RecipeError: a name that is not declared.
    """
    if isinstance(labels, Mapping):
        return {int(value): str(name) for name, value in labels.items()}
    by_value = {value: name for name, value in declared.items()}
    if labels is None:
        return {v: n for v, n in by_value.items() if v not in (0, ignore)} or None
    unknown = [
        item for item in labels if not str(item).lstrip("-").isdigit() and item not in declared
    ]
    if unknown:
        raise RecipeError(
            f"No label is called {', '.join(map(repr, unknown))}. Declared are: "
            f"{', '.join(declared) or 'none, so give values such as 1,2'}."
        )
    values = [declared[item] if item in declared else int(item) for item in labels]
    return {value: by_value.get(value, str(value)) for value in values}


def _by_name(folder: Path, problems: list[str]) -> dict[str, Path]:
    """Return name -> file of all masks in a folder."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = stem(path)
        if path.name.startswith(".") or name.endswith(_PROBABILITIES) or not can_read(path):
            continue
        if name in found:
            problems.append(f"{path} and {found[name]} are the same case. Keep one of them.")
        found.setdefault(name, path)
    if not found:
        problems.append(f"{folder} holds no masks (PNG, TIFF, NIfTI, NRRD or DICOM-SEG files).")
    return found


def _without_ending(name: str) -> str:
    for ending in MASK_ENDINGS:
        for joint in "_-. ":
            if name.lower().endswith(joint + ending):
                return name[: -len(ending) - 1]
    return name
