"""Which classes are taken for which: a confusion matrix of detections, with the background.

Detections above a score are paired with true objects of any class, the pair with the highest
overlap first. The last row counts detections without an object, the last column objects without a
detection.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesalius.detect.coco import check_classes
from vesalius.detect.coco_arrays import Detections, Truths, subset
from vesalius.detect.coco_overlaps import Pairs, overlapping
from vesalius.errors import DataError


@dataclass(frozen=True, eq=False)
class DetectionConfusion:
    """Counts of true against detected classes.

    Attributes:
        counts: (K + 1, K + 1) int64, rows true, columns detected, the background last; its own
            cell is 0, since nothing was neither there nor found.
    """

    counts: NDArray[np.int64]

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of each class's detections that are right, (K,); NaN without detections."""
        return _ratio(np.diagonal(self.counts)[:-1], self.counts.sum(0)[:-1])

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of each class's objects that are found as it, (K,); NaN without objects."""
        return _ratio(np.diagonal(self.counts)[:-1], self.counts.sum(1)[:-1])


def confusion(
    truths: Truths,
    detections: Detections,
    *,
    classes: int,
    min_score: float = 0.5,
    threshold: float = 0.5,
    kind: str = "bbox",
) -> DetectionConfusion:
    """Return the confusion matrix of the detections with at least this score.

    Detections that reach only ignored objects or crowds are left out, and so are these objects.

    Args:
        classes: number of classes.
        min_score: lowest score.
        threshold: lowest overlap of a pair, in (0, 1].
        kind: "bbox" or "segm".

    Raises:
        DataError: a label that is no class, or a threshold out of range.
    """
    if not 0 < threshold <= 1:
        raise DataError(f"threshold is {threshold}; an overlap lies between 0 and 1.")
    check_classes(truths, detections, classes)
    sure = subset(detections, detections.scores >= min_score)
    pairs = overlapping(truths, sure, minimum=threshold, kind=kind, same_label=False)
    counted = ~(truths.crowd | truths.ignore)
    matched = one_to_one(pairs.where(counted[pairs.truths]), sure.scores)
    spared = np.ones(len(sure), bool)
    spared[pairs.detections[~counted[pairs.truths]]] = False
    spared[matched.detections] = False
    unfound = counted.copy()
    unfound[matched.truths] = False
    rows = [truths.labels[matched.truths], np.full(spared.sum(), classes), truths.labels[unfound]]
    columns = [
        sure.labels[matched.detections],
        sure.labels[spared],
        np.full(unfound.sum(), classes),
    ]
    keys = np.concatenate(rows) * (classes + 1) + np.concatenate(columns)
    counts = np.bincount(keys, minlength=(classes + 1) ** 2)
    return DetectionConfusion(counts.reshape(classes + 1, classes + 1))


def one_to_one(pairs: Pairs, scores: NDArray[np.float64]) -> Pairs:
    """Return pairs such that none has a partner twice: the highest overlap first, then the score.

    Pairs that are the first for both sides are taken together, which gives the same as taking them
    one after the other.
    """
    order = np.lexsort((pairs.truths, pairs.detections, -scores[pairs.detections], -pairs.overlaps))
    left = pairs.where(order)
    taken = [left.where(np.zeros(len(order), bool))]
    while len(left.overlaps):
        first = _first(left.detections) & _first(left.truths)
        taken.append(left.where(first))
        used = np.isin(left.detections, left.detections[first])
        left = left.where(~used & ~np.isin(left.truths, left.truths[first]))
    return Pairs(
        np.concatenate([part.detections for part in taken]),
        np.concatenate([part.truths for part in taken]),
        np.concatenate([part.overlaps for part in taken]),
    )


def _first(values: NDArray) -> NDArray[np.bool_]:
    first = np.zeros(len(values), bool)
    first[np.unique(values, return_index=True)[1]] = True
    return first


def _ratio(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)
