"""COCO dictionaries and files, read into flat arrays for scoring.

What the COCO tools do with unusual content is kept, because published numbers depend on it (see
`coco.evaluate`); what they do not survive is refused, with the row and the remedy.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesalius.detect import rle
from vesalius.detect.coco_arrays import Detections, Truths, subset
from vesalius.detect.coco_problems import (
    SHOWN,
    box_problem,
    foreign,
    key_problem,
    malformed,
    row_name,
    score_problem,
)
from vesalius.detect.coco_strings import read_strings
from vesalius.detect.rle import Runs
from vesalius.errors import DataError


@dataclass(frozen=True, eq=False)
class CocoSet:
    """A COCO ground truth as arrays.

    Attributes:
        truths: the annotations of known images and categories, sorted by image.
        uncounted: (N,) bool, annotations with the id 0.
        images: id -> index, ids ascending.
        classes: category id -> index, ids ascending.
        names: of the classes.
        sizes: (height, width) of each image, or None where the file does not say.
    """

    truths: Truths
    uncounted: NDArray[np.bool_]
    images: dict[Any, int]
    classes: dict[Any, int]
    names: tuple[str, ...]
    sizes: tuple[tuple[int, int] | None, ...]


def load(source: Any, what: str) -> Any:
    """Return a COCO object as it is, or read it from a JSON file.

    Raises:
        DataError: the file is missing or is no JSON.
    """
    if not isinstance(source, str | Path):
        return source
    try:
        return json.loads(Path(source).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{source} ({what}) cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"{source} ({what}) is no JSON: {error}. Export it again.") from error


def read_truths(source: Any, *, kind: str) -> CocoSet:
    """Read a ground truth: a dictionary with images, annotations and categories, or its path.

    Raises:
        DataError: parts are missing, or annotations are malformed; all are listed.
    """
    data = load(source, "ground truth")
    if not isinstance(data, Mapping):
        raise DataError(
            f"the ground truth is a {type(data).__name__}. Give COCO's dictionary with 'images', "
            "'annotations' and 'categories', or the path of its JSON file."
        )
    records = _by_id(data, "images")
    images = _index(records, "images")
    named = {key: record.get("name") for key, record in _by_id(data, "categories").items()}
    classes = _index(named, "categories")
    rows = [
        (images[row["image_id"]], place, row)
        for place, row in enumerate(_rows(data.get("annotations", ()), "annotations"))
        if row["image_id"] in images and row["category_id"] in classes
    ]
    rows.sort(key=lambda item: item[:2])
    kept = [row for _, _, row in rows]
    _refuse_repeated(kept)
    sizes = tuple(_size(records[key]) for key in images)
    where = np.array([image for image, _, _ in rows], np.int64)
    truths = _truths(kept, where, classes, sizes, kind)
    uncounted = np.array([row.get("id", 1) == 0 for row in kept], bool)
    _warn_of_zero(uncounted)
    names = tuple(str(named[key] if named[key] is not None else key) for key in classes)
    return CocoSet(truths, uncounted, images, classes, names, sizes)


def read_detections(source: Any, truth: CocoSet, *, kind: str) -> Detections:
    """Read results: a list of dictionaries, a dictionary with "annotations", or a path.

    As in the COCO tools the first result decides for all whether areas come from "bbox" or, where
    it has none, from "segmentation"; a missing mask is the box; unknown categories are left out.

    Raises:
        DataError: results are malformed, or name an image that the truth lacks; all are listed.
    """
    data = load(source, "detections")
    data = data.get("annotations", ()) if isinstance(data, Mapping) else data
    rows = _rows(data, "detections")
    try:
        images = [truth.images[row["image_id"]] for row in rows]
    except (KeyError, TypeError):
        raise malformed("detections", rows, lambda row: foreign(row, truth.images)) from None
    labels = np.array([truth.classes.get(row["category_id"], -1) for row in rows], np.int64)
    known = labels >= 0
    if not known.all():
        warnings.warn(
            f"{np.count_nonzero(~known)} detections are of categories that the ground truth does "
            "not list; they are left out, as the COCO tools do.",
            stacklevel=3,
        )
    boxed = bool(rows) and bool(_given(rows[0], "bbox"))
    # Left out after reading, so that messages count the rows of the file.
    found = _detections(rows, np.array(images, np.int64), labels, truth, kind, boxed)
    return found if known.all() else subset(found, known)


def _truths(rows, images, classes, sizes, kind: str) -> Truths:
    labels = np.array([classes[row["category_id"]] for row in rows], np.int64)
    crowd = np.array([bool(row.get("iscrowd", 0)) for row in rows], bool)
    boxes = volumes = masks = None
    if kind == "segm":
        masks = _masks(rows, images, sizes, "annotations")
    else:
        boxes, volumes = _corners(rows, "annotations")
    areas = _areas(rows, volumes, masks)
    boxes = np.zeros((len(rows), 4)) if boxes is None else boxes
    return Truths(images, labels, boxes, areas, crowd, masks=masks, volumes=volumes)


def _areas(rows, volumes, masks) -> NDArray[np.float64]:
    """Return the annotated areas; where one is missing, that of the object itself."""
    own = [row.get("area") for row in rows]
    for place in [k for k, area in enumerate(own) if area is None]:
        own[place] = rle.area(masks[place]) if volumes is None else volumes[place]
    return np.array(own, np.float64)


def _detections(rows, images, labels, truth: CocoSet, kind: str, boxed: bool) -> Detections:
    images, labels = np.asarray(images), np.maximum(labels, 0)
    try:
        scores = np.array([row["score"] for row in rows], np.float64)
    except (KeyError, TypeError, ValueError):
        raise malformed("detections", rows, score_problem) from None
    if boxed:
        masks = _wanted(rows, images, labels, truth) if kind == "segm" else None
        boxes, volumes = _corners(rows, "detections")
        return Detections(images, labels, boxes, scores, masks=masks, volumes=volumes)
    masks = _masks(rows, images, truth.sizes, "detections")
    boxes = rle.to_box(masks).reshape(-1, 4) if masks else np.zeros((0, 4))
    return Detections(images, labels, boxes, scores, areas=rle.area(masks), masks=masks)


def _wanted(rows, images, labels, truth: CocoSet) -> tuple[Runs | None, ...]:
    """Return the masks of detections that have a true object of their class in their image.

    The others are compared with nothing, so reading them would only take time.
    """
    width = len(truth.images)
    known = truth.truths.labels * width + truth.truths.images
    wanted = np.isin(labels * width + images, known)
    masks: list[Runs | None] = [None] * len(rows)
    places = np.flatnonzero(wanted)
    chosen = [rows[k] for k in places.tolist()]
    found = _masks(chosen, images[places], truth.sizes, "detections", places.tolist())
    for place, runs in zip(places.tolist(), found, strict=True):
        masks[place] = runs
    return tuple(masks)


def _corners(rows, what: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return corners and width * height of the rows' x, y, width, height."""
    try:
        given = [row["bbox"] for row in rows]
        boxes = np.fromiter(chain.from_iterable(given), np.float64).reshape(len(rows), 4)
        if np.isnan(boxes).any() or not set(map(len, given)) <= {4}:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise malformed(what, rows, box_problem) from None
    volumes = boxes[:, 2] * boxes[:, 3]
    boxes[:, 2:] += boxes[:, :2]
    return boxes, volumes


