"""RoI operations: a fixed-size grid of features from every box, in images and volumes.

`roi_align` (He et al. 2017) samples between pixels, `roi_pool` (Girshick 2015) takes the largest
pixel of each bin. Both agree with torchvision's operators to rounding, work in 3D, have the modes
that those lack, and need no compiled extension.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vesalius.detect.roi_align import Axis, axes, dense_align, sparse_align
from vesalius.detect.roi_pool import bin_edges, plain_range_max, range_max
from vesalius.errors import DataError, RecipeError


def roi_align(
    features: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
    reduce: str = "mean",
) -> Tensor:
    """Return the features inside each box, interpolated on a regular grid.

    Args:
        features: (N, C, h, w) or (N, C, d, h, w), floating point.
        boxes: (K, 5) with columns (image, x1, y1, x2, y2), or (K, 7) with (image, x1, y1, z1, x2,
            y2, z2); or a list of N tensors (n, 4) or (n, 6), one for each image. In pixels of the
            input; not differentiated.
        output_size: bins along each array axis, (h, w) or (d, h, w), or one number for all.
        spatial_scale: size of the feature map over the size of the input.
        sampling_ratio: samples in a bin along each axis; 0 or less: as many as the bin has pixels,
            rounded up.
        aligned: shift by half a pixel, so that the centre of pixel 0 lies at 0.5 in box
            coordinates (Detectron2). Without it (the first version, torchvision's default) the
            centre of pixel 0 lies at 0 and boxes are at least a pixel wide.
        reduce: "mean" of the samples of a bin, or "max" of the interpolated samples.

    Returns:
        (K, C, *output_size) in the dtype of the features; half precision is computed in single.
        Samples more than a pixel outside the map are 0 and still counted.

    Raises:
        DataError: boxes of a wrong shape, not finite, or of an image that is not there.
        RecipeError: an unknown `reduce`, or an output size of 0.
    """
    if reduce not in ("mean", "max"):
        raise RecipeError(f"unknown reduce '{reduce}' of roi_align, expected 'mean' or 'max'")
    wide, batch, corners, size = _prepare(features, boxes, output_size)
    sides = features.shape[2:]
    ratio = int(sampling_ratio)
    with torch.autocast(features.device.type, enabled=False):
        grid = axes(
            corners, size, sides, spatial_scale=spatial_scale, sampling_ratio=ratio, aligned=aligned
        )
        align = dense_align if _exporting() else sparse_align
        if reduce == "mean":
            result = align(wide, batch, grid)
        elif ratio > 0:
            result = _largest(wide, batch, grid, (ratio,) * len(size), align)
        else:
            result = _largest_adaptive(wide, batch, grid)
    return result.contiguous().to(features.dtype)


def roi_pool(
    features: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    *,
    spatial_scale: float = 1.0,
    mode: str = "caffe",
) -> Tensor:
    """Return the largest feature in each bin of each box, boxes rounded to whole pixels.

    Corners are multiplied by the scale and rounded, halves away from zero.

    Args:
        features: (N, C, h, w) or (N, C, d, h, w), floating point.
        boxes: as in `roi_align`.
        output_size: as in `roi_align`.
        spatial_scale: size of the feature map over the size of the input.
        mode: "caffe": the rounded end is the last pixel inside, boxes are a pixel at least, and
            bins reach outwards to whole pixels, so that they may overlap (Caffe, torchvision).
            "disjoint": the end is excluded and n pixels are cut at floor(i * n / bins), so that
            every pixel is in one bin alone.

    Returns:
        (K, C, *output_size) in the dtype of the features; bins without pixels are 0. The gradient
        goes to the largest pixel, of equal ones to the first. A NaN makes its bins NaN.

    Raises:
        DataError: boxes of a wrong shape, not finite, or of an image that is not there.
        RecipeError: an unknown mode, or an output size of 0.
    """
    if mode not in ("caffe", "disjoint"):
        raise RecipeError(f"unknown mode '{mode}' of roi_pool, expected 'caffe' or 'disjoint'")
    wide, batch, corners, size = _prepare(features, boxes, output_size)
    edges = bin_edges(corners, size, features.shape[2:], scale=spatial_scale, mode=mode)
    result = (plain_range_max if _exporting() else range_max)(wide, batch, edges)
    return result.contiguous().to(features.dtype)


def _largest(wide: Tensor, batch: Tensor, grid: Sequence[Axis], ratio, align) -> Tensor:
    """Return the largest sample of every bin, (K, C, *bins), for equal samples in all boxes."""
    split = [axis.split(number) for axis, number in zip(grid, ratio, strict=True)]
    samples = align(wide, batch, split)
    for number, axis in enumerate(grid):
        samples = samples.unflatten(number + 2, (axis.bins, ratio[number])).amax(dim=number + 3)
    return samples


def _largest_adaptive(wide: Tensor, batch: Tensor, grid: Sequence[Axis]) -> Tensor:
    """Return the largest sample of every bin where boxes differ in the number of samples."""
    if _exporting():
        raise RecipeError(
            "roi_align with reduce='max' can only be exported with a sampling_ratio above 0"
        )
    numbers = torch.stack([axis.samples for axis in grid], dim=1)
    kinds, kind = torch.unique(numbers, dim=0, return_inverse=True)
    order = kind.argsort(stable=True)
    parts = []
    for ratio, rows in zip(kinds.tolist(), order.split(torch.bincount(kind).tolist()), strict=True):
        if min(ratio) == 0:  # an empty box
            shape = (len(rows), wide.shape[1], *(axis.bins for axis in grid))
            parts.append(wide.new_zeros(shape))
        else:
            part = [axis.take(rows) for axis in grid]
            parts.append(_largest(wide, batch[rows], part, ratio, sparse_align))
    return torch.cat(parts).index_select(0, order.argsort())


def _prepare(features, boxes, output_size) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
    """Check the arguments; return the features widened, the images, the corners, the size."""
    dims = features.ndim - 2
    if dims not in (2, 3) or not features.is_floating_point():
        raise DataError(
            "features must be floating point, (N, C, h, w) or (N, C, d, h, w), got "
            f"{features.dtype} {tuple(features.shape)}"
        )
    size = (output_size,) * dims if isinstance(output_size, int) else tuple(output_size)
    if len(size) != dims or min(size) < 1:
        raise RecipeError(f"output_size needs {dims} numbers above 0, got {output_size}")
    wide = features if features.dtype == torch.float64 else features.float()
    boxes = boxes if isinstance(boxes, Tensor) else _with_image(boxes, features, dims)
    if boxes.ndim != 2 or boxes.shape[1] != 2 * dims + 1:
        raise DataError(
            f"boxes must be (K, {2 * dims + 1}) with the image's number first, or a list of "
            f"(n, {2 * dims}), got {tuple(boxes.shape)}"
        )
    boxes = boxes.detach().to(wide)
    batch, corners = boxes[:, 0].long(), boxes[:, 1:]
    if not _exporting():
        _refuse(batch, corners, len(features))
    return wide, batch, corners, size


def _with_image(boxes: Sequence[Tensor], features: Tensor, dims: int) -> Tensor:
    """Join the boxes of all images, the image's number first."""
    if len(boxes) != len(features):
        raise DataError(f"{len(features)} images need as many tensors of boxes, got {len(boxes)}")
    wide = [each.reshape(-1, 2 * dims) if each.numel() == 0 else each for each in boxes]
    numbered = [
        torch.cat([each.new_full((each.shape[0], 1), image), each], dim=1)
        for image, each in enumerate(wide)
    ]
    return torch.cat(numbered)


def _refuse(batch: Tensor, corners: Tensor, images: int) -> None:
    """Raise if boxes are not finite or belong to no image."""
    if len(batch) == 0:
        return
    bad = ~torch.isfinite(corners).all(dim=1)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise DataError(
            f"box {row} is not finite: {corners[row].tolist()}; has the training diverged?"
        )
    if not 0 <= int(batch.min()) <= int(batch.max()) < images:
        raise DataError(
            f"the boxes' image numbers run from {int(batch.min())} to {int(batch.max())}, but "
            f"there are {images} images"
        )


def _exporting() -> bool:
    """Return whether the program is being recorded, so that plain operations are needed."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()
