"""COCO's evaluation of detections, equal to `pycocotools`, in numpy (Lin et al. 2014).

    >>> evaluate("instances_val.json", "results.json")["AP50"]      # doctest: +SKIP

The twelve numbers and every corner case are those of pycocotools 2.0.11; `evaluate` names the one
deliberate difference. `average_precision` is the same on arrays, also for boxes in volumes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesalius.detect.coco_arrays import Detections, Truths
from vesalius.detect.coco_files import read_detections, read_truths
from vesalius.detect.coco_matching import ALL_AREAS, IOU_THRESHOLDS, match
from vesalius.detect.coco_precision import PrecisionTable, precision_table
from vesalius.errors import DataError

AREAS = {
    "": (0.0, 1e5**2),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e5**2),
}
"""COCO's ranges of area in pixels, both ends inside: a 32 x 32 object is small and medium."""


def evaluate(
    ground_truth: Mapping | str | Path,
    detections: Sequence[Mapping] | Mapping | str | Path,
    *,
    kind: str = "bbox",
    max_detections: Sequence[int] = (1, 10, 100),
) -> dict[str, float]:
    """Return COCO's twelve numbers.

    Corner cases, as in pycocotools: areas are the annotations' (where one has none, that of its
    box or mask); `iscrowd` overrides `ignore`; an overlap equal to the threshold counts; of equal
    overlaps the last annotation is taken, of equal scores the first image (by id) and the first
    detection come first; detections of categories that the truth does not list are left out; the
    finder of an annotation with the id 0 counts as wrong (with a warning).

    One difference: AP and AR of all sizes use the largest of `max_detections`. pycocotools gives
    -1 for AP wherever 100 is not among the numbers.

    Args:
        ground_truth: dictionary with "images", "annotations" and "categories", or its JSON file.
        detections: results ("image_id", "category_id", "score", "bbox" as x, y, width, height, or
            "segmentation"), or their JSON file.
        kind: "bbox" or "segm" (polygons and run lengths; a result without a mask is its box).
        max_detections: detections per image and class that are allowed, the best ones.

    Returns:
        AP (mean over IoU 0.50 to 0.95), AP50, AP75, APsmall, APmedium, APlarge, then AR1, AR10,
        AR100 (named after `max_detections`), ARsmall, ARmedium, ARlarge: from 0 to 1, or -1 where
        no true object counts.

    Raises:
        DataError: malformed input, listed row by row, or arguments out of range.
    """
    if kind not in ("bbox", "segm"):
        raise DataError(f"kind is '{kind}'; known are 'bbox' (boxes) and 'segm' (masks).")
    limits = _limits(max_detections)
    truth = read_truths(ground_truth, kind=kind)
    found = read_detections(detections, truth, kind=kind)
    matching = match(
        truth.truths,
        found,
        areas=tuple(AREAS.values()),
        limit=limits[-1],
        kind=kind,
        uncounted=truth.uncounted if truth.uncounted.any() else None,
    )
    table = precision_table(matching, classes=len(truth.classes), max_detections=limits)
    return summary(table, areas=tuple(AREAS))


def average_precision(
    truths: Truths,
    detections: Detections,
    *,
    classes: int,
    thresholds: Sequence[float] | NDArray = IOU_THRESHOLDS,
    areas: Sequence[tuple[float, float]] = ALL_AREAS,
    max_detections: Sequence[int] = (100,),
    kind: str = "bbox",
) -> PrecisionTable:
    """Return precision and recall tables from flat arrays, in 2D or 3D.

    Args:
        truths, detections: objects of all images (see `coco_arrays`).
        classes: number of classes; labels are smaller.
        thresholds: overlaps that count.
        areas: ranges (low, high) in pixels or voxels, both ends inside.
        max_detections: detections per image and class that are allowed; precision uses the largest.
        kind: "bbox" or "segm".

    Raises:
        DataError: a label is not smaller than `classes`, or arguments out of range.
    """
    limits = _limits(max_detections)
    check_classes(truths, detections, classes)
    matching = match(
        truths, detections, thresholds=thresholds, areas=areas, limit=limits[-1], kind=kind
    )
    return precision_table(matching, classes=classes, max_detections=limits)


def summary(table: PrecisionTable, *, areas: Sequence[str]) -> dict[str, float]:
    """Return the named numbers of a table whose first range is "all"; -1 where nothing counts."""
    precision, recall = table.precision, table.recall
    numbers = {"AP": _mean(precision[0])}
    for name, iou in (("AP50", 0.5), ("AP75", 0.75)):
        numbers[name] = _mean(precision[0, np.flatnonzero(table.thresholds == iou)])
    numbers |= {f"AP{name}": _mean(precision[k]) for k, name in enumerate(areas) if name}
    for k, limit in enumerate(table.max_detections):
        numbers[f"AR{limit}"] = _mean(recall[0, ..., k])
    return numbers | {
        f"AR{name}": _mean(recall[k, ..., -1]) for k, name in enumerate(areas) if name
    }


def check_classes(truths: Truths, detections: Detections, classes: int) -> None:
    """Refuse labels that are no class.

    Raises:
        DataError: a label is `classes` or more.
    """
    for objects, name in ((truths, "true objects"), (detections, "detections")):
        if len(objects) and objects.labels.max() >= classes:
            raise DataError(
                f"the {name} have the label {objects.labels.max()}; with {classes} classes they "
                f"run from 0 to {classes - 1}."
            )


def _limits(max_detections: Sequence[int]) -> tuple[int, ...]:
    limits = tuple(sorted(int(limit) for limit in max_detections))
    if not limits or limits[0] < 1:
        raise DataError(f"max_detections is {max_detections}; give whole numbers from 1.")
    return limits


def _mean(values: NDArray[Any]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else -1.0
