"""Intensity transforms: they change the image and never the mask.

The set, and most default ranges, follow nnU-Net (Isensee et al. 2021); noise, brightness and blur
are given in standard deviations and voxels, so a recipe carries over from MRI to CT to microscopy.
Colour transforms are linear in the channels and need no fixed range of values, but do assume that
red, green and blue share one scale: place them before a per-channel `normalise`.
"""

from typing import TYPE_CHECKING, Literal

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
    per_channel,
    size_of,
    spacing_of,
    uniform,
)

if TYPE_CHECKING:
    from torch import Tensor

LUMA = (0.299, 0.587, 0.114)
EPSILON = 1e-8


class IntensityTransform(Transform):
    """Base: decides whether to happen, then changes the image alone."""

    probability: Probability = 1.0

    def change(self, image: "Tensor", spacing: np.ndarray, rng: np.random.Generator) -> "Tensor":
        """Return the changed image `(C, *size)`."""
        raise NotImplementedError

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return a new sample with the changed image."""
        size_of(sample)
        if rng.random() >= self.probability:
            return dict(sample)
        return {**sample, "image": self.change(sample["image"], spacing_of(sample), rng)}


class Brightness(IntensityTransform):
    """Add a constant, in standard deviations of the channel."""

    name: Literal["brightness"] = "brightness"
    shift: Range = (-0.3, 0.3)
    """Range of the constant in standard deviations."""
    per_channel: bool = False
    """Draw a constant for each channel."""

    def change(self, image, spacing, rng):
        """Add the drawn constant."""
        shift = uniform(rng, self.shift, _draws(self, image))
        return image + per_channel(shift, image) * _deviation(image)


class Contrast(IntensityTransform):
    """Stretch values about the channel's mean."""

    name: Literal["contrast"] = "contrast"
    factor: PositiveRange = (0.75, 1.25)
    """Range of the factor; its logarithm is drawn uniformly."""
    preserve_range: bool = True
    """Cut the result to the channel's former minimum and maximum."""
    per_channel: bool = False
    """Draw a factor for each channel."""

    def change(self, image, spacing, rng):
        """Stretch by the drawn factor."""
        factor = per_channel(log_uniform(rng, self.factor, _draws(self, image)), image)
        mean = _mean(image)
        # image + ... rather than (image - mean) * factor + mean: a factor of 1 changes no bit.
        changed = image + (image - mean) * (factor - 1)
        return changed.clamp(*_extremes(image)) if self.preserve_range else changed


class Gamma(IntensityTransform):
    """Raise the range-normalised channel to a power, and return to its scale.

    As in nnU-Net the exponent is below 1 half of the time where the range allows; an inverted
    image is negated before and after, which brightens or darkens the other end of the scale.
    """

    name: Literal["gamma"] = "gamma"
    gamma: PositiveRange = (0.7, 1.5)
    """Range of the exponent."""
    invert_probability: Probability = 0.25
    """Chance to act on the negated image."""
    keep_statistics: bool = True
    """Restore each channel's mean and standard deviation (else its minimum and maximum stay)."""
    per_channel: bool = False
    """Draw an exponent for each channel."""

    def change(self, image, spacing, rng):
        """Apply the drawn exponent."""
        sign = -1.0 if rng.random() < self.invert_probability else 1.0
        exponents = [self._exponent(rng) for _ in range(_draws(self, image))]
        low, high = _extremes(sign * image)
        width = (high - low).clamp_min(EPSILON)
        unit = ((sign * image - low) / width).clamp(0, 1)
        changed = sign * (unit ** per_channel(np.array(exponents), image) * width + low)
        if not self.keep_statistics:
            return changed
        scale = _deviation(image) / _deviation(changed).clamp_min(EPSILON)
        return (changed - _mean(changed)) * scale + _mean(image)

    def _exponent(self, rng: np.random.Generator) -> float:
        low, high = self.gamma
        below = rng.random() < 0.5
        if below and low < 1:
            return float(uniform(rng, (low, min(1.0, high))))
        return float(uniform(rng, (max(1.0, low) if high > 1 else low, high)))


class GaussianNoise(IntensityTransform):
    """Add white Gaussian noise, in standard deviations of the channel."""

    name: Literal["gaussian_noise"] = "gaussian_noise"
    strength: NonNegativeRange = (0.0, 0.3)
    """Range of the noise's standard deviation, in standard deviations of the channel."""

    def change(self, image, spacing, rng):
        """Add the drawn noise."""
        import torch

        strength = float(uniform(rng, self.strength))
        noise = torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32))
        return image + noise * strength * _deviation(image)


class GaussianBlur(IntensityTransform):
    """Blur with a Gaussian that is round in millimetres; edges are mirrored."""

    name: Literal["gaussian_blur"] = "gaussian_blur"
    sigma: NonNegativeRange = (0.5, 1.0)
    """Range of the standard deviation in voxels of the finest axis."""

    def change(self, image, spacing, rng):
        """Blur with the drawn width."""
        sigma = float(uniform(rng, self.sigma)) * spacing.min() / spacing
        for axis, width in enumerate(sigma):
            image = _blur_along(image, axis + 1, float(width))
        return image


