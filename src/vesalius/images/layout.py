"""Find the cases of a data set by how its folder is laid out.

Understood are: nnU-Net and Decathlon folders (`nnunet.py`), tables (`manifest.py`), `images/`
beside `masks/` (also below `train/`, `valid/`, `test/`, or with those inside), images with
`_mask` files beside them, and, for prediction, plain images and DICOM series.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from vesalius.engine.task import Case
from vesalius.errors import DataError
from vesalius.images import manifest, nnunet
from vesalius.images.image import FORMATS, stem, suffix
from vesalius.images.read import can_read

Found = tuple[list[Case], list[str]]
"""Cases and problems; the problems of a whole source are raised together."""

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "annotation", "gt")
MASK_FOLDERS += ("segmentations", "segmentation", "ground_truth", "groundtruth")
MASK_ENDINGS = ("mask", "masks", "seg", "segmentation", "label", "labels", "gt", "annotation")
IMAGE_ENDINGS = ("image", "img")
_NOTES = {".txt", ".md", ".json", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".html", ".pdf", ".db"}
_NOTES |= {".ini", ".log", ".jsonl"}
_SHOWN = 20

LAYOUTS = (
    "imagesTr/ and labelsTr/ with dataset.json (nnU-Net, Medical Segmentation Decathlon)",
    "images/ and masks/ (or labels/) with equal file names, optionally below train/ valid/ test/",
    "a table (.csv, .tsv, .jsonl; or manifest.csv in the folder) with the columns image and mask",
    "for prediction: a folder of images, a folder of DICOM series, one image",
)


def find_cases(source: str | Path) -> list[Case]:
    """Return the cases of a data set, ordered by id within each part of it.

    Each `Case` has `input`: a tuple of paths, one per channel file; `target`: the mask's path or
    None; `group`: the patient where the source tells; `extra`: `{"row": line number in the table
    or None, "split": "train", "valid", "test" or None}`.

    Args:
        source: a folder, a table, a `dataset.json`, or one image.

    Raises:
        DataError: nothing is found, or anything is wrong; `problems` lists everything.
    """
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source} does not exist. Check the path.")
    cases, problems = _find(source)
    problems = [*problems, *_repeated(cases)]
    if problems:
        count = f"{len(problems)} problems" if len(problems) > 1 else "a problem"
        raise listed(f"{source} has {count}.", problems)
    if not cases:
        raise _not_understood(source)
    return cases


def listed(message: str, problems: Sequence[str]) -> DataError:
    """Return an error that prints the first problems and holds all of them."""
    shown = list(problems[:_SHOWN])
    if len(problems) > _SHOWN:
        shown.append(f"and {len(problems) - _SHOWN} more")
    error = DataError(message, shown)
    error.problems = list(problems)
    return error


def declared_labels(source: str | Path) -> dict[str, int] | None:
    """Return name -> label as `dataset.json` or `labels.txt` declares, or None without either.

    `labels.txt` has one name per line, with its number before it ("2 tumour") or without: then
    lines count from 0 if the first is "background", else from 1.

    Raises:
        DataError: a file that cannot be understood.
    """
    folder = _folder(source)
    if (folder / "dataset.json").is_file():
        return nnunet.labels(folder / "dataset.json")
    if (folder / "labels.txt").is_file():
        return manifest.labels_from_text(folder / "labels.txt")
    return None


def declared_channels(source: str | Path) -> list[str] | None:
    """Return the channel names that `dataset.json` declares, in order, or None."""
    path = _folder(source) / "dataset.json"
    return nnunet.channels(path) if path.is_file() else None


def _folder(source: str | Path) -> Path:
    source = Path(source)
    return source if source.is_dir() else source.parent


def _find(source: Path) -> Found:
    if source.is_file():
        if source.name == "dataset.json":
            return nnunet.find(source.parent)
        if manifest.is_table(source):
            return manifest.find(source)
        return ([_case(source, None)], []) if can_read(source) else ([], [])
    if nnunet.is_dataset(source):
        return nnunet.find(source)
    tables = [path for path in sorted(source.glob("manifest.*")) if manifest.is_table(path)]
    if tables:
        return manifest.find(tables[0])
    if _subfolder(source, IMAGE_FOLDERS):
        return _images_and_masks(source)
    parts = {path: _split_of(path.name) for path in _subfolders(source)}
    parts = {path: split for path, split in parts.items() if split}
    if parts and all(_subfolder(path, IMAGE_FOLDERS) for path in parts):
        found = [_pair(*_folders(path), split) for path, split in parts.items()]
        return _joined(found)
    return _images_alone(source)


def _images_and_masks(source: Path) -> Found:
    images, masks = _folders(source)
    parts = [path for path in _subfolders(images) if _split_of(path.name)]
    if not parts:
        return _pair(images, masks, None)
    found = []
    for path in parts:
        opposite = _subfolder(masks, (path.name,)) if masks else None
        found.append(_pair(path, opposite, _split_of(path.name)))
    return _joined(found)


def _folders(source: Path) -> tuple[Path, Path | None]:
    return _subfolder(source, IMAGE_FOLDERS), _subfolder(source, MASK_FOLDERS)


def _pair(images: Path, masks: Path | None, split: str | None) -> Found:
    """Match the images of a folder with the masks of another by name."""
    entries, problems = _entries(images)
    if masks is None:
        return [_case(path, None, split) for path in entries], problems
    targets, more = _entries(masks)
    problems += more
    matched, orphans = _match(entries, targets)
    cases = []
    for image in entries:
        found = matched.get(image, [])
        if len(found) == 1:
            cases.append(_case(image, found[0], split))
        elif found:
            names = ", ".join(path.name for path in found)
            problems.append(f"{image} has {len(found)} masks ({names}). Keep one of them.")
        else:
            problems.append(
                f"{image} has no mask in {masks}. Add one of the same name, or remove the image."
            )
    problems += [f"{path} has no image in {images}. Remove it or add it." for path in orphans]
    return cases, problems


def _match(images: Sequence[Path], masks: Sequence[Path]) -> tuple[dict[Path, list[Path]], list]:
    """Return image -> masks of its name, and the masks that belong to none."""
    exact = {stem(path): path for path in images}
    plain = {_without_ending(stem(path), IMAGE_ENDINGS): path for path in images}
    matched: dict[Path, list[Path]] = {}
    orphans = []
    for mask in masks:
        name = stem(mask)
        short = _without_ending(name, MASK_ENDINGS)
        image = exact.get(name) or exact.get(short) or plain.get(short)
        if image is None:
            orphans.append(mask)
        else:
            matched.setdefault(image, []).append(mask)
    return matched, orphans


def _without_ending(name: str, endings: Sequence[str]) -> str:
    for ending in endings:
        for joint in "_-. ":
            if name.lower().endswith(joint + ending):
                return name[: -len(ending) - 1]
    return name


def _entries(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the images of a folder (files, and folders with a DICOM series), and problems."""
    entries, problems = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() in _NOTES or path.name == "LICENSE":
            continue
        if can_read(path):
            entries.append(path)
        elif path.is_dir():
            problems.append(f"{path} is a folder without images of its own. Move its files up.")
        else:
            problems.append(f"{path} is of an unknown format. Convert it or remove it.")
    return entries, problems


