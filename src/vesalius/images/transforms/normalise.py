"""Bring intensities to a common scale: deterministic, for training and prediction alike."""

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from vesalius.errors import RecipeError
from vesalius.images.transforms.base import Range, Sample, Transform, per_channel, size_of

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_DEVIATION = 1e-8


class Normalise(Transform):
    """Shift and scale the image.

    Modes:
        zscore: mean 0, standard deviation 1.
        percentile: cut to `percentiles` of the image, then zscore (MRI with bright outliers).
        minmax: minimum 0, maximum 1.
        fixed: cut to `clip` where given, then `(image - mean) / std` with the given numbers, for
            example those of the training set (nnU-Net's scheme for CT).
        window: cut to a CT window in Hounsfield units, then 0 at its lower and 1 at its upper end.

    A constant image becomes 0.
    """

    name: Literal["normalise"] = "normalise"
    mode: Literal["zscore", "percentile", "minmax", "fixed", "window"] = "zscore"
    """How to measure the scale; see above."""
    per_channel: bool = True
    """Measure each channel on its own; False measures all together and keeps colours."""
    nonzero: bool = False
    """Measure only voxels that are not exactly 0 and leave the others 0 (skull-stripped MRI)."""
    percentiles: Range = Field((0.5, 99.5))
    """Percentiles of mode `percentile`, 0 to 100."""
    mean: tuple[float, ...] | None = None
    """Mode `fixed`: one number, or one per channel."""
    std: tuple[float, ...] | None = None
    """Mode `fixed`: one number, or one per channel, above 0."""
    clip: Range | None = None
    """Mode `fixed`: bounds of intensity, applied first."""
    window: Range | None = None
    """Mode `window`: lower and upper end in Hounsfield units; soft tissue is [-160, 240]."""

    @model_validator(mode="after")
    def _complete(self):
        needed = {"fixed": ("mean", "std"), "window": ("window",)}.get(self.mode, ())
        allowed = (*needed, "clip") if self.mode == "fixed" else needed
        given = [key for key in ("mean", "std", "clip", "window") if getattr(self, key) is not None]
        if missing := [key for key in needed if key not in given]:
            raise ValueError(f"mode {self.mode} needs {' and '.join(missing)}")
        if surplus := [key for key in given if key not in allowed]:
            raise ValueError(f"mode {self.mode} does not use {' and '.join(surplus)}")
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std must be above 0")
        if self.window is not None and self.window[0] == self.window[1]:
            raise ValueError("the window has no width")
        if self.percentiles[0] < 0 or self.percentiles[1] > 100:
            raise ValueError("percentiles must lie between 0 and 100")
        return self

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return a new sample with the normalised image; `rng` is not used."""
        size_of(sample)
        image = sample["image"]
        if self.per_channel or self.mode in ("fixed", "window"):
            normalised = self._by_channel(image)
        else:
            normalised = self._by_channel(image.reshape(1, -1)).reshape(image.shape)
        return {**sample, "image": normalised}

    def _by_channel(self, image: "Tensor") -> "Tensor":
        import torch

        if self.mode == "fixed":
            return self._masked(image, self._fixed(image))
        if self.mode == "window":
            low, high = self.window
            return self._masked(image, (image.clamp(low, high) - low) / (high - low))
        channels = [self._masked(channel, self._measured(channel)) for channel in image]
        return torch.stack(channels)

    def _masked(self, image: "Tensor", normalised: "Tensor") -> "Tensor":
        return normalised * (image != 0) if self.nonzero else normalised

    def _fixed(self, image: "Tensor") -> "Tensor":
        for numbers in (self.mean, self.std):
            if len(numbers) not in (1, image.shape[0]):
                raise RecipeError(
                    f"normalise: {len(numbers)} numbers for an image of {image.shape[0]} channels."
                    " Give one, or one per channel."
                )
        if self.clip is not None:
            image = image.clamp(*self.clip)
        mean, std = per_channel(np.array(self.mean), image), per_channel(np.array(self.std), image)
        return (image - mean) / std

    def _measured(self, channel: "Tensor") -> "Tensor":
        import torch

        voxels = channel[channel != 0] if self.nonzero else channel.reshape(-1)
        if voxels.numel() == 0:
            return channel
        low, high = (float(value) for value in voxels.aminmax())
        if self.mode == "minmax":
            return (channel.clamp(low, high) - low) / max(high - low, SMALLEST_DEVIATION)
        if self.mode == "percentile":
            # numpy, because torch.quantile refuses more than 16 million values.
            low, high = (float(q) for q in np.percentile(voxels.numpy(), self.percentiles))
            channel, voxels = channel.clamp(low, high), voxels.clamp(low, high)
        if low == high:
            return torch.zeros_like(channel)
        std, mean = torch.std_mean(voxels.double(), correction=0)
        return ((channel - mean) / std.clamp_min(SMALLEST_DEVIATION)).to(channel.dtype)
