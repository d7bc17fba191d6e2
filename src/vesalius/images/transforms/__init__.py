"""Joint transforms of image and mask, for 2D and 3D alike; see `base` for what a sample is.

    transforms = [Rotate(degrees=(-20, 20)), Elastic(), Gamma(probability=0.3)]
    sample = apply(transforms, sample, np.random.default_rng(seed))

In a recipe a list of transforms is `list[TransformBlock]`: each entry is chosen by its `name`.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from vesalius.images.transforms.base import Sample, Transform, size_of
from vesalius.images.transforms.crop import (
    CentreCrop,
    CropForeground,
    PadTo,
    RandomCrop,
    put_back,
)
from vesalius.images.transforms.intensity import (
    Brightness,
    ColourJitter,
    Contrast,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    Grey,
    SimulateLowResolution,
)
from vesalius.images.transforms.normalise import Normalise
from vesalius.images.transforms.spatial import (
    Elastic,
    Flip,
    ResamplingTransform,
    Rotate,
    Rotate90,
    Scale,
    SpatialTransform,
    resample,
)

TransformBlock = Annotated[
    Flip
    | Rotate
    | Rotate90
    | Scale
    | Elastic
    | Brightness
    | Contrast
    | Gamma
    | GaussianNoise
    | GaussianBlur
    | SimulateLowResolution
    | Normalise
    | Grey
    | ColourJitter
    | CropForeground
    | RandomCrop
    | CentreCrop
    | PadTo,
    Field(discriminator="name"),
]

__all__ = [
    "Brightness",
    "CentreCrop",
    "ColourJitter",
    "Contrast",
    "CropForeground",
    "Elastic",
    "Flip",
    "Gamma",
    "GaussianBlur",
    "GaussianNoise",
    "Grey",
    "Normalise",
    "PadTo",
    "RandomCrop",
    "Rotate",
    "Rotate90",
    "Sample",
    "Scale",
    "SimulateLowResolution",
    "Transform",
    "TransformBlock",
    "apply",
    "put_back",
]


def apply(transforms: Sequence[Transform], sample: Sample, rng: np.random.Generator) -> Sample:
    """Apply `transforms` in order and return a new sample.

    Spatial transforms that stand next to each other are composed and interpolate once, unless
    their padding or mask options differ. What each of them draws from `rng` is the same as if it
    stood alone.

    Raises:
        DataError: image, mask and spacing do not fit each other.
        RecipeError: a transform does not fit the image.
    """
    size_of(sample)
    sample = dict(sample)
    for group in _groups(transforms):
        if isinstance(group[0], SpatialTransform):
            sample = resample(group, sample, rng)
        else:
            sample = group[0](sample, rng)
    return sample


def _groups(transforms: Sequence[Transform]) -> Iterator[list[Transform]]:
    """Yield neighbours that can share one interpolation; all others one by one."""
    group: list[Transform] = []
    for transform in transforms:
        if group and not _joins(group, transform):
            yield group
            group = []
        group.append(transform)
    if group:
        yield group


def _joins(group: Sequence[Transform], transform: Transform) -> bool:
    if not isinstance(group[0], SpatialTransform) or not isinstance(transform, SpatialTransform):
        return False
    options = {t.options for t in (*group, transform) if isinstance(t, ResamplingTransform)}
    return len(options) <= 1
