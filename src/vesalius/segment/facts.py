"""What a segmentation learns from its data before it trains: labels, channels, patch, spacing."""

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.engine.task import Case
from vesalius.errors import DataError, RecipeError
from vesalius.images.layout import declared_channels, declared_labels, listed
from vesalius.images.read import geometry_problem, mask_labels, read_channels, read_mask
from vesalius.images.resample import median_spacing, resampled_size
from vesalius.segment.checks import check_recipe
from vesalius.segment.instances import CLASSES
from vesalius.segment.recipe import SegmentRecipe

LARGEST_PATCH = {2: 256, 3: 96}
FEW_LABELS = 64
LARGEST_VALUE = np.iinfo(np.uint16).max


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
    names: Mapping[str, int] = field(default_factory=dict)


def inspect_case(case: Case) -> Inspected:
    """Read a case's files; note their shape and labels and what is wrong with them."""
    try:
        image = read_channels(case.input)
        seen = Inspected([], image.dims, len(image.array), image.size, image.spacing)
        if not np.isfinite(image.array).all():
            wrong = int((~np.isfinite(image.array)).sum())
            seen.problems = [
                f"{image.path} has {wrong} values that are NaN or infinite. Replace them."
            ]
        elif case.target is not None:
            mask = read_mask(case.target, like=image)
            seen.values = tuple(np.unique(mask.array).tolist())
            seen.names = mask_labels(case.target)
            problem = geometry_problem(image, mask)
            seen.problems = [problem] if problem else []
        return seen
    except DataError as error:
        return Inspected([str(error)])


def inspect_all(
    source: str | Path,
    cases: Sequence[Case],
    recipe: SegmentRecipe,
    facts: Facts | None = None,
) -> list[Inspected]:
    """Read all files of a source; raise one DataError that lists everything that is wrong.

    With `facts` the images must be of the kind that the model was trained on, and the masks hold
    no other values; without, all of one kind.
    """
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        seen = list(threads.map(inspect_case, cases))
    problems = [problem for item in seen for problem in item.problems]
    seen = [replace(item, channels=_channels(item, recipe)) for item in seen]
    good = [(case, item) for case, item in zip(cases, seen, strict=True) if not item.problems]
    if facts is not None:
        problems += _unfit(good, facts)
    else:
        if {(item.dims, item.channels) for _, item in good} == {(2, 1), (2, 3)}:
            for _, item in good:
                item.channels = 3  # grey pictures among coloured ones lose nothing as rgb
        problems += _odd_ones(good)
    if problems:
        raise listed(f"{source}: {len(problems)} of {len(cases)} cases cannot be used", problems)
    if facts is not None and recipe.data.target == "labels":
        check_values(cases, seen, {*facts.labels.values(), recipe.data.ignore})
    return seen


def _unfit(good: Sequence[tuple[Case, Inspected]], facts: Facts) -> list[str]:
    """Say which images are not of the kind that the model was trained on."""
    fit = {(facts.dims, facts.channels)}
    if fit == {(2, 3)}:
        fit.add((2, 1))  # read as rgb
    return [
        f"{case.input[0]} has {item.dims} dimensions and {item.channels} channel(s); this model "
        f"was trained on {facts.dims} and {facts.channels}. Convert it or train anew."
        for case, item in good
        if (item.dims, item.channels) not in fit
    ]


def _channels(item: Inspected, recipe: SegmentRecipe) -> int:
    """Return the channels that a file has once it is in the recipe's colours."""
    if item.dims != 2 or item.channels not in (1, 3) or recipe.data.colour == "auto":
        return item.channels
    return 1 if recipe.data.colour == "grey" else 3


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


