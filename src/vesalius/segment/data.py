"""From cases to batches: prepare, keep, crop, split."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vesalius.engine import splits
from vesalius.engine.data import Batch, free_memory
from vesalius.engine.task import Case
from vesalius.errors import DataError
from vesalius.images.layout import listed
from vesalius.images.read import read_channels, read_mask
from vesalius.images.resample import resample
from vesalius.images.transforms import CentreCrop, CropForeground, RandomCrop, apply
from vesalius.segment.facts import Facts
from vesalius.segment.instances import rim_and_core
from vesalius.segment.recipe import SegmentRecipe

IGNORED = -1
"""Index of pixels that count for nothing, after mask values have become class indices."""
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


def recoloured(array: np.ndarray, channels: int) -> np.ndarray:
    """Return a picture (C, H, W) as float32 with one or three channels."""
    array = array.astype(np.float32)
    if len(array) == 1 and channels == 3:
        return np.repeat(array, 3, axis=0)
    if len(array) == 3 and channels == 1:
        return np.tensordot(LUMINANCE, array, axes=1)[None]
    return array


class Prepared:
    """Read, normalise and resample cases; keep them in memory where they fit.

    `sample(case)` returns {"image": float32 (C, *size), "mask": int16 (*size) or None, "spacing",
    "original_size", "box"}.
    """

    def __init__(self, recipe: SegmentRecipe, facts: Facts):
        self.recipe, self.facts = recipe, facts
        self._kept: dict[str, dict[str, Any]] = {}
        self._room = self._budget()

    def _budget(self) -> int:
        if self.recipe.data.cache == "none":
            return 0
        if self.recipe.data.cache == "memory":
            return 1 << 62
        return free_memory() // 4

    def sample(self, case: Case) -> dict[str, Any]:
        """Return a case ready for transforms. Do not write into its tensors."""
        key = f"{case.input}"
        if key not in self._kept:
            made = self._prepare(case)
            size = made["image"].nbytes + (made["mask"].nbytes if made["mask"] is not None else 0)
            if size > self._room:
                return made
            self._room -= size
            self._kept[key] = made
        return self._kept[key]

    def truth(self, case: Case) -> np.ndarray:
        """Return the class indices of a case's mask on its own grid; IGNORED where ignored."""
        return self._classes(self.mask_values(case))

    def mask_values(self, case: Case) -> np.ndarray:
        """Return a case's mask as it is stored (*size), such as the numbers of its objects."""
        image = read_channels(case.input) if _needs_image(case) else None
        return read_mask(case.target, like=image).array

    def _prepare(self, case: Case) -> dict[str, Any]:
        image = read_channels(case.input)
        array = self._coloured(image)
        mask = None
        if case.target is not None:
            mask = self._classes(read_mask(case.target, like=image).array)
        spacing = image.spacing
        if self.facts.spacing is not None:
            step = {"spacing": spacing, "new_spacing": self.facts.spacing}
            array = resample(array, **step)
            mask = resample(mask, **step, is_label=True) if mask is not None else None
            spacing = self.facts.spacing
        sample = {
            "image": torch.from_numpy(array),
            "mask": None if mask is None else torch.from_numpy(mask),
            "spacing": spacing,
        }
        fixed = [self.recipe.data.normalise]
        if self.recipe.data.crop_foreground:
            fixed.insert(0, CropForeground())
        full_size = tuple(array.shape[1:])
        sample = apply(fixed, sample, np.random.default_rng(0))
        return {**sample, "full_size": full_size, "original_size": image.size}

    def _coloured(self, image) -> np.ndarray:
        """Return the channels that the model takes, float32."""
        wanted = (self.facts.dims, self.facts.channels)
        array = image.array.astype(np.float32)
        grey_as_rgb = self.recipe.data.colour != "grey" and len(array) < self.facts.channels
        if image.dims == 2 and (grey_as_rgb or self.recipe.data.colour == "grey"):
            array = recoloured(array, self.facts.channels)
        if (image.dims, len(array)) != wanted:
            raise DataError(
                f"{image.path} has {image.dims} dimensions and {len(image.array)} channel(s); this "
                f"model was trained on {wanted[0]} and {wanted[1]}. Convert it or train anew."
            )
        return array

    def _classes(self, values: np.ndarray) -> np.ndarray:
        """Turn mask values into class indices."""
        data = self.recipe.data
        classes = np.full(values.shape, IGNORED, np.int16)
        if data.target == "foreground":
            np.copyto(classes, values != 0, casting="unsafe")
        elif data.target == "instances":
            ignored = values == (0 if data.ignore is None else data.ignore)
            classes = rim_and_core(np.where(ignored, 0, values), width=data.rim)
        else:
            for index, value in enumerate(self.facts.labels.values()):
                classes[values == value] = index
        if data.ignore is not None:
            classes[values == data.ignore] = IGNORED
        return classes


