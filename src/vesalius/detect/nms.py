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
from collections.abc import Sequence

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
    return order[_survivors(_widened(boxes)[order], threshold)]


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
    boxes = _widened(boxes)[order]
    by_group = groups[order].sort(stable=True)
    sizes = torch.unique_consecutive(by_group.values, return_counts=True)[1]
    starts = sizes.cumsum(0) - sizes
    keep = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    small = sizes <= SMALL_GROUP
    for start, size in zip(starts[~small].tolist(), sizes[~small].tolist(), strict=True):
        members = by_group.indices[start : start + size]
        keep[members[_survivors(boxes[members], threshold)]] = True
    if bool(small.any()):
        _keep_small_groups(boxes, by_group.indices, starts[small], sizes[small], threshold, keep)
    return order[keep]


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
    columns = _widened(boxes).T.contiguous()
    areas = _areas(columns)
    left = scores.clone() if scores.is_floating_point() else scores.float()
    taken, lowered = [], []
    for _ in range(len(left)):
        best = int(left.argmax())
        if left[best] < min_score:
            break
        taken.append(best)
        lowered.append(left[best].clone())
        here = slice(best, best + 1)
        overlap = _overlap(columns[:, here], columns, areas[here], areas).nan_to_num(0.0)
        left *= _decay(overlap, method, threshold, sigma)
        left[taken] = -math.inf
    kept = torch.tensor(taken, dtype=torch.int64, device=boxes.device)
    return kept, torch.stack(lowered) if lowered else left[:0]


def _decay(overlap: Tensor, method: str, threshold: float, sigma: float) -> Tensor:
    """Return the factors by which soft-NMS lowers scores."""
    if method == "gaussian":
        return torch.exp(-(overlap**2) / sigma)
    return torch.where(overlap > threshold, 1 - overlap, 1)


def _check(boxes: Tensor, scores: Tensor, threshold: float) -> None:
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 6):
        raise DataError(f"boxes must be (N, 4) or (N, 6), got {tuple(boxes.shape)}")
    if scores.shape != boxes.shape[:1]:
        raise DataError(f"{len(boxes)} boxes need as many scores, got {tuple(scores.shape)}")
    if math.isnan(threshold):
        raise RecipeError("the threshold of NMS is not a number")


def _widened(boxes: Tensor) -> Tensor:
    """Return boxes in single or double precision, apart from the graph."""
    boxes = boxes.detach()
    return boxes if boxes.dtype in (torch.float32, torch.float64) else boxes.float()


def _bound(threshold: float, dtype: torch.dtype) -> float:
    """Return the largest number of `dtype` up to the threshold.

    The C++ compares a float with a double; tensors are compared after rounding the threshold, which
    could move it past the IoU. Rounding it down leaves every comparison as it was.
    """
    near = torch.tensor(threshold, dtype=torch.float64).to(dtype)
    if float(near) > threshold:
        near = torch.nextafter(near, torch.tensor(-math.inf, dtype=dtype))
    return float(near)


def _areas(columns: Tensor) -> Tensor:
    """Return the areas of boxes given by columns (2 * dims, ...)."""
    dims = len(columns) // 2
    result = columns[dims] - columns[0]
    for axis in range(1, dims):
        result = result * (columns[dims + axis] - columns[axis])
    return result


def _overlap(a: Sequence[Tensor], b: Sequence[Tensor], a_area: Tensor, b_area: Tensor) -> Tensor:
    """Return the IoU of boxes given by columns that broadcast, in the order of the C++."""
    dims = len(a) // 2
    inter = None
    for axis in range(dims):
        side = torch.minimum(a[dims + axis], b[dims + axis])
        side = side.sub_(torch.maximum(a[axis], b[axis])).clamp_(min=0)
        inter = side if inter is None else inter.mul_(side)
    union = (a_area + b_area).sub_(inter)
    return inter.div_(union)


