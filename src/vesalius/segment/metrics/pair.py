"""One label of one case: its masks, cut to where they are, and what is computed from them once."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesalius.errors import DataError
from vesalius.segment.metrics.boxes import Box, around, label_boxes
from vesalius.segment.metrics.overlap import Counts
from vesalius.segment.metrics.surface import SurfaceDistances, surface_distances


@dataclass(frozen=True)
class LabelPair:
    """Truth and prediction of one label, with what the metrics need to know.

    Attributes:
        truth: bool mask, cut to the box around both masks.
        prediction: the same of the prediction.
        valid: the voxels of the box that count, None for all.
        voxels: number of voxels that count in the whole image.
        shape: of the whole image.
        spacing: size of a voxel along each axis.
        tolerance: of NSD, in units of the spacing.
        beta: of the F score.
        boundary: thickness of boundary IoU as a share of the image's diagonal.
    """

    truth: NDArray[np.bool_]
    prediction: NDArray[np.bool_]
    valid: NDArray[np.bool_] | None
    voxels: int
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    tolerance: float
    beta: float
    boundary: float

    @cached_property
    def counts(self) -> Counts:
        """Voxels of the whole image by truth and prediction."""
        truth, prediction = self.masked
        tp = np.count_nonzero(truth & prediction)
        fn, fp = np.count_nonzero(truth) - tp, np.count_nonzero(prediction) - tp
        return Counts(tp=int(tp), tn=int(self.voxels - tp - fn - fp), fp=int(fp), fn=int(fn))

    @cached_property
    def masked(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Both masks without the voxels that do not count."""
        if self.valid is None:
            return self.truth, self.prediction
        return self.truth & self.valid, self.prediction & self.valid

    @cached_property
    def surfels(self) -> SurfaceDistances:
        """Distances between area-weighted surface elements."""
        return self._distances("surfels")

    @cached_property
    def border(self) -> SurfaceDistances:
        """Distances between border voxels."""
        return self._distances("voxels")

    @cached_property
    def single_border(self) -> SurfaceDistances:
        """Distances between border voxels, in single precision."""
        return self.border.single()

    @property
    def voxel_size(self) -> float:
        """Volume (area) of one voxel."""
        return float(np.prod(self.spacing))

    @property
    def diagonal(self) -> float:
        """Length of the image's diagonal: no distance within the image is larger."""
        return float(np.linalg.norm(np.multiply(self.shape, self.spacing)))

    def without_ignored(self) -> "LabelPair":
        """Return the pair with ignored voxels set to background, as libraries need it."""
        if self.valid is None:
            return self
        truth, prediction = self.masked
        return replace(self, truth=truth, prediction=prediction, valid=None)

    def _distances(self, elements: str) -> SurfaceDistances:
        return surface_distances(
            self.truth,
            self.prediction,
            spacing=self.spacing,
            elements=elements,
            valid=self.valid,
        )