def _needs_image(case: Case) -> bool:
    return Path(case.target).suffix.lower() in ("", ".dcm")


class TrainingCrops:
    """Fetch one augmented training crop."""

    def __init__(self, cases: Sequence[Case], prepared: Prepared, recipe: SegmentRecipe):
        self.cases, self.prepared = list(cases), prepared
        patch = prepared.facts.patch
        # Rotations and scalings look beyond the crop: cut generously first, to size at the end.
        spatial = any(item.name in ("rotate", "scale", "elastic") for item in recipe.augment)
        generous = tuple(math.ceil(side * 1.2) for side in patch) if spatial else patch
        seek = RandomCrop(
            size=generous, foreground=recipe.data.foreground, ignore=IGNORED, mask_fill=0
        )
        self.transforms = [seek, *recipe.augment, CentreCrop(size=patch)]

    def __call__(self, index: int, rng: np.random.Generator) -> tuple[str, Any, Any]:
        """Return (id, image (C, *patch), class indices (*patch))."""
        case = self.cases[index]
        kept = self.prepared.sample(case)
        sample = {key: kept[key] for key in ("image", "spacing")}
        sample["mask"] = kept["mask"].long()
        made = apply(self.transforms, sample, rng)
        return case.id, made["image"], made["mask"]


class WholeCases:
    """Fetch one whole, unchanged case."""

    def __init__(self, cases: Sequence[Case], prepared: Prepared):
        self.cases, self.prepared = list(cases), prepared

    def __call__(self, index: int, rng: np.random.Generator) -> tuple[str, Any, Any]:
        """Return (id, image (C, *size), facts to put the prediction back)."""
        case = self.cases[index]
        kept = self.prepared.sample(case)
        frame = {key: kept.get(key) for key in ("box", "full_size", "original_size")}
        return case.id, kept["image"], frame


def stack_crops(items: Sequence[tuple]) -> Batch:
    """Join training crops."""
    ids, images, masks = zip(*items, strict=True)
    return Batch(list(ids), torch.stack(images), torch.stack(masks))


def one_case(items: Sequence[tuple]) -> Batch:
    """Wrap one whole case (sizes differ, so there is one in a batch)."""
    case_id, image, frame = items[0]
    return Batch([case_id], image[None], None, {"frame": frame})


def split_cases(
    cases: Sequence[Case], share: float, seed: int, *, folds: int | None = None, fold: int = 0
) -> tuple[list[Case], list[Case], str]:
    """Return training and validation cases and a sentence; see `engine.splits.split_cases`.

    Raises:
        DataError: training cases without masks, or too few cases to split.
    """
    usable = [case for case in cases if case.extra.get("split") != "test"]
    blind = [f"{case.input[0]}" for case in usable if case.target is None]
    if blind:
        raise listed(f"{len(blind)} training case(s) have no mask; add it or remove them", blind)
    return splits.split_cases(cases, share, seed, folds=folds, fold=fold)
