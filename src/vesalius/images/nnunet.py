"""The folder of nnU-Net v2 (`CASE_0000.nii.gz`, `file_ending`) and the Decathlon's older form.

Case lists in `dataset.json` (`training`, `test`; nnU-Net's `dataset`) are followed where they
exist; otherwise the files of `imagesTr`, `labelsTr`, `imagesTs` and `labelsTs` are.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vesalius.engine.task import Case
from vesalius.errors import DataError
from vesalius.images.image import FORMATS, stem, suffix

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


def is_dataset(folder: Path) -> bool:
    """Return whether a folder holds `imagesTr`, or a `dataset.json` that lists cases."""
    if (folder / "imagesTr").is_dir():
        return True
    path = folder / "dataset.json"
    return path.is_file() and bool({"training", "dataset"} & set(_load(path)))


def find(folder: Path) -> tuple[list[Case], list[str]]:
    """Return the cases of `imagesTr` (split None) and `imagesTs` (split "test"), and problems."""
    path = folder / "dataset.json"
    meta = _load(path) if path.is_file() else {}
    if isinstance(meta.get("training"), list):
        return _listed_cases(folder, meta)
    if isinstance(meta.get("dataset"), dict):
        return _dataset_cases(folder, meta["dataset"])
    cases, problems = _part(folder, "Tr", meta, None)
    declared = meta.get("numTraining")
    if declared is not None and not problems and declared != len(cases):
        problems.append(
            f"{path} declares numTraining {declared}; imagesTr has {len(cases)} cases. "
            "Add the missing ones or correct the number."
        )
    tests, more = _part(folder, "Ts", meta, "test")
    return cases + tests, problems + more


def channel_groups(files: Sequence[Path]) -> dict[str, tuple[Path, ...]]:
    """Return case -> its channel files where all are named `CASE_0000`, `CASE_0001`, ...

    Empty where a name has no number or the cases have different channels.
    """
    if not all(_CHANNEL.fullmatch(stem(path)) for path in files):
        return {}
    grouped = _by_case(list(files))
    count = len(next(iter(grouped.values())))
    if any(set(found) != set(range(count)) for found in grouped.values()):
        return {}
    return {name: tuple(found[k] for k in range(count)) for name, found in grouped.items()}


def labels(path: Path) -> dict[str, int]:
    """Return name -> label, of `{"0": "name"}` as of `{"name": 0}`.

    Raises:
        DataError: labels that are regions (lists of labels), or no numbers.
    """
    declared = _load(path).get("labels")
    if not isinstance(declared, dict):
        raise DataError(f'{path} declares no labels. Add "labels": {{"background": 0, ...}}.')
    try:
        if all(str(key).lstrip("-").isdigit() for key in declared):
            return {str(name): int(label) for label, name in declared.items()}
        return {str(name): int(label) for name, label in declared.items()}
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path} declares labels that are not one number each: {declared}. Regions made of "
            "several labels are not understood; declare the labels themselves."
        ) from error


def channels(path: Path) -> list[str] | None:
    """Return the names of `channel_names` or `modality` in the order of their numbers."""
    meta = _load(path)
    names = meta.get("channel_names") or meta.get("modality")
    if not names:
        return None
    try:
        return [str(names[key]) for key in sorted(names, key=int)]
    except (TypeError, ValueError) as error:
        raise DataError(
            f'{path} has the channels {names}; write them as {{"0": "T1", "1": "T2"}}.'
        ) from error


def _load(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not valid JSON ({error}). Correct it.") from error
    if not isinstance(meta, dict):
        raise DataError(f"{path} must hold one JSON object, with labels and channel_names.")
    return meta


def _listed_cases(folder: Path, meta: Mapping[str, Any]) -> tuple[list[Case], list[str]]:
    """Return the cases of the lists `training` and `test`, as the Decathlon writes them."""
    cases, problems = [], []
    for split, entries in ((None, meta["training"]), ("test", meta.get("test") or [])):
        for number, entry in enumerate(entries, start=1):
            entry = {"image": entry} if isinstance(entry, str) else entry
            if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
                problems.append(f"dataset.json: entry {number} of the cases names no image.")
                continue
            images = (folder / entry["image"],)
            mask = folder / entry["label"] if entry.get("label") else None
            problems += _absent([*images, mask], "dataset.json lists it")
            cases.append(_case(stem(images[0]), images, mask, split))
    if not problems:
        problems += _unlisted(folder, cases)
    return cases, problems


def _dataset_cases(folder: Path, entries: Mapping[str, Any]) -> tuple[list[Case], list[str]]:
    """Return the cases of nnU-Net's `"dataset": {case: {"images": [...], "label": ...}}`."""
    cases, problems = [], []
    for name, entry in sorted(entries.items()):
        images = tuple(folder / image for image in entry.get("images", ()))
        mask = folder / entry["label"] if entry.get("label") else None
        if not images:
            problems.append(f"dataset.json: the case '{name}' names no images. Add them.")
            continue
        problems += _absent([*images, mask], f"dataset.json lists it for '{name}'")
        cases.append(_case(name, images, mask, None))
    return cases, problems