@dataclass(frozen=True)
class Case:
    """Two checked label maps.

    Attributes:
        truth: integer label map, 2D or 3D.
        prediction: the same shape.
        spacing: size of a voxel along each axis.
        ignore: value of the truth that counts for nothing.
    """

    truth: NDArray
    prediction: NDArray
    spacing: tuple[float, ...]
    ignore: int | None = None

    @classmethod
    def of(cls, truth: Any, prediction: Any, spacing: Any, ignore: int | None) -> "Case":
        """Check two maps (numpy or torch) and their spacing.

        Raises:
            DataError: maps are not integers, not 2D or 3D, or differ in shape; the spacing is not
                one positive number for each axis.
        """
        truth, prediction = _label_map(truth, "truth"), _label_map(prediction, "prediction")
        if truth.shape != prediction.shape:
            raise DataError(
                f"The truth has shape {truth.shape}, the prediction {prediction.shape}. Give both "
                "as label maps on the same grid; resample one of them to the other."
            )
        return cls(truth, prediction, _spacing(spacing, truth.ndim), ignore)

    @cached_property
    def valid(self) -> NDArray[np.bool_] | None:
        """The voxels that count; None for all."""
        if self.ignore is None:
            return None
        valid = self.truth != self.ignore
        return None if valid.all() else valid

    @cached_property
    def voxels(self) -> int:
        """How many voxels count."""
        return int(self.truth.size if self.valid is None else np.count_nonzero(self.valid))

    @cached_property
    def _boxes(self) -> tuple[dict[int, Box], dict[int, Box]]:
        return label_boxes(self.truth), label_boxes(self.prediction)

    def values(self) -> list[int]:
        """Return every label of either map, without 0 and the ignored value."""
        return sorted(set().union(*self._boxes) - {0, self.ignore})

    def pairs(
        self, labels: Mapping[Hashable, int], tolerance: Mapping[Hashable, float], **settings: Any
    ) -> Iterator[tuple[Hashable, LabelPair]]:
        """Yield each label's name and pair; one at a time, because masks take memory."""
        for name, value in labels.items():
            box = self._box(value)
            cut = (self.truth[box], self.prediction[box])
            # In C order whatever the maps are in: skeletons depend on the order of visits.
            masks = [np.equal(part, value, order="C") for part in cut]
            yield (
                name,
                LabelPair(
                    *masks,
                    valid=None if self.valid is None else np.ascontiguousarray(self.valid[box]),
                    voxels=self.voxels,
                    shape=self.truth.shape,
                    spacing=self.spacing,
                    tolerance=tolerance[name],
                    **settings,
                ),
            )

    def _box(self, value: int) -> Box:
        """Return the box around a label in both maps, with a margin where voxels are ignored."""
        # The neighbours beyond the masks tell whether a surface is one.
        margin = 0 if self.valid is None else 1
        found = [boxes[value] for boxes in self._boxes if value in boxes]
        if value == 0:
            found = [tuple(slice(0, size) for size in self.truth.shape)]
        if not found:
            return (slice(0, 0),) * self.truth.ndim
        return around(*found, margin=margin)


def _label_map(labels: Any, side: str) -> NDArray:
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    labels = np.asarray(labels)
    if labels.dtype == bool:
        labels = labels.view(np.uint8)
    if labels.dtype.kind not in "iu":
        raise DataError(
            f"The {side} has type {labels.dtype}; give integer labels (for probabilities their "
            "argmax, or a threshold)."
        )
    if labels.ndim not in (2, 3):
        raise DataError(
            f"The {side} has shape {labels.shape}; surfaces are defined for one image (H, W) or "
            "one volume (D, H, W). Call once for each case of a batch, without a channel axis."
        )
    return labels


def _spacing(spacing: Any, dims: int) -> tuple[float, ...]:
    if spacing is None:
        return (1.0,) * dims
    steps = np.ravel(np.asarray(spacing, dtype=float))
    steps = np.repeat(steps, dims) if steps.size == 1 else steps
    if steps.size != dims or not np.isfinite(steps).all() or (steps <= 0).any():
        raise DataError(
            f"The spacing is {spacing}; give one positive number for each of the {dims} axes, in "
            "the order of the array's axes."
        )
    return tuple(float(step) for step in steps)


def label_names(
    labels: Sequence[int] | Mapping[Hashable, int] | None, values: Sequence[int]
) -> dict[Hashable, int]:
    """Return name -> value: the values themselves where no names are given.

    Raises:
        DataError: a value is not an integer.
    """
    if labels is None:
        labels = values
    if not isinstance(labels, Mapping):
        labels = {value: value for value in labels}
    wrong = {n: v for n, v in labels.items() if not isinstance(v, int | np.integer)}
    if wrong:
        raise DataError(f"labels maps names to integer values of the maps; these are not: {wrong}.")
    return {
        int(name) if isinstance(name, np.integer) else name: int(value)
        for name, value in labels.items()
    }
