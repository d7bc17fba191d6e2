"""What a reader has found, before it is checked; and the checks, the same for all formats.

A reader fills one `Draft` per image and keeps quiet about boxes. `finish` looks at all boxes of a
source at once and either lists every wrong one or, on request, repairs them and counts the repairs.
"""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vesalius.detect.formats.outlines import Outlines
from vesalius.detect.scene import Scene

Policy = Literal["refuse", "repair"]
SLACK = 1.0
"""Pixels by which a box may cross the border (other counting of pixels): it is clipped."""
HEAL = "Correct it, or read with boxes='repair', which {}."


@dataclass(frozen=True)
class Request:
    """What is to be read.

    Attributes:
        source: a file or a folder.
        images: folder of the images where they do not lie beside the annotations.
        boxes: what happens to wrong boxes.
        classes: names that may occur (and name YOLO's numbers where no file does), or None.
        check_sizes: compare every size with the image's header where that costs extra (COCO).
    """

    source: Path
    images: Path | None = None
    boxes: Policy = "refuse"
    classes: tuple[str, ...] | None = None
    check_sizes: bool = False


@dataclass
class Draft:
    """One image and its objects as a file tells them; the lists have one entry per object.

    Attributes:
        file: where the annotation stands; names errors.
        boxes: corners, or None where the outline decides.
        places: where in `file` an object stands, as "line 3".
        outlines: polygons (lists of (K, 2) points), run lengths, or None.
        areas: as annotated, or None.
        scores: of predictions, or None.
    """

    id: str
    path: Path | None
    size: tuple[int, ...]
    file: Path
    boxes: list[Sequence[float] | None] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    outlines: list[Any] = field(default_factory=list)
    areas: list[float | None] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    difficult: list[bool] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    group: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def add(
        self,
        label: str,
        box: Sequence[float] | None,
        place: str,
        *,
        outline: Any = None,
        area: float | None = None,
        score: float | None = None,
        crowd: bool = False,
        difficult: bool = False,
        truncated: bool = False,
    ) -> None:
        """Add one object."""
        self.labels.append(label)
        self.boxes.append(box)
        self.places.append(place)
        self.outlines.append(outline)
        self.areas.append(area)
        self.scores.append(score)
        self.crowd.append(crowd)
        self.difficult.append(difficult)
        self.truncated.append(truncated)


@dataclass
class Findings:
    """What is wrong with a source, and what was done about it.

    Attributes:
        problems: what has to be mended by hand; any of them refuses the source.
        repairs: what was clipped or dropped -> how often.
    """

    problems: list[str] = field(default_factory=list)
    repairs: Counter[str] = field(default_factory=Counter)

    def add(self, file: Path | str, place: str, message: str) -> None:
        """Note a problem and where it is."""
        self.problems.append(f"{file}, {place}: {message}" if place else f"{file}: {message}")


def finish(
    drafts: Sequence[Draft],
    findings: Findings,
    *,
    boxes: Policy = "refuse",
    classes: Sequence[str] | None = None,
) -> list[Scene]:
    """Check all objects and return the scenes; what is wrong is added to `findings`.

    Args:
        drafts: as read.
        findings: takes problems and repairs.
        boxes: "refuse" lists wrong boxes; "repair" clips and drops them and counts.
        classes: the names that may occur; None for any.
    """
    _check_ids(drafts, findings)
    if classes is not None:
        _check_labels(drafts, findings, classes)
    for draft in drafts:
        _measure_outlines(draft)
    by_dims = {dims: [d for d in drafts if len(d.size) == dims] for dims in (2, 3)}
    kept: dict[int, NDArray[np.bool_]] = {}
    corners: dict[int, NDArray[np.float64]] = {}
    for dims, group in by_dims.items():
        made, good = _check_boxes(group, dims, findings, boxes)
        ends = np.cumsum([len(draft.boxes) for draft in group])[:-1] if group else []
        for draft, some, keep in zip(
            group, np.split(made, ends), np.split(good, ends), strict=bool(group)
        ):
            corners[id(draft)], kept[id(draft)] = some, keep
    return [_scene(d, corners[id(d)], kept[id(d)], findings, boxes) for d in drafts]


def _check_ids(drafts: Sequence[Draft], findings: Findings) -> None:
    counts = Counter(draft.id for draft in drafts)
    for name, count in counts.items():
        if count > 1:
            files = ", ".join(str(d.path or d.file) for d in drafts if d.id == name)
            findings.problems.append(
                f"The id '{name}' occurs {count} times: {files}. Rename or remove all but one."
            )


def _check_labels(drafts: Sequence[Draft], findings: Findings, classes: Sequence[str]) -> None:
    known = set(classes)
    for draft in drafts:
        if known.issuperset(draft.labels):
            continue
        for label, place in zip(draft.labels, draft.places, strict=True):
            if label not in known:
                near = difflib.get_close_matches(label, classes, n=1)
                hint = f" Did you mean '{near[0]}'?" if near else ""
                findings.add(
                    draft.file,
                    place,
                    f"the label '{label}' is none of {', '.join(classes)}.{hint} Correct it, or "
                    "add it to the classes.",
                )


def _measure_outlines(draft: Draft) -> None:
    """Give objects without a box the one of their outline."""
    for k, box in enumerate(draft.boxes):
        if box is None:
            draft.boxes[k] = Outlines((draft.outlines[k],), draft.size).box(0)