def _absent(paths, reason: str) -> list[str]:
    return [
        f"{path} does not exist, but {reason}. Add the file or remove the entry."
        for path in paths
        if path is not None and not path.exists()
    ]


def _unlisted(folder: Path, cases: list[Case]) -> list[str]:
    """Name masks in labelsTr that the list leaves out: they would be forgotten silently."""
    known = {case.target.resolve() for case in cases if case.target is not None}
    return [
        f"{path} is not listed in dataset.json. List it or remove it."
        for path in _files(folder / "labelsTr", None)
        if path.resolve() not in known
    ]


def _part(folder: Path, end: str, meta: Mapping[str, Any], split: str | None):
    """Return the cases of `imagesTr` or `imagesTs` by their file names."""
    images, masks = folder / f"images{end}", folder / f"labels{end}"
    ending = meta.get("file_ending")
    grouped = _by_case(_files(images, ending))
    targets = {stem(path): path for path in _files(masks, ending)}
    problems = []
    if not grouped and split is None:
        problems.append(
            f"{images} holds no files that end in {ending or 'a known suffix'}. "
            "Check file_ending in dataset.json."
        )
    count = len(channels_of(meta)) or max((max(found) + 1 for found in grouped.values()), default=1)
    cases = []
    for name, found in sorted(grouped.items()):
        absent = sorted(set(range(count)) - set(found))
        extra = sorted(set(found) - set(range(count)))
        if absent or extra:
            problems.append(_channel_problem(images, name, absent, extra, count))
        elif name not in targets and masks.is_dir():
            problems.append(
                f"{masks} has no mask for the case '{name}'. Add it or remove the case."
            )
        else:
            paths = tuple(found[k] for k in range(count))
            cases.append(_case(name, paths, targets.get(name), split))
    orphans = sorted(set(targets) - set(grouped))
    problems += [f"{targets[name]} has no image in {images}. Add or remove it." for name in orphans]
    return cases, problems


def channels_of(meta: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the declared channels, number -> name; empty where there are none."""
    return meta.get("channel_names") or meta.get("modality") or {}


def _channel_problem(folder: Path, name: str, absent, extra, count: int) -> str:
    if absent:
        numbers = ", ".join(f"{name}_{k:04d}" for k in absent)
        return f"{folder}: the case '{name}' lacks the channels {numbers}. Add the files."
    numbers = ", ".join(f"{name}_{k:04d}" for k in extra)
    return (
        f"{folder}: {numbers} has no place among the {count} declared channels. "
        "Correct channel_names in dataset.json."
    )


def _files(folder: Path, ending: str | None) -> list[Path]:
    if not folder.is_dir():
        return []
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]
    if ending:
        return [path for path in files if path.name.endswith(ending)]
    return [path for path in files if suffix(path) in FORMATS]


def _by_case(files: list[Path]) -> dict[str, dict[int, Path]]:
    """Return case -> channel -> file; a name without a channel number is channel 0."""
    grouped: dict[str, dict[int, Path]] = {}
    for path in files:
        match = _CHANNEL.fullmatch(stem(path))
        name, channel = (match["case"], int(match["channel"])) if match else (stem(path), 0)
        grouped.setdefault(name, {})[channel] = path
    return grouped


def _case(name: str, images: tuple[Path, ...], mask: Path | None, split: str | None) -> Case:
    return Case(name, images, mask, None, {"row": None, "split": split})
