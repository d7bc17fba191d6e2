"""What kind of mistakes a detector makes, and what each kind costs (TIDE, Bolya et al. 2020).

Every detection that is wrong at the overlap `foreground` is of one kind, decided in the order of
the authors' program: localisation (right class, overlap below `foreground` but not below
`background`), classification (another class's object overlaps enough), duplicate (the object was
found already), background (nothing overlaps by more than `background`), both (another class and
too little overlap). True objects that nobody found and that no localisation or classification
error points at are missed.

A kind costs what average precision gains when it is repaired: a localisation or classification
error becomes right if it is the best that points at an object nobody found, and is removed
otherwise; the other kinds are removed; missed objects are no longer counted.

Numbers of errors and gains are those of the authors' tidecv 1.0.1, except where a recall falls
exactly on one of the 101 levels: those are COCO's here, which tidecv rounds differently.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vesalius.detect.coco import check_classes
from vesalius.detect.coco_arrays import Detections, Truths, subset
from vesalius.detect.coco_matching import Matching, match, run_starts
from vesalius.detect.coco_overlaps import Pairs, overlapping
from vesalius.detect.coco_precision import precision_table
from vesalius.errors import DataError

KINDS = ("classification", "localisation", "both", "duplicate", "background")


@dataclass(frozen=True, eq=False)
class ErrorKinds:
    """The mistakes of a detector.

    Attributes:
        ap: average precision at the overlap `foreground`, mean over classes.
        counts: kind -> number, in the order of `KINDS`, then "missed".
        gains: kind -> average precision gained by repairing it; also "false positives" (all wrong
            detections removed) and "false negatives" (objects that were not found not counted).
        detections: (D,) for each detection the index of its kind in `KINDS`, or -1: not wrong.
        missed: (N,) bool, true objects that were missed.
    """

    ap: float
    counts: dict[str, int]
    gains: dict[str, float]
    detections: NDArray[np.int64]
    missed: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Wrong:
    """The wrong detections: places in the matching, kinds, and the object each points at or -1."""

    places: NDArray[np.int64]
    kinds: NDArray[np.int64]
    targets: NDArray[np.int64]
    overlaps: NDArray[np.float64]


def error_kinds(
    truths: Truths,
    detections: Detections,
    *,
    classes: int,
    foreground: float = 0.5,
    background: float = 0.1,
    max_detections: int = 100,
    kind: str = "bbox",
) -> ErrorKinds:
    """Return the kinds of mistakes, their numbers, and what repairing each would gain.

    Args:
        classes: number of classes.
        foreground: overlap from which a detection is right.
        background: overlap up to which it has nothing to do with an object.
        max_detections: the best per image and class.
        kind: "bbox" or "segm".

    Raises:
        DataError: overlaps that are not 0 < background < foreground <= 1, or a label that is no
            class.
    """
    if not 0 < background < foreground <= 1:
        raise DataError(
            f"background is {background}, foreground {foreground}; give 0 < background < "
            "foreground <= 1."
        )
    check_classes(truths, detections, classes)
    matching = match(truths, detections, thresholds=[foreground], limit=max_detections, kind=kind)
    wrong = _sorted_out(truths, detections, matching, foreground, background, kind)
    unfound = ~matching.ignored[0]
    unfound[matching.partners[0][matching.partners[0] >= 0]] = False
    missed = unfound.copy()
    missed[wrong.targets[wrong.targets >= 0]] = False

    own = np.full(len(detections), -1)
    own[matching.order[wrong.places]] = wrong.kinds
    counts = {name: int((wrong.kinds == k).sum()) for k, name in enumerate(KINDS)}
    ap = _ap(matching, classes)
    repaired = _repairs(truths, matching, wrong, unfound, missed)
    gains = {name: _ap(changed, classes) - ap for name, changed in repaired.items()}
    return ErrorKinds(ap, counts | {"missed": int(missed.sum())}, gains, own, missed)


def _ap(matching: Matching, classes: int) -> float:
    values = precision_table(matching, classes=classes).per_class[0, 0]
    return float(np.mean(values[~np.isnan(values)])) if (~np.isnan(values)).any() else float("nan")


def _sorted_out(truths, detections, matching, foreground, background, kind) -> _Wrong:
    """Return the kind of each wrong detection."""
    places = np.flatnonzero(matching.kept[0, 0] & ~matching.hit[0, 0])
    labels = matching.labels[places]
    pairs = overlapping(
        truths,
        subset(detections, matching.order[places]),
        minimum=background,
        kind=kind,
        same_label=False,
    )
    pairs = pairs.where(~matching.ignored[0][pairs.truths])
    alike = labels[pairs.detections] == truths.labels[pairs.truths]
    same, nearest = _closest(pairs.where(alike), len(places))
    other, foreign = _closest(pairs.where(~alike), len(places))
    displaced = (same >= background) & (same < foreground) & (nearest >= 0)
    confused = ~displaced & (other >= foreground)
    rest = np.where(np.maximum(same, other) <= background, "background", "both")
    names = np.select(
        [displaced, confused, same >= foreground],
        ["localisation", "classification", "duplicate"],
        rest,
    )
    kinds = np.array([KINDS.index(name) for name in names.tolist()], np.int64)
    targets = np.select([displaced, confused], [nearest, foreign], -1)
    return _Wrong(places, kinds, targets, np.where(displaced, same, other))


def _closest(pairs: Pairs, number: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return each detection's highest overlap, 0 without one, and its object, else -1."""
    overlaps, objects = np.zeros(number), np.full(number, -1)
    order = np.lexsort((pairs.truths, -pairs.overlaps, pairs.detections))
    firsts = order[run_starts(pairs.detections[order])]
    overlaps[pairs.detections[firsts]] = pairs.overlaps[firsts]
    objects[pairs.detections[firsts]] = pairs.truths[firsts]
    return overlaps, objects


def _repairs(truths, matching, wrong: _Wrong, unfound, missed) -> dict[str, Matching]:
    """Return the matching with each kind repaired."""
    winners = _winners(matching, wrong, unfound)
    repaired = {}
    for k, name in enumerate(KINDS):
        chosen = wrong.kinds == k
        right = chosen & winners
        kept, hit, labels = matching.kept.copy(), matching.hit.copy(), matching.labels.copy()
        kept[..., wrong.places[chosen & ~right]] = False
        hit[..., wrong.places[right]] = True
        labels[wrong.places[right]] = truths.labels[wrong.targets[right]]
        repaired[name] = replace(matching, kept=kept, hit=hit, labels=labels)
    repaired["missed"] = replace(matching, ignored=matching.ignored | missed)
    repaired["false positives"] = replace(matching, kept=matching.hit)
    repaired["false negatives"] = replace(matching, ignored=matching.ignored | unfound)
    return repaired


def _winners(matching: Matching, wrong: _Wrong, unfound: NDArray) -> NDArray[np.bool_]:
    """Return which wrong detections point best, by score, then overlap, at an unfound object."""
    candidates = np.flatnonzero((wrong.targets >= 0) & unfound[wrong.targets])
    scores, overlaps = matching.scores[wrong.places[candidates]], wrong.overlaps[candidates]
    targets = wrong.targets[candidates]
    order = np.lexsort((candidates, -overlaps, -scores, targets))
    winners = np.zeros(len(wrong.places), bool)
    winners[candidates[order[run_starts(targets[order])]]] = True
    return winners
