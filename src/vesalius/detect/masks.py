"""From masks inside boxes, as Mask R-CNN predicts them, to masks in the image.

Two methods. "exact" (default): an element of the mask is a cell of the box, and every pixel whose
centre lies in the box is interpolated between the cells' centres, in continuous coordinates; beyond
the outermost centres the outermost cells go on to the box's border. "torchvision": that library's
steps: one cell of zeros around the mask, the box enlarged accordingly and cut down to whole pixels
(they include their last one), the mask resized to it. The exact one places a mask to a fraction of
a pixel; the other can be off by a whole one.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vesalius.images.encoders import unknown_name

if TYPE_CHECKING:
    from vesalius.detect.rle import Runs

METHODS = ("exact", "torchvision")
INTERPOLATIONS = {2: "bilinear", 3: "trilinear"}

Piece = tuple[tuple[slice, ...], Tensor]


def paste(
    masks: Tensor,
    boxes: Tensor,
    size: Sequence[int],
    *,
    threshold: float | None = None,
    method: Literal["exact", "torchvision"] = "exact",
) -> Tensor:
    """Return masks in the image.

    Args:
        masks: (N, *sides) probabilities inside the boxes.
        boxes: (N, 2 * dims) corners in pixels; they may reach beyond the image.
        size: size of the image, (h, w) or (d, h, w).
        threshold: what counts as the object; None returns probabilities.
        method: see the module.

    Returns:
        (N, *size): bool with a threshold, else the masks' own type, zero outside the boxes.

    Raises:
        RecipeError: unknown method.
    """
    kind = masks.dtype if threshold is None else torch.bool
    pasted = torch.zeros(len(masks), *size, dtype=kind, device=masks.device)
    for canvas, (window, piece) in zip(
        pasted, _pieces(masks, boxes, size, method=method), strict=True
    ):
        canvas[window] = piece if threshold is None else piece >= threshold
    return pasted


def to_runs(
    masks: Tensor,
    boxes: Tensor,
    size: Sequence[int],
    *,
    threshold: float = 0.5,
    method: Literal["exact", "torchvision"] = "exact",
) -> "list[Runs]":
    """Return masks in the image as run lengths; one full-sized mask is in memory at a time.

    Arguments are those of `paste`.
    """
    from vesalius.detect import rle

    runs = []
    for window, piece in _pieces(masks, boxes, size, method=method):
        canvas = torch.zeros(tuple(size), dtype=torch.bool)
        canvas[window] = (piece >= threshold).cpu()
        runs.append(rle.encode(canvas.numpy()))
    return runs


def _pieces(masks: Tensor, boxes: Tensor, size: Sequence[int], *, method: str) -> Iterator[Piece]:
    """Yield for every mask the window of the image that it covers and what stands there."""
    if method not in METHODS:
        raise unknown_name("method of pasting", str(method), METHODS)
    piece = _exact_piece if method == "exact" else _torchvision_piece
    if method == "torchvision":
        masks = F.pad(masks, (1, 1) * len(size))
    for mask, box in zip(masks, boxes.tolist(), strict=True):
        # Array axes run from the last coordinate to the first.
        low, high = box[: len(size)][::-1], box[len(size) :][::-1]
        yield piece(mask, low, high, size)


def _exact_piece(
    mask: Tensor, low: Sequence[float], high: Sequence[float], size: Sequence[int]
) -> Piece:
    window, piece = [], mask
    for axis, (start, stop, side) in enumerate(zip(low, high, size, strict=True)):
        first = min(max(int(start), 0), side)
        last = min(max(int(stop) + 1, first), side)
        window.append(slice(first, last))
        weights = _weights(start, stop, first, last, cells=mask.shape[axis], like=mask)
        piece = torch.tensordot(piece, weights, dims=([0], [1]))
    return tuple(window), piece


def _weights(
    start: float, stop: float, first: int, last: int, *, cells: int, like: Tensor
) -> Tensor:
    """Return (pixels, cells): how much of each cell a pixel's centre takes along one axis."""
    centres = torch.arange(first, last, dtype=torch.float64, device=like.device) + 0.5
    inside = (centres >= start) & (centres <= stop)
    positions = ((centres - start) / max(stop - start, 1e-9) * cells - 0.5).clamp(0, cells - 1)
    grid = torch.arange(cells, dtype=torch.float64, device=like.device)
    weights = (1 - (positions[:, None] - grid).abs()).clamp(min=0)
    return (weights * inside[:, None]).to(like.dtype)


def _torchvision_piece(
    mask: Tensor, low: Sequence[float], high: Sequence[float], size: Sequence[int]
) -> Piece:
    corners, extents = [], []
    for start, stop, cells in zip(low, high, mask.shape, strict=True):
        start, stop = _enlarged(start, stop, cells / (cells - 2))
        corners.append(start)
        # Their boxes include the last pixel.
        extents.append(max(stop - start + 1, 1))
    mode = INTERPOLATIONS[len(size)]
    resized = F.interpolate(mask[None, None], size=extents, mode=mode, align_corners=False)[0, 0]
    window, cut = [], []
    for corner, extent, side in zip(corners, extents, size, strict=True):
        first, last = max(corner, 0), min(corner + extent, side)
        last = max(last, first)
        window.append(slice(min(first, side), last if first < side else side))
        cut.append(slice(first - corner, last - corner) if first < side else slice(0, 0))
    return tuple(window), resized[tuple(cut)]


def _enlarged(start: float, stop: float, factor: float) -> tuple[int, int]:
    """Return an interval stretched about its centre in float32, cut down to whole numbers."""
    ends = torch.tensor([start, stop], dtype=torch.float32)
    half, centre = (ends[1] - ends[0]) * 0.5, (ends[1] + ends[0]) * 0.5
    half = half * factor
    return int(centre - half), int(centre + half)
