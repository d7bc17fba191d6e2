"""Average precision by the rules of Pascal VOC (Everingham et al. 2010), 2D and 3D.

They differ from COCO's. A detection looks at the true object of its image and class that it
overlaps most, found already or not. If that one is "difficult" the detection counts for nothing; if
it is free the detection is right; if it was found before the detection is wrong (a duplicate), even
if another object would have been free. There is no limit on the number of detections.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vesalius.detect.coco import check_classes
from vesalius.detect.coco_arrays import Detections, Truths, box_volumes
from vesalius.detect.coco_matching import run_starts
from vesalius.detect.coco_overlaps import overlapping
from vesalius.errors import DataError

RULES = ("voc07", "voc10")


@dataclass(frozen=True, eq=False)
class VocCurve:
    """One class: precision and recall after each detection that counts, best score first.

    Attributes:
        scores, precision, recall: (D,) float64.
        positives: true objects that count.
        ap: average precision from 0 to 1; NaN without true objects.
    """

    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    positives: int
    ap: float


def average_precision(
    truths: Truths,
    detections: Detections,
    *,
    classes: int,
    rule: str = "voc10",
    threshold: float = 0.5,
    inclusive: bool = False,
    kind: str = "bbox",
) -> list[VocCurve]:
    """Return the curve and average precision of each class.

    Args:
        truths: `ignore` or `crowd` marks difficult objects.
        detections: of all images.
        classes: number of classes.
        rule: "voc07": mean of the highest precisions at recall 0, 0.1, ..., 1 and more; "voc10":
            area under the precision made monotone, as since VOC 2010. Recalls are compared as
            fractions: 3 of 10 reach 0.3, which in the devkit's floating point they miss.
        threshold: lowest overlap that counts.
        inclusive: measure boxes as the devkit does, x2 - x1 + 1, from the first to the last pixel.
            The corners are then one less than ours: x2 is the last pixel's index.
        kind: "bbox" or "segm".

    Raises:
        DataError: an unknown rule, a label that is no class, or a threshold that is not in (0, 1].
    """
    if rule not in RULES:
        raise DataError(f"rule is '{rule}'; known are {', '.join(RULES)}.")
    if not 0 < threshold <= 1:
        raise DataError(f"threshold is {threshold}; an overlap lies between 0 and 1.")
    check_classes(truths, detections, classes)
    # Difficult objects are measured like all others here; a crowd's overlap would differ.
    skipped = truths.crowd | truths.ignore
    truths = replace(truths, crowd=None, ignore=skipped)
    if inclusive:
        truths, detections = _widened(truths), _widened(detections)
    found, target = _targets(truths, detections, threshold, kind)
    right, counts = _judged(detections, target, found, skipped)
    curves = []
    for label in range(classes):
        order = np.flatnonzero((detections.labels == label) & counts)
        order = order[np.argsort(-detections.scores[order], kind="stable")]
        positives = int(np.count_nonzero((truths.labels == label) & ~skipped))
        curves.append(_curve(detections.scores[order], right[order], positives, rule))
    return curves


def voc07(hits: NDArray, wrong: NDArray, positives: int) -> float:
    """Return the mean of the best precisions at eleven recalls, from cumulative counts (D,)."""
    precision = hits / np.maximum(hits + wrong, 1)
    reached = 10 * hits[:, None] >= positives * np.arange(11)
    return float(np.where(reached, precision[:, None], 0).max(0, initial=0).mean())


def voc10(hits: NDArray, wrong: NDArray, positives: int) -> float:
    """Return the area under the monotone precision, from cumulative counts (D,)."""
    precision = hits / np.maximum(hits + wrong, 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(hits, prepend=0) * highest) / positives)


def _curve(scores: NDArray, right: NDArray, positives: int, rule: str) -> VocCurve:
    hits, wrong = np.cumsum(right), np.cumsum(~right)
    if positives == 0:
        recall, ap = np.full(len(right), np.nan), float("nan")
    else:
        recall = hits / positives
        ap = (voc07 if rule == "voc07" else voc10)(hits, wrong, positives)
    return VocCurve(scores, hits / np.maximum(hits + wrong, 1), recall, positives, ap)


def _targets(truths, detections, threshold: float, kind: str) -> tuple[NDArray, NDArray]:
    """Return the detections that reach the threshold and the object each overlaps most."""
    pairs = overlapping(truths, detections, minimum=threshold, kind=kind)
    # The first of equal overlaps, as the devkit's loop finds it.
    order = np.lexsort((pairs.truths, -pairs.overlaps, pairs.detections))
    firsts = order[run_starts(pairs.detections[order])]
    return pairs.detections[firsts], pairs.truths[firsts]


def _judged(
    detections: Detections, target: NDArray, found: NDArray, skipped: NDArray
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which detections are right, and which count at all, both (D,)."""
    right, counts = np.zeros(len(detections), bool), np.ones(len(detections), bool)
    counts[found[skipped[target]]] = False
    # Sorted by object and score, the first detection of each object is the right one.
    order = np.lexsort((found, -detections.scores[found], target))
    firsts = order[run_starts(target[order])]
    right[found[firsts[~skipped[target[firsts]]]]] = True
    return right, counts


def _widened(objects):
    """Return objects whose boxes end one pixel later, as inclusive corners mean."""
    dims = objects.boxes.shape[1] // 2
    boxes = objects.boxes.copy()
    boxes[:, dims:] += 1
    return replace(objects, boxes=boxes, volumes=box_volumes(boxes))