def learn(
    source: str | Path, cases: Sequence[Case], seen: Sequence[Inspected], recipe: SegmentRecipe
) -> Facts:
    """Work out what the model must know of the data.

    Raises:
        DataError: no case has a mask; the masks hold too many values to be classes, or one alone; a
            value is not declared.
        RecipeError: patch, spacing, window or weights do not fit the number of axes or labels.
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
    facts = Facts(
        dims=known[0].dims,
        channels=known[0].channels,
        labels=labels,
        patch=_patch(sizes, recipe),
        spacing=spacing,
        channel_names=declared_channels(source),
    )
    check_recipe(recipe, facts)
    return facts


def _spacing(known: Sequence[Inspected], recipe: SegmentRecipe) -> tuple[float, ...] | None:
    wanted = recipe.data.spacing
    if wanted == "median":
        return median_spacing([item.spacing for item in known])
    if wanted is not None and len(wanted) != known[0].dims:
        raise RecipeError(
            f"data.spacing has {len(wanted)} numbers; the images have {known[0].dims} axes"
        )
    return wanted


def _patch(sizes: Sequence[tuple[int, ...]], recipe: SegmentRecipe) -> tuple[int, ...]:
    dims = len(sizes[0])
    if recipe.data.patch != "auto":
        if len(recipe.data.patch) != dims:
            raise RecipeError(
                f"data.patch has {len(recipe.data.patch)} numbers; the images have {dims} axes"
            )
        return recipe.data.patch
    middle = np.median(np.array(sizes), axis=0)
    # Models take any size; these keep the sides even through the poolings, which is fastest.
    step = {2: 16, 3: 8}[dims]
    return tuple(min(LARGEST_PATCH[dims], max(16, step * math.ceil(n / step))) for n in middle)


def _labels(source, cases, seen, recipe: SegmentRecipe) -> dict[str, int]:
    data = recipe.data
    values = sorted({value for item in seen for value in item.values} - {data.ignore})
    if data.target != "labels" and set(values) <= {0}:
        raise DataError(
            f"{source}: all masks are empty, so there is nothing to learn. Check the masks."
        )
    if data.target == "instances":
        if data.labels:
            raise RecipeError(
                "data.target=instances learns rim and core; leave data.labels out, it names classes"
            )
        return dict(CLASSES)
    if data.target == "foreground":
        names = list(data.labels) if data.labels else ["background", "foreground"]
        if len(names) != 2:
            raise RecipeError("data.target=foreground has two labels; data.labels must name two")
        return dict(zip(names, (0, 1), strict=True))
    labels = data.labels or declared_labels(source) or _segment_names(cases, seen)
    if labels is None:
        if len(values) > FEW_LABELS:
            raise DataError(
                f"{source}: the masks hold {len(values)} different values. If they number single "
                "objects (instances), say data.target=instances, or data.target=foreground "
                "where they need not be told apart; if they are classes, name them in data.labels."
            )
        labels = _named(values)
    labels = {name: value for name, value in labels.items() if value != data.ignore}
    if len(labels) < 2:
        raise DataError(
            f"{source}: the masks hold nothing but {', '.join(labels) or 'ignored pixels'}, so "
            "there is nothing to learn. Check the masks, or name the labels in data.labels."
        )
    if len(set(labels.values())) < len(labels):
        raise RecipeError(f"two labels have the same mask value: {labels}. Give each its own.")
    check_values(cases, seen, {*labels.values(), data.ignore})
    if min(labels.values()) < 0 or max(labels.values()) > LARGEST_VALUE:
        raise DataError(
            f"{source}: labels have the mask values {sorted(labels.values())}; masks are written "
            f"with values from 0 to {LARGEST_VALUE}. Renumber them, or name one in data.ignore."
        )
    background = _background(labels)
    return dict(sorted(labels.items(), key=lambda item: (item[1] != background, item[1])))


def _background(labels: Mapping[str, int]) -> int:
    """Return the mask value of the background: by its name, else 0, else that of the first."""
    first = 0 if 0 in labels.values() else next(iter(labels.values()))
    return labels.get("background", first)


def _named(values: Sequence[int]) -> dict[str, int]:
    """Name mask values that nobody has named."""
    others = [value for value in values if value != 0]
    if len(others) == 1:
        return dict(sorted({"background": 0, "foreground": others[0]}.items(), key=lambda i: i[1]))
    return {"background" if v == 0 else f"label {v}": v for v in sorted({0, *values})}


def _segment_names(cases, seen: Sequence[Inspected]) -> dict[str, int] | None:
    """Return the names that DICOM segmentations give their segments, or None for other masks.

    Raises:
        DataError: a number means another structure in another file, as it does where a program
            numbers the segments of every file from 1.
    """
    places: dict[int, tuple[str, Case]] = {}
    problems = []
    for case, item in zip(cases, seen, strict=True):
        for name, value in item.names.items():
            first, where = places.setdefault(value, (name, case))
            if first != name:
                problems.append(
                    f"segment {value} is '{name}' in {case.target}, '{first}' in {where.target}"
                )
    names = [name for name, _ in places.values()]
    problems += [
        f"'{name}' has the numbers {[value for value, (n, _) in places.items() if n == name]}"
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    if problems:
        raise listed(
            "DICOM segmentations that number their segments differently; give each structure the "
            "same number and name in all files, or save the masks as NIfTI",
            problems,
        )
    named = {name: value for value, (name, _) in sorted(places.items())}
    return {"background": 0, **named} if named else None


def check_values(
    cases: Sequence[Case], seen: Sequence[Inspected], allowed: set[int | None]
) -> None:
    """Raise one DataError that lists all masks with values that stand for no label."""
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