def _check_boxes(
    drafts: Sequence[Draft], dims: int, findings: Findings, policy: Policy
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return all boxes, clipped, and which of them are good."""
    counts = [len(draft.boxes) for draft in drafts]
    flat = [box for draft in drafts for box in draft.boxes]
    given = np.array(flat, np.float64).reshape(-1, 2 * dims)
    sides = np.repeat(
        np.array([draft.size[::-1] for draft in drafts], np.float64).reshape(-1, dims), counts, 0
    )
    low, high = given[:, :dims], given[:, dims:]
    clipped = np.hstack([np.clip(low, 0, sides), np.clip(high, 0, sides)])
    finite = np.isfinite(given).all(axis=1)
    order = finite & (high > low).all(axis=1)
    inside = ((low >= -SLACK) & (high <= sides + SLACK)).all(axis=1)
    overlaps = (clipped[:, dims:] > clipped[:, :dims]).all(axis=1)
    changed = order & overlaps & (clipped != given).any(axis=1)
    good = order & overlaps
    if policy == "refuse":
        good &= inside
        changed &= inside
    if changed.any():
        findings.repairs["boxes clipped to the image"] += int(changed.sum())
    kinds = (
        (~finite, "boxes that are not finite dropped", "has numbers that are not finite"),
        (finite & ~order, "boxes without extent dropped", "has no extent"),
        (order & ~good, "boxes outside the image dropped", "reaches beyond the image"),
    )
    for wrong, repair, complaint in kinds:
        if policy == "repair" and wrong.any():
            findings.repairs[repair] += int(wrong.sum())
        elif wrong.any():
            _complain(drafts, counts, given, wrong, complaint, findings)
    return clipped, good


def _complain(drafts, counts, given, wrong, complaint: str, findings: Findings) -> None:
    starts = np.cumsum([0, *counts])
    for index in np.flatnonzero(wrong).tolist():
        number = int(np.searchsorted(starts, index, side="right")) - 1
        draft = drafts[number]
        box = ", ".join(f"{value:g}" for value in given[index])
        size = " x ".join(str(side) for side in draft.size[::-1])
        findings.add(
            draft.file,
            draft.places[index - int(starts[number])],
            f"the box ({box}) {complaint} ({size} pixels). "
            + HEAL.format("clips it or drops what is left empty"),
        )


def _scene(
    draft: Draft,
    corners: NDArray[np.float64],
    good: NDArray[np.bool_],
    findings: Findings,
    policy: Policy,
) -> Scene:
    arrays: Mapping[str, Any] = {
        name: np.array(getattr(draft, name), bool) for name in ("crowd", "difficult", "truncated")
    }
    masks = _masks(draft, corners, good, findings, policy)
    scores = None
    if any(score is not None for score in draft.scores):
        scores = np.array([np.nan if s is None else s for s in draft.scores], float)
        _check_scores(draft, scores, findings)
    areas = np.array([np.nan if area is None else area for area in draft.areas], float)
    scene = Scene(
        draft.id,
        draft.path,
        draft.size,
        corners,
        tuple(draft.labels),
        masks=masks,
        scores=scores,
        areas=np.where(np.isnan(areas), 0.0, areas),
        group=draft.group,
        extra=draft.extra,
        **arrays,
    )
    kept = scene if good.all() else scene.subset(good)
    missing = np.isnan(areas)[good]
    if missing.any():
        measured = _areas(kept)
        kept = replace(kept, areas=np.where(missing, measured, kept.areas))
    return kept


def _areas(scene: Scene) -> NDArray[np.float64]:
    if scene.masks is None:
        dims = scene.dims
        return np.prod(scene.boxes[:, dims:] - scene.boxes[:, :dims], axis=1)
    return np.array([scene.masks.area(k) for k in range(scene.count)])


def _check_scores(draft: Draft, scores: NDArray[np.float64], findings: Findings) -> None:
    for k in np.flatnonzero(~((scores >= 0) & (scores <= 1))).tolist():
        findings.add(
            draft.file,
            draft.places[k],
            f"the score {draft.scores[k]} is not between 0 and 1, or is missing while other "
            "objects have one. Give every object a score or none.",
        )


def _masks(
    draft: Draft,
    corners: NDArray[np.float64],
    good: NDArray[np.bool_],
    findings: Findings,
    policy: Policy,
) -> Outlines | None:
    """Return the outlines, or None where no object has one."""
    bare = [k for k, outline in enumerate(draft.outlines) if outline is None and good[k]]
    if all(outline is None for outline in draft.outlines):
        return None
    outlines = list(draft.outlines)
    for k, outline in enumerate(outlines):
        if outline is None:
            outlines[k] = [rectangle(corners[k])]
    if bare and policy == "repair":
        findings.repairs["boxes taken as outlines"] += len(bare)
    elif bare:
        for k in bare:
            findings.add(
                draft.file,
                draft.places[k],
                "has no outline, though other objects of the image have one. "
                + HEAL.format("takes its box as its outline"),
            )
    return Outlines(tuple(outlines), draft.size)


def rectangle(box: Sequence[float]) -> NDArray[np.float64]:
    """Return the four corners (4, 2) of a box (x1, y1, x2, y2)."""
    x1, y1, x2, y2 = (float(value) for value in box)
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
