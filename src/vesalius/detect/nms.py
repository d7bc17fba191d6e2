"""Non-maximum suppression for boxes in images and volumes.

`nms` keeps exactly the boxes that torchvision's C++ keeps: scores are sorted stably, best first,
with NaN before everything; a box goes when its IoU with a kept box is strictly greater than the
threshold; boxes without area suppress nothing. The arithmetic is the same, operation by operation,
so that an IoU that lies on the threshold falls on the same side.

It is faster than the double loop because only boxes that are still alive are compared, in blocks,
and only with boxes that can reach the threshold: if the IoU is above t, so is the overlap of the
two intervals on the x axis, and those intervals are found by binary search.
"""

import math

import numpy as np
import torch
from torch import Tensor

from vesalius.errors import DataError, RecipeError

BLOCK = 256  # best boxes decided together
PAIRS_AT_ONCE = 1 << 15  # pairs in one pass: the operands stay in the cache
PASS_COSTS = 12_000  # what a pass costs beside its pairs, in pairs
SMALL_GROUP = 96  # groups up to this size are suppressed side by side


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Return the indices of the boxes that greedy suppression keeps, best first.

    Args:
        boxes: (N, 4) or (N, 6).
        scores: (N,); equal scores keep their order, NaN comes first.
        threshold: a box with an IoU strictly greater than this with a better one is dropped.

    Returns:
        (K,) int64.
    """
    _check(boxes, scores, threshold)
    order = scores.sort(stable=True, descending=True).indices
    kept = _survivors(_columns(boxes, order), threshold)
    return order[torch.from_numpy(kept).to(order.device)]


def batched_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Return the indices of the boxes that `nms` keeps within each group, best first.

    Args:
        boxes: (N, 4) or (N, 6).
        scores: (N,).
        groups: (N,) integers, for example classes or pyramid levels; boxes of different groups do
            not suppress one another, wherever they lie.
        threshold: as in `nms`.

    Returns:
        (K,) int64. For 1,000 boxes and fewer torchvision moves the groups apart instead, which
        rounds the coordinates: it may keep others where an IoU is within about 1e-4 of the
        threshold.
    """
    _check(boxes, scores, threshold)
    if groups.shape != scores.shape:
        raise DataError(f"{len(scores)} boxes need as many groups, got {tuple(groups.shape)}")
    order = scores.sort(stable=True, descending=True).indices
    columns = _columns(boxes, order)
    group = groups[order].cpu().numpy()
    members = group.argsort(kind="stable")
    starts = np.flatnonzero(np.diff(group[members], prepend=group[members[:1]] - 1))
    sizes = np.diff(starts, append=len(members))
    keep = np.zeros(len(members), bool)
    small = sizes <= SMALL_GROUP
    for start, size in zip(starts[~small], sizes[~small], strict=True):
        some = members[start : start + size]
        keep[some[_survivors(columns[:, some], threshold)]] = True
    _keep_small_groups(columns, members, starts[small], sizes[small], threshold, keep)
    return order[torch.from_numpy(keep).to(order.device)]


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    *,
    method: str = "linear",
    threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 0.001,
) -> tuple[Tensor, Tensor]:
    """Lower the scores of overlapping boxes instead of dropping them (Bodla et al. 2017).

    The best box is taken, the others' scores are multiplied by 1 - IoU where that is above the
    threshold ("linear", equation 2) or by exp(-IoU^2 / sigma) ("gaussian", equation 3), and so on
    until no score reaches `min_score`.

    Args:
        boxes: (N, 4) or (N, 6).
        scores: (N,).
        method: "linear" or "gaussian".
        threshold: of "linear"; unused by "gaussian".
        sigma: of "gaussian", above 0.
        min_score: boxes whose lowered score is below this are dropped.

    Returns:
        The indices (K,) int64 in the order they were taken, and their lowered scores (K,).
    """
    _check(boxes, scores, threshold)
    if method not in ("linear", "gaussian"):
        raise RecipeError(f"unknown soft-NMS method '{method}', expected 'linear' or 'gaussian'")
    if not sigma > 0:
        raise RecipeError(f"sigma of soft-NMS must be above 0, got {sigma}")
    columns = _columns(boxes, slice(None))
    areas = _areas(columns)
    left = scores.detach().double().cpu().numpy().copy()
    taken, lowered = [], []
    for _ in range(len(left)):
        best = int(left.argmax())
        if left[best] < min_score:
            break
        taken.append(best)
        lowered.append(left[best])
        here = slice(best, best + 1)
        overlap = np.nan_to_num(_overlap(columns[:, here], columns, areas[here], areas))
        left *= _decay(overlap, method, threshold, sigma)
        left[taken] = -math.inf
    kept = torch.tensor(taken, dtype=torch.int64, device=boxes.device)
    kind = scores.dtype if scores.is_floating_point() else torch.float32
    return kept, torch.tensor(lowered, dtype=kind, device=boxes.device)