def _survivors(boxes: Tensor, threshold: float) -> Tensor:
    """Return the positions that greedy suppression keeps of boxes sorted best first."""
    columns = boxes.T.contiguous()
    areas = _areas(columns)
    bound = _bound(threshold, boxes.dtype)
    alive = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    waiting = torch.arange(len(boxes), device=boxes.device)
    by_x = columns[0].argsort() if len(boxes) > BLOCK else waiting
    kept = []
    while len(waiting):
        block, waiting = waiting[:BLOCK], waiting[BLOCK:]
        winners = block[_settle(columns[:, block], areas[block], bound)]
        kept.append(winners)
        if len(waiting):
            alive[block] = False
            by_x = by_x[alive[by_x]]
            by_x = by_x[_clear_of(columns, areas, winners, by_x, bound)]
            alive.zero_()[by_x] = True
            waiting = waiting[alive[waiting]]
    return torch.cat(kept) if kept else waiting


def _settle(columns: Tensor, areas: Tensor, bound: float) -> Tensor:
    """Return which of the boxes of a block survive one another, (N,) bool or (G, N) for G blocks.

    A box is kept if no kept box before it overlaps it. Applied again and again from "all kept",
    that rule settles at least one more box of every chain in a round and ends at the greedy answer.
    """
    rows, cols = columns[..., :, None], columns[..., None, :]
    table = _overlap(rows, cols, areas[..., :, None], areas[..., None, :])
    beats = (table > bound).float().triu_(diagonal=1)
    keep = torch.ones_like(beats[..., :1, :])
    while True:
        update = (keep @ beats == 0).float()
        if torch.equal(update, keep):
            return keep[..., 0, :] > 0
        keep = update


def _clear_of(columns, areas, winners, by_x, bound) -> Tensor:
    """Return which of the boxes `by_x`, in order of x1, no winner suppresses, (N,) bool.

    Winners are taken in order of x1, too, some at a time, and compared with the stretch of boxes
    that they can reach.
    """
    winners = winners[columns[0, winners].argsort()]
    first, last = _reach(columns[:, winners], columns[0, by_x].double(), bound)
    clear = torch.ones(len(by_x), dtype=torch.bool, device=by_x.device)
    if len(by_x) == 0:
        return clear
    a, a_area = columns[:, winners, None], areas[winners, None]
    b, b_area = columns[:, by_x], areas[by_x]
    rows = max(1, math.isqrt(PASS_COSTS * len(winners) // len(by_x)))
    for row in range(0, len(winners), rows):
        some = slice(row, row + rows)
        start, stop = int(first[some].min()), int(last[some].max())
        for begin in range(start, stop, PAIRS_AT_ONCE // rows):
            stretch = slice(begin, min(begin + PAIRS_AT_ONCE // rows, stop))
            table = _overlap(a[:, some], b[:, None, stretch], a_area[some], b_area[stretch])
            clear[stretch] &= ~(table > bound).any(dim=0)
    return clear


def _reach(columns: Tensor, starts: Tensor, bound: float) -> tuple[Tensor, Tensor]:
    """Return the stretch of boxes that may overlap each winner by more than the bound.

    For intervals that begin d apart, the left one of length w: (w - d) / w is the most that
    their IoU can be; the right one of length w: w / (w + d).

    Args:
        columns: of the winners.
        starts: (N,) x1 of the boxes, ascending.

    Returns:
        First place and one past the last, (W,) each.
    """
    share = bound * (1 - 1e-5)  # the IoU is rounded; what is left out here must be below for sure
    low = columns[0].double()
    side = columns[len(columns) // 2].double() - low
    before, after = torch.full_like(low, -math.inf), torch.full_like(low, math.inf)
    if bound >= 0:  # below 0 even boxes apart, with an IoU of 0, are above the bound
        after = low + side * (1 - max(share, 0))
    if share > 0:
        before = low - side * (1 - share) / share
    first = torch.searchsorted(starts, before)
    last = torch.searchsorted(starts, after, right=True)
    return first, torch.maximum(first, last)


def _keep_small_groups(boxes, members, starts, sizes, threshold, keep) -> None:
    """Suppress many small groups side by side, padded to a common length."""
    bound = _bound(threshold, boxes.dtype)
    by_size = sizes.argsort()
    for part in by_size.split(max(1, 8 * PAIRS_AT_ONCE // SMALL_GROUP**2)):
        length = int(sizes[part].max())
        place = torch.arange(length, device=boxes.device)
        real = place < sizes[part, None]
        index = members[torch.where(real, starts[part, None] + place, starts[part, None])]
        columns = boxes[index].movedim(-1, 0).contiguous()
        # Padding comes last in its group, so it suppresses nothing that is real.
        kept = _settle(columns, _areas(columns), bound) & real
        keep[index[kept]] = True
