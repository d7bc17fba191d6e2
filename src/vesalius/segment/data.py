"""From files to cases, and from cases to batches."""

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vesalius.engine.data import Batch
from vesalius.engine.task import Case
from vesalius.errors import DataError
from vesalius.images.layout import declared_channels, declared_labels, find_cases, listed
from vesalius.images.read import geometry_problem, read_channels, read_mask
from vesalius.images.resample import median_spacing, resample, resampled_size
from vesalius.images.transforms import CentreCrop, CropForeground, RandomCrop, apply
from vesalius.segment.recipe import SegmentRecipe

IGNORED = -1
"""Index of pixels that count for nothing, after mask values have become class indices."""
LARGEST_PATCH = {2: 256, 3: 96}
FEW_LABELS = 64


@dataclass(frozen=True)
class Facts:
    """What a segmentation learned from its training data; stored in config.json.

    Attributes:
        dims: 2 for pictures, 3 for volumes.
        channels: channels of the images.
        labels: name -> mask value, in the order of the class indices; the background first.
        patch: size of training crops and prediction windows.
        spacing: voxel size in mm that cases are resampled to, or None.
        channel_names: as the data set declares them, or None.
    """

    dims: int
    channels: int
    labels: Mapping[str, int]
    patch: tuple[int, ...]
    spacing: tuple[float, ...] | None = None
    channel_names: Sequence[str] | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Facts":
        """Rebuild from config.json."""
        spacing = values.get("spacing")
        return cls(
            dims=values["dims"],
            channels=values["channels"],
            labels=dict(values["labels"]),
            patch=tuple(values["patch"]),
            spacing=tuple(spacing) if spacing else None,
            channel_names=values.get("channel_names"),
        )


@dataclass
class Inspected:
    """What one look at a case's files found."""

    problems: list[str] = field(default_factory=list)
    dims: int = 0
    channels: int = 0
    size: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    values: tuple[int, ...] = ()


def inspect_case(case: Case) -> Inspected:
    """Read a case's files; note their shape and labels and what is wrong with them."""
    try:
        image = read_channels(case.input)
        seen = Inspected([], image.dims, len(image.array), image.size, image.spacing)
        if not np.isfinite(image.array).all():
            wrong = int((~np.isfinite(image.array)).sum())
            seen.problems = [f"{image.path} has {wrong} values that are NaN or infinite"]
        elif case.target is not None:
            mask = read_mask(case.target, like=image)
            seen.values = tuple(np.unique(mask.array).tolist())
            problem = geometry_problem(image, mask)
            seen.problems = [problem] if problem else []
        return seen
    except DataError as error:
        return Inspected([str(error)])


def inspect_all(
    source: str | Path, cases: Sequence[Case], recipe: SegmentRecipe
) -> list[Inspected]:
    """Read all files of a source; raise one DataError that lists everything that is wrong."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        seen = list(threads.map(inspect_case, cases))
    problems = [problem for item in seen for problem in item.problems]
    seen = [replace(item, channels=_channels(item, recipe)) for item in seen]
    good = [(case, item) for case, item in zip(cases, seen, strict=True) if not item.problems]
    if {(item.dims, item.channels) for _, item in good} == {(2, 1), (2, 3)}:
        for _, item in good:
            item.channels = 3  # grey pictures among coloured ones lose nothing as rgb
    problems += _odd_ones(good)
    if problems:
        raise listed(f"{source}: {len(problems)} of {len(cases)} cases cannot be used", problems)
    return seen


def _channels(item: Inspected, recipe: SegmentRecipe) -> int:
    """Return the channels that a file has once it is in the recipe's colours."""
    if item.dims != 2 or item.channels not in (1, 3) or recipe.data.colour == "auto":
        return item.channels
    return 1 if recipe.data.colour == "grey" else 3


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


def _odd_ones(good: Sequence[tuple[Case, Inspected]]) -> list[str]:
    """Say which cases differ from the others in dimensions or channels."""
    if not good:
        return []
    kinds = [(item.dims, item.channels) for _, item in good]
    usual = max(set(kinds), key=kinds.count)
    return [
        f"{case.input[0]} has {item.dims} dimensions and {item.channels} channel(s); most cases "
        f"have {usual[0]} and {usual[1]}. Convert it or remove the case."
        for case, item in good
        if (item.dims, item.channels) != usual
    ]


def read_cases(source: str | Path) -> list[Case]:
    """Return the cases of a folder, a table or a single image; see `vesalius.images.layout`."""
    return find_cases(source)


