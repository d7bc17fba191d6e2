"""RoI pooling (Girshick 2015) by range-maximum queries, in images and volumes.

The largest pixel of any stretch is the larger of two overlapping stretches whose lengths are powers
of two. The map is therefore maximised over 1, 2, 4, ... pixels along each axis, once for all boxes,
and a bin takes 4 pixels of these maps (8 in volumes), however large it is, with all channels side
by side.

For the gradient the largest pixel has to be known, of equal ones the first in reading order, as in
torchvision. The maximum is then taken over integers that hold the value and, below it, the place.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

import torch
from torch import Tensor

CORNERS_AT_ONCE = 1 << 18  # values in one maximum: 1 MB, which stays in the cache
VALUES_AT_ONCE = 1 << 21  # values in one portion of the answer: 8 MB, memory that is used again


def bin_edges(
    boxes: Tensor, output_size: Sequence[int], sides: Sequence[int], *, scale: float, mode: str
) -> list[tuple[Tensor, Tensor]]:
    """Return the first pixel and one past the last of every bin, (K, bins) int64, for each axis.

    Args:
        boxes: (K, 2 * dims).
        output_size: bins along each array axis.
        sides: of the feature map.
        scale: of the map over the input.
        mode: "caffe": the end is included and bins are widened to whole pixels, so that they
            overlap; "disjoint": the end is excluded and edges are rounded down, so that no pixel
            is in two bins.
    """
    dims = len(output_size)
    corners = _round_half_away(boxes * scale)
    edges = []
    for axis, (bins, side) in enumerate(zip(output_size, sides, strict=True)):
        column = dims - 1 - axis
        start, end = corners[:, column, None], corners[:, dims + column, None]
        number = torch.arange(bins + 1, device=boxes.device)
        if mode == "caffe":
            size = (end - start + 1).clamp(min=1).to(boxes.dtype) / bins
            first = torch.floor(number[:-1] * size).long()
            last = torch.ceil(number[1:] * size).long()
        else:
            cuts = number * (end - start).clamp(min=0) // bins
            first, last = cuts[:, :-1], cuts[:, 1:]
        edges.append(((first + start).clamp(0, side), (last + start).clamp(0, side)))
    return edges


def _round_half_away(values: Tensor) -> Tensor:
    """Round to whole numbers, halves away from zero as C does; torch rounds them to even."""
    whole = values.trunc()
    return (whole + (values - whole).abs().ge(0.5) * values.sign()).long()


def range_max(features: Tensor, batch: Tensor, edges: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the largest value of every bin, differentiable in the features.

    Args:
        features: (N, C, *sides), float32 or float64.
        batch: (K,) int64, the image of each box.
        edges: of the bins, axis by axis.

    Returns:
        (K, C, *bins); 0 in bins without pixels.
    """
    pixels = features.movedim(1, -1).contiguous()
    flat = [edge for pair in edges for edge in pair]
    if pixels.requires_grad and torch.is_grad_enabled():
        result = _RangeMax.apply(pixels, batch, *flat)
    else:
        result = _channels_first(_query(pixels, batch, edges))
    return result.unflatten(2, [first.shape[1] for first, _ in edges])


class _RangeMax(torch.autograd.Function):
    """The maximum (K, C, bins), whose gradient goes to the first of the largest pixels."""

    @staticmethod
    def forward(ctx, pixels: Tensor, batch: Tensor, *flat: Tensor) -> Tensor:
        edges = list(zip(flat[::2], flat[1::2], strict=True))
        ranks, order = _ranks(pixels)
        # Bins without pixels come back with rank 0; their value and gradient are 0.
        best, some = _query(ranks, batch, edges), _some(edges).flatten(1)[..., None]
        ctx.save_for_backward(best, some, order)
        ctx.shape = pixels.shape
        values = pixels.reshape(-1).index_select(0, order)
        return _channels_first(
            best,
            lambda part, rows: _without(
                values.index_select(0, part.flatten()).view(part.shape), some[rows]
            ),
            pixels.dtype,
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor):
        best, some, order = ctx.saved_tensors
        by_rank = gradient.new_zeros(len(order))
        for rows in _portions(best):
            weights = _without(gradient[rows].transpose(1, 2), some[rows]).reshape(-1)
            part = torch.bincount(best[rows].flatten(), weights=weights, minlength=len(order))
            by_rank += part.to(by_rank.dtype)
        result = torch.empty_like(by_rank).index_copy_(0, order, by_rank)
        return result.view(ctx.shape), *[None] * (len(ctx.needs_input_grad) - 1)