def _images_alone(source: Path) -> Found:
    """Return plain images, images with `_mask` files beside them, or DICOM series."""
    series = _series_folders(source)
    if series:
        return series, []
    entries = [path for path in sorted(source.iterdir()) if _is_visible(path) and can_read(path)]
    if entries and all(FORMATS.get(suffix(path)) in ("nifti", "nrrd") for path in entries):
        grouped = nnunet.channel_groups(entries)
        if grouped:
            return [_case(paths, None, name=name) for name, paths in grouped.items()], []
    masks = [path for path in entries if _without_ending(stem(path), MASK_ENDINGS) != stem(path)]
    images = [path for path in entries if path not in set(masks)]
    matched, _ = _match(images, masks)
    if not matched:
        return [_case(path, None) for path in entries], []
    missing = [path for path in images if path not in matched]
    problems = [f"{path} has no mask beside it. Add {stem(path)}_mask." for path in missing]
    several = [path for path, found in matched.items() if len(found) > 1]
    problems += [f"{path} has {len(matched[path])} masks. Keep one." for path in several]
    orphans = set(masks) - {mask for found in matched.values() for mask in found}
    problems += [f"{path} has no image beside it. Add or remove it." for path in sorted(orphans)]
    return [_case(path, found[0]) for path, found in sorted(matched.items())], problems


def _series_folders(source: Path) -> list[Case]:
    """Return one case per folder that holds a DICOM series, at any depth."""
    from vesalius.images.dicom import series_in

    cases = []
    for place, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        folder = Path(place)
        if not files or not can_read(folder):
            continue
        sizes = [len(found) for found in series_in(folder).values()]
        if len(sizes) > 1 and max(sizes) == 1:  # single pictures, such as chest films
            continue
        inner = folder.relative_to(source).parts
        name = "_".join(inner) or folder.name
        group = inner[0] if len(inner) > 1 else None
        cases.append(Case(name, (folder,), None, group, {"row": None, "split": None}))
    return cases


def _case(
    image: Path | tuple[Path, ...], mask: Path | None, split: str | None = None, name: str = ""
) -> Case:
    images = image if isinstance(image, tuple) else (image,)
    return Case(name or stem(images[0]), images, mask, None, {"row": None, "split": split})


def _split_of(name: str) -> str | None:
    return manifest.SPLITS.get(name.lower())


def _is_visible(path: Path) -> bool:
    return not path.name.startswith(".")


def _subfolders(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and _is_visible(path)]


def _subfolder(folder: Path, names: Sequence[str]) -> Path | None:
    by_name = {path.name.lower(): path for path in _subfolders(folder)}
    return next((by_name[name.lower()] for name in names if name.lower() in by_name), None)


def _joined(found: Iterable[Found]) -> Found:
    cases, problems = [], []
    for some, more in found:
        cases += some
        problems += more
    return cases, problems


def _repeated(cases: Sequence[Case]) -> list[str]:
    counts = Counter(case.id for case in cases)
    return [
        f"The id '{name}' occurs {count} times: "
        + ", ".join(str(case.input[0]) for case in cases if case.id == name)
        + ". Rename the files, or give ids in a table."
        for name, count in counts.items()
        if count > 1
    ]


def _not_understood(source: Path) -> DataError:
    if source.is_file():
        return DataError(f"{source} is neither an image nor a table. Understood are:", LAYOUTS)
    names = [path.name + "/" * path.is_dir() for path in sorted(source.iterdir())]
    seen = ", ".join(names[:8]) + (f", and {len(names) - 8} more" if len(names) > 8 else "")
    return DataError(
        f"{source} holds no data set that is understood; it has: {seen or 'nothing'}. "
        "Understood are:",
        LAYOUTS,
    )
