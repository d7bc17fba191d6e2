"""The crop that R-CNN shows its network: a proposal with some of what is around it, at one size.

Girshick, Donahue, Darrell and Malik, "Rich feature hierarchies for accurate object detection and
semantic segmentation" (CVPR 2014), appendix A. The arithmetic is that of the published code, with
its habit of taking one pixel more on the far side: there the centre of a box is its first pixel
plus half of its width, both ends belong to the crop, and halves are rounded away from zero.
Volumes are cropped alike, along three axes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vesalius.errors import DataError, RecipeError

MODES = ("warp", "square")


def warp(
    image: Tensor,
    boxes: Tensor,
    size: int = 227,
    context: int = 16,
    mode: str = "warp",
    *,
    fill: float | Sequence[float] | Tensor = 0.0,
) -> Tensor:
    """Return the boxes of an image as crops of one size.

    A box grows about its centre by size / (size - 2 * context), so that `context` pixels of the
    crop on each side show its surroundings. The part inside the image is resized (bilinear,
    without antialiasing) and put where it belongs; the rest is `fill`.

    Args:
        image: (C, h, w), or (C, d, h, w), floating; usually with the mean already subtracted.
        boxes: (N, 4) x1, y1, x2, y2, or (N, 6) x1, y1, z1, x2, y2, z2, in pixels. For hundreds of
            boxes and more, call with a part at a time: 1,000 crops of 227 pixels are 618 MB.
        size: edge of a crop, pixels.
        context: pixels of a crop on each side around the box.
        mode: warp, which stretches, or square, which first makes the box as wide as it is high.
        fill: value outside the image, one or one per channel. 0 is the mean of a centred image.

    Returns:
        (N, C, size, size), or (N, C, size, size, size), of the image's type.

    Raises:
        DataError: shapes that do not fit, or boxes that are not finite or have no extent.
        RecipeError: a size, context or mode that cannot be.
    """
    _check(image, boxes, size, context, mode)
    dims, channels = image.ndim - 1, image.shape[0]
    values = torch.as_tensor(fill, dtype=image.dtype, device=image.device).expand(channels)
    shape = (len(boxes), channels, *(size,) * dims)
    crops = values.reshape(channels, *(1,) * dims).expand(shape).clone()
    layout, kernel = {
        2: (torch.channels_last, "bilinear"),
        3: (torch.channels_last_3d, "trilinear"),
    }[dims]
    # Resizing is about twice as fast with the channels last.
    source = image[None].contiguous(memory_format=layout)
    places = _places(boxes, image.shape[1:], size, context, mode)
    for number, (first, last, offset, extent) in enumerate(places.tolist()):
        if min(extent) < 1:
            continue  # the grown box misses the image, or its part of it is below half a pixel
        inside = tuple(slice(*ends) for ends in zip(first, last, strict=True))
        at = tuple(slice(o, o + e) for o, e in zip(offset, extent, strict=True))
        part = source[(slice(None), slice(None), *inside)]
        part = F.interpolate(part, extent, mode=kernel, align_corners=False)[0]
        crops[(number, slice(None), *at)] = part
    return crops


def _places(boxes: Tensor, shape: Sequence[int], size: int, context: int, mode: str) -> Tensor:
    """Return (N, 4, dims) integers in array order: first and last + 1 of the image, where, extent.

    Comments name what the published code calls the numbers; it counts pixels from 1.
    """
    dims = len(shape)
    corners = boxes.detach().to("cpu", torch.float64).reshape(-1, 2, dims).flip(2)
    low, high = corners[:, 0] + 1, corners[:, 1]  # both inside the box, from 1
    if context > 0 or mode == "square":
        half = (high - low + 1) / 2
        centre = low + half
        if mode == "square":
            half = half.amax(dim=1, keepdim=True)
        grown = half * (size / (size - 2 * context))
        low, high = centre - grown, centre + grown
    low, high = _round(low), _round(high)
    limit = torch.tensor(shape, dtype=torch.float64)
    first, last = low.clamp(min=1), torch.minimum(high, limit)
    scale = size / (high - low + 1).clamp(min=1)  # from the unclipped box
    offset = _round((1 - low).clamp(min=0) * scale)  # pad_x1, pad_y1
    extent = _round((last - first + 1) * scale)  # crop_width, crop_height
    extent = torch.minimum(extent, size - offset)
    # A box of less than half a pixel rounds to nothing, and a far one lies outside of the image.
    extent[(last < first) | (high < low)] = 0
    return torch.stack([first - 1, last, offset, extent], dim=1).long()


def _round(values: Tensor) -> Tensor:
    """Round halves away from zero, as MATLAB does; torch.round takes the even neighbour."""
    return torch.sign(values) * torch.floor(values.abs() + 0.5)


def _check(image: Tensor, boxes: Tensor, size: int, context: int, mode: str) -> None:
    if mode not in MODES:
        raise RecipeError(f"no crop mode '{mode}'; there are {', '.join(MODES)}")
    if size < 1 or not 0 <= 2 * context < size:
        raise RecipeError(
            f"a crop of {size} pixels cannot have a context of {context} on each side; the context "
            "must be at least 0 and less than half of the size"
        )
    if image.ndim not in (3, 4) or not image.is_floating_point():
        raise DataError(
            f"an image to crop is a floating tensor (C, h, w) or (C, d, h, w), not "
            f"{image.dtype} of shape {tuple(image.shape)}"
        )
    if boxes.ndim != 2 or boxes.shape[1] != 2 * (image.ndim - 1):
        raise DataError(
            f"boxes of an image with {image.ndim - 1} axes are (N, {2 * (image.ndim - 1)}), not "
            f"{tuple(boxes.shape)}"
        )
    dims = image.ndim - 1
    if not torch.isfinite(boxes).all() or (boxes[:, dims:] <= boxes[:, :dims]).any():
        raise DataError("boxes to crop must be finite and end after they begin; drop the others")