def _decay(overlap: np.ndarray, method: str, threshold: float, sigma: float) -> np.ndarray:
    """Return the factors by which soft-NMS lowers scores."""
    if method == "gaussian":
        return np.exp(-(overlap**2) / sigma)
    return np.where(overlap > threshold, 1 - overlap, 1)


def _check(boxes: Tensor, scores: Tensor, threshold: float) -> None:
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 6):
        raise DataError(f"boxes must be (N, 4) or (N, 6), got {tuple(boxes.shape)}")
    if scores.shape != boxes.shape[:1]:
        raise DataError(f"{len(boxes)} boxes need as many scores, got {tuple(scores.shape)}")
    if math.isnan(threshold):
        raise RecipeError("the threshold of NMS is not a number")


def _columns(boxes: Tensor, order: Tensor | slice) -> np.ndarray:
    """Return the boxes in the given order as columns (2 * dims, N), in single or double precision.

    The work is done by numpy, whose calls cost less than torch's: most are short.
    """
    boxes = boxes.detach()
    if boxes.dtype not in (torch.float32, torch.float64):
        boxes = boxes.float()
    return np.ascontiguousarray(boxes[order].cpu().numpy().T)


def _bound(threshold: float, dtype: np.dtype) -> np.floating:
    """Return the largest number of `dtype` up to the threshold.

    The C++ compares a float with a double; arrays are compared after rounding the threshold, which
    could move it past the IoU. Rounding it down leaves every comparison as it was.
    """
    near = dtype.type(threshold)
    return np.nextafter(near, dtype.type(-math.inf)) if float(near) > threshold else near


def _areas(columns: np.ndarray) -> np.ndarray:
    """Return the areas of boxes given by columns (2 * dims, ...)."""
    dims = len(columns) // 2
    with np.errstate(invalid="ignore", over="ignore"):
        result = columns[dims] - columns[0]
        for axis in range(1, dims):
            result = result * (columns[dims + axis] - columns[axis])
    return result


def _overlap(a: np.ndarray, b: np.ndarray, a_area: np.ndarray, b_area: np.ndarray) -> np.ndarray:
    """Return the IoU of boxes given by columns that broadcast, in the order of the C++.

    It is not a number where neither box has an area.
    """
    dims, inter = len(a) // 2, None
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for axis in range(dims):
            side = np.minimum(a[dims + axis], b[dims + axis])
            side -= np.maximum(a[axis], b[axis])
            np.maximum(side, 0, out=side)
            inter = side if inter is None else np.multiply(inter, side, out=inter)
        union = a_area + b_area
        union -= inter
        return np.divide(inter, union, out=inter)


def _survivors(columns: np.ndarray, threshold: float) -> np.ndarray:
    """Return the positions (K,) that greedy suppression keeps of boxes sorted best first."""
    areas, bound = _areas(columns), _bound(threshold, columns.dtype)
    waiting = np.arange(columns.shape[1])
    alive = np.ones(len(waiting), bool)
    by_x = columns[0].argsort() if len(waiting) > BLOCK else waiting
    kept = [waiting[:0]]
    while len(waiting):
        block, waiting = waiting[:BLOCK], waiting[BLOCK:]
        winners = block[_settle(columns[:, block], areas[block], bound)]
        kept.append(winners)
        if len(waiting):
            alive[block] = False
            by_x = by_x[alive[by_x]]
            clear = _clear_of(columns, areas, winners, by_x, bound)
            alive[by_x[~clear]] = False
            by_x, waiting = by_x[clear], waiting[alive[waiting]]
    return np.concatenate(kept)


