"""clDice: overlap of centre lines (Shit et al. 2021, arXiv:2003.07311, equations 1 and 2).

Skeletons are scikit-image's: Zhang's in 2D, Lee's in 3D. Lee's can remove a small solid block
altogether; such a mask is then its own centre line.
"""

import numpy as np
from numpy.typing import NDArray

from vesalius.segment.metrics.overlap import ratio


def centreline_dice(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """Return the harmonic mean of topology precision and topology sensitivity, 0 to 1.

    Args:
        truth: bool mask with voxels, 2D or 3D.
        prediction: bool mask with voxels of the same shape.
    """
    lines = [line if line.any() else mask for line, mask in _skeletons(truth, prediction)]
    precise, sensitive = _shares(*lines, truth, prediction)
    return 2 * precise * sensitive / (precise + sensitive) if precise + sensitive else 0.0


def plain_centreline_dice(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """Return the same without regard to special cases: 0 / 0 is NaN, as libraries have it."""
    lines = [line for line, _ in _skeletons(truth, prediction)]
    precise, sensitive = _shares(*lines, truth, prediction)
    return ratio(2 * precise * sensitive, precise + sensitive)


def _skeletons(*masks: NDArray) -> list[tuple[NDArray, NDArray]]:
    # Imported here: scikit-image's morphology takes longer to load than a small image to score.
    from skimage.morphology import skeletonize

    return [(skeletonize(mask), mask) for mask in masks]


def _shares(
    true_line: NDArray, predicted_line: NDArray, truth: NDArray, prediction: NDArray
) -> tuple[float, float]:
    """Return topology precision and sensitivity: each line's share inside the other mask."""
    return (
        ratio(np.count_nonzero(predicted_line & truth), np.count_nonzero(predicted_line)),
        ratio(np.count_nonzero(true_line & prediction), np.count_nonzero(true_line)),
    )
