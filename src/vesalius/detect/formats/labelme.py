"""LabelMe json (Wada), one file per image: rectangle, polygon, circle, mask.

Coordinates are continuous pixels. Shapes with the same label and `group_id` are one object, as
LabelMe's own converter to COCO has it; so is what it does with a rectangle beside polygons: the
rectangle is the outline. `imageData` is passed over. An image of rectangles alone has no masks.
Points and lines have no extent: they are refused, or dropped on request. Flags "difficult",
"crowd" and "truncated" of a shape are read and written.
"""

import base64
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.detect.formats.coco import load
from vesalius.detect.formats.drafts import HEAL, Draft, Findings, Request, rectangle
from vesalius.detect.formats.outlines import Polygon, polygons_of
from vesalius.detect.formats.pictures import Finder, image_places, image_size
from vesalius.detect.formats.target import Target
from vesalius.detect.scene import Scene
from vesalius.errors import DataError

CIRCLE_POINTS = 64
"""Corners of the polygon that stands for a circle (its area is 0.2 % too small)."""
_FLAGS = ("difficult", "crowd", "truncated")
_WITHOUT_EXTENT = ("point", "points", "line", "linestrip")


def annotation_files(source: Path) -> list[Path]:
    """Return the LabelMe files that `source` is or holds (also in `annotations/`)."""
    if source.is_file():
        return [source] if source.suffix.lower() == ".json" and _looks_like(source) else []
    folders = (source, source / "annotations", source / "labels", source / "json")
    for folder in folders:
        found = sorted(folder.glob("*.json")) if folder.is_dir() else []
        # One look is enough: a damaged file among them is reported when it is read.
        if any(_looks_like(path) for path in found[:20]):
            return [path for path in found if path.name != "dataset.json"]
    return []


