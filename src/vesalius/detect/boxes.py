"""Boxes in images and volumes: overlap, clipping, coding for regression, suppression.

A box is (x1, y1, x2, y2) or (x1, y1, z1, x2, y2, z2) in continuous pixel coordinates: x runs along
the last array axis and pixel i covers [i, i + 1). Every function takes either kind and tells them
apart by the number of columns. Sides are x2 - x1: the inclusive pixel convention of the Caffe code
(x2 - x1 + 1) is not used anywhere.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vesalius.detect.nms import batched_nms, nms, soft_nms
from vesalius.errors import DataError, RecipeError

__all__ = [
    "BoxCoder",
    "area",
    "batched_nms",
    "clip",
    "giou",
    "intersection",
    "iou",
    "nms",
    "soft_nms",
    "valid",
]

LARGEST_GROWTH = math.log(1000 / 16)
"""Largest log ratio of sides that is decoded (Detectron; exp of more would overflow)."""


def area(boxes: Tensor) -> Tensor:
    """Return the areas (N,) of boxes (N, 4), or the volumes of boxes (N, 6)."""
    low, high = _corners(boxes)
    return (high - low).prod(dim=-1)


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """Return the common area (N, M), or volume, of each of N boxes with each of M boxes."""
    (a_low, a_high), (b_low, b_high) = _corners(a), _corners(b)
    low = torch.maximum(a_low[:, None], b_low[None])
    high = torch.minimum(a_high[:, None], b_high[None])
    return (high - low).clamp(min=0).prod(dim=-1)


def iou(a: Tensor, b: Tensor, crowd: Tensor | None = None) -> Tensor:
    """Return the intersection over union of each of N boxes with each of M boxes.

    Args:
        a: (N, 2 * dims) boxes.
        b: (M, 2 * dims) boxes.
        crowd: (M,) bool; over a crowd the intersection is divided by the area of `a` alone, as
            COCO does, so that a crowd absorbs any box inside it.

    Returns:
        (N, M) in [0, 1]; 0 where both boxes are without area.
    """
    inter = intersection(a, b)
    areas = area(a)[:, None]
    union = areas + area(b)[None] - inter
    if crowd is not None:
        union = torch.where(crowd[None], areas, union)
    return _ratio(inter, union)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Return the generalised IoU (Rezatofighi et al. 2019) of each of N boxes with each of M.

    It is the IoU less the share of the common hull that neither box covers.

    Returns:
        (N, M) in (-1, 1].
    """
    inter = intersection(a, b)
    union = area(a)[:, None] + area(b)[None] - inter
    (a_low, a_high), (b_low, b_high) = _corners(a), _corners(b)
    low = torch.minimum(a_low[:, None], b_low[None])
    high = torch.maximum(a_high[:, None], b_high[None])
    hull = (high - low).prod(dim=-1)
    return _ratio(inter, union) - _ratio(hull - union, hull)


def clip(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Return the boxes cut to the image.

    Args:
        boxes: (..., 2 * dims).
        size: shape of the image's array, (h, w) or (d, h, w).
    """
    dims = _dims(boxes)
    if len(size) != dims:
        raise RecipeError(f"boxes of {dims} dims cannot be clipped to a size of {tuple(size)}")
    sides = [*reversed(tuple(size))] * 2
    columns = [c.clamp(min=0, max=side) for c, side in zip(boxes.unbind(-1), sides, strict=True)]
    return torch.stack(columns, dim=-1)


def valid(boxes: Tensor, min_size: float = 0.0) -> Tensor:
    """Return which boxes (N, 2 * dims) are finite, have an extent and sides of `min_size` or more.

    Returns:
        (N,) bool, to index with.
    """
    low, high = _corners(boxes)
    sides = high - low
    large = (sides > 0) & (sides >= min_size)
    return large.all(dim=-1) & torch.isfinite(boxes).all(dim=-1)


class BoxCoder:
    """Boxes as offsets from other boxes (Girshick et al. 2014, appendix C).

    The centre's shift is divided by the reference's sides, the ratio of the sides is taken as its
    logarithm, and both are multiplied by weights (1 / standard deviation of the offsets).

    Args:
        weights: of the shifts (x, y[, z]), then of the sizes (w, h[, d]): 4 numbers for images, 6
            for volumes.
        clip: largest logarithm of a ratio of sides that is decoded.
    """

    def __init__(
        self,
        weights: Sequence[float] = (10.0, 10.0, 5.0, 5.0),
        clip: float = LARGEST_GROWTH,
    ):
        if len(weights) not in (4, 6) or not all(w > 0 for w in weights):
            raise RecipeError(f"a box coder needs 4 or 6 weights above 0, got {tuple(weights)}")
        self.weights = tuple(float(weight) for weight in weights)
        self.clip = float(clip)
        self.dims = len(weights) // 2

    def encode(self, boxes: Tensor, references: Tensor) -> Tensor:
        """Return the offsets (N, 2 * dims) of boxes from their references, both (N, 2 * dims).

        Both need sides above 0: the logarithm of an empty box is not finite.
        """
        centre, sides = self._centres(boxes)
        from_centre, from_sides = self._centres(references)
        shift = (centre - from_centre) / from_sides
        growth = torch.log(sides / from_sides)
        return torch.cat([shift, growth], dim=-1) * boxes.new_tensor(self.weights)

    def decode(self, deltas: Tensor, references: Tensor) -> Tensor:
        """Return the boxes that lie at the offsets from their references.

        Args:
            deltas: (N, 2 * dims), or (N, C, 2 * dims) or (N, C * 2 * dims) with C boxes a
                reference (one per class).
            references: (N, 2 * dims).

        Returns:
            (N, 2 * dims), or (N, C, 2 * dims) where there are several boxes a reference.
        """
        width = 2 * self.dims
        if deltas.ndim == 2 and deltas.shape[1] != width:
            if deltas.shape[1] % width:
                raise RecipeError(f"offsets (N, {deltas.shape[1]}) are not multiples of {width}")
            deltas = deltas.unflatten(1, (deltas.shape[1] // width, width))
        centre, sides = self._centres(references)
        if deltas.ndim == 3:
            centre, sides = centre[:, None], sides[:, None]
        scaled = deltas / deltas.new_tensor(self.weights)
        shift, growth = scaled[..., : self.dims], scaled[..., self.dims :]
        centre = shift * sides + centre
        half = 0.5 * (growth.clamp(max=self.clip).exp() * sides)
        return torch.cat([centre - half, centre + half], dim=-1)

    def _centres(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the centres and the sides, (..., dims) each."""
        if _dims(boxes) != self.dims:
            raise RecipeError(
                f"this box coder has {len(self.weights)} weights and needs boxes with as many "
                f"columns, got {tuple(boxes.shape)}"
            )
        low, high = _corners(boxes)
        sides = high - low
        return low + 0.5 * sides, sides


def _dims(boxes: Tensor) -> int:
    """Return 2 or 3, from the number of columns."""
    if boxes.shape[-1] not in (4, 6):
        raise DataError(
            f"boxes need 4 columns (x1, y1, x2, y2) or 6 (x1, y1, z1, x2, y2, z2), got an array of "
            f"shape {tuple(boxes.shape)}"
        )
    return boxes.shape[-1] // 2


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lower and the upper corners; half precision is widened, areas overflow in it."""
    dims = _dims(boxes)
    if boxes.dtype not in (torch.float32, torch.float64):
        boxes = boxes.float()
    return boxes[..., :dims], boxes[..., dims:]


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Divide, with 0 where there is nothing to divide by."""
    some = whole > 0
    return torch.where(some, part, 0) / torch.where(some, whole, 1)
