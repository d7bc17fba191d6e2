"""COCO json (Lin et al. 2014): instances, crowds, and results.

Boxes are (x, y, width, height) in continuous pixels, which are our corners without a shift.
Category ids may be any numbers. Sizes are taken from the file; the images are only looked for, and
their sizes compared with `check_sizes` or when they are opened. "difficult", "truncated", "group"
and the "split" of an image are written as additional keys, which other programs pass over.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.detect.formats.drafts import Draft, Findings, Request
from vesalius.detect.formats.outlines import Outlines
from vesalius.detect.formats.pictures import (
    Finder,
    image_places,
    image_size,
    split_of_file,
    split_of_folder,
    unique_ids,
)
from vesalius.detect.formats.target import Target
from vesalius.detect.scene import Scene

_ADDITIONAL = "(kept under a key that other programs pass over)"
SPLIT_NAMES: Mapping[str | None, str] = {"train": "train", "valid": "val", "test": "test"}


def annotation_files(source: Path) -> list[Path]:
    """Return the COCO annotation files that `source` is or holds."""
    if source.is_file():
        return [source] if source.suffix.lower() == ".json" and _looks_like(source) else []
    folders = [
        source,
        source / "annotations",
        *(p for p in source.iterdir() if split_of_folder(p.name)),
    ]
    found = {path for folder in folders if folder.is_dir() for path in folder.glob("*.json")}
    # beside the instances, COCO has files of captions and keypoints for the same images
    instances = {path for path in found if path.name.startswith("instances")}
    return sorted(path for path in instances or found if _looks_like(path))


def _looks_like(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(1 << 16)
    if b'"images"' in start and b'"shapes"' not in start:
        return True
    # The keys stand in any order: "images" may come after the annotations.
    names = (b'"annotations"', b'"categories"')
    return any(name in start for name in names) and b'"images"' in path.read_bytes()


def read(request: Request, findings: Findings) -> tuple[list[Draft], list[str]]:
    """Return drafts and the class names in the order of their ids."""
    drafts: list[Draft] = []
    names: dict[str, None] = {}
    paths = annotation_files(request.source)
    for path in paths:
        content = load(path, findings)
        if not isinstance(content, dict) or not _has_lists(content, path, findings):
            continue
        categories = read_categories(content, path, findings)
        names |= dict.fromkeys(categories.values())
        drafts += _read_file(content, path, categories, request.images, findings)
    for draft, name in zip(drafts, unique_ids([d.path or d.id for d in drafts]), strict=True):
        draft.id = name
    if request.check_sizes:
        _compare_sizes(drafts, findings)
    return drafts, list(names)


def load(path: Path, findings: Findings) -> Any:
    """Return the content of a JSON file, or None after noting why it cannot be read."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        findings.add(path, "", f"cannot be read as JSON ({error}). Write it again.")
        return None


def _has_lists(content: dict, path: Path, findings: Findings) -> bool:
    keys = ("images", "annotations", "categories")
    wrong = [key for key in keys if not isinstance(content.get(key, []), list)]
    for key in wrong:
        findings.add(path, "", f'"{key}" is no list. Write it again.')
    return not wrong


def read_categories(content: dict, path: Path, findings: Findings) -> dict[int, str]:
    """Return id -> name, sorted by id."""
    found: dict[int, str] = {}
    for k, entry in enumerate(content.get("categories") or []):
        try:
            number, name = int(entry["id"]), str(entry["name"])
        except (TypeError, KeyError, ValueError):
            findings.add(path, f"category {k + 1}", "needs an id and a name.")
            continue
        if number in found or name in found.values():
            findings.add(path, f"category {k + 1}", f"id {number} or '{name}' occurs twice.")
        found[number] = name
    return dict(sorted(found.items()))