def learn(
    source: str | Path, cases: Sequence[Case], seen: Sequence[Inspected], recipe: SegmentRecipe
) -> Facts:
    """Work out what the model must know of the data.

    Raises:
        DataError: no case has a mask; the masks hold too many values to be classes; a value is
            not declared.
    """
    known = [item for case, item in zip(cases, seen, strict=True) if case.target is not None]
    if not known:
        raise DataError(f"{source}: no case has a mask to learn from. Add masks/ beside images/.")
    labels = _labels(source, cases, seen, recipe)
    spacing = _spacing(known, recipe)
    sizes = [
        resampled_size(item.size, spacing=item.spacing, new_spacing=spacing)
        if spacing
        else item.size
        for item in known
    ]
    return Facts(
        dims=known[0].dims,
        channels=known[0].channels,
        labels=labels,
        patch=_patch(sizes, recipe),
        spacing=spacing,
        channel_names=declared_channels(source),
    )


def _spacing(known: Sequence[Inspected], recipe: SegmentRecipe) -> tuple[float, ...] | None:
    wanted = recipe.data.spacing
    if wanted == "median":
        return median_spacing([item.spacing for item in known])
    if wanted is not None and len(wanted) != known[0].dims:
        raise DataError(f"data.spacing has {len(wanted)} numbers; the images have {known[0].dims}")
    return wanted


def _patch(sizes: Sequence[tuple[int, ...]], recipe: SegmentRecipe) -> tuple[int, ...]:
    dims = len(sizes[0])
    if recipe.data.patch != "auto":
        if len(recipe.data.patch) != dims:
            raise DataError(f"data.patch has {len(recipe.data.patch)} numbers, the images {dims}")
        return recipe.data.patch
    middle = np.median(np.array(sizes), axis=0)
    # Models take any size; these keep the sides even through the poolings, which is fastest.
    step = {2: 16, 3: 8}[dims]
    return tuple(min(LARGEST_PATCH[dims], max(16, step * math.ceil(n / step))) for n in middle)


def _labels(source, cases, seen, recipe: SegmentRecipe) -> dict[str, int]:
    data = recipe.data
    if data.target == "foreground":
        names = list(data.labels) if data.labels else ["background", "foreground"]
        if len(names) != 2:
            raise DataError("data.target=foreground has two labels; data.labels must name two")
        return dict(zip(names, (0, 1), strict=True))
    values = sorted({value for item in seen for value in item.values} - {data.ignore})
    labels = data.labels or declared_labels(source)
    if labels is None:
        if len(values) > FEW_LABELS:
            raise DataError(
                f"{source}: the masks hold {len(values)} different values. If they number single "
                "objects (instances), say data.target=foreground; if they are classes, name them "
                "in data.labels."
            )
        labels = {_name(value): value for value in sorted({0, *values})}
    labels = {name: value for name, value in labels.items() if value != data.ignore}
    _check_declared(cases, seen, set(labels.values()) | {data.ignore})
    return dict(sorted(labels.items(), key=lambda item: item[1]))


def _name(value: int) -> str:
    return "background" if value == 0 else f"label {value}"


def _check_declared(cases, seen, allowed: set) -> None:
    problems = []
    for case, item in zip(cases, seen, strict=True):
        unknown = [value for value in item.values if value not in allowed]
        if unknown:
            problems.append(f"{case.target} holds {unknown[:8]}, which no label is declared for")
    if problems:
        raise listed(
            "masks with undeclared values; add them to data.labels (or dataset.json), name one in "
            "data.ignore, or mend the masks",
            problems,
        )


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
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4

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
        image = read_channels(case.input) if _needs_image(case) else None
        return self._classes(read_mask(case.target, like=image).array)

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
    cases: Sequence[Case], share: float, seed: int
) -> tuple[list[Case], list[Case], str]:
    """Return training and validation cases and a sentence that says how they were split.

    A split that the source names is kept; else whole groups (patients) are drawn.

    Raises:
        DataError: training cases without masks, or too few cases to split.
    """
    usable = [case for case in cases if case.extra.get("split") != "test"]
    blind = [f"{case.input[0]}" for case in usable if case.target is None]
    if blind:
        raise listed(f"{len(blind)} training case(s) have no mask; add it or remove them", blind)
    named = {case.extra.get("split") for case in usable}
    if "valid" in named:
        valid = [case for case in usable if case.extra.get("split") == "valid"]
        train = [case for case in usable if case.extra.get("split") != "valid"]
        if not train:
            raise DataError("every case is marked valid: there is nothing to train on")
        return train, valid, "as the source names it"
    if share == 0:
        return list(usable), [], "all cases train; none validate"
    groups = sorted({case.group or case.id for case in usable})
    if len(groups) < 2:
        raise DataError("one case (or one patient) cannot be split; set data.valid_share=0")
    held = max(1, min(len(groups) - 1, round(share * len(groups))))
    drawn = set(np.random.default_rng((seed, 3)).permutation(groups)[:held].tolist())
    train = [case for case in usable if (case.group or case.id) not in drawn]
    valid = [case for case in usable if (case.group or case.id) in drawn]
    kind = "patients" if any(case.group for case in usable) else "cases"
    return train, valid, f"{held} of {len(groups)} {kind} drawn at random (seed {seed})"