def _settle(columns: np.ndarray, areas: np.ndarray, bound: np.floating) -> np.ndarray:
    """Return which of the boxes of a block survive one another, (N,) bool or (G, N) for G blocks.

    A box is kept if no kept box before it overlaps it. Applied again and again from "all kept",
    that rule settles at least one more box of every chain in a round and ends at the greedy answer.
    """
    rows, cols = columns[..., :, None], columns[..., None, :]
    table = _overlap(rows, cols, areas[..., :, None], areas[..., None, :])
    before = np.arange(table.shape[-1])
    beats = ((table > bound) & (before[:, None] < before)).astype(np.float32)
    keep = np.ones_like(beats[..., :1, :])
    while True:
        update = (keep @ beats == 0).astype(np.float32)
        if np.array_equal(update, keep):
            return keep[..., 0, :] > 0
        keep = update


def _clear_of(
    columns: np.ndarray,
    areas: np.ndarray,
    winners: np.ndarray,
    by_x: np.ndarray,
    bound: np.floating,
) -> np.ndarray:
    """Return which of the boxes `by_x`, in order of x1, no winner suppresses, (N,) bool.

    Winners are taken in order of x1, too, some at a time, and compared with the stretch of boxes
    that they can reach.
    """
    winners = winners[columns[0, winners].argsort()]
    a, a_area = columns[:, winners, None], areas[winners, None]
    b, b_area = columns[:, None, by_x], areas[by_x]
    first, last = _reach(a[..., 0], b[0, 0], bound)
    clear = np.ones(len(by_x), bool)
    rows = max(1, math.isqrt(PASS_COSTS * len(winners) // max(1, len(by_x))))
    width = max(1, PAIRS_AT_ONCE // rows)
    for row in range(0, len(winners), rows):
        some = slice(row, row + rows)
        start, stop = int(first[some].min()), int(last[some].max())
        for begin in range(start, stop, width):
            stretch = slice(begin, min(begin + width, stop))
            table = _overlap(a[:, some], b[..., stretch], a_area[some], b_area[stretch])
            clear[stretch] &= ~(table > bound).any(axis=0)
    return clear


def _reach(
    columns: np.ndarray, starts: np.ndarray, bound: np.floating
) -> tuple[np.ndarray, np.ndarray]:
    """Return the stretch of boxes that may overlap each winner by more than the bound.

    For intervals that begin d apart, the left one of length w: (w - d) / w is the most that
    their IoU can be; the right one of length w: w / (w + d).

    Args:
        columns: of the winners.
        starts: (N,) x1 of the boxes, ascending.

    Returns:
        First place and one past the last, (W,) each.
    """
    # The IoU is rounded; what is left out here must be below the bound for sure.
    share = float(bound) * (1 - 1e-5)
    low = columns[0].astype(np.float64)
    side = columns[len(columns) // 2] - low
    before, after = np.full_like(low, -math.inf), np.full_like(low, math.inf)
    if share >= 0:  # below 0 even boxes apart, with an IoU of 0, are above the bound
        after = low + side * (1 - share)
    if share > 0:
        before = low - side * (1 - share) / share
    starts = starts.astype(np.float64)
    first, last = np.searchsorted(starts, before), np.searchsorted(starts, after, side="right")
    return first, np.maximum(first, last)


def _keep_small_groups(
    columns: np.ndarray,
    members: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    threshold: float,
    keep: np.ndarray,
) -> None:
    """Suppress many small groups side by side, padded to a common length, and mark what is kept."""
    bound = _bound(threshold, columns.dtype)
    by_size = sizes.argsort()
    at_once = max(1, 8 * PAIRS_AT_ONCE // SMALL_GROUP**2)
    for begin in range(0, len(by_size), at_once):
        part = by_size[begin : begin + at_once]
        place = np.arange(sizes[part].max())
        real = place < sizes[part, None]
        index = members[starts[part, None] + np.where(real, place, 0)]
        # Padding repeats the first box after all others, so it suppresses nothing that is real.
        some = np.ascontiguousarray(columns[:, index])
        keep[index[_settle(some, _areas(some), bound) & real]] = True
