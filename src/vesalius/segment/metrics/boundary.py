"""Boundary IoU (Cheng et al. 2021, arXiv:2103.16562, equation 2).

The boundary of a mask are its voxels within a distance d of the outside; as in the authors' code
distances are chessboard distances (erosion with a square), the outside of the image is background,
and d is 2% of the image's diagonal, at least one voxel. Here d is in units of the spacing, so a
volume with thick slices has a boundary of the same thickness along each axis.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vesalius.segment.metrics.overlap import ratio

SHARE = 0.02


def boundary_widths(
    shape: Sequence[int], spacing: Sequence[float], share: float = SHARE
) -> tuple[int, ...]:
    """Return the thickness of the boundary in voxels along each axis of an image of this shape."""
    distance = share * float(np.linalg.norm(np.multiply(shape, spacing)))
    return tuple(max(1, round(distance / step)) for step in spacing)


def boundary_iou(
    truth: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    widths: Sequence[int],
    *,
    valid: NDArray[np.bool_] | None = None,
) -> float:
    """Return the IoU of the two boundaries, 0 to 1; NaN where both are empty.

    Args:
        truth: bool mask.
        prediction: bool mask of the same shape.
        widths: thickness in voxels along each axis (`boundary_widths`).
        valid: voxels that count; their border is no boundary.
    """
    one, other = (_boundary(mask, widths, valid) for mask in (truth, prediction))
    return ratio(np.count_nonzero(one & other), np.count_nonzero(one | other))


def _boundary(mask: NDArray, widths: Sequence[int], valid: NDArray | None) -> NDArray[np.bool_]:
    from scipy.ndimage import minimum_filter1d

    if valid is not None:
        mask = mask & valid
    eroded = (mask if valid is None else mask | ~valid).view(np.uint8)
    for axis, width in enumerate(widths):
        # A box is the product of its axes: one pass along each, at a cost that ignores the width.
        eroded = minimum_filter1d(eroded, 2 * width + 1, axis=axis, mode="constant", cval=0)
    return mask & ~eroded.view(bool)
