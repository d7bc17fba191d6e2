"""Images and targets as the networks take them, checked before anything is computed."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vesalius.errors import DataError

Target = Mapping[str, Any]
"""Objects of one image: `boxes` (N, 2 * dims) in pixels, `labels` (N,) int64 from 0, `masks`
(N, *size) bool where a mask head is trained, and `id`, the image's name for error messages."""


def as_batch(
    images: Tensor | Sequence[Tensor], sizes: Sequence[Sequence[int]] | None
) -> tuple[Tensor, list[tuple[int, ...]]]:
    """Return a batch (B, C, *size), padded with zeros at the far ends, and the images' sizes.

    Args:
        images: one batch, or a list of (C, *size) of any sizes.
        sizes: sizes of the images inside a padded batch; None: the batch's own.
    """
    if isinstance(images, Tensor):
        # Shapes may be symbols of a graph that is being exported: they are only passed on.
        whole = tuple(images.shape[2:])
        return images, [tuple(size) for size in sizes] if sizes is not None else [whole] * len(
            images
        )
    found = [tuple(image.shape[1:]) for image in images]
    largest = [max(sides) for sides in zip(*found, strict=True)]
    padded = []
    for image, size in zip(images, found, strict=True):
        # F.pad counts from the last axis.
        gaps = [
            gap
            for side, full in zip(reversed(size), reversed(largest), strict=True)
            for gap in (0, full - side)
        ]
        padded.append(F.pad(image, gaps) if any(gaps) else image)
    return torch.stack(padded), found


def check_images(images: Tensor | Sequence[Tensor], *, in_channels: int, dims: int) -> None:
    """Refuse images of the wrong number of axes or channels.

    Raises:
        DataError: naming the image's place in the batch.
    """
    batched = isinstance(images, Tensor)
    if batched and images.ndim != dims + 2:
        raise DataError(
            f"The batch has the shape {tuple(images.shape)}; the network takes {dims + 2} axes."
        )
    if not batched and not len(images):
        raise DataError("There is no image in the batch; give one at least.")
    for index, image in enumerate(images[:1] if batched else images):
        if image.ndim != dims + 1 or image.shape[0] != in_channels:
            raise DataError(
                f"Image {index} of the batch has the shape {tuple(image.shape)}; the network "
                f"takes {in_channels} channels and {dims} spatial axes."
            )


def check_targets(
    targets: Sequence[Target],
    sizes: Sequence[Sequence[int]],
    *,
    classes: int,
    with_masks: bool,
) -> None:
    """Refuse targets that no network can learn from, all problems at once.

    Raises:
        DataError: naming the image, the object and the remedy.
    """
    if len(targets) != len(sizes):
        raise DataError(f"There are {len(targets)} targets for {len(sizes)} images.")
    problems = []
    for index, (target, size) in enumerate(zip(targets, sizes, strict=True)):
        name = f"image {target.get('id', index)}"
        found = _box_problems(target["boxes"], dims=len(size))
        found += _label_problems(target["labels"], len(target["boxes"]), classes)
        if with_masks:
            found += _mask_problems(target.get("masks"), len(target["boxes"]), size)
        problems += [f"{name}: {problem}" for problem in found]
    if problems:
        raise DataError("These objects cannot be learnt from:", problems)


def _box_problems(boxes: Tensor, *, dims: int) -> list[str]:
    if boxes.ndim != 2 or boxes.shape[1] != 2 * dims:
        return [f"boxes has the shape {tuple(boxes.shape)}; use (N, {2 * dims}), N may be 0."]
    # One comparison for the whole image: NaN is larger than nothing.
    good = (boxes[:, dims:] > boxes[:, :dims]).all(dim=1) & boxes.isfinite().all(dim=1)
    return [
        f"box {index} is {[round(float(corner), 2) for corner in boxes[index]]}; every second "
        "corner must be larger than the first. Repair the box or remove it."
        for index in torch.nonzero(~good).flatten().tolist()
    ]


def _label_problems(labels: Tensor, count: int, classes: int) -> list[str]:
    if labels.shape != (count,) or labels.is_floating_point():
        return [
            f"labels is {labels.dtype} of the shape {tuple(labels.shape)}; use ({count},) int64."
        ]
    if count and (int(labels.min()) < 0 or int(labels.max()) >= classes):
        wrong = labels[(labels < 0) | (labels >= classes)].tolist()
        return [f"labels has {wrong}; the network has the classes 0 to {classes - 1}."]
    return []


def _mask_problems(masks: Tensor | None, count: int, size: Sequence[int]) -> list[str]:
    if masks is None:
        return ["masks is missing; Mask R-CNN needs one for every box."]
    if tuple(masks.shape) != (count, *size):
        return [f"masks has the shape {tuple(masks.shape)}; use {(count, *size)}."]
    return []


def check_proposals(proposals: Sequence[Tensor], sizes: Sequence[Sequence[int]]) -> None:
    """Refuse proposals that are no boxes.

    Raises:
        DataError: naming the image's place in the batch and the box.
    """
    if len(proposals) != len(sizes):
        raise DataError(f"There are proposals for {len(proposals)} images of {len(sizes)}.")
    problems = [
        f"image {index} of the batch: {problem}"
        for index, (boxes, size) in enumerate(zip(proposals, sizes, strict=True))
        for problem in _box_problems(boxes, dims=len(size))
    ]
    if problems:
        raise DataError("These proposals cannot be used:", problems)