def _masks(rows, images, sizes, what: str, places: Sequence[int] = ()) -> tuple[Runs, ...]:
    """Return the masks of the rows: compressed strings together, the others one by one.

    `places` are the rows' places in the file, where some were left out.
    """
    given = [row.get("segmentation") for row in rows]
    packed = [
        isinstance(item, Mapping) and isinstance(item.get("counts"), str | bytes) for item in given
    ]
    try:
        chosen = [item for item, short in zip(given, packed, strict=True) if short]
        short = iter(read_strings([i["counts"] for i in chosen], [i["size"] for i in chosen]))
    except (DataError, KeyError, TypeError, ValueError):
        short, packed = iter(()), [False] * len(rows)  # one by one, to name the rows
    masks, problems = [], []
    for k, (row, image) in enumerate(zip(rows, images.tolist(), strict=True)):
        try:
            masks.append(next(short) if packed[k] else _runs(row, sizes[image]))
        except (DataError, KeyError, TypeError, ValueError) as error:
            problems.append(f"{row_name(what, places[k] if places else k, row)}: {error}")
    if problems:
        raise DataError(f"masks of the {what} cannot be read:", problems[:SHOWN])
    return tuple(masks)


def _runs(row: Mapping, size: tuple[int, int] | None) -> Runs:
    given = row.get("segmentation")
    if given is None:
        if "bbox" not in row:
            raise DataError("neither 'segmentation' nor 'bbox' is given")
        x, y, width, height = row["bbox"]
        right, low = x + width, y + height
        given = [[x, y, x, low, right, low, right, y]]
    if isinstance(given, Mapping):
        own = tuple(given["size"])
        if isinstance(given["counts"], str | bytes):
            return rle.from_string(given["counts"], own)
        return rle.Runs(own, np.array(given["counts"], np.int64))
    if size is None:
        raise DataError("a polygon needs the image's 'height' and 'width' in the ground truth")
    return rle.from_polygons(given, size)


def _given(row: Mapping, name: str) -> bool:
    value = row.get(name)
    return value is not None and len(value) > 0


def _size(record: Mapping) -> tuple[int, int] | None:
    if record.get("height") is None or record.get("width") is None:
        return None
    return int(record["height"]), int(record["width"])


def _by_id(data: Mapping, what: str) -> dict[Any, Mapping]:
    try:
        return {record["id"]: record for record in data.get(what, ())}
    except (KeyError, TypeError) as error:
        raise DataError(f"one of the {what} has no id. Give every entry a number.") from error


def _index(ids: Mapping, what: str) -> dict[Any, int]:
    try:
        return {key: place for place, key in enumerate(sorted(ids))}
    except TypeError as error:
        raise DataError(f"the ids of the {what} are of several types. Use numbers.") from error


def _rows(rows: Any, what: str) -> Sequence[Mapping]:
    if not isinstance(rows, Sequence) or isinstance(rows, str | bytes):
        raise DataError(f"the {what} are a {type(rows).__name__}. Give a list of dictionaries.")
    try:
        for row in rows:
            row["image_id"], row["category_id"]
    except (KeyError, TypeError):
        raise malformed(what, rows, key_problem) from None
    return rows


def _refuse_repeated(rows: Sequence[Mapping]) -> None:
    seen, repeated = set(), []
    for row in rows:
        key = row.get("id")
        if key is not None and key in seen:
            repeated.append(f"annotation id {key} (image {row['image_id']}) is used twice")
        seen.add(key)
    if repeated:
        message = "annotation ids must differ; the COCO tools would drop objects. Number them anew:"
        raise DataError(message, repeated[:SHOWN])


def _warn_of_zero(uncounted: NDArray[np.bool_]) -> None:
    if uncounted.any():
        warnings.warn(
            "an annotation has the id 0: the COCO tools count its finder as wrong, and so does "
            "this. Number annotations from 1.",
            stacklevel=4,
        )
