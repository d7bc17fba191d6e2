"""Crop and pad, with a record of where the result lies in the original image.

Every transform here reads one window, which may reach beyond the image, and writes it to
`sample["box"]` as `((start, stop), ...)` in voxels of the image before the first crop (starts are
negative where it was padded). `put_back` uses it to return a prediction to the original frame.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from vesalius.errors import DataError, RecipeError
from vesalius.images.transforms.base import Probability, Sample, Transform, size_of

if TYPE_CHECKING:
    from torch import Tensor

Box = tuple[tuple[int, int], ...]
Padding = Literal["zeros", "border", "reflect"]


class WindowTransform(Transform):
    """Base of crops and pads: what to put beyond the edge."""

    padding: Padding = "zeros"
    """What the image holds beyond its edge: 0, the nearest voxel, or its mirror image."""
    mask_fill: int | None = 0
    """Label beyond the mask's edge: 0, the label that the loss ignores, or null to continue the
    mask as the image is continued. With `reflect`, 0 would call mirrored objects background."""

    def box(self, sample: Sample, rng: np.random.Generator) -> Box:
        """Return the window to read, in voxels of `sample["image"]`."""
        raise NotImplementedError

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return a new sample that holds the window alone, with `box` added."""
        size_of(sample)
        box = self.box(sample, rng)
        before = sample.get("box") or ((0, 0),) * len(box)
        shifted = tuple((a + o, b + o) for (a, b), (o, _) in zip(box, before, strict=True))
        result = {
            **sample,
            "box": shifted,
            "image": read_window(sample["image"], box, self.padding),
        }
        if (mask := sample.get("mask")) is not None:
            padding = self.padding if self.mask_fill is None else "zeros"
            result["mask"] = read_window(mask[None], box, padding, self.mask_fill or 0)[0]
        return result


class CropForeground(WindowTransform):
    """Keep the bounding box of voxels above a threshold, plus a margin. Deterministic.

    An image with no such voxel is kept whole.
    """

    name: Literal["crop_foreground"] = "crop_foreground"
    threshold: float = 0.0
    """A voxel is foreground where any channel lies above this intensity."""
    margin: int = Field(0, ge=0)
    """Voxels added on every side, as far as the image reaches."""

    def box(self, sample, rng):
        """Return the bounding box."""
        size = size_of(sample)
        foreground = (sample["image"] > self.threshold).any(dim=0)
        return tuple(
            self._extent(foreground.movedim(axis, 0).reshape(n, -1).any(dim=1), n)
            for axis, n in enumerate(size)
        )

    def _extent(self, present: "Tensor", length: int) -> tuple[int, int]:
        where = np.flatnonzero(present.numpy())
        if len(where) == 0:
            return 0, length
        start, stop = int(where[0]) - self.margin, int(where[-1]) + 1 + self.margin
        return max(0, start), min(length, stop)


