"""Scores of single objects: which instance is which, and how well each was found.

An instance map has 0 for the background and one positive integer for each object; the numbers need
not be consecutive and mean nothing beyond "same object". All scores start from one sparse table of
overlaps, so a map of a thousand nuclei takes milliseconds.

Matching. Two instances match where their IoU is above the threshold. At 0.5 and more an instance
can match only one other (Kirillov et al. 2019, section 4.1). Below 0.5 several may qualify: then
pairs are chosen one to one so that the sum of all IoUs is greatest (Hungarian method), and those
above the threshold are kept, as MONAI does.

Empty maps. An image without instances on either side says nothing: NaN. Without instances on one
side only, everything is missed or invented: 0.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesalius.errors import DataError
from vesalius.segment.metrics.counting import (
    as_labels,
    chunks,
    compacted,
    has_long_runs,
    run_lengths,
)


@dataclass(frozen=True, eq=False)
class Overlaps:
    """All pairs of instances that share pixels.

    Attributes:
        truth_ids, prediction_ids: the instances' numbers, ascending.
        truth_sizes, prediction_sizes: pixels of each instance.
        rows, columns: for each overlapping pair, its places in `truth_ids` and `prediction_ids`.
        shared: pixels that the pair has in common.
    """

    truth_ids: NDArray[np.int64]
    prediction_ids: NDArray[np.int64]
    truth_sizes: NDArray[np.int64]
    prediction_sizes: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    shared: NDArray[np.int64]
    iou: NDArray[np.float64] = field(init=False)

    def __post_init__(self):
        union = self.truth_sizes[self.rows] + self.prediction_sizes[self.columns] - self.shared
        object.__setattr__(self, "iou", self.shared / union)

    @property
    def is_empty(self) -> bool:
        """Whether neither side has an instance."""
        return not (self.truth_ids.size or self.prediction_ids.size)


@dataclass(frozen=True, eq=False)
class Matches:
    """Which instances correspond.

    Attributes:
        truth_ids, prediction_ids: the matched instances, pair by pair.
        iou: the IoU of each pair.
        fp, fn: predicted instances, and true ones, without a partner.
    """

    truth_ids: NDArray[np.int64]
    prediction_ids: NDArray[np.int64]
    iou: NDArray[np.float64]
    fp: int
    fn: int

    @property
    def tp(self) -> int:
        """Number of matched pairs."""
        return len(self.iou)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN)."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def accuracy(self) -> float:
        """TP / (TP + FP + FN)."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)


def overlaps(truth: Any, prediction: Any) -> Overlaps:
    """Return the sparse table of overlaps of two instance maps of the same shape.

    Raises:
        DataError: shapes differ, values are no integers, or are negative.
    """
    truth, prediction = as_labels(truth, "truth"), as_labels(prediction, "prediction")
    if truth.shape != prediction.shape:
        raise DataError(
            f"The truth has shape {truth.shape}, the prediction {prediction.shape}. Give both as "
            "instance maps of the same size."
        )
    first, second, pixels = _pairs(truth, prediction)
    truth_ids, rows, truth_sizes = _instances(first, pixels, "truth")
    prediction_ids, columns, prediction_sizes = _instances(second, pixels, "prediction")
    both = (first > 0) & (second > 0)
    return Overlaps(
        truth_ids,
        prediction_ids,
        truth_sizes,
        prediction_sizes,
        rows[both],
        columns[both],
        pixels[both],
    )


def match_instances(truth: Any, prediction: Any, threshold: float = 0.5) -> Matches:
    """Pair the instances of two maps whose IoU is above the threshold (see the module's rules).

    Raises:
        DataError: as `overlaps`, or the threshold is not in [0, 1).
    """
    return match(overlaps(truth, prediction), threshold)


def match(table: Overlaps, threshold: float = 0.5) -> Matches:
    """Pair instances from a table of overlaps, for several thresholds of one image."""
    if not 0 <= threshold < 1:
        raise DataError(f"The threshold is {threshold}; an IoU is between 0 and 1 (1 excluded).")
    chosen = _assigned(table) if threshold < 0.5 else np.arange(len(table.iou))
    chosen = chosen[table.iou[chosen] > threshold]
    return Matches(
        table.truth_ids[table.rows[chosen]],
        table.prediction_ids[table.columns[chosen]],
        table.iou[chosen],
        fp=len(table.prediction_ids) - len(chosen),
        fn=len(table.truth_ids) - len(chosen),
    )


def panoptic_quality(truth: Any, prediction: Any, threshold: float = 0.5) -> dict[str, float]:
    """Return the panoptic quality of one class of instances (Kirillov et al. 2019).

    Args:
        truth: instance map, any shape.
        prediction: instance map of the same shape.
        threshold: a pair matches above this IoU.

    Returns:
        `rq`, recognition quality: the F1 of instances; `sq`, segmentation quality: the mean IoU
        of matched pairs, 0 without one; `pq` = sq * rq; and the counts `tp`, `fp`, `fn`. NaN
        where neither map has an instance. Scores of many images: `pooled_panoptic_quality`.

    Raises:
        DataError: as `overlaps`, or the threshold is not in [0, 1).

    Example:
        >>> quality = panoptic_quality([[1, 1, 0, 2]], [[5, 5, 5, 0]])
        >>> [round(quality[name], 3) for name in ("pq", "sq", "rq", "tp", "fp", "fn")]
        [0.444, 0.667, 0.667, 1, 0, 1]
    """
    return pooled_panoptic_quality([match_instances(truth, prediction, threshold)])


