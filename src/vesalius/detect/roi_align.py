"""RoI Align (He et al. 2017) as a product with a sparse matrix, in images and volumes.

Every output is a weighted sum of a few pixels, and along each axis the weights are known from the
box alone. They are written down as rows of (pixel, weight), equal pixels of one bin merged, and all
channels of a row are summed by `embedding_bag`, whose kernel reads whole pixels with their channels
side by side. The gradient is the product with the transposed matrix, by the same kernel.

An exported program uses `dense_align` instead: the same weights as full matrices, one product an
axis, so that there are only plain tensor operations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

VALUES_AT_ONCE = 1 << 21  # outputs and weights of one portion: some 8 MB each
TAP_CLASSES = (0, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(frozen=True)
class Axis:
    """The samples along one array axis.

    Attributes:
        start: (K,) where each box begins, in pixels of the feature map.
        bin: (K,) length of a bin.
        samples: (K,) int64 number of samples in a bin; 0 in an empty box.
        bins: number of bins.
        side: length of the feature map.
    """

    start: Tensor
    bin: Tensor
    samples: Tensor
    bins: int
    side: int

    def take(self, rows: Tensor) -> "Axis":
        """Return the axis for some of the boxes."""
        return Axis(self.start[rows], self.bin[rows], self.samples[rows], self.bins, self.side)

    def split(self, most: int) -> "Axis":
        """Return an axis on which each of `most` samples is a bin of its own, for the maximum."""
        ones = torch.ones_like(self.samples)
        return Axis(self.start, self.bin / most, ones, self.bins * most, self.side)

    def positions(self, most: int) -> tuple[Tensor, Tensor]:
        """Return where the samples lie and which count, both (K, bins, most).

        A sample up to a pixel outside is drawn to the border, as in torchvision and Detectron; one
        farther away counts as 0.
        """
        place = torch.arange(most, device=self.start.device)
        number = torch.arange(self.bins, device=self.start.device)
        samples = self.samples[:, None, None]
        size = self.bin[:, None, None]
        where = self.start[:, None, None] + number[:, None] * size
        where = where + (place + 0.5) * size / samples.clamp(min=1)
        counts = (where >= -1) & (where <= self.side) & (place < samples)
        return where.clamp(min=0, max=self.side - 1), counts


def axes(
    boxes: Tensor,
    output_size: Sequence[int],
    sides: Sequence[int],
    *,
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> list[Axis]:
    """Return the samples of boxes (K, 2 * dims), one `Axis` for each array axis."""
    dims = len(output_size)
    scaled = boxes * spatial_scale - (0.5 if aligned else 0.0)
    result = []
    for axis, (bins, side) in enumerate(zip(output_size, sides, strict=True)):
        column = dims - 1 - axis
        start = scaled[:, column]
        length = scaled[:, dims + column] - start
        if not aligned:  # the first version stretched small boxes to a pixel
            length = length.clamp(min=1.0)
        size = length / bins
        samples = torch.ceil(size).clamp(min=0).long()
        if sampling_ratio > 0:
            samples = torch.full_like(samples, sampling_ratio)
        result.append(Axis(start, size, samples, bins, side))
    return result


# --- the sparse product --------------------------------------------------------------------------


def sparse_align(features: Tensor, batch: Tensor, grid: Sequence[Axis]) -> Tensor:
    """Return the means of all bins, differentiable in the features.

    Args:
        features: (N, C, *sides).
        batch: (K,) int64, the image of each box.
        grid: the samples of K boxes, axis by axis.

    Returns:
        (K, C, *bins).
    """
    # The kernel is fast for rows of channels without gaps alone, so this must not be a view.
    pixels = features.movedim(1, -1).flatten(0, -2).contiguous()
    bins = [axis.bins for axis in grid]
    passes = _passes(batch, grid, *pixels.shape) if len(batch) else []
    result = _Sums.apply(pixels, passes, len(batch), prod(bins))
    return result.view(len(batch), features.shape[1], *bins)


def _passes(batch, grid, pixels: int, channels: int) -> "list[tuple[Tensor, _Matrix]]":
    """Return boxes and their matrices in portions, alike boxes together."""
    kind, taps = _kinds(grid)
    order = kind.argsort(stable=True)
    cost = torch.cumsum((taps[order] + channels) * prod(axis.bins for axis in grid), 0)
    portions = torch.bincount(cost // VALUES_AT_ONCE).tolist()
    return [
        (rows, _matrix(batch, grid, rows, kind, pixels))
        for rows in order.split(portions)
        if len(rows)
    ]


def _kinds(grid: Sequence[Axis]) -> tuple[Tensor, Tensor]:
    """Sort boxes into kinds by how many pixels their bins draw from along each axis.

    Returns:
        The kind (K,) of each box, and the pixels (K,) that a bin of its kind draws from in all.
    """
    classes = torch.tensor(TAP_CLASSES, device=grid[0].start.device)
    kind, taps = torch.zeros_like(grid[0].samples), torch.ones_like(grid[0].samples)
    for axis in grid:
        reach = axis.bin.abs() * (axis.samples - 1) / axis.samples.clamp(min=1)
        merged = reach.clamp(min=0, max=axis.side).ceil().long() + 2
        needed = torch.minimum(merged, 2 * axis.samples)
        rank = torch.bucketize(needed, classes).clamp(max=len(classes) - 1)
        kind = kind * len(classes) + rank
        taps = taps * torch.maximum(needed, classes[rank])
    return kind, taps


@dataclass(frozen=True)
class _Matrix:
    """A sparse matrix (R, columns): where the entries of each row begin, their columns, weights."""

    offsets: Tensor
    index: Tensor
    weights: Tensor
    columns: int

    def transposed(self) -> "_Matrix":
        by_column = self.index.sort(stable=True)
        lengths = self.offsets.diff()
        row = torch.repeat_interleave(lengths).to(self.index.dtype)
        bounds = torch.arange(self.columns + 1, device=row.device, dtype=row.dtype)
        return _Matrix(
            torch.searchsorted(by_column.values, bounds).to(row.dtype),
            row.index_select(0, by_column.indices),
            self.weights.index_select(0, by_column.indices),
            len(lengths),
        )


def _product(matrix: _Matrix, rows: Tensor) -> Tensor:
    """Return the product (R, C) of a sparse matrix with rows of channels."""
    return F.embedding_bag(
        matrix.index,
        rows,
        matrix.offsets,
        mode="sum",
        per_sample_weights=matrix.weights,
        include_last_offset=True,
    )


class _Sums(torch.autograd.Function):
    """The weighted sums of pixels, portion by portion, with the channels first again.

    Only the answer itself is large: fresh memory costs more than the arithmetic on it.
    """

    @staticmethod
    def forward(ctx, pixels: Tensor, passes, boxes: int, bins: int) -> Tensor:
        ctx.arguments = passes, len(pixels)
        channels = pixels.shape[1]
        result = pixels.new_empty(boxes, channels, bins)
        for rows, matrix in passes:
            part = _product(matrix, pixels).view(-1, bins, channels)
            result[rows] = part.transpose(1, 2)
        return result

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _Spread.apply(gradient, *ctx.arguments), None, None, None


class _Spread(torch.autograd.Function):
    """The gradient of `_Sums`; its own gradient is `_Sums` again."""

    @staticmethod
    def forward(ctx, gradient: Tensor, passes, pixels: int) -> Tensor:
        boxes, channels, bins = gradient.shape
        ctx.arguments = passes, boxes, bins
        result = gradient.new_zeros(pixels, channels)
        for rows, matrix in passes:
            part = gradient.index_select(0, rows).transpose(1, 2).reshape(-1, channels)
            result += _product(matrix.transposed(), part)
        return result

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return _Sums.apply(gradient.contiguous(), *ctx.arguments), None, None


def _matrix(batch, grid, order, kind, columns) -> _Matrix:
    """Return the weights of the pixels in all bins of the boxes `order`."""
    groups = torch.unique_consecutive(kind[order], return_counts=True)[1]
    index, weights, lengths = [], [], []
    for rows in order.split(groups.tolist()):
        pixel, weight = batch[rows][:, None, None].int(), None
        for axis in grid:
            near, share = _taps(axis.take(rows))
            pixel = _outer(pixel * axis.side, near, torch.add)
            weight = share if weight is None else _outer(weight, share, torch.mul)
        index.append(pixel.flatten())
        weights.append(weight.flatten())
        length = torch.full(pixel.shape[:2], pixel.shape[2], dtype=torch.int32)
        lengths.append(length.flatten().to(pixel.device))
    ends = torch.cumsum(torch.cat(lengths), 0, dtype=torch.int32)
    return _Matrix(F.pad(ends, (1, 0)), torch.cat(index), torch.cat(weights), columns)


def _outer(a: Tensor, b: Tensor, combine) -> Tensor:
    """Combine (K, A, S) with (K, B, T) to (K, A * B, S * T), every element with every other."""
    table = combine(a[:, :, None, :, None], b[:, None, :, None, :])
    return table.flatten(3, 4).flatten(1, 2)


def _taps(axis: Axis) -> tuple[Tensor, Tensor]:
    """Return the pixels that each bin draws from and their shares, (K, bins, T) int32 and float."""
    most = int(axis.samples.max())
    where, counts = axis.positions(most)
    low = where.floor().long()
    share = counts / axis.samples.clamp(min=1)[:, None, None].to(where.dtype)
    upper = (where - low) * share
    lower = share - upper
    if most < 2:
        return _pairs(axis, low, lower, upper)
    first = torch.where(counts, low, axis.side - 1).amin(dim=-1, keepdim=True)
    place = torch.where(counts, low - first, 0)
    width = int(place.max()) + 2
    if width >= 2 * most:
        return _pairs(axis, low, lower, upper)
    merged = where.new_zeros(*first.shape[:2], width)
    merged.scatter_add_(-1, place, lower).scatter_add_(-1, place + 1, upper)
    pixel = (first + torch.arange(width, device=low.device)).clamp(max=axis.side - 1)
    return pixel.int(), merged


def _pairs(axis: Axis, low: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two neighbours of every sample."""
    high = (low + 1).clamp(max=axis.side - 1)
    return torch.cat([low, high], dim=-1).int(), torch.cat([lower, upper], dim=-1)


