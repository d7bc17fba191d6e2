"""YOLO txt: one line per object, "class cx cy width height", all divided by the image's sides.

Read are also polygons ("class x1 y1 x2 y2 x3 y3 ..."), predictions (a score as the last number),
and the layouts images/ beside labels/ (also below train/, val/, test/, or with those inside) and
images and txt files in one folder. Names come from data.yaml, classes.txt, obj.names or
_darknet.labels. An image without a txt file has no objects, as Ultralytics has it. The size of an
image is read from its header.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.detect.formats.drafts import SLACK, Draft, Findings, Policy, Request
from vesalius.detect.formats.outlines import polygons_of, signed_area
from vesalius.detect.formats.pictures import Folder, image_size, unique_ids
from vesalius.detect.formats.target import Target
from vesalius.detect.scene import Scene
from vesalius.errors import DataError
from vesalius.images.image import stem
from vesalius.images.manifest import SPLITS, read_text

IMAGES = "images"
SPLIT_FOLDERS = {"train": "train", "valid": "val", "test": "test"}
_NAMES = ("classes.txt", "obj.names", "_darknet.labels", "classes.names", "labels.txt")


def names_file(source: Path) -> Path | None:
    """Return the file of class names of a YOLO folder (data.yaml, classes.txt, ...), or None."""
    if source.is_file():
        return source if source.suffix.lower() in (".yaml", ".yml") else None
    yamls = [p for p in sorted(source.glob("*.y*ml")) if p.suffix.lower() in (".yaml", ".yml")]
    found = [path for path in yamls if "names" in _yaml(path)]
    places = [source, source / "labels", *_parts(source)]
    listed = [place / name for place in places for name in _NAMES]
    return next((path for path in [*found, *listed] if path.is_file()), None)


def is_dataset(source: Path) -> bool:
    """Return whether a folder has YOLO's txt files."""
    if source.is_file():
        return source.suffix.lower() in (".yaml", ".yml") and "names" in _yaml(source)
    if any("names" in _yaml(path) for path in source.glob("*.y*ml")):
        return True
    if any(_label_files(labels) for _, labels, _ in _places(source)):
        return True
    # without images beside them, only what is written tells
    folders = [source, source / "labels", *_parts(source)]
    return any(_looks_like(path) for folder in folders for path in _label_files(folder)[:5])


def _looks_like(path: Path) -> bool:
    words = path.read_bytes()[:1000].split(b"\n")[0].split()
    return len(words) >= 5 and all(re.fullmatch(rb"[-+.\deE]+", word) for word in words)


def _label_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.txt")) if path.name not in _NAMES]


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}


def _parts(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.iterdir()) if p.is_dir() and p.name.lower() in SPLITS]


def _places(root: Path, given: Path | None = None) -> list[tuple[Path, Path, str | None]]:
    """Return (folder of images, folder of labels, split) of the layouts that exist.

    Args:
        root: of the data set.
        given: folder of the images where they do not lie in it.
    """
    if given is not None:
        labels = root / "labels" if (root / "labels").is_dir() else root
        parts = [(p, SPLITS[p.name.lower()]) for p in _parts(labels)] or [(labels, None)]
        inner = [(given / place.name, place, split) for place, split in parts]
        return [(a if a.is_dir() else given, b, split) for a, b, split in inner]
    images, labels = root / IMAGES, root / "labels"
    if images.is_dir() and _parts(images):
        found = [(p, labels / p.name, SPLITS[p.name.lower()]) for p in _parts(images)]
        return [(a, b, split) for a, b, split in found if b.is_dir()]
    if images.is_dir() and labels.is_dir():
        return [(images, labels, None)]
    below = [place for part in _parts(root) for place in _below(part)]
    if below:
        return below
    return [(root, root, None)] if Folder(root).names else []


def _below(part: Path) -> list[tuple[Path, Path, str | None]]:
    split = SPLITS[part.name.lower()]
    if (part / IMAGES).is_dir() and (part / "labels").is_dir():
        return [(part / IMAGES, part / "labels", split)]
    return [(part, part, split)] if _label_files(part) and Folder(part).names else []