def pooled_panoptic_quality(matches: Iterable[Matches]) -> dict[str, float]:
    """Return panoptic quality with the instances of all images pooled, as COCO does."""
    matches = list(matches)
    tp, fp, fn = (sum(getattr(m, name) for m in matches) for name in ("tp", "fp", "fn"))
    rq = _ratio(2 * tp, 2 * tp + fp + fn)
    shared = float(sum(m.iou.sum() for m in matches))
    sq = shared / tp if tp else 0.0 * rq  # NaN where there is nothing at all
    return {"pq": sq * rq, "sq": sq, "rq": rq, "tp": tp, "fp": fp, "fn": fn}


def instance_f1(truth: Any, prediction: Any, threshold: float = 0.5) -> float:
    """Return 2 TP / (2 TP + FP + FN) of instances; NaN where neither map has one."""
    return match_instances(truth, prediction, threshold).f1


def aggregated_jaccard(truth: Any, prediction: Any, *, one_to_one: bool = False) -> float:
    """Return the aggregated Jaccard index (Kumar et al. 2017, algorithm 1).

    Every true instance takes the predicted one of greatest IoU; the shared pixels of all pairs are
    divided by their unions plus the pixels of predicted instances that nobody took.

    Args:
        truth: instance map, any shape.
        prediction: instance map of the same shape.
        one_to_one: let each predicted instance be taken once, so that the sum of IoUs is greatest:
            "AJI+" (Graham et al. 2019). In the original several true instances may take the same.

    Returns:
        0 to 1; NaN where neither map has an instance.
    """
    table = overlaps(truth, prediction)
    chosen = _assigned(table) if one_to_one else _best_of_each_row(table)
    columns = table.columns[chosen]
    shared = table.shared[chosen].sum()
    taken = np.zeros(len(table.prediction_ids), bool)
    taken[columns] = True
    # Unions of the pairs, unmatched true instances, and predicted instances that nobody took.
    union = table.truth_sizes.sum() + table.prediction_sizes[columns].sum() - shared
    return _ratio(shared, union + table.prediction_sizes[~taken].sum())


def _pairs(truth: NDArray, prediction: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Return the distinct pairs of labels, and the pixels of each."""
    firsts, seconds, lengths = [], [], []
    for first, second in chunks(truth, prediction):
        pixels = np.ones(first.size, np.int64)
        if has_long_runs(first, second):
            ends, pixels = run_lengths(first, second)
            first, second = first[ends], second[ends]
        firsts.append(first)
        seconds.append(second)
        lengths.append(pixels)
    if not firsts:
        return (np.empty(0, np.int64),) * 3
    return _distinct(np.concatenate(firsts), np.concatenate(seconds), np.concatenate(lengths))


def _distinct(first: NDArray, second: NDArray, pixels: NDArray) -> tuple[NDArray, ...]:
    first_ids, first = compacted(first)
    second_ids, second = compacted(second)
    keys = first * len(second_ids) + second
    kept, keys = compacted(keys)
    counts = np.bincount(keys, pixels).astype(np.int64)
    rows, columns = np.divmod(kept, len(second_ids))
    return first_ids[rows], second_ids[columns], counts


def _instances(labels: NDArray, pixels: NDArray, side: str) -> tuple[NDArray, NDArray, NDArray]:
    """Return the instances of one side, each pair's place among them (background: any), sizes."""
    if labels.size and labels.min() < 0:
        raise DataError(
            f"The {side} holds the label {labels.min()}; instance maps have 0 for the background "
            "and positive numbers for objects. Set pixels to leave out to 0 in both maps."
        )
    inside = labels > 0
    ids = np.unique(labels[inside])
    places = np.searchsorted(ids, labels)
    sizes = np.bincount(places[inside], pixels[inside], len(ids)).astype(np.int64)
    return ids, places, sizes


def _best_of_each_row(table: Overlaps) -> NDArray[np.int64]:
    """Return, for every true instance with an overlap, its pair of greatest IoU."""
    order = np.lexsort((-table.iou, table.rows))
    _, first = np.unique(table.rows[order], return_index=True)
    return order[first]


def _assigned(table: Overlaps) -> NDArray[np.int64]:
    """Return pairs, one to one, whose IoUs have the greatest sum.

    Groups of instances that overlap with nobody outside are solved one by one: the result is that
    of the whole table, and most groups are a single pair.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count, offset = len(table.iou), len(table.truth_ids)
    if count == 0:
        return np.empty(0, np.int64)
    size = offset + len(table.prediction_ids)
    links = coo_array((np.ones(count), (table.rows, table.columns + offset)), (size, size))
    group_of = connected_components(links, directed=False)[1][table.rows]
    order = np.argsort(group_of, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group_of[order])) + 1)
    chosen = [group for group in groups if len(group) == 1]
    for group in (group for group in groups if len(group) > 1):
        rows, i = np.unique(table.rows[group], return_inverse=True)
        columns, j = np.unique(table.columns[group], return_inverse=True)
        pair = np.full((len(rows), len(columns)), -1)
        pair[i, j] = group
        gain = np.zeros(pair.shape)
        gain[i, j] = table.iou[group]
        best = pair[linear_sum_assignment(gain, maximize=True)]
        chosen.append(best[best >= 0])
    return np.concatenate(chosen)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
