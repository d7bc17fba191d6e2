"""Boxes and masks follow the image through the spatial transforms of `vesalius.images`.

Spatial transforms draw where each output position is read from; neighbours are composed, the image
is interpolated once, masks move with it, and boxes by the inverse matrix. A turned box is the hull
of its four (eight) turned corners, too large where angles are not multiples of 90 degrees; with
masks, boxes are measured on them.
"""

from collections.abc import Sequence
from itertools import groupby, product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vesalius.images.transforms import ResamplingTransform, SpatialTransform, Transform, resample
from vesalius.images.transforms.base import spacing_of

Sample = dict[str, Any]
VISIBLE = 0.3
"""Objects of which less is left inside the image are dropped: nobody could tell what they are."""


class _Given(ResamplingTransform):
    """A matrix that was drawn elsewhere."""

    matrix: Any = None

    def draw(self, size, spacing, rng):
        """Return the matrix."""
        return self.matrix


def apply(transforms: Sequence[Transform], sample: Sample, rng: np.random.Generator) -> Sample:
    """Apply transforms in order and return a new sample.

    Args:
        transforms: spatial ones that draw matrices, and those of intensities.
        sample: `image` float32 (C, *size), `boxes` float32 (N, 2 * dims), `labels` int64 (N,),
            `masks` bool (N, *size) or None, and perhaps `proposals` (M, 2 * dims) and `spacing`.
        rng: of everything that is drawn.
    """
    sample = dict(sample)
    for spatial, group in groupby(transforms, lambda item: isinstance(item, SpatialTransform)):
        for transform in [list(group)] if spatial else group:
            sample = _moved(transform, sample, rng) if spatial else transform(sample, rng)
    return sample


def _moved(group: Sequence[SpatialTransform], sample: Sample, rng: np.random.Generator) -> Sample:
    size, spacing = tuple(sample["image"].shape[1:]), spacing_of(sample)
    matrix = np.eye(len(size))
    for transform in group:
        drawn = transform.draw(size, spacing, rng)
        if drawn is not None:
            matrix = matrix @ drawn
    if np.array_equal(matrix, np.eye(len(size))):
        return sample
    fill = next((t.padding for t in group if isinstance(t, ResamplingTransform)), "border")
    move = _Given(matrix=matrix, padding=fill)
    moved = {**sample, "image": _resampled(sample["image"], move, sample, rng)}
    for name in ("boxes", "proposals"):
        if sample.get(name) is not None:
            moved[name] = moved_boxes(sample[name], matrix, size, spacing)
    if sample.get("masks") is not None:
        clear = move.model_copy(update={"padding": "zeros"})
        masks = sample["masks"]
        if len(masks):
            masks = _resampled(masks.float(), clear, sample, rng) >= 0.5
        moved["masks"] = masks
    return inside(moved)


def _resampled(array: Tensor, move: _Given, sample: Sample, rng) -> Tensor:
    part = {"image": array} | ({"spacing": sample["spacing"]} if sample.get("spacing") else {})
    return resample([move], part, rng)["image"]


def moved_boxes(
    boxes: Tensor, matrix: np.ndarray, size: Sequence[int], spacing: np.ndarray
) -> Tensor:
    """Return where boxes lie in an image that is read through a matrix; they are not clipped.

    Args:
        boxes: (N, 2 * dims), x first.
        matrix: (dims, dims): output position -> input position, in mm about the centre, array axes
            in their order.
        size, spacing: of the image, array axes in their order.
    """
    dims = len(size)
    centre = torch.tensor([side / 2 for side in size], dtype=torch.float64)
    step = torch.as_tensor(spacing, dtype=torch.float64)
    forward = torch.as_tensor(np.linalg.inv(matrix), dtype=torch.float64)
    ends = boxes.double().reshape(-1, 2, dims).flip(2)  # (N, low or high, array axis)
    picks = torch.tensor(list(product((0, 1), repeat=dims)))
    corners = ends[:, picks, torch.arange(dims)]  # (N, 2 ** dims, axis)
    there = ((corners - centre) * step) @ forward.T / step + centre
    found = torch.cat([there.amin(1).flip(1), there.amax(1).flip(1)], dim=1)
    return found.to(boxes.dtype)


def inside(sample: Sample) -> Sample:
    """Return a sample with boxes cut at the image's border, without objects mostly beyond it."""
    size = tuple(sample["image"].shape[1:])
    dims = len(size)
    whole = sample["boxes"]
    sides = torch.tensor(size[::-1] * 2, dtype=whole.dtype)
    boxes = torch.minimum(whole.clamp(min=0), sides)
    masks = sample.get("masks")
    extent = (boxes[:, dims:] - boxes[:, :dims]).clamp(min=0)
    full = (whole[:, dims:] - whole[:, :dims]).prod(1)
    keep = (extent > 1).all(1) & (extent.prod(1) >= VISIBLE * full)
    if masks is not None:
        keep &= masks.flatten(1).any(1)
        masks = masks[keep]
    boxes = boxes[keep]
    if masks is not None and len(masks):
        boxes = mask_boxes(masks)
    found = {**sample, "boxes": boxes, "labels": sample["labels"][keep], "masks": masks}
    if sample.get("proposals") is not None:
        near = torch.minimum(sample["proposals"].clamp(min=0), sides)
        found["proposals"] = near[(near[:, dims:] - near[:, :dims] > 1).all(1)]
    return found


def mask_boxes(masks: Tensor) -> Tensor:
    """Return the boxes (N, 2 * dims) float32 of masks (N, *size) bool, none of them empty."""
    dims = masks.ndim - 1
    low, high = [], []
    for axis in reversed(range(dims)):
        others = [1 + k for k in range(dims) if k != axis]
        seen = masks.any(dim=others) if others else masks
        low.append(seen.int().argmax(1))
        high.append(seen.shape[1] - seen.flip(1).int().argmax(1))
    return torch.stack([*low, *high], 1).float()