class RandomCrop(WindowTransform):
    """Cut a random window of one size; rare classes are sought on purpose.

    With the chance `foreground` the window holds a voxel of a class that is drawn uniformly among
    those present in the mask (background and `ignore` excluded), then uniformly among its voxels;
    it is centred there as far as the image's edge allows (nnU-Net, Isensee et al. 2021). A smaller
    image is padded evenly on both sides.
    """

    name: Literal["random_crop"] = "random_crop"
    size: tuple[PositiveInt, ...]
    """Voxels along each spatial axis."""
    foreground: Probability = 0.33
    """Chance to seek a foreground class."""
    ignore: int | None = None
    """Label that is never sought."""

    def box(self, sample, rng):
        """Draw the window."""
        size = _fitting(self.size, size_of(sample), self.name)
        seek = rng.random() < self.foreground
        starts = [int(rng.integers(max(0, n - w) + 1)) for n, w in size]
        centre = self._voxel(sample.get("mask"), rng) if seek else None
        if centre is not None:
            starts = [
                int(np.clip(c - w // 2, 0, max(0, n - w)))
                for c, (n, w) in zip(centre, size, strict=True)
            ]
        # A window larger than the image starts before it, by half of what is missing.
        starts = [s if n >= w else -((w - n) // 2) for s, (n, w) in zip(starts, size, strict=True)]
        return tuple((s, s + w) for s, (_, w) in zip(starts, size, strict=True))

    def _voxel(self, mask: "Tensor | None", rng: np.random.Generator) -> Sequence[int] | None:
        if mask is None:
            return None
        labels = mask.numpy()
        present = [v for v in np.unique(labels[labels > 0]) if v != self.ignore]
        if not present:
            return None
        voxels = np.flatnonzero(labels == present[rng.integers(len(present))])
        return np.unravel_index(voxels[rng.integers(len(voxels))], labels.shape)


class CentreCrop(WindowTransform):
    """Cut the centred window of one size; a smaller image is padded evenly."""

    name: Literal["centre_crop"] = "centre_crop"
    size: tuple[PositiveInt, ...]
    """Voxels along each spatial axis."""

    def box(self, sample, rng):
        """Return the centred window."""
        return tuple(_centred(n, w) for n, w in _fitting(self.size, size_of(sample), self.name))


class PadTo(WindowTransform):
    """Pad evenly on both sides up to a size, or up to multiples of a number. Never crops."""

    name: Literal["pad_to"] = "pad_to"
    size: tuple[PositiveInt, ...] | None = None
    """Least number of voxels along each spatial axis."""
    multiple: PositiveInt | tuple[PositiveInt, ...] | None = None
    """One number, or one per axis, that must divide the size (a U-Net's 2 ** depth)."""

    @model_validator(mode="after")
    def _one_goal(self):
        if (self.size is None) == (self.multiple is None):
            raise ValueError("give either size or multiple")
        return self

    def box(self, sample, rng):
        """Return the window around the whole image."""
        size = size_of(sample)
        if self.size is not None:
            goals = [max(n, w) for n, w in _fitting(self.size, size, self.name)]
        else:
            multiple = self.multiple
            multiple = (multiple,) * len(size) if isinstance(multiple, int) else multiple
            goals = [-(-n // m) * m for n, m in _fitting(multiple, size, self.name)]
        return tuple(_centred(n, goal) for n, goal in zip(size, goals, strict=True))


def read_window(image: "Tensor", box: Box, padding: Padding = "zeros", fill: int = 0) -> "Tensor":
    """Return the voxels of `image` `(C, *size)` in `box`, padded where it reaches beyond."""
    import torch
    import torch.nn.functional as F

    for axis, (start, stop) in enumerate(box, start=1):
        if padding != "zeros" and (start < 0 or stop > image.shape[axis]):
            index = _continued(start, stop, image.shape[axis], padding)
            image = image.index_select(axis, torch.from_numpy(index))
        else:
            inside = slice(max(0, start), max(0, min(stop, image.shape[axis])))
            before = max(0, min(stop, 0) - start)
            after = max(0, stop - max(start, image.shape[axis]))
            image = image[(slice(None),) * axis + (inside,)]
            widths = [0, 0] * (image.ndim - 1 - axis) + [before, after]
            image = F.pad(image, widths, value=fill) if before or after else image
    return image.contiguous()


def put_back(array: np.ndarray, box: Box, size: Sequence[int], fill: float = 0) -> np.ndarray:
    """Return `array` in the frame of the image before it was cropped or padded.

    Args:
        array: numpy or torch, its last axes being those of the window: a label map `(*window)` or
            probabilities `(C, *window)`.
        box: `sample["box"]`.
        size: spatial size of the original image.
        fill: value where the window did not reach.

    Raises:
        DataError: the array's shape is not that of the box.
    """
    array = np.asarray(array)
    window = tuple(stop - start for start, stop in box)
    if array.shape[array.ndim - len(box) :] != window:
        raise DataError(f"An array of shape {array.shape} does not fill the box {box}.")
    lead = array.shape[: array.ndim - len(box)]
    result = np.full((*lead, *size), fill, dtype=array.dtype)
    target = tuple(slice(max(0, a), max(0, min(b, n))) for (a, b), n in zip(box, size, strict=True))
    source = tuple(slice(t.start - a, t.stop - a) for t, (a, _) in zip(target, box, strict=True))
    result[(..., *target)] = array[(..., *source)]
    return result


def _continued(start: int, stop: int, length: int, padding: Padding) -> np.ndarray:
    """Return which voxels stand at positions from start to stop; "reflect" repeats the edge."""
    positions = np.arange(start, stop)
    if padding == "border":
        return positions.clip(0, length - 1)
    positions %= 2 * length
    return np.minimum(positions, 2 * length - 1 - positions)


def _centred(length: int, window: int) -> tuple[int, int]:
    start = (length - window) // 2 if length >= window else -((window - length) // 2)
    return start, start + window


def _fitting(wanted: Sequence[int], size: Sequence[int], name: str) -> list[tuple[int, int]]:
    """Return pairs (image's size, wanted size) after checking that both have as many axes."""
    if len(wanted) != len(size):
        raise RecipeError(
            f"{name}: {len(wanted)} numbers {tuple(wanted)} for an image with {len(size)} spatial"
            f" axes {tuple(size)}. Give one per axis."
        )
    return list(zip(size, wanted, strict=True))
