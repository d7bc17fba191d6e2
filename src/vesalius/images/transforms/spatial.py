"""Spatial transforms: image and mask move together, in 2D and 3D with the same classes.

Each transform only *draws* a step: a matrix or a displacement field in millimetres about the
image's centre. `resample` composes the steps of neighbouring transforms and reads the image once,
because every interpolation blurs: rotate, scale and elastic one after the other would blur three
times. Steps that only permute or mirror voxels (flips, quarter turns) interpolate nothing.

Working in millimetres keeps rotations rigid where voxels are not cubes. Size and spacing never
change. The elastic field is a uniform cubic B-spline (free-form deformation, Rueckert et al.
1999) whose control points move at most 0.4 of their distance, which excludes folding in two and
three dimensions (Choi and Lee 2000).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from vesalius.errors import RecipeError
from vesalius.images.transforms.base import (
    NonNegativeRange,
    PositiveRange,
    Probability,
    Range,
    Sample,
    Transform,
    check_axes,
    log_uniform,
    size_of,
    spacing_of,
    uniform,
)
from vesalius.images.transforms.sampling import resample_by

FOLD_FREE = 0.4
Angles = Annotated[Range, Field(description="degrees")]


@dataclass(frozen=True)
class SplineField:
    """A displacement field given by its B-spline control points.

    Attributes:
        control: `(D, *control grid)` in millimetres; the grid starts one interval before the
            first voxel and ends at least one after the last.
        distance: millimetres between control points, the same along every axis.
    """

    control: np.ndarray
    distance: float

    def displacement(self, size: Sequence[int], spacing: np.ndarray) -> np.ndarray:
        """Return the field at every voxel centre: `(D, *size)`, float32, millimetres."""
        field = self.control
        for axis, (voxels, step) in enumerate(zip(size, spacing, strict=True)):
            weights = spline_weights(voxels, step / self.distance, field.shape[axis + 1])
            field = np.moveaxis(np.tensordot(weights, field, axes=(1, axis + 1)), 0, axis + 1)
        return np.ascontiguousarray(field, dtype=np.float32)


def spline_weights(voxels: int, step: float, controls: int) -> np.ndarray:
    """Return `(voxels, controls)`: the uniform cubic B-spline basis at each voxel.

    `step` is the distance of voxels in control intervals. Each row sums to one.
    """
    position = np.arange(voxels) * step
    first = np.clip(np.floor(position).astype(int), 0, controls - 4)
    t = position - first
    basis = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1
    )
    weights = np.zeros((voxels, controls))
    np.put_along_axis(weights, first[:, None] + np.arange(4), basis / 6, axis=1)
    return weights


class SpatialTransform(Transform):
    """Base of transforms that move voxels. Neighbours are composed by `transforms.apply`."""

    def draw(
        self, size: tuple[int, ...], spacing: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray | SplineField | None:
        """Draw where each output position is read from, relative to the image's centre in mm.

        Returns:
            A `(D, D)` matrix, a `SplineField`, or None where nothing moves.
        """
        raise NotImplementedError

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Apply this transform alone."""
        return resample([self], sample, rng)


class ResamplingTransform(SpatialTransform):
    """Base of spatial transforms that read between voxels, with the options for doing so.

    Neighbours with the same options share one interpolation; `transforms.apply` resamples anew
    where they differ.
    """

    padding: Literal["border", "reflect", "zeros"] = "border"
    """What the image holds beyond its edge: the nearest voxel, its mirror image, or 0."""
    mask_fill: int | None = 0
    """Label beyond the mask's edge: 0, the label that the loss ignores, or null to continue the
    mask as the image is continued. With `reflect`, 0 would call mirrored objects background."""
    mask_interpolation: Literal["nearest", "linear"] = "nearest"
    """`linear` interpolates each label on its own and keeps the strongest: smoother outlines, a
    cost per label."""

    @property
    def options(self) -> tuple[str, int | None, str]:
        """What neighbours must share to be composed."""
        return self.padding, self.mask_fill, self.mask_interpolation


class Flip(SpatialTransform):
    """Mirror along each of `axes` independently."""

    name: Literal["flip"] = "flip"
    probability: Probability = 0.5
    """Chance of each axis to be mirrored."""
    axes: tuple[int, ...] | None = None
    """Spatial axes, counted from 0; None means all. Leave out left-right where sides matter."""

    def draw(self, size, spacing, rng):
        """Draw a diagonal matrix of 1 and -1."""
        axes = range(len(size)) if self.axes is None else self.axes
        check_axes(axes, len(size), self.name)
        signs = np.ones(len(size))
        for axis in axes:
            signs[axis] = -1 if rng.random() < self.probability else 1
        return np.diag(signs)


class Rotate90(SpatialTransform):
    """Turn by a random multiple of 90 degrees in one plane, as `torch.rot90` does.

    Only half turns are drawn in a plane whose two sizes or spacings differ, so that samples keep
    their shape and spacing.
    """

    name: Literal["rotate90"] = "rotate90"
    probability: Probability = 1.0
    planes: tuple[tuple[int, int], ...] | None = None
    """Pairs of spatial axes to choose from; None means all pairs."""

    def draw(self, size, spacing, rng):
        """Draw a plane and one of the four turns."""
        dims = len(size)
        pairs = [(a, b) for a in range(dims) for b in range(a + 1, dims)]
        planes = pairs if self.planes is None else self.planes
        check_axes([axis for plane in planes for axis in plane], dims, self.name)
        happens = rng.random() < self.probability
        first, second = planes[rng.integers(len(planes))]
        turns = int(rng.integers(4))
        if size[first] != size[second] or spacing[first] != spacing[second]:
            turns &= 2
        return np.rint(_turn(90.0 * turns, first, second, dims)) if happens else None