def _portions(values: Tensor) -> list[slice]:
    """Return slices of the boxes of (K, bins, C) that keep what is computed at once small."""
    step = max(1, VALUES_AT_ONCE // max(1, values[:1].numel()))
    return [slice(start, start + step) for start in range(0, len(values), step)]


def _channels_first(values: Tensor, change=None, dtype: torch.dtype | None = None) -> Tensor:
    """Return (K, bins, C) as (K, C, bins), contiguous, after a change of every portion."""
    boxes, bins, channels = values.shape
    result = values.new_empty(boxes, channels, bins, dtype=dtype or values.dtype)
    for rows in _portions(values):
        part = values[rows] if change is None else change(values[rows], rows)
        result[rows] = part.transpose(1, 2)
    return result


def _without(values: Tensor, some: Tensor) -> Tensor:
    """Return the values with 0 in bins without pixels."""
    return values if bool(some.all()) else torch.where(some, values, 0)


def _ranks(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rank of every value, int32, and the elements in order of rank.

    Of equal values the first has the highest rank, so that ranks are all different and the largest
    rank of a bin tells both its value and its place.
    """
    # Adding 0 turns -0 into 0; of the two kinds of NaN only the positive one sorts last.
    values = torch.where(pixels.isnan(), torch.nan, pixels + 0.0).flatten().flip(0)
    sign = 31 if values.dtype == torch.float32 else 63
    bits = values.view(torch.int32 if sign == 31 else torch.int64)
    # Integers sort several times faster; negative floats order backwards as integers.
    bits = bits ^ ((bits >> sign) & (2**sign - 1))
    order = len(bits) - 1 - bits.sort(stable=True).indices
    ranks = torch.empty_like(order, dtype=torch.int32)
    ranks[order] = torch.arange(len(order), dtype=torch.int32, device=order.device)
    return ranks.view(pixels.shape), order


def _some(edges: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return which bins have pixels, (K, *bins)."""
    filled = None
    for first, last in edges:
        along = last > first
        filled = along if filled is None else filled[..., None] & _spread(along, filled.ndim - 1)
    return filled


def _spread(values: Tensor, axes: int) -> Tensor:
    """Return (K, bins) as (K, 1, ..., bins) with so many axes between."""
    return values.view(values.shape[0], *[1] * axes, values.shape[1])


def _levels(edges: Sequence[tuple[Tensor, Tensor]], sides: Sequence[int]) -> list[Tensor]:
    """Return, axis by axis, the largest k with 2**k no longer than each bin, (K, bins)."""
    result = []
    for (first, last), side in zip(edges, sides, strict=True):
        length = last - first
        powers = range(1, max(1, side.bit_length()))
        result.append(sum(((length >= 2**k).long() for k in powers), torch.zeros_like(length)))
    return result


def _query(pixels: Tensor, batch: Tensor, edges: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the largest value of every bin, (K, bins, C), bins of like size together."""
    bins, channels = [first.shape[1] for first, _ in edges], pixels.shape[-1]
    levels = _levels(edges, pixels.shape[1:-1])
    kind = torch.zeros(len(batch), 1, dtype=torch.int64, device=pixels.device)
    for level in levels:
        kind = (kind[..., None] * 64 + level[:, None, :]).flatten(1)
    kind = torch.where(_some(edges).flatten(1), kind, -1).flatten()
    order = kind.argsort(stable=True)
    present, counts = torch.unique_consecutive(kind[order], return_counts=True)
    parts = dict(zip(present.tolist(), order.split(counts.tolist()), strict=True))
    result = pixels.new_zeros(len(kind), channels)
    wanted = {
        tuple(code >> 6 * a & 63 for a in reversed(range(len(edges))))
        for code in parts
        if code >= 0
    }
    for level, table in _tables(pixels, wanted):
        code = 0
        for each in level:
            code = code * 64 + each
        rows = parts[code]
        for some in rows.split(max(1, CORNERS_AT_ONCE // channels)):
            result.index_copy_(0, some, _corner_max(table, batch, edges, level, bins, some))
    return result.view(len(batch), prod(bins), channels)


def _tables(
    pixels: Tensor, wanted: set[tuple[int, ...]], done: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Yield the wanted levels with the map maximised over 2**level pixels along each axis."""
    if len(done) == pixels.ndim - 2:
        yield done, pixels
        return
    axis, depth = len(done) + 1, len(done)
    needed = {level[depth] for level in wanted}
    table = pixels
    for level in range(max(needed, default=-1) + 1):
        if level:
            table = _widen(table, axis, 2 ** (level - 1))
        if level in needed:
            below = {each for each in wanted if each[depth] == level}
            yield from _tables(table, below, (*done, level))


def _widen(table: Tensor, axis: int, shift: int) -> Tensor:
    """Return the maximum of each pixel and the one `shift` farther; the end is cut off."""
    length = table.shape[axis] - shift
    return torch.maximum(table.narrow(axis, 0, length), table.narrow(axis, shift, length))


def _corner_max(table, batch, edges, level, bins, some) -> Tensor:
    """Return the maximum (R, C) of the stretches of 2**level pixels at the corners of bins."""
    places, number = [], some
    for (first, last), width, count in reversed(list(zip(edges, level, bins, strict=True))):
        along = number % count
        number = number // count
        places.append((along, first, last - 2**width))
    box, best = number, None
    places = [
        [edge.flatten().index_select(0, box * edge.shape[1] + along) for edge in (low, high)]
        for along, low, high in reversed(places)
    ]
    rows, image = table.flatten(0, -2), batch.index_select(0, box)
    for corner in product(*places):
        index = image
        for place, side in zip(corner, table.shape[1:-1], strict=True):
            index = index * side + place
        values = rows.index_select(0, index)
        best = values if best is None else torch.maximum(best, values, out=best)
    return best


def plain_range_max(
    features: Tensor, batch: Tensor, edges: Sequence[tuple[Tensor, Tensor]]
) -> Tensor:
    """Return what `range_max` returns by tensor operations of fixed number, for export."""
    pixels = features.movedim(1, -1)
    sides = pixels.shape[1:-1]
    tops = [side.bit_length() for side in sides]
    tables = [
        _padded(table, sides) for _, table in _tables(pixels, set(product(*map(range, tops))))
    ]
    rows = torch.stack(tables).flatten(0, -2)
    start = torch.zeros_like(batch).view(-1, *[1] * len(sides))
    for number, (level, top) in enumerate(zip(_levels(edges, sides), tops, strict=True)):
        start = start * top + _along(level, number, len(sides))
    start = start * features.shape[0] + batch.view(-1, *[1] * len(sides))
    best = None
    for corner in product((0, 1), repeat=len(sides)):
        index = start
        for number, (last, side) in enumerate(zip(corner, sides, strict=True)):
            place = _corner(edges[number], _levels(edges, sides)[number], last, side)
            index = index * side + _along(place, number, len(sides))
        values = rows[index]
        best = values if best is None else torch.maximum(best, values)
    return torch.where(_some(edges)[..., None], best, 0).movedim(-1, 1)


def _corner(edge: tuple[Tensor, Tensor], level: Tensor, last: int, side: int) -> Tensor:
    """Return where the first or the last stretch of 2**level pixels of each bin begins."""
    first, end = edge
    return ((end - 2**level) if last else first).clamp(0, side - 1)


def _along(values: Tensor, axis: int, dims: int) -> Tensor:
    """Return (K, bins) as (K, 1, ..., bins, ..., 1) with the bins on the given axis."""
    shape = [1] * dims
    shape[axis] = values.shape[1]
    return values.view(-1, *shape)


def _padded(table: Tensor, sides: Sequence[int]) -> Tensor:
    """Return a table enlarged to the map; what is added is never read."""
    pad = [0, 0]
    for side, length in zip(reversed(sides), reversed(table.shape[1:-1]), strict=True):
        pad += [0, side - length]
    return torch.nn.functional.pad(table, pad)
