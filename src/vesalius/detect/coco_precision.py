"""From matches to precision and recall: average precision as the COCO tools compute it.

Only right detections can raise precision, so precision is needed at them alone: at the n-th right
one it is n / (n + wrong ones before it). The curve is made monotone from the right and read at 101
recalls; how many of the 101 fall between two right detections is looked up, not searched.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesalius.detect.coco_matching import Matching, rank_in_runs, run_starts

RECALLS = np.linspace(0.0, 1.0, 101)
"""Where the precision is read."""
_NOTHING = float(np.spacing(1))  # COCO adds it to every denominator


@dataclass(frozen=True, eq=False)
class PrecisionTable:
    """COCO's two tables. A areas, T thresholds, K classes, M numbers of detections.

    Attributes:
        precision: (A, T, K, 101) at the recalls 0, 0.01, ..., 1, with all detections allowed.
            NaN for classes without true objects that count.
        recall: (A, T, K, M) of all detections allowed; NaN likewise.
        positives: (A, K) int64, true objects that count.
        thresholds: (T,) float64, the overlaps.
        max_detections: the M numbers of detections per image and class, ascending.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    positives: NDArray[np.int64]
    thresholds: NDArray[np.float64]
    max_detections: tuple[int, ...]

    @property
    def per_class(self) -> NDArray[np.float64]:
        """Average precision of each class, (A, T, K); NaN for classes without true objects."""
        return self.precision.mean(-1)


def precision_table(
    matching: Matching, *, classes: int, max_detections: tuple[int, ...] = (100,)
) -> PrecisionTable:
    """Return precision and recall of every class, threshold and range of areas.

    Args:
        matching: made with a limit of at least the largest of `max_detections`.
        classes: number of classes; labels are smaller.
        max_detections: numbers of detections per image and class, ascending.
    """
    order = np.lexsort((-matching.scores, matching.labels))
    labels = matching.labels[order]
    positives = np.array(
        [np.bincount(matching.truth_labels[~row], minlength=classes) for row in matching.ignored]
    )
    shape = (*matching.hit.shape[:2], classes)
    precision = np.zeros((*shape, len(RECALLS)))
    for area, threshold in np.ndindex(*shape[:2]):
        hit, kept = (table[area, threshold][order] for table in (matching.hit, matching.kept))
        _fill(precision[area, threshold], hit, kept, labels, positives[area])
    absent = positives == 0
    precision[np.broadcast_to(absent[:, None], shape)] = np.nan
    counts = _hits(matching, shape, max_detections)
    with np.errstate(invalid="ignore"):
        recall = counts / positives[:, None, :, None]
    return PrecisionTable(precision, recall, positives, matching.thresholds, max_detections)


def precision_at_hits(hits: NDArray, kept: NDArray) -> NDArray[np.float64]:
    """Return precision, made monotone, from cumulative counts (..., n) at the right detections.

    Args:
        hits: right detections up to and with this one.
        kept: right and wrong ones up to and with this one.
    """
    precision = hits / (kept + _NOTHING)
    return np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]


def recalls_reached(hits: NDArray, positives: NDArray | int) -> NDArray[np.int64]:
    """Return how many of the 101 recalls are at most hits / positives, (..., n)."""
    return np.searchsorted(RECALLS, hits / positives, side="right")


def _fill(table: NDArray, hit: NDArray, kept: NDArray, labels: NDArray, positives: NDArray) -> None:
    """Write the curves of all classes, (K, 101), from detections sorted by class and score."""
    places = np.flatnonzero(hit)
    if len(places) == 0:
        return
    own = labels[places]
    starts = run_starts(own)
    lengths = np.diff(np.append(starts, len(own)))
    hits = np.arange(1, len(own) + 1) - np.repeat(starts, lengths)
    counted = np.cumsum(kept)
    before = np.append(0, counted)[np.searchsorted(labels, own[starts])]
    counted = counted[places] - np.repeat(before, lengths)
    curve = _monotone(hits / (counted + _NOTHING), np.repeat(np.arange(len(starts)), lengths))
    reached = recalls_reached(hits, positives[own])
    before = np.append(0, reached[:-1])
    before[starts] = 0
    repeats = reached - before
    rows = np.repeat(own, repeats)
    table[rows, rank_in_runs(rows)] = np.repeat(curve, repeats)


def _monotone(values: NDArray, runs: NDArray) -> NDArray[np.float64]:
    """Return the largest value from each place to the end of its run; runs are ascending.

    One pass for all runs: ranks, raised so that no run reaches into the one before it.
    """
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values), np.int64)
    ranks[order] = np.arange(len(values))
    raised = ranks - runs * len(values)
    highest = np.maximum.accumulate(raised[::-1])[::-1]
    return values[order][highest + runs * len(values)]


def _hits(matching: Matching, shape: tuple[int, ...], limits: tuple[int, ...]) -> NDArray:
    """Return right detections of each class with so many allowed, (A, T, K, M)."""
    counts = np.zeros((*shape, len(limits)))
    for place, limit in enumerate(limits):
        early = matching.ranks < limit
        for area, threshold in np.ndindex(*shape[:2]):
            own = matching.labels[early & matching.hit[area, threshold]]
            counts[area, threshold, :, place] = np.bincount(own, minlength=shape[2])
    return counts