def _read_file(
    content: dict,
    path: Path,
    categories: Mapping[int, str],
    images: Path | None,
    findings: Findings,
) -> list[Draft]:
    split = split_of_file(path)
    finder = Finder(image_places(path.parent, images, split=SPLIT_NAMES.get(split, "")))
    by_id: dict[Any, Draft] = {}
    for k, entry in enumerate(content.get("images") or []):
        place = f"image {k + 1}"
        try:
            number, name = entry["id"], entry["file_name"]
            size = (int(entry["height"]), int(entry["width"]))
            if min(size) < 1 or not isinstance(name, str):
                raise ValueError("height and width from 1, file_name a text")
            known = number in by_id
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            findings.add(path, place, f"needs id, file_name, height and width ({error!r}).")
            continue
        if known:
            findings.add(path, place, f"the id {number} occurs twice. Number the images anew.")
        found = finder.find(name)
        if found is None:
            findings.add(path, place, finder.missing(name))
        extra = {"image_id": number} | ({"split": entry["split"]} if entry.get("split") else {})
        if split and "split" not in extra:
            extra["split"] = split
        group = None if entry.get("group") is None else str(entry["group"])
        by_id[number] = Draft(name, found or Path(name), size, path, group=group, extra=extra)
    read_objects(content.get("annotations") or [], path, by_id, categories, findings)
    return list(by_id.values())


def read_objects(
    annotations: Sequence[dict],
    path: Path,
    by_id: Mapping[Any, Draft],
    categories: Mapping[int, str],
    findings: Findings,
) -> None:
    """Add annotations or results to the drafts of their images (image_id -> draft)."""
    seen: set[Any] = set()
    for k, entry in enumerate(annotations):
        number = entry.get("id") if isinstance(entry, dict) else None
        number = number if isinstance(number, int | str) else None
        place = f"annotation {k + 1}" if number is None else f"annotation id {number}"
        if not isinstance(entry, dict):
            findings.add(path, place, "is no object. Write {...}.")
            continue
        if number is not None and number in seen:
            findings.add(path, place, "the id occurs twice. Number the annotations anew.")
        seen.add(number)
        try:
            draft = by_id.get(entry.get("image_id"))
            label = categories.get(entry.get("category_id"))
            if draft is None or label is None:
                key = "image_id" if draft is None else "category_id"
                findings.add(path, place, f"the {key} {entry.get(key)} is not declared.")
                continue
            _add(draft, entry, label, place)
        except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
            findings.add(path, place, f"{error}. Correct or remove it.")


def _add(draft: Draft, entry: Mapping[str, Any], label: str, place: str) -> None:
    outline = outline_of(entry.get("segmentation"), draft.size)
    box = None
    if entry.get("bbox"):
        if not isinstance(entry["bbox"], list):
            raise ValueError(f"the bbox {entry['bbox']!r} is no list of four numbers")
        x, y, width, height = (float(value) for value in entry["bbox"])
        box = (x, y, x + width, y + height)
    elif outline is None:
        raise ValueError("has neither bbox nor segmentation")
    area = entry.get("area")
    draft.add(
        label,
        box,
        place,
        outline=outline,
        area=None if area is None else float(area),
        score=None if entry.get("score") is None else float(entry["score"]),
        crowd=bool(entry.get("iscrowd", 0)),
        difficult=bool(entry.get("difficult", 0)),
        truncated=bool(entry.get("truncated", 0)),
    )


