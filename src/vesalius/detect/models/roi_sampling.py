"""RoI Align over a pyramid by table look-up: the form that goes into an exported graph.

`vesalius.detect.roi.roi_align` chooses its way by the boxes at hand, which a graph cannot. Here the
levels lie one behind the other in one table, and every corner of every sample is one look-up, so
that shapes depend on the numbers of images and boxes alone and no RoI is pooled from a level that
it does not belong to. The numbers are the same.
"""

from collections.abc import Sequence
from itertools import product
from math import prod

import torch
from torch import Tensor


def sampled_align(
    maps: Sequence[Tensor],
    boxes: Tensor,
    owners: Tensor,
    levels: Tensor,
    *,
    strides: Sequence[int],
    bins: Sequence[int],
    ratio: int,
) -> Tensor:
    """Return what RoI Align without half-pixel offset takes from the level of every box.

    Args:
        maps: (B, C, *shape) of every level.
        boxes: (K, 2 * dims) in pixels.
        owners: (K,) image of each.
        levels: (K,) level of each.
        strides: pixels per element of every level.
        bins: bins of a RoI along each array axis.
        ratio: samples in a bin along each axis.

    Returns:
        (K, C, *bins).
    """
    shapes = [tuple(features.shape[2:]) for features in maps]
    table = torch.cat([features.flatten(2) for features in maps], dim=2).movedim(1, 2)
    starts = [sum(prod(shape) for shape in shapes[:level]) for level in range(len(shapes))]
    first = owners * sum(map(prod, shapes)) + owners.new_tensor(starts)[levels]
    sides = owners.new_tensor(shapes)[levels]
    scale = boxes.new_tensor([1 / stride for stride in strides])[levels]
    corners = boxes * scale[:, None]
    rows = table.flatten(0, 1)
    axes = _axes(corners, sides, bins, ratio=ratio)
    pooled = None
    # The lower or the upper element along each axis: every corner of the cell of a sample.
    for corner in product((0, 1), repeat=len(bins)):
        part = _looked_up(rows, first, sides, axes, corner)
        pooled = part if pooled is None else pooled + part
    for axis, count in enumerate(bins):
        pooled = pooled.unflatten(axis + 1, (count, ratio)).mean(dim=axis + 2)
    return pooled.movedim(-1, 1)


Axis = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


def _axes(corners: Tensor, sides: Tensor, bins: Sequence[int], *, ratio: int) -> list[Axis]:
    """Return for each array axis the elements (K, samples) below and above, with their weights."""
    dims = len(bins)
    axes = []
    for axis, count in enumerate(bins):
        start, stop = corners[:, dims - 1 - axis], corners[:, 2 * dims - 1 - axis]
        step = (stop - start).clamp(min=1) / (count * ratio)
        place = torch.arange(count * ratio, dtype=corners.dtype, device=corners.device) + 0.5
        position = start[:, None] + place * step[:, None]
        last = (sides[:, axis, None] - 1).to(corners.dtype)
        # Samples up to a pixel beyond the border count as on it, those further out as zero.
        inside = ((position >= -1) & (position <= last + 1)).to(corners.dtype)
        position = torch.minimum(position.clamp(min=0), last)
        below = position.floor()
        above = torch.minimum(below + 1, last)
        share = position - below
        axes.append(
            (
                (below.to(torch.int64), (1 - share) * inside),
                (above.to(torch.int64), share * inside),
            )
        )
    return axes


def _looked_up(
    rows: Tensor, first: Tensor, sides: Tensor, axes: Sequence[Axis], corner: Sequence[int]
) -> Tensor:
    """Return one corner of the cell of every sample times its weight, (K, *samples, C)."""
    dims = len(axes)
    index = first.view(-1, *[1] * dims)
    weight = None
    for axis, choice in enumerate(corner):
        element, share = axes[axis][choice]
        shape = (-1, *[1] * axis, element.shape[1], *[1] * (dims - 1 - axis))
        step = sides[:, axis + 1 :].prod(dim=1).view(-1, *[1] * dims)
        index = index + element.view(shape) * step
        weight = share.view(shape) if weight is None else weight * share.view(shape)
    return rows[index] * weight[..., None].to(rows.dtype)
