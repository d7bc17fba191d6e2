"""From scenes to batches: read, scale, normalise, keep, augment."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vesalius.detect import augment
from vesalius.detect.facts import Facts
from vesalius.detect.recipe import DetectRecipe
from vesalius.detect.scene import Scene
from vesalius.engine.data import Batch, free_memory
from vesalius.engine.task import Case
from vesalius.errors import DataError
from vesalius.images.read import read_channels
from vesalius.images.resample import resample_to

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


def scaled_size(
    size: Sequence[int], *, shortest: int | None, longest: int | None
) -> tuple[int, ...]:
    """Return the size that an image is scaled to: its shortest side as asked, if the longest fits.

    Girshick 2015 and Ren et al. 2015 take 600 and 1000, later works 800 and 1333.
    """
    factor = 1.0 if shortest is None else shortest / min(size)
    if longest is not None:
        factor = min(factor, longest / max(size))
    return tuple(max(1, round(side * factor)) for side in size)


class Prepared:
    """Read, scale and normalise images; keep them in memory where they fit.

    `sample(case)` returns {"image" float32 (C, *size), "boxes" float32 (N, 2 * dims) in its pixels,
    "labels" int64, "masks" bool (N, *size) or None, "proposals" or None, "original_size"}. Objects
    that are crowds or difficult are no targets.
    """

    def __init__(self, recipe: DetectRecipe, facts: Facts):
        self.recipe, self.facts = recipe, facts
        self._kept: dict[str, dict[str, Any]] = {}
        budget = {"none": 0, "memory": 1 << 62, "auto": free_memory() // 4}
        self._room = budget[recipe.data.cache]
        self._given: Mapping[str, Any] | None = None

    def sample(self, case: Case) -> dict[str, Any]:
        """Return a case ready for augmentation. Do not write into its tensors."""
        key = f"{case.id}\n{case.input}"
        if key not in self._kept:
            made = self._prepare(case)
            size = sum(value.nbytes for value in made.values() if isinstance(value, Tensor))
            if size > self._room:
                return made
            self._room -= size
            self._kept[key] = made
        return self._kept[key]

    def _prepare(self, case: Case) -> dict[str, Any]:
        data = self.recipe.data
        array = self.picture(case)
        size = scaled_size(array.shape[1:], shortest=data.shortest, longest=data.longest)
        scaled = resample_to(array, size)
        image = data.normalise({"image": torch.from_numpy(scaled)}, np.random.default_rng(0))
        made = {
            "image": image["image"],
            "original_size": tuple(array.shape[1:]),
            "proposals": None,
            **self._objects(case, tuple(array.shape[1:]), size),
        }
        if self.recipe.model.outside_proposals:
            found = self._proposals(case, scaled, tuple(array.shape[1:]))
            made["proposals"] = torch.from_numpy(found.astype(np.float32))
        return made

    def picture(self, case: Case) -> np.ndarray:
        """Return the channels that the model takes, float32 (C, *size), as stored.

        Raises:
            DataError: another kind of image than the model was trained on, or of another size
                than its annotation says.
        """
        image = read_channels((case.input,))
        array = image.array.astype(np.float32)
        if image.dims == 2 and len(array) == 1 and self.facts.channels == 3:
            array = np.repeat(array, 3, axis=0)
        elif image.dims == 2 and len(array) == 3 and self.facts.channels == 1:
            array = np.tensordot(LUMINANCE, array, axes=1)[None]
        if (image.dims, len(array)) != (self.facts.dims, self.facts.channels):
            raise DataError(
                f"{image.path} has {image.dims} dimensions and {len(image.array)} channel(s); this "
                f"model takes {self.facts.dims} and {self.facts.channels}. Convert it, or train "
                "anew."
            )
        if isinstance(case.target, Scene):
            case.target.check_size(array.shape[1:])
        return array

    def _objects(self, case: Case, old: tuple[int, ...], new: tuple[int, ...]) -> dict[str, Any]:
        dims = len(new)
        if not isinstance(case.target, Scene):
            none = {"boxes": torch.zeros(0, 2 * dims), "labels": torch.zeros(0, dtype=torch.long)}
            return {**none, "masks": None}
        scene = case.target.subset(~(case.target.crowd | case.target.difficult))
        place = {name: index for index, name in enumerate(self.facts.classes)}
        factors = np.array([n / o for n, o in zip(new, old, strict=True)])[::-1]
        boxes = (scene.boxes * np.tile(factors, 2)).astype(np.float32)
        found = {
            "boxes": torch.from_numpy(boxes),
            "labels": torch.tensor([place[name] for name in scene.labels], dtype=torch.long),
            "masks": self._masks(scene, new),
        }
        # Scaling may leave a small object without a pixel.
        found["image"] = torch.zeros(1, *new)
        found = augment.inside(found)
        del found["image"]
        return found

    def _masks(self, scene: Scene, size: tuple[int, ...]) -> Tensor | None:
        if not self.recipe.model.masks:
            return None
        if not scene.count:
            return torch.zeros(0, *size, dtype=torch.bool)
        if scene.masks is None:
            raise DataError(
                f"{scene.id} has boxes, but no masks, which {self.recipe.model.name} learns from; "
                "use model.name=faster_rcnn, or annotate outlines"
            )
        from vesalius.detect import rle

        masks = np.zeros((scene.count, *size), bool)
        for canvas, runs in zip(masks, scene.masks, strict=True):
            whole = rle.decode(runs)
            if whole.shape != size:
                whole = resample_to(whole[None].astype(np.float32), size)[0] >= 0.5
            canvas[:] = whole
        return torch.from_numpy(masks)

    # --- regions from outside -------------------------------------------------------------------

    def _proposals(self, case: Case, scaled: np.ndarray, original: tuple[int, ...]) -> np.ndarray:
        """Return regions in pixels of the scaled image."""
        options = self.recipe.data.proposals
        if options.file is not None:
            return self._from_file(case, options, scaled.shape[1:], original)
        from vesalius.detect.proposals import cached

        picture = np.moveaxis(scaled, 0, -1)
        low, high = float(picture.min()), float(picture.max())
        # Selective search knows bytes; other ranges are stretched to them.
        if low < 0 or high > 255 or high <= 1:
            picture = (picture - low) / max(high - low, 1e-6) * 255
        bytes_ = np.rint(picture).astype(np.uint8)
        folder = cache_folder() if options.folder is None else Path(options.folder)
        found = cached(
            folder, bytes_, mode=options.mode, seed=self.recipe.seed, min_size=options.min_size
        )
        return found[: options.most]

    def _from_file(self, case: Case, options, size, original) -> np.ndarray:
        if self._given is None:
            from vesalius.detect.proposals import read_proposals

            self._given = read_proposals(options.file)
        if case.id not in self._given:
            raise DataError(f"{options.file} has no regions for the image '{case.id}'")
        factors = np.array([n / o for n, o in zip(size, original, strict=True)])[::-1]
        return self._given[case.id].best(options.most).boxes * np.tile(factors, 2)


def cache_folder() -> Path:
    """Return where selective search keeps what it found: $XDG_CACHE_HOME/vesalius/proposals."""
    import os

    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "vesalius" / "proposals"


class TrainingImages:
    """Fetch one augmented training image with its objects."""

    def __init__(self, cases: Sequence[Case], prepared: Prepared, recipe: DetectRecipe):
        self.cases, self.prepared, self.recipe = list(cases), prepared, recipe

    def __call__(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return a sample with its id."""
        case = self.cases[index]
        sample = self.prepared.sample(case)
        if self.recipe.data.crop is not None:
            sample = cropped(sample, self.recipe.data.crop, rng)
        return {**augment.apply(self.recipe.augment, sample, rng), "id": case.id}