class Rotate(ResamplingTransform):
    """Rotate about the image's centre, rigidly in millimetres.

    A positive angle turns as `torch.rot90` does. In 3D the axis of rotation is uniform on the
    sphere, unless `per_axis` gives ranges for each of the three axes.
    """

    name: Literal["rotate"] = "rotate"
    probability: Probability = 1.0
    degrees: Angles = (-15.0, 15.0)
    """Range of the angle (2D, or 3D about a random axis)."""
    per_axis: tuple[Angles, Angles, Angles] | None = None
    """3D only: ranges of the angles about each axis, turned one after the other. Thick slices
    along the last axis: `[[0, 0], [0, 0], [-15, 15]]` stays in the plane."""

    def draw(self, size, spacing, rng):
        """Draw a rotation matrix."""
        if self.per_axis is not None and len(size) != 3:
            raise RecipeError("rotate: per_axis is for volumes; use degrees for 2D images.")
        happens = rng.random() < self.probability
        if len(size) == 2:
            matrix = _turn(uniform(rng, self.degrees), 0, 1, 2)
        elif self.per_axis is None:
            axis = rng.standard_normal(3)
            matrix = _turn_about(axis, uniform(rng, self.degrees))
        else:
            about_0, about_1, about_2 = (uniform(rng, angles) for angles in self.per_axis)
            matrix = _turn(about_0, 1, 2, 3) @ _turn(about_1, 0, 2, 3) @ _turn(about_2, 0, 1, 3)
        return matrix if happens else None


class Scale(ResamplingTransform):
    """Magnify about the image's centre: a factor of 2 makes things twice as large."""

    name: Literal["scale"] = "scale"
    probability: Probability = 1.0
    factor: PositiveRange = (0.8, 1.25)
    """Range of the factor; its logarithm is drawn uniformly."""
    per_axis: bool = False
    """Draw a factor for each axis, which changes proportions."""

    def draw(self, size, spacing, rng):
        """Draw a diagonal matrix."""
        happens = rng.random() < self.probability
        factors = log_uniform(rng, self.factor, len(size) if self.per_axis else 1)
        return np.diag(1 / np.broadcast_to(factors, len(size))) if happens else None


class Elastic(ResamplingTransform):
    """Deform smoothly by a random cubic B-spline field, without folding.

    Both lengths are in voxels of the finest axis, so the field is alike in all directions in
    millimetres. Control points move uniformly within the displacement; the field between them is
    smoother and smaller (about half the standard deviation in 2D, a third in 3D).
    """

    name: Literal["elastic"] = "elastic"
    probability: Probability = 1.0
    displacement: NonNegativeRange = (0.0, 6.0)
    """Range of the largest shift of a control point along an axis, in voxels."""
    control_spacing: float = Field(24.0, gt=0)
    """Distance of control points in voxels."""

    @model_validator(mode="after")
    def _does_not_fold(self):
        largest = FOLD_FREE * self.control_spacing
        if self.displacement[1] > largest + 1e-9:
            raise ValueError(
                f"a displacement of {self.displacement[1]} voxels can fold the image: stay within"
                f" {FOLD_FREE} of control_spacing ({largest:g}) or widen control_spacing"
            )
        return self

    def draw(self, size, spacing, rng):
        """Draw the control points' shifts."""
        unit = float(spacing.min())
        distance = self.control_spacing * unit
        extents = [(n - 1) * step / distance for n, step in zip(size, spacing, strict=True)]
        grid = [max(1, int(np.ceil(extent))) + 3 for extent in extents]
        happens = rng.random() < self.probability
        largest = uniform(rng, self.displacement) * unit
        control = rng.uniform(-1, 1, size=(len(size), *grid)) * largest
        return SplineField(control, distance) if happens and largest > 0 else None


def resample(
    transforms: Sequence[SpatialTransform], sample: Sample, rng: np.random.Generator
) -> Sample:
    """Draw all `transforms`, compose them and read the sample once.

    Those that interpolate must share their options; the first one's count. A `box` is dropped:
    the result cannot be put back by shifting.
    """
    size, spacing = size_of(sample), spacing_of(sample)
    steps = [transform.draw(size, spacing, rng) for transform in transforms]
    options = next((t.options for t in transforms if isinstance(t, ResamplingTransform)), None)
    padding, mask_fill, mask_interpolation = options or ("border", 0, "nearest")
    result = {key: value for key, value in sample.items() if key != "box"}
    result["image"], mask = resample_by(
        [step for step in steps if step is not None],
        sample["image"],
        mask=sample.get("mask"),
        spacing=spacing,
        padding=padding,
        mask_fill=mask_fill,
        mask_interpolation=mask_interpolation,
    )
    return result if sample.get("mask") is None else {**result, "mask": mask}


def _turn(degrees: float, first: int, second: int, dims: int) -> np.ndarray:
    """Return the matrix that reads an image turned from axis `first` towards `second`."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    matrix = np.eye(dims)
    matrix[[first, first, second, second], [first, second, first, second]] = (
        [cosine, sine, -sine, cosine]
    )  # fmt: skip
    return matrix


def _turn_about(axis: np.ndarray, degrees: float) -> np.ndarray:
    """Return a rotation about a vector of any length (Rodrigues' formula)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
