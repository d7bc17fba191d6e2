"""Structural similarity (Wang et al. 2004), at one and at several scales (2003), as losses.

SSIM = luminance x contrast-structure (2004, eq. 13, with C3 = C2 / 2), the mean over windows.
MS-SSIM = SSIM_M^w_M x product over j < M of CS_j^w_j: contrast-structure at the finer scales, full
SSIM (with luminance) at the coarsest; each is the mean over the windows that lie fully inside the
image; between scales the maps are averaged over 2 x 2 (x 2) pixels. Window: 11 pixels, Gaussian
with sigma 1.5. C1 = 0.01^2, C2 = 0.03^2 for the range 1 of probabilities.

Stated rules, where the paper is silent:
- Small images: as many of the scales are used as leave the smallest side at least 11 at the last
  one, with their weights divided by their sum. If a side is below 11 at full size one scale is
  used, and along that side the window is the largest odd number that fits.
- A mean that is negative (or below 1e-4) counts as 1e-4: the root of a negative number is not
  real and its slope at 0 is not finite.
- Ignored pixels are 0 in both maps, and a window counts with the valid part of its centre.
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vesalius.segment.losses.base import RegionLoss

WINDOW = 11
SIGMA = 1.5
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
C1, C2 = 0.01**2, 0.03**2
FLOOR = 1e-4

CONVOLUTIONS = {2: F.conv2d, 3: F.conv3d}
AVERAGE_POOLINGS = {2: F.avg_pool2d, 3: F.avg_pool3d}


class _SimilarityLoss(RegionLoss):
    """1 - similarity of probability maps and masks, mean over images and classes."""

    def compute(self, logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        predicted, truth = self.maps(logits, target, valid)
        similarity = self.similarity(
            predicted.flatten(0, 1).unsqueeze(1),
            truth.flatten(0, 1).unsqueeze(1),
            weights=self._window_weights(predicted, valid),
        )
        return self.mean_over_classes(1 - similarity.view(predicted.shape[:2]))

    @staticmethod
    @abstractmethod
    def similarity(x: Tensor, y: Tensor, *, weights: Tensor | None) -> Tensor:
        """Return the similarity of maps (N, 1, *size), shape (N,)."""

    @staticmethod
    def _window_weights(predicted: Tensor, valid: Tensor | None) -> Tensor | None:
        if valid is None:
            return None
        classes = predicted.shape[1]
        return valid.to(predicted.dtype).repeat_interleave(classes, dim=0).unsqueeze(1)


class SSIMLoss(_SimilarityLoss):
    """1 - SSIM of probability maps and masks, mean over images and classes, in [0, 2].

    Options: see `RegionLoss`.
    """

    @staticmethod
    def similarity(x: Tensor, y: Tensor, *, weights: Tensor | None) -> Tensor:
        return ssim(x, y, weights=weights)


class MSSSIMLoss(_SimilarityLoss):
    """1 - MS-SSIM of probability maps and masks, mean over images and classes, in [0, 1].

    Options: see `RegionLoss`.
    """

    @staticmethod
    def similarity(x: Tensor, y: Tensor, *, weights: Tensor | None) -> Tensor:
        return ms_ssim(x, y, weights=weights)


def ssim(x: Tensor, y: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Return SSIM of maps (N, 1, *size) with values in [0, 1], shape (N,), in [-1, 1].

    Arguments: see `ms_ssim`.
    """
    luminance, contrast_structure = ssim_maps(x, y)
    return _mean(luminance * contrast_structure, weights)


def scale_weights(size: Sequence[int]) -> tuple[float, ...]:
    """Return the exponents of the scales that an image of this size can use, finest first."""
    scales = 1
    while scales < len(SCALE_WEIGHTS) and min(size) // 2**scales >= WINDOW:
        scales += 1
    if scales == len(SCALE_WEIGHTS):
        return SCALE_WEIGHTS
    total = sum(SCALE_WEIGHTS[:scales])
    return tuple(weight / total for weight in SCALE_WEIGHTS[:scales])


def ms_ssim(x: Tensor, y: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Return MS-SSIM of maps (N, 1, *size) with values in [0, 1], shape (N,).

    Args:
        x: the one map.
        y: the other.
        weights: (N, 1, *size) in [0, 1], how much a window centred at each pixel counts; where a
            map has no weight at a scale that scale counts as perfectly similar.
    """
    exponents = scale_weights(x.shape[2:])
    pool = AVERAGE_POOLINGS[x.ndim - 2]
    product = x.new_ones(x.shape[0])
    for scale, exponent in enumerate(exponents):
        if scale > 0:
            x, y = pool(x, 2), pool(y, 2)
            weights = None if weights is None else pool(weights, 2)
        luminance, contrast_structure = ssim_maps(x, y)
        last = scale == len(exponents) - 1
        similarity = luminance * contrast_structure if last else contrast_structure
        product = product * _mean(similarity, weights).clamp(min=FLOOR).pow(exponent)
    return product


def ssim_maps(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return luminance and contrast-structure at every window that lies fully inside."""
    count = x.shape[0]
    moments = _blur(torch.cat([x, y, x * x, y * y, x * y]))
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = moments.split(count)
    variances = (mean_xx - mean_x**2) + (mean_yy - mean_y**2)
    covariance = mean_xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return luminance, (2 * covariance + C2) / (variances + C2)


def _blur(x: Tensor) -> Tensor:
    """Filter by the Gaussian window along every axis, without padding.

    As a product with a band matrix per axis: on CPUs convolutions of one channel are many times
    slower, most of all backwards.
    """
    for axis, side in enumerate(x.shape[2:], start=2):
        x = torch.movedim(torch.movedim(x, axis, -1) @ _band(side, x), -1, axis)
    return x


def _band(side: int, like: Tensor) -> Tensor:
    """Return the matrix (side, windows) whose columns are the window at each place."""
    window = _window(_width(side), like)
    places = side - len(window) + 1
    matrix = like.new_zeros(side, places)
    for offset, weight in enumerate(window):
        matrix.diagonal(-offset)[:places] = weight
    return matrix


def _width(side: int) -> int:
    return min(WINDOW, side if side % 2 else side - 1)


def _window(width: int, like: Tensor) -> Tensor:
    offsets = torch.arange(width, dtype=like.dtype, device=like.device) - (width - 1) / 2
    window = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    return window / window.sum()


def _mean(similarity: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean over positions, weighted by the windows' centres, (N,)."""
    if weights is None:
        return similarity.flatten(1).mean(dim=1)
    inside = zip(weights.shape[2:], similarity.shape[2:], strict=True)
    centres = weights[(..., *(slice((w - s) // 2, (w - s) // 2 + s) for w, s in inside))].flatten(1)
    total = centres.sum(dim=1)
    mean = (similarity.flatten(1) * centres).sum(dim=1) / torch.where(total > 0, total, 1)
    return torch.where(total > 0, mean, 1.0)