def _looks_like(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(1 << 16)
    return b'"shapes"' in start or (b'"imagePath"' in start and b'"version"' in start)


def read(request: Request, findings: Findings) -> tuple[list[Draft], None]:
    """Return drafts; the class names are those that occur."""
    drafts = []
    for path in annotation_files(request.source):
        content = load(path, findings)
        if content is None:
            continue
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            findings.add(path, "", "has no list of shapes. Remove it if it is not LabelMe's.")
            continue
        draft = _draft(path, content, request, findings)
        if draft is not None:
            _read_shapes(draft, content["shapes"], request, findings)
            drafts.append(draft)
    return drafts, None


def _draft(
    path: Path, content: dict[str, Any], request: Request, findings: Findings
) -> Draft | None:
    finder = Finder(image_places(path.parent, request.images))
    named = str(content.get("imagePath") or path.stem)
    image = finder.find(named) or finder.find(path.stem)
    if image is None:
        findings.add(path, "", finder.missing(named))
        return None
    try:
        size = image_size(image)
    except DataError as error:
        findings.problems.append(str(error))
        return None
    if len(size) != 2:
        findings.add(path, "", f"{image} is a volume; LabelMe describes pictures.")
        return None
    written = (content.get("imageHeight"), content.get("imageWidth"))
    if all(written) and tuple(written) != size:
        findings.add(
            path,
            "",
            f"imageHeight and imageWidth are {written}, {image.name} has {size}. Annotate this "
            "image, or correct the size.",
        )
        return None
    flags = content.get("flags") if isinstance(content.get("flags"), dict) else {}
    extra = {"split": flags["split"]} if isinstance(flags.get("split"), str) else {}
    group = flags.get("group")
    return Draft(path.stem, image, size, path, group=group, extra=extra)


def _read_shapes(draft: Draft, shapes: Sequence[Any], request: Request, findings: Findings) -> None:
    objects: dict[Any, list[tuple[int, dict[str, Any], Any]]] = {}
    for k, shape in enumerate(shapes, start=1):
        kind = shape.get("shape_type", "polygon") if isinstance(shape, dict) else None
        if kind in _WITHOUT_EXTENT and request.boxes == "repair":
            findings.repairs["points and lines dropped"] += 1
            continue
        try:
            outline = _outline(shape, draft.size)
            number = shape.get("group_id")
            key = k if number is None else (number, shape["label"])
            objects.setdefault(key, []).append((k, shape, outline))
        except (ValueError, TypeError, KeyError, OSError) as error:
            findings.add(draft.file, f"shape {k}", f"{error}.")
    bare = all(_is_plain(parts) for parts in objects.values())
    for parts in objects.values():
        _add(draft, parts, findings, with_outlines=not bare)


def _is_plain(parts: Sequence[tuple[int, dict[str, Any], Any]]) -> bool:
    return len(parts) == 1 and parts[0][1].get("shape_type") == "rectangle"


def _outline(shape: Any, size: tuple[int, int]) -> Any:
    """Return the polygon (K, 2) or the run lengths of a shape."""
    if not isinstance(shape, dict) or not str(shape.get("label") or ""):
        raise ValueError("needs a label")
    kind = shape.get("shape_type", "polygon")
    points = np.array(shape["points"], np.float64).reshape(-1, 2)
    if not np.isfinite(points).all():
        raise ValueError("has numbers that are not finite. Draw it again")
    if kind == "mask":
        return _decode(shape["mask"], points, size)
    if kind == "rectangle" and len(points) in (2, 4):
        return rectangle((*points.min(axis=0), *points.max(axis=0)))
    if kind == "circle" and len(points) == 2:
        return _circle(*points)
    if kind == "polygon" and len(points) >= 3:
        return points
    if kind in _WITHOUT_EXTENT:
        advice = HEAL.format("drops points and lines").split(", or ", 1)[1].rstrip(".")
        raise ValueError(f"a {kind} has no extent. Draw a rectangle or a polygon, or {advice}")
    raise ValueError(
        f"{len(points)} points make no {kind}. Known are rectangle (2), circle (2), polygon (3 or "
        "more), mask"
    )


def _circle(centre: np.ndarray, rim: np.ndarray) -> Polygon:
    radius = float(np.linalg.norm(rim - centre))
    angles = np.arange(CIRCLE_POINTS) * 2 * math.pi / CIRCLE_POINTS
    return centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _decode(text: str, points: np.ndarray, size: tuple[int, int]) -> Any:
    from PIL import Image as Pillow

    from vesalius.detect import rle

    with Pillow.open(io.BytesIO(base64.b64decode(text))) as picture:
        crop = np.asarray(picture) != 0
    x, y = (int(value) for value in points[0])
    whole = np.zeros(size, bool)
    place = whole[y : y + crop.shape[0], x : x + crop.shape[1]] if min(x, y) >= 0 else crop[:0]
    if crop.ndim != 2 or place.shape != crop.shape:
        raise ValueError(f"its mask of shape {crop.shape} at ({x}, {y}) does not fit the image")
    place[:] = crop
    return rle.encode(whole)


def _add(
    draft: Draft,
    parts: Sequence[tuple[int, dict[str, Any], Any]],
    findings: Findings,
    *,
    with_outlines: bool,
) -> None:
    from vesalius.detect import rle

    numbers = ", ".join(str(k) for k, _, _ in parts)
    place = f"shape {numbers}"
    first = parts[0][1]
    flags = first.get("flags") if isinstance(first.get("flags"), dict) else {}
    outline: Any = [outline for _, _, outline in parts]
    if any(isinstance(part, rle.Runs) for part in outline):
        outline = _union(outline, draft.size)
    box = None
    if not with_outlines:
        corners = outline[0]
        box, outline = (*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()), None
    score = first.get("score", flags.get("score"))
    try:
        score = None if score is None else float(score)
    except (TypeError, ValueError):
        findings.add(draft.file, place, f"the score {score!r} is no number.")
    chosen = {key: bool(flags.get(key, False)) for key in _FLAGS}
    draft.add(str(first["label"]), box, place, outline=outline, score=score, **chosen)


def _union(parts: Sequence[Any], size: tuple[int, int]) -> Any:
    from vesalius.detect import rle

    runs = [p if isinstance(p, rle.Runs) else rle.from_polygons([p], size) for p in parts]
    return runs[0] if len(runs) == 1 else rle.encode(np.any([rle.decode(r) for r in runs], axis=0))


def image_place(scene: Scene, name: str) -> str:
    """Return where the image of a scene lies: beside its json."""
    return name


def write(scenes: Sequence[Scene], target: Target) -> None:
    """Write one json per image: polygons, rectangles where there are no masks.

    Objects with holes are written as shapes of the type "mask" (LabelMe 5.3), which are exact.
    """
    for scene in scenes:
        shapes = [shape for n in range(scene.count) for shape in _shapes(scene, n)]
        flags = {"split": scene.split} if scene.split else {}
        if scene.group is not None:
            flags["group"] = scene.group
        content = {
            "version": "5.5.0",
            "flags": flags,
            "shapes": shapes,
            "imagePath": target.reference(scene),
            "imageData": None,
            "imageHeight": scene.size[0],
            "imageWidth": scene.size[1],
        }
        text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
        target.write(f"{target.stem(scene)}.json", text)


def _shapes(scene: Scene, n: int) -> list[dict[str, Any]]:
    flags: dict[str, Any] = {key: True for key in _FLAGS if getattr(scene, key)[n]}
    common: dict[str, Any] = {"label": scene.labels[n], "group_id": None, "flags": flags}
    if scene.scores is not None:
        common["score"] = float(scene.scores[n])
    if scene.masks is None:
        box = scene.boxes[n].reshape(2, 2).tolist()
        return [common | {"shape_type": "rectangle", "points": box}]
    polygons, holes = polygons_of(scene.masks, n)
    if holes:
        return [common | _mask_shape(scene, n)]
    common["group_id"] = n + 1 if len(polygons) > 1 else None
    return [common | {"shape_type": "polygon", "points": ring.tolist()} for ring in polygons]


def _mask_shape(scene: Scene, n: int) -> dict[str, Any]:
    from PIL import Image as Pillow

    from vesalius.detect import rle

    runs = scene.masks[n]
    x1, y1, x2, y2 = (int(value) for value in rle.to_box(runs))
    kept = io.BytesIO()
    Pillow.fromarray(rle.decode(runs)[y1:y2, x1:x2]).save(kept, format="PNG")
    return {
        "shape_type": "mask",
        "points": [[x1, y1], [x2 - 1, y2 - 1]],  # LabelMe names the last pixel
        "mask": base64.b64encode(kept.getvalue()).decode(),
    }