class SimulateLowResolution(IntensityTransform):
    """Shrink by nearest neighbour and enlarge linearly, as a coarser scan would look."""

    name: Literal["simulate_low_resolution"] = "simulate_low_resolution"
    zoom: PositiveRange = Field((0.5, 1.0))
    """Range of the factor, at most 1."""
    axes: tuple[int, ...] | None = None
    """Spatial axes that lose resolution; None means all."""

    @model_validator(mode="after")
    def _shrinks(self):
        if self.zoom[1] > 1:
            raise ValueError(f"zoom must not exceed 1, but reaches {self.zoom[1]}")
        return self

    def change(self, image, spacing, rng):
        """Lose the drawn share of the resolution."""
        import torch.nn.functional as F

        size = tuple(image.shape[1:])
        axes = range(len(size)) if self.axes is None else self.axes
        check_axes(axes, len(size), self.name)
        zoom = float(uniform(rng, self.zoom))
        small = [max(1, round(n * zoom)) if a in axes else n for a, n in enumerate(size)]
        if small == list(size):
            return image
        coarse = F.interpolate(image[None], size=small, mode="nearest-exact")
        linear = "bilinear" if len(size) == 2 else "trilinear"
        return F.interpolate(coarse, size=size, mode=linear, align_corners=False)[0]


class Grey(IntensityTransform):
    """Replace red, green and blue by their luminance (ITU-R BT.601)."""

    name: Literal["grey"] = "grey"
    probability: Probability = 0.1

    def change(self, image, spacing, rng):
        """Remove the colour."""
        return _luminance(image, self.name).expand_as(image).clone()


class ColourJitter(IntensityTransform):
    """Turn the hue and change the saturation of an RGB image, as stains and scanners do.

    Saturation scales the distance to the luminance. Hue turns colours about the grey axis, which
    is linear in the channels: grey stays grey, and no range of values is assumed.
    """

    name: Literal["colour_jitter"] = "colour_jitter"
    hue: Range = (-10.0, 10.0)
    """Range of the turn in degrees."""
    saturation: NonNegativeRange = (0.8, 1.2)
    """Range of the factor; 0 is grey."""

    def change(self, image, spacing, rng):
        """Apply the drawn turn and factor."""
        import torch

        grey = _luminance(image, self.name)
        angle = np.deg2rad(uniform(rng, self.hue))
        saturation = float(uniform(rng, self.saturation))
        a, b = np.cos(angle) + (1 - np.cos(angle)) / 3, np.sin(angle) / np.sqrt(3)
        c = (1 - np.cos(angle)) / 3
        turn = np.array([[a, c - b, c + b], [c + b, a, c - b], [c - b, c + b, a]])
        colour = image + (image - grey) * (saturation - 1)
        # Only what the turn adds to the identity is computed: a turn of 0 changes no bit.
        added = torch.from_numpy((turn - np.eye(3)).astype(np.float32))
        return colour + torch.tensordot(added, colour, dims=1)


def _draws(transform: IntensityTransform, image: "Tensor") -> int:
    return image.shape[0] if transform.per_channel else 1


def _flat(image: "Tensor") -> "Tensor":
    return image.reshape(image.shape[0], -1)


def _mean(image: "Tensor") -> "Tensor":
    return _flat(image).mean(dim=1).reshape(-1, *[1] * (image.ndim - 1))


def _deviation(image: "Tensor") -> "Tensor":
    deviation = _flat(image).std(dim=1, correction=0)
    return deviation.reshape(-1, *[1] * (image.ndim - 1))


def _extremes(image: "Tensor") -> tuple["Tensor", "Tensor"]:
    low, high = _flat(image).aminmax(dim=1)
    shape = (-1, *[1] * (image.ndim - 1))
    return low.reshape(shape), high.reshape(shape)


def _luminance(image: "Tensor", name: str) -> "Tensor":
    import torch

    if image.shape[0] != 3:
        raise RecipeError(
            f"{name} is for RGB images, but this one has {image.shape[0]} channels. Remove it."
        )
    return torch.tensordot(torch.tensor(LUMA), image, dims=1)[None]


def _blur_along(image: "Tensor", axis: int, sigma: float) -> "Tensor":
    """Convolve one axis with a Gaussian cut at four sigma; the edge voxel is mirrored too."""
    import torch
    import torch.nn.functional as F

    radius = int(4 * sigma + 0.5)
    if radius == 0:
        return image
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    length = image.shape[axis]
    mirrored = np.arange(-radius, length + radius) % (2 * length)
    mirrored = np.minimum(mirrored, 2 * length - 1 - mirrored)
    lines = image.index_select(axis, torch.from_numpy(mirrored)).movedim(axis, -1)
    weights = torch.from_numpy((kernel / kernel.sum()).astype(np.float32))
    blurred = F.conv1d(lines.reshape(-1, 1, lines.shape[-1]), weights[None, None])
    return blurred.reshape(*lines.shape[:-1], length).movedim(-1, axis).contiguous()
