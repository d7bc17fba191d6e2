"""What every transform is: a frozen block that maps a sample and a random generator to a sample.

A sample is a dictionary:
    image: torch float32, `(C, *size)`, `size` being `(H, W)` or three axes of a volume;
    mask: torch int64, `(*size)`, or None or absent;
    spacing: millimetres per axis, absent where it is not known (then 1 along every axis);
    box: written by crops, see `vesalius.images.transforms.crop`.
Other keys pass through untouched. A transform returns a new dictionary and never writes into the
tensors that it was given. All randomness comes from the numpy generator, in an order that depends
on the sample's shape and labels alone, so a seed means the same on every machine.

This module and its neighbours import torch inside functions: a recipe is read without it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field

from vesalius.block import Block
from vesalius.errors import DataError, RecipeError

if TYPE_CHECKING:
    from torch import Tensor

Sample = dict[str, Any]


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the lower bound {bounds[0]} is above the upper bound {bounds[1]}")
    return bounds


def _positive(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] <= 0:
        raise ValueError(f"the lower bound {bounds[0]} must be above 0")
    return bounds


def _not_negative(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] < 0:
        raise ValueError(f"the lower bound {bounds[0]} must not be below 0")
    return bounds


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
PositiveRange = Annotated[Range, AfterValidator(_positive)]
NonNegativeRange = Annotated[Range, AfterValidator(_not_negative)]
Probability = Annotated[
    float, Field(ge=0, le=1, description="chance that the transform acts on a sample")
]


class Transform(Block):
    """Base of all transforms. Call it with a sample and a generator; it returns a new sample."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the transformed sample.

        Raises:
            DataError: image, mask and spacing do not fit each other.
            RecipeError: the block does not fit the image (an axis or a channel it has not).
        """
        raise NotImplementedError


def size_of(sample: Sample) -> tuple[int, ...]:
    """Return the spatial size of a sample after checking that its parts fit each other.

    Raises:
        DataError: not `(C, *size)` with two or three spatial axes, or the mask or the spacing
            does not belong to this image.
    """
    size = tuple(sample["image"].shape[1:])
    mask, spacing = sample.get("mask"), sample.get("spacing")
    if len(size) not in (2, 3):
        raise DataError(
            f"The image has shape {tuple(sample['image'].shape)}; transforms take (C, H, W) or"
            " (C, three axes). Add or remove an axis."
        )
    if mask is not None and tuple(mask.shape) != size:
        raise DataError(
            f"The mask has shape {tuple(mask.shape)}; its image has {size}."
            " Resample the mask or remove the case."
        )
    if spacing is not None and (len(spacing) != len(size) or min(spacing) <= 0):
        raise DataError(f"The spacing {tuple(spacing)} must hold {len(size)} positive numbers.")
    return size


def spacing_of(sample: Sample) -> np.ndarray:
    """Return millimetres per spatial axis (float64), 1 where the sample does not say."""
    spacing = sample.get("spacing")
    dims = sample["image"].ndim - 1
    return np.ones(dims) if spacing is None else np.asarray(spacing, dtype=np.float64)


def check_axes(axes: Sequence[int], dims: int, name: str) -> None:
    """Raise `RecipeError` where a spatial axis does not exist (counted from 0)."""
    wrong = [axis for axis in axes if not 0 <= axis < dims]
    if wrong:
        raise RecipeError(
            f"{name}: axis {wrong[0]} does not exist; the image has the spatial axes"
            f" {tuple(range(dims))}."
        )


def uniform(
    rng: np.random.Generator, bounds: tuple[float, float], count: int | None = None
) -> np.ndarray:
    """Draw from `bounds`, one number or `count` of them."""
    return rng.uniform(bounds[0], bounds[1], size=count)


def log_uniform(
    rng: np.random.Generator, bounds: tuple[float, float], count: int | None = None
) -> np.ndarray:
    """Draw factors whose logarithm is uniform: halving is then as likely as doubling."""
    return np.exp(uniform(rng, (float(np.log(bounds[0])), float(np.log(bounds[1]))), count))


def per_channel(values: np.ndarray, image: "Tensor") -> "Tensor":
    """Shape one number, or one per channel, so that it broadcasts over `image` `(C, *size)`."""
    import torch

    values = np.broadcast_to(values, (image.shape[0],)).astype(np.float32)
    return torch.from_numpy(values).reshape(-1, *[1] * (image.ndim - 1))
