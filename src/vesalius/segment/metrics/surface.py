"""Surfaces of masks, and the distances between them.

Two kinds of surface elements are in use, and their scores differ:

- `surfels`: the pieces of the surface between voxel centres, one in every 2 x 2 (x 2) neighbourhood
  that is partly inside, weighted with their length or area (Nikolov et al. 2021,
  arXiv:1809.04430). Areas are those of marching cubes (Lorensen and Cline 1987) with cut edges
  halved and complements alike. Vesalius' own convention.
- `voxels`: voxels of the mask with a face neighbour outside of it, all of weight one. What most
  libraries do. The outside of the image is background.

Distances are in units of the spacing. They are computed from differences of integer positions, so
they do not depend on where in the image the masks lie.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesalius.segment.metrics.areas import surface_areas
from vesalius.segment.metrics.nearest import Surface, directed_distances

SLACK = 1e-9
"""Relative: a distance that equals the tolerance up to rounding is within it."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances from the elements of either surface to the nearest element of the other.

    Infinite where the other surface has no elements.

    Attributes:
        truth: (n,) from the truth to the prediction.
        prediction: (m,) from the prediction to the truth.
        truth_areas: (n,) length or area of each element, 1 for voxels.
        prediction_areas: (m,) the same of the prediction.
    """

    truth: NDArray
    prediction: NDArray
    truth_areas: NDArray
    prediction_areas: NDArray

    @property
    def sides(self) -> tuple[tuple[NDArray, NDArray], tuple[NDArray, NDArray]]:
        """(distances, areas) of the truth, then of the prediction."""
        return (self.truth, self.truth_areas), (self.prediction, self.prediction_areas)

    @property
    def comparable(self) -> bool:
        """Whether both surfaces have elements."""
        return self.truth.size > 0 and self.prediction.size > 0

    def hausdorff(self) -> float:
        """Return the larger of the two directed maxima (Hausdorff distance)."""
        return float(max(self.truth.max(), self.prediction.max()))

    def area_percentile(self, share: float = 0.95) -> float:
        """Return the larger directed distance within which `share` of each area lies."""
        return max(_area_percentile(*side, share) for side in self.sides)

    def largest_percentile(self, share: float = 0.95) -> float:
        """Return the larger of the two directed percentiles, linear between elements."""
        return float(max(np.quantile(distances, share) for distances, _ in self.sides))

    def single_percentile(self, share: float = 0.95) -> float:
        """Return the same as `torch.quantile` does it in single precision.

        The rank is rounded too, which moves the result of a large surface in the sixth digit.
        """
        return max(_single_percentile(distances, share) for distances, _ in self.sides)

    def pooled_percentile(self, share: float = 0.95) -> float:
        """Return the percentile of both directions' distances taken together."""
        return float(np.quantile(np.concatenate([self.truth, self.prediction]), share))

    def area_average(self) -> float:
        """Return the mean distance over the area of both surfaces together."""
        weighted = sum(float(distances @ areas) for distances, areas in self.sides)
        return weighted / sum(float(areas.sum()) for _, areas in self.sides)

    def pooled_average(self) -> float:
        """Return the mean distance over the elements of both surfaces together."""
        return float(np.concatenate([self.truth, self.prediction]).mean())

    def mean_of_averages(self) -> float:
        """Return the mean of the two directed averages, each over its area."""
        averages = [float(distances @ areas / areas.sum()) for distances, areas in self.sides]
        return sum(averages) / 2

    def within(self, tolerance: float, slack: float = SLACK) -> float:
        """Return the share of both areas together that is within the tolerance (NSD)."""
        limit = tolerance * (1 + slack)
        close = sum(float(areas[distances <= limit].sum()) for distances, areas in self.sides)
        return close / sum(float(areas.sum()) for _, areas in self.sides)

    def mean_of_shares(self, tolerance: float) -> float:
        """Return the mean of the two directed shares of elements within the tolerance."""
        return sum(float((distances <= tolerance).mean()) for distances, _ in self.sides) / 2

    def single(self) -> "SurfaceDistances":
        """Return the distances rounded to single precision, as libraries on torch hold them."""
        rounded = [d.astype(np.float32).astype(np.float64) for d in (self.truth, self.prediction)]
        return SurfaceDistances(*rounded, self.truth_areas, self.prediction_areas)