# --- the plain product ---------------------------------------------------------------------------


def dense_align(features: Tensor, batch: Tensor, grid: Sequence[Axis]) -> Tensor:
    """Return what `sparse_align` returns, by matrix products alone.

    The first axis is reduced for all images at once, which wastes work in larger batches but needs
    no copy of the map for each box.
    """
    images, channels = features.shape[:2]
    first, *others = [_hats(axis) for axis in grid]
    own = (batch[:, None] == torch.arange(images, device=batch.device)).to(first.dtype)
    selector = (own[:, None, :, None] * first[:, :, None, :]).flatten(2).flatten(0, 1)
    table = features.movedim(1, 2).flatten(0, 1).flatten(1)
    result = (selector @ table).unflatten(0, (-1, grid[0].bins))
    result = result.unflatten(2, (channels, *features.shape[3:])).movedim(2, -1)
    for number, weights in enumerate(others):
        # (K, bins so far, side, rest, C) to (K, bins so far, bins, rest, C)
        result = result.movedim(number + 2, -1)
        shape = result.shape[1:-1]
        result = result.flatten(1, -2) @ weights.mT
        result = result.unflatten(1, shape).movedim(-1, number + 2)
    return result.movedim(-1, 1)


def _hats(axis: Axis) -> Tensor:
    """Return the share (K, bins, side) of every pixel of the axis in every bin."""
    most = axis.samples.max().item()
    torch._check(most >= 0)
    where, counts = axis.positions(most)
    pixel = torch.arange(axis.side, device=where.device)
    hats = (1 - (where[..., None] - pixel).abs()).clamp(min=0) * counts[..., None]
    return hats.sum(dim=2) / axis.samples.clamp(min=1)[:, None, None]
