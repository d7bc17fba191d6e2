"""Two scores of instances over several IoU thresholds that share a name elsewhere.

`detection_accuracy` is TP / (TP + FP + FN): it needs no scores, and is what the 2018 Data Science
Bowl, StarDist ("accuracy") and Cellpose ("average precision") report. `average_precision` is the
area under the precision-recall curve, as COCO computes it: it needs a score per predicted object.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesalius.errors import DataError
from vesalius.segment.metrics.instances import Matches, Overlaps, match, overlaps

THRESHOLDS = tuple((np.arange(50, 100, 5) / 100).tolist())
"""0.50, 0.55, ..., 0.95: the IoU thresholds of COCO and of the Data Science Bowl."""

_RECALLS = np.linspace(0, 1, 101)


def detection_accuracy(
    truths: Iterable[Any],
    predictions: Iterable[Any],
    *,
    thresholds: Iterable[float] = THRESHOLDS,
) -> dict[str, Any]:
    """Return TP / (TP + FP + FN) of instances over several thresholds.

    This is the score of the 2018 Data Science Bowl, "accuracy" in StarDist and, misleadingly,
    "average precision" in Cellpose. It needs no scores. The area under a precision-recall curve,
    as in COCO, is `average_precision`: the two are different numbers.

    Args:
        truths: instance maps, one per image.
        predictions: instance maps of the same shapes, in the same order.
        thresholds: a pair matches above this IoU.

    Returns:
        `mean`: mean over images of the mean over thresholds, the Data Science Bowl's score;
        `per_threshold`: threshold -> mean over images; `pooled`: threshold -> the same with the
        instances of all images counted together (StarDist's `matching_dataset`). Images without
        instances on either side are left out of means; `images` says how many count.

    Raises:
        DataError: as `overlaps`, a threshold is not in [0, 1), or the lists differ in length.
    """
    thresholds = _checked(thresholds)
    found = [
        [match(table, threshold) for threshold in thresholds]
        for table in _tables(truths, predictions)
        if not table.is_empty
    ]
    accuracy = np.array([[m.accuracy for m in row] for row in found])
    means = accuracy.mean(0) if found else np.full(len(thresholds), np.nan)
    pooled = [_pooled_accuracy([row[i] for row in found]) for i in range(len(thresholds))]
    return {
        "mean": float(means.mean()),
        "per_threshold": dict(zip(thresholds, means.tolist(), strict=True)),
        "pooled": dict(zip(thresholds, pooled, strict=True)),
        "images": len(found),
    }


def average_precision(
    truths: Iterable[Any],
    predictions: Iterable[Any],
    scores: Iterable[Mapping[int, float]],
    *,
    thresholds: Iterable[float] = THRESHOLDS,
) -> dict[str, Any]:
    """Return the area under the precision-recall curve of instances, as COCO's AP.

    Predicted instances of all images are taken from the highest score to the lowest (stable where
    scores tie); each gets the free true instance of its image with the greatest IoU, if that is at
    least the threshold. Precision is made to fall with recall and averaged over 101 recalls from 0
    to 1. No limit on instances per image, no "crowd" regions. The score without a curve is
    `detection_accuracy`.

    Args:
        truths: instance maps, one per image.
        predictions: instance maps of the same shapes, in the same order.
        scores: per image, predicted instance -> its score (higher is surer).
        thresholds: least IoU of a match.

    Returns:
        `mean`: mean over thresholds (COCO's AP for 0.50 to 0.95); `per_threshold`: threshold ->
        AP; `instances`: number of true ones. NaN where no image has a true instance.

    Raises:
        DataError: as `overlaps`, a threshold is not in (0, 1), the lists differ in length, or an
            instance has no finite score.
    """
    thresholds = _checked(thresholds)
    tables = list(_tables(truths, predictions))
    values = _scores(tables, list(scores))
    order = np.argsort(-np.concatenate([*values, np.empty(0)]), kind="stable")
    count = sum(len(table.truth_ids) for table in tables)
    areas = []
    for threshold in thresholds:
        hits = [_hits(*pair, threshold) for pair in zip(tables, values, strict=True)]
        areas.append(_area(np.concatenate([*hits, np.empty(0, bool)])[order], count))
    return {
        "mean": float(np.mean(areas)),
        "per_threshold": dict(zip(thresholds, areas, strict=True)),
        "instances": count,
    }


def _scores(tables: Sequence[Overlaps], scores: Sequence[Mapping[int, float]]) -> list[NDArray]:
    """Return each image's scores in the order of its predicted instances."""
    if len(scores) != len(tables):
        raise DataError(f"There are scores of {len(scores)} images; there are {len(tables)}.")
    values, problems = [], []
    for place, (table, known) in enumerate(zip(tables, scores, strict=True)):
        row = np.array([known.get(int(i), np.nan) for i in table.prediction_ids], float)
        lost = table.prediction_ids[~np.isfinite(row)].tolist()
        if lost:
            problems.append(f"image {place}: instances {lost[:5]}{' ...' * (len(lost) > 5)}")
        values.append(row)
    if problems:
        raise DataError("Predicted instances have no finite score. Give one for each:", problems)
    return values


def _hits(table: Overlaps, scores: NDArray, threshold: float) -> NDArray[np.bool_]:
    """Tell for each predicted instance of an image whether it finds a true one (greedily)."""
    hits = np.zeros(len(scores), bool)
    taken = np.zeros(len(table.truth_ids), bool)
    enough = np.flatnonzero(table.iou >= threshold)
    # The surest prediction first, its best pair first: the first free pair is the one it gets.
    rank = np.argsort(np.argsort(-scores, kind="stable"))
    ranked = enough[np.lexsort((-table.iou[enough], rank[table.columns[enough]]))]
    for row, column in zip(table.rows[ranked], table.columns[ranked], strict=True):
        if not hits[column] and not taken[row]:
            hits[column] = taken[row] = True
    return hits


def _area(hits: NDArray[np.bool_], count: int) -> float:
    """Return the interpolated area of hits in order of falling score, with `count` to be found."""
    if count == 0:
        return float("nan")
    tp = np.cumsum(hits)
    precision = tp / np.arange(1, len(hits) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(tp / count, _RECALLS)
    return float(np.append(falling, 0.0)[places].mean())


def _tables(truths: Iterable[Any], predictions: Iterable[Any]) -> Iterable[Overlaps]:
    truths, predictions = list(truths), list(predictions)
    if len(truths) != len(predictions):
        raise DataError(
            f"There are {len(truths)} truths and {len(predictions)} predictions. Give one "
            "instance map of each for every image."
        )
    return map(overlaps, truths, predictions)


def _checked(thresholds: Iterable[float]) -> list[float]:
    found = [float(threshold) for threshold in thresholds]
    if not found or not all(0 < threshold < 1 for threshold in found):
        raise DataError(f"The thresholds are {found}; give IoUs between 0 and 1, at least one.")
    return found


def _pooled_accuracy(matches: list[Matches]) -> float:
    tp, wrong = sum(m.tp for m in matches), sum(m.fp + m.fn for m in matches)
    return tp / (tp + wrong) if tp + wrong else float("nan")