def surface_distances(
    truth: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    *,
    spacing: tuple[float, ...] | None = None,
    elements: str = "surfels",
    valid: NDArray[np.bool_] | None = None,
    norm: str = "euclidean",
) -> SurfaceDistances:
    """Extract both surfaces and measure them against each other.

    Args:
        truth: bool mask, 2D or 3D.
        prediction: bool mask of the same shape.
        spacing: size of a voxel along each axis; 1 if not given.
        elements: "surfels" or "voxels", see the module's first lines.
        valid: bool, the voxels that count. A surface element is left out where it could only be
            told by voxels that do not count, so their border is no surface, and what was
            predicted beyond it makes no difference.
        norm: "euclidean", "taxicab" or "chessboard".
    """
    spacing = (1.0,) * truth.ndim if spacing is None else tuple(float(s) for s in spacing)
    extract = surfels if elements == "surfels" else border_voxels
    one, other = (extract(mask, spacing, valid) for mask in (truth, prediction))
    return SurfaceDistances(
        directed_distances(one, other, spacing, norm),
        directed_distances(other, one, spacing, norm),
        one.areas,
        other.areas,
    )


def surfels(
    mask: NDArray[np.bool_], spacing: tuple[float, ...], valid: NDArray[np.bool_] | None = None
) -> Surface:
    """Return the pieces of surface between voxel centres, with their lengths or areas.

    Position i lies between the voxels i - 1 and i.
    """
    codes = _neighbour_codes(mask)
    full = (1 << (1 << mask.ndim)) - 1
    # Unsigned: code 0 wraps around to the top, so one comparison leaves out empty and full.
    where = codes - np.uint8(1) < full - 1
    if valid is not None:
        where &= _neighbour_codes(~valid) == 0
    flat = np.flatnonzero(where)
    return Surface(where, flat, surface_areas(spacing)[codes.reshape(-1)[flat]])


def border_voxels(
    mask: NDArray[np.bool_], spacing: tuple[float, ...], valid: NDArray[np.bool_] | None = None
) -> Surface:
    """Return the voxels of the mask with a face neighbour outside it, with weights of one."""
    if valid is not None:
        mask = mask & valid
    filled = mask if valid is None else mask | ~valid
    inner = (slice(1, -1),) * mask.ndim
    eroded = filled[inner].copy()
    for axis in range(mask.ndim):
        for side in (slice(None, -2), slice(2, None)):
            eroded &= filled[(*inner[:axis], side, *inner[axis + 1 :])]
    where = mask.copy()
    where[inner] &= ~eroded
    flat = np.flatnonzero(where)
    return Surface(where, flat, np.ones(flat.size))


def _neighbour_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return for every corner between voxels which of its 4 or 8 voxels are inside, as bits."""
    codes = np.pad(mask.view(np.uint8), 1)
    for axis in range(mask.ndim):
        low = (slice(None),) * axis + (slice(None, -1),)
        high = (slice(None),) * axis + (slice(1, None),)
        # Shifts separate along axes: bit 1 at offset (1, 0, 0), bit 2 at (0, 1, 0), bit 4 ...
        codes = codes[low] + (codes[high] << np.uint8(1 << axis))
    return codes


def _area_percentile(distances: NDArray, areas: NDArray, share: float) -> float:
    order = np.argsort(distances)
    covered = np.cumsum(areas[order])
    at = np.searchsorted(covered, share * covered[-1] * (1 - SLACK))
    return float(distances[order[min(at, len(order) - 1)]])


def _single_percentile(distances: NDArray, share: float) -> float:
    ordered = np.sort(distances.astype(np.float32))
    rank = np.float32(share) * np.float32(ordered.size - 1)
    low, high = ordered[int(np.floor(rank))], ordered[int(np.ceil(rank))]
    return float(low + (high - low) * (rank - np.floor(rank)))