def outline_of(segmentation: Any, size: tuple[int, int]) -> Any:
    """Return polygons or run lengths of a COCO segmentation, or None where it is empty.

    Raises:
        ValueError: too few points, numbers that are not finite, run lengths of another size.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        return [_polygon(flat) for flat in segmentation]
    from vesalius.detect import rle

    given = tuple(segmentation["size"])
    if given != tuple(size):
        raise ValueError(f"the run lengths have the size {given}, the image has {tuple(size)}")
    counts = segmentation["counts"]
    if isinstance(counts, str | bytes):
        return rle.from_string(counts if isinstance(counts, str) else counts.decode(), size)
    numbers = np.array(counts, np.int64)
    if numbers.ndim != 1 or (numbers < 0).any() or numbers.sum() != np.prod(size):
        raise ValueError(f"the run lengths cover {numbers.sum()} of {np.prod(size)} pixels")
    return rle.Runs(tuple(size), numbers.astype(np.uint32))


def _polygon(flat: Sequence[float]) -> np.ndarray:
    if len(flat) < 6 or len(flat) % 2:
        raise ValueError(f"a polygon of {len(flat)} numbers; three points, so 6, are the least")
    points = np.array(flat, np.float64).reshape(-1, 2)
    if not np.isfinite(points).all():
        raise ValueError("a polygon has numbers that are not finite")
    return points


def _compare_sizes(drafts: Sequence[Draft], findings: Findings) -> None:
    for draft in drafts:
        if draft.path is not None and draft.path.exists():
            size = image_size(draft.path)
            if size != draft.size:
                findings.add(
                    draft.file,
                    f"image {draft.path.name}",
                    f"the size {draft.size} is written, the image has {size}. Correct the file.",
                )


def image_place(scene: Scene, name: str) -> str:
    """Return where the image of a scene lies in a COCO folder."""
    return f"images/{name}"


def write(scenes: Sequence[Scene], target: Target) -> None:
    """Write `annotations.json`, or `annotations/instances_<split>.json` where there are splits."""
    for scene in scenes:
        for what in ("difficult", "truncated"):
            target.lose(f"{what} flags {_ADDITIONAL}", getattr(scene, what).sum())
        target.lose(f"groups {_ADDITIONAL}", scene.group is not None)
    splits = {scene.split for scene in scenes}
    if splits == {None}:
        target.write("annotations.json", _json(to_coco(scenes, target)))
        return
    for split in sorted(splits, key=str):
        some = [scene for scene in scenes if scene.split == split]
        name = SPLIT_NAMES.get(split, "rest")
        target.write(f"annotations/instances_{name}.json", _json(to_coco(some, target)))


def to_coco(scenes: Sequence[Scene], target: Target) -> dict[str, Any]:
    """Return the COCO dictionary of scenes; categories are numbered from 1."""
    numbers = {name: k for k, name in enumerate(target.classes, start=1)}
    images, annotations = [], []
    for k, scene in enumerate(scenes, start=1):
        height, width = scene.size
        entry = {"id": k, "file_name": target.reference(scene), "height": height, "width": width}
        images.append(entry | ({"group": scene.group} if scene.group is not None else {}))
        for n in range(scene.count):
            annotation = {"id": len(annotations) + 1, "image_id": k}
            annotations.append(annotation | annotation_of(scene, n, numbers))
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def annotation_of(scene: Scene, n: int, numbers: Mapping[str, int]) -> dict[str, Any]:
    """Return the COCO entry of the n-th object, without its ids."""
    x1, y1, x2, y2 = scene.boxes[n].tolist()
    found: dict[str, Any] = {
        "category_id": numbers[scene.labels[n]],
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": float(scene.areas[n]),
        "iscrowd": int(scene.crowd[n]),
    }
    if scene.masks is not None:
        found["segmentation"] = segmentation_of(scene.masks, n)
    if scene.scores is not None:
        found["score"] = float(scene.scores[n])
    for key in ("difficult", "truncated"):
        if getattr(scene, key)[n]:
            found[key] = 1
    return found


def segmentation_of(masks: Sequence[Any], n: int) -> Any:
    """Return the polygons an object was drawn with, else its compressed run lengths."""
    from vesalius.detect import rle

    polygons = masks.polygons(n) if isinstance(masks, Outlines) else None
    if polygons is not None:
        return [polygon.ravel().tolist() for polygon in polygons]
    return {"size": list(masks[n].size), "counts": rle.to_string(masks[n])}


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False)