def cropped(
    sample: dict[str, Any], size: Sequence[int], rng: np.random.Generator
) -> dict[str, Any]:
    """Return a part of a sample, placed so that a random object's centre is in it, if it has any.

    Sides that are shorter than asked stay as they are.
    """
    whole = tuple(sample["image"].shape[1:])
    sides = [min(side, full) for side, full in zip(size, whole, strict=True)]
    boxes, dims = sample["boxes"], len(whole)
    room = [full - side for side, full in zip(sides, whole, strict=True)]
    starts = [int(rng.integers(0, free + 1)) for free in room]
    if len(boxes):
        box = boxes[int(rng.integers(len(boxes)))]
        centre = ((box[:dims] + box[dims:]) / 2).flip(0).tolist()
        for axis, (side, free) in enumerate(zip(sides, room, strict=True)):
            least = min(free, max(0, int(centre[axis]) - side + 1))
            most = max(least, min(free, int(centre[axis])))
            starts[axis] = int(rng.integers(least, most + 1))
    part = tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
    shift = torch.tensor(starts[::-1] * 2, dtype=boxes.dtype)
    masks, proposals = sample["masks"], sample["proposals"]
    return augment.inside(
        {
            **sample,
            "image": sample["image"][(slice(None), *part)],
            "boxes": boxes - shift,
            "masks": None if masks is None else masks[(slice(None), *part)],
            "proposals": None if proposals is None else proposals - shift,
        }
    )


class WholeImages:
    """Fetch one whole, unchanged image."""

    def __init__(self, cases: Sequence[Case], prepared: Prepared):
        self.cases, self.prepared = list(cases), prepared

    def __call__(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Return a sample with its id."""
        return {**self.prepared.sample(self.cases[index]), "id": self.cases[index].id}


def stack(items: Sequence[dict[str, Any]]) -> Batch:
    """Join images of any sizes with their objects."""
    inputs: dict[str, Any] = {"images": [item["image"] for item in items]}
    if items[0]["proposals"] is not None:
        inputs["proposals"] = [item["proposals"] for item in items]
    targets = [
        {"boxes": item["boxes"], "labels": item["labels"]}
        | ({} if item["masks"] is None else {"masks": item["masks"]})
        for item in items
    ]
    sizes = [item["original_size"] for item in items]
    return Batch([item["id"] for item in items], inputs, targets, {"original_sizes": sizes})