def class_names(path: Path) -> list[str]:
    """Return the names in a data.yaml (a list, or number -> name) or one per line of a text file.

    Raises:
        DataError: no names, or numbers that do not run from 0.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        names = _yaml(path).get("names")
        if isinstance(names, dict):
            if sorted(names) != list(range(len(names))):
                raise DataError(f"{path}: number the names from 0 on without a gap.")
            names = [names[k] for k in range(len(names))]
    else:
        names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not isinstance(names, list) or not names or len(set(map(str, names))) < len(names):
        raise DataError(f"{path}: needs a list of names, each once.")
    return [str(name) for name in names]


def read(request: Request, findings: Findings) -> tuple[list[Draft], list[str]]:
    """Return drafts and the class names by number."""
    source, images = request.source, request.images
    path = names_file(source)
    root = _root(source if source.is_dir() else source.parent, path)
    names = list(request.classes or ())
    if path is not None:
        try:
            names = class_names(path)
        except DataError as error:
            findings.problems.append(str(error))
    elif request.classes is None:
        findings.add(
            root, "", "has no data.yaml or classes.txt; write the class names, one per line."
        )
    drafts = []
    for pictures, labels, split in _places(root, images):
        drafts += _read_folder(pictures, labels, split, names, findings, request.boxes)
    for draft, name in zip(drafts, unique_ids([d.path or d.id for d in drafts]), strict=True):
        draft.id = name
    return drafts, names


def _root(folder: Path, names: Path | None) -> Path:
    """Return the folder of the data set: a data.yaml may lie apart and name it as `path`."""
    told = _yaml(names).get("path") if names and names.suffix.lower() in (".yaml", ".yml") else None
    other = folder / told if isinstance(told, str) else folder
    return other if other.is_dir() else folder


def _read_folder(
    pictures: Path,
    labels: Path,
    split: str | None,
    names: Sequence[str],
    findings: Findings,
    boxes: Policy,
) -> list[Draft]:
    texts = {path.stem: path for path in _label_files(labels)}
    drafts = []
    for image in Folder(pictures).paths:
        text = texts.pop(stem(image), None)
        try:
            size = image_size(image)
        except DataError as error:
            findings.problems.append(str(error))
            continue
        if len(size) != 2:
            findings.add(image, "", "is a volume; YOLO describes pictures. Use CSV or NIfTI.")
            continue
        extra = {"split": split} if split else {}
        draft = Draft(stem(image), image, size, text or image, extra=extra)
        if text is not None:
            _read_lines(draft, text, names, findings, boxes)
        drafts.append(draft)
    for path in texts.values():
        findings.add(path, "", f"has no image in {pictures}. Add it, or remove the file.")
    return drafts


def _read_lines(
    draft: Draft, path: Path, names: Sequence[str], findings: Findings, boxes: Policy
) -> None:
    for line, content in enumerate(read_text(path).splitlines(), start=1):
        words = content.split()
        if not words:
            continue
        place = f"line {line}"
        try:
            _add(draft, [float(word) for word in words], names, place, boxes)
        except ValueError as error:
            findings.add(path, place, f"{error}. Correct or remove the line.")


def _add(
    draft: Draft, numbers: Sequence[float], names: Sequence[str], place: str, boxes: Policy
) -> None:
    if len(numbers) < 5:
        raise ValueError(
            f"{len(numbers)} numbers; a class and four of a box, or three points, are the least"
        )
    number = numbers[0]
    if not math.isfinite(number) or number != int(number) or not 0 <= number < max(len(names), 1):
        raise ValueError(f"the class {number:g} is not between 0 and {len(names) - 1}")
    # class + box or points makes an odd count; a score behind it an even one
    score = numbers[-1] if len(numbers) % 2 == 0 else None
    values = np.array(numbers[1 : len(numbers) - (score is not None)], np.float64)
    sides = np.array(draft.size[::-1], np.float64)
    if len(values) == 4:
        _check_range(values, sides, boxes)
        centre, half = values[:2] * sides, values[2:] * sides / 2
        box, outline = (*(centre - half).tolist(), *(centre + half).tolist()), None
    elif len(values) < 6:
        raise ValueError(f"a polygon of {len(values) // 2} points; three are the least")
    else:
        _check_range(values, sides, boxes)
        box, outline = None, [values.reshape(-1, 2) * sides]
    label = names[int(number)] if names else str(int(number))
    draft.add(label, box, place, outline=outline, score=score)


def _check_range(values: np.ndarray, sides: np.ndarray, boxes: Policy) -> None:
    slack = np.tile(SLACK / sides, len(values) // 2)
    wrong = ~((values >= -slack) & (values <= 1 + slack))
    if boxes == "refuse" and wrong.any():
        raise ValueError(
            f"{values[wrong][0]:g} is not between 0 and 1; divide pixels by the image's width "
            "and height"
        )


def image_place(scene: Scene, name: str) -> str:
    """Return where the image of a scene lies in a YOLO folder."""
    part = f"{SPLIT_FOLDERS[scene.split]}/" if scene.split in SPLIT_FOLDERS else ""
    return f"{IMAGES}/{part}{name}"


def write(scenes: Sequence[Scene], target: Target) -> None:
    """Write labels/*.txt (polygons where there are masks) and data.yaml."""
    import yaml

    splits = sorted({scene.split for scene in scenes if scene.split}, key=list(SPLIT_FOLDERS).index)
    mixed = bool(splits) and any(scene.split is None for scene in scenes)
    if mixed:
        raise DataError(
            "some images belong to train, valid or test and others to none; YOLO's folders cannot "
            "hold both. Give every image a part, or none."
        )
    numbers = {name: k for k, name in enumerate(target.classes)}
    for scene in scenes:
        lines = [_line(scene, n, numbers, target) for n in range(scene.count)]
        place = image_place(scene, f"{target.stem(scene)}.txt").replace(IMAGES, "labels", 1)
        target.write(place, "".join(f"{line}\n" for line in lines))
        for what in ("crowd", "difficult", "truncated"):
            target.lose(f"{what} flags", getattr(scene, what).sum())
        target.lose("groups", scene.group is not None)
    content: dict[str, Any] = {"path": "."}
    places = {SPLIT_FOLDERS[split]: f"{IMAGES}/{SPLIT_FOLDERS[split]}" for split in splits}
    content |= places or {"train": IMAGES, "val": IMAGES}
    content["names"] = dict(enumerate(target.classes))
    target.write("data.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _line(scene: Scene, n: int, numbers: dict[str, int], target: Target) -> str:
    sides = np.array(scene.size[::-1], np.float64)
    if scene.masks is None:
        low, high = scene.boxes[n, :2] / sides, scene.boxes[n, 2:] / sides
        values = [*((low + high) / 2).tolist(), *(high - low).tolist()]
    else:
        polygons, holes = polygons_of(scene.masks, n)
        target.lose("holes in masks (filled)", holes)
        target.lose("parts of masks (only the largest is kept)", len(polygons) - 1)
        largest = max(polygons, key=lambda ring: abs(signed_area(ring)))
        values = (largest / sides).ravel().tolist()
    score = [] if scene.scores is None else [float(scene.scores[n])]
    return " ".join([str(numbers[scene.labels[n]]), *(f"{v:.12g}" for v in [*values, *score])])
