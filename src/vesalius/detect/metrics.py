"""The scores of a detector: what the department's task and its reports use.

COCO's average precision over IoU 0.50 to 0.95 (AP), at 0.50 and 0.75, and average recall, from the
best 100 detections per image and class; FROC on demand. Objects marked as crowd or difficult are
neither to be found nor counted wrong. Hits, misses and false alarms are counted at one score and
IoU 0.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vesalius.detect.coco_arrays import Detections, Truths
from vesalius.detect.coco_matching import IOU_THRESHOLDS, Matching, match
from vesalius.detect.coco_precision import PrecisionTable, precision_table
from vesalius.detect.froc import FrocEvents, froc_events
from vesalius.detect.intervals import WeightedPrecision, bootstrap, mean_known
from vesalius.engine.task import Scores
from vesalius.errors import DataError

if TYPE_CHECKING:
    from vesalius.detect.scene import Scene

HEADLINES = ("AP", "AP50", "FROC")
RESAMPLES = 1000
"""Bootstrap resamples of an interval; training evaluates often."""
_PER_CLASS = ("AP", "AP50", "AP75", "AR")


@dataclass(frozen=True, eq=False)
class Comparison:
    """True and predicted objects of the same images as flat arrays.

    Attributes:
        truths, detections: their objects.
        ids, groups: of the images; a group is a patient or None.
        classes: names; labels count them.
    """

    truths: Truths
    detections: Detections
    ids: tuple[str, ...]
    groups: tuple[str | None, ...]
    classes: tuple[str, ...]


def score(
    truths: "Sequence[Scene]",
    predictions: "Sequence[Scene]",
    classes: Sequence[str],
    *,
    headline: str = "AP",
    kind: str = "bbox",
    max_detections: int = 100,
    min_score: float = 0.5,
    resamples: int = RESAMPLES,
    seed: int = 0,
    **rules: Any,
) -> Scores:
    """Compare predicted scenes with the truth.

    Args:
        truths: annotated scenes, those without objects included.
        predictions: one scene with scores for each, found by its id, in any order.
        classes: names of all classes.
        headline: "AP", "AP50" or "FROC"; FROC is only computed where it is the headline.
        kind: "bbox", or "segm": overlaps of masks.
        max_detections: the best per image and class.
        min_score: lowest score of the detections that are counted as hits and false alarms.
        resamples: bootstrap resamples of the 95 % intervals over images (patients where the truth
            has groups); 0: no intervals.
        seed: of the resamples.
        rules: for FROC: `hit`, `threshold`, `distance`, `spacing`, `duplicates` of `froc.froc`.

    Returns:
        values: AP, AP50, AP75, AR and, of the counted detections, precision, recall, f1; FROC.
        labels: per class AP, AP50, AP75, AR, objects, hits, false alarms, precision, recall.
        cases: per image objects, hits, misses, false alarms. intervals: of AP, AP50, AP75, AR,
        FROC; label_intervals: of AP, AP50, AP75, AR. NaN where no true object counts.

    Raises:
        DataError: scenes that do not correspond, unknown classes, missing scores or masks.
    """
    _check_headline(headline, rules)
    both = gather(truths, predictions, classes)
    matching = match(both.truths, both.detections, limit=max_detections, kind=kind)
    table = precision_table(matching, classes=len(classes), max_detections=(max_detections,))
    counts = _counts(both, matching, min_score)
    per_class = _per_class(table)
    values = {name: float(mean_known(per_class[name], 0)) for name in _PER_CLASS} | _rates(
        counts.sum((0, 1))
    )
    events = None
    if headline == "FROC":
        events = froc_events(both.truths, both.detections, images=len(both.ids), **rules)
        values["FROC"] = float(events.sensitivities(np.ones((1, len(both.ids)))).mean())
    found = _intervals(both, matching, events, resamples, seed) if resamples else ({}, {})
    return Scores(
        headline=headline,
        values=values,
        labels=_label_rows(both.classes, per_class, counts.sum(0)),
        cases=_case_rows(both.ids, counts.sum(1)),
        intervals=found[0],
        label_intervals=found[1],
    )


def gather(
    truths: "Sequence[Scene]", predictions: "Sequence[Scene]", classes: Sequence[str]
) -> Comparison:
    """Return the objects of the scenes as flat arrays; images are numbered as the truths are.

    Raises:
        DataError: an image that has no prediction, or no truth; a repeated id; labels that are no
            class; predictions without scores. All are listed.
    """
    if not classes or len(set(classes)) < len(classes):
        raise DataError(f"classes are {list(classes)}. Give at least one, each once.")
    known = {name: k for k, name in enumerate(classes)}
    found = {scene.id: scene for scene in predictions}
    _check_scenes(truths, predictions, found, known)
    answers = [found[scene.id] for scene in truths]
    objects = Truths(
        **_flat(truths, known),
        crowd=_joined([scene.crowd for scene in truths], bool),
        ignore=_joined([scene.difficult for scene in truths], bool),
    )
    scores = _joined([scene.scores for scene in answers if scene.count], np.float64)
    return Comparison(
        objects,
        Detections(**_flat(answers, known), scores=scores),
        tuple(scene.id for scene in truths),
        tuple(scene.group for scene in truths),
        tuple(classes),
    )


def _flat(scenes: "Sequence[Scene]", known: dict[str, int]) -> dict[str, Any]:
    """Return the arguments that truths and detections have in common."""
    counts = [scene.count for scene in scenes]
    dims = len(scenes[0].size) if scenes else 2
    boxes = [np.asarray(scene.boxes, np.float64).reshape(-1, 2 * dims) for scene in scenes]
    masks = None
    if all(scene.masks is not None for scene in scenes if scene.count):
        masks = tuple(runs for scene in scenes if scene.count for runs in scene.masks)
    return {
        "images": np.repeat(np.arange(len(scenes)), counts),
        "labels": np.array([known[name] for scene in scenes for name in scene.labels], np.int64),
        "boxes": np.concatenate([np.zeros((0, 2 * dims)), *boxes]),
        "areas": _joined([scene.areas for scene in scenes], np.float64),
        "masks": masks,
    }


def _joined(parts: Sequence[NDArray], kind: Any) -> NDArray:
    return np.concatenate([np.zeros(0, kind), *parts]).astype(kind)


def _check_headline(headline: str, rules: dict[str, Any]) -> None:
    if headline not in HEADLINES:
        raise DataError(f"headline is '{headline}'; known are {', '.join(HEADLINES)}.")
    if rules and headline != "FROC":
        raise DataError(f"{', '.join(rules)}: only headline='FROC' has these arguments.")


def _check_scenes(truths, predictions, found, known) -> None:
    own = {scene.id for scene in truths}
    dims = {len(scene.size) for scene in (*truths, *predictions)}
    problems = [
        f"image '{scene.id}' has no prediction" for scene in truths if scene.id not in found
    ]
    problems += [f"prediction '{key}' has no true scene" for key in found if key not in own]
    if len(own) < len(truths) or len(found) < len(predictions):
        problems.append("an id occurs twice; ids must differ")
    if len(dims) > 1:
        problems.append("pictures and volumes are mixed; score them apart")
    for scene in (*truths, *predictions):
        unknown = sorted({name for name in scene.labels if name not in known})
        if unknown:
            problems.append(f"scene '{scene.id}' has labels that are no class: {unknown}")
    for scene in predictions:
        if scene.count and scene.scores is None:
            problems.append(f"prediction '{scene.id}' has no scores")
    if problems:
        raise DataError("the predictions cannot be compared with the truth:", problems[:20])


def _per_class(table: PrecisionTable) -> dict[str, NDArray[np.float64]]:
    """Return each number of each class, (K,)."""
    ap, recall = table.per_class[0], table.recall[0, :, :, -1]
    return dict(zip(_PER_CLASS, _four(ap, recall, axis=0), strict=True))


def _four(ap: NDArray, recall: NDArray, *, axis: int) -> tuple[NDArray, ...]:
    """Return AP, AP50, AP75, AR from values of the ten thresholds along `axis`."""
    # All thresholds share their positives: where one is NaN, all are.
    first = int(np.flatnonzero(IOU_THRESHOLDS == 0.5)[0])
    second = int(np.flatnonzero(IOU_THRESHOLDS == 0.75)[0])
    return ap.mean(axis), ap.take(first, axis), ap.take(second, axis), recall.mean(axis)


def _counts(both: Comparison, matching: Matching, min_score: float) -> NDArray[np.int64]:
    """Return objects, hits and false alarms, (images, classes, 3), at IoU 0.5.

    Detections choose in the order of their scores, so those with high scores are matched as if
    the others were not there.
    """
    counts = np.zeros((len(both.ids), len(both.classes), 3), np.int64)
    counted = ~matching.ignored[0]
    np.add.at(counts[..., 0], (both.truths.images[counted], both.truths.labels[counted]), 1)
    sure = matching.scores >= min_score
    hit, kept = matching.hit[0, 0] & sure, matching.kept[0, 0] & sure
    np.add.at(counts[..., 1], (matching.images[hit], matching.labels[hit]), 1)
    wrong = kept & ~hit
    np.add.at(counts[..., 2], (matching.images[wrong], matching.labels[wrong]), 1)
    return counts


def _rates(counts: NDArray) -> dict[str, float]:
    objects, hits, false = (int(value) for value in counts)
    return {
        "precision": hits / (hits + false) if hits + false else float("nan"),
        "recall": hits / objects if objects else float("nan"),
        "f1": 2 * hits / (hits + false + objects) if objects + hits + false else float("nan"),
    }


def _label_rows(classes, per_class, counts) -> dict[str, dict[str, float]]:
    rows = {}
    for k, name in enumerate(classes):
        rates = _rates(counts[k])
        numbers = {key: float(values[k]) for key, values in per_class.items()}
        numbers |= dict(
            zip(("objects", "hits", "false alarms"), map(float, counts[k]), strict=True)
        )
        rows[name] = numbers | {key: rates[key] for key in ("precision", "recall")}
    return rows


def _case_rows(ids: Sequence[str], counts: NDArray) -> dict[str, dict[str, float]]:
    return {
        key: {
            "objects": float(objects),
            "hits": float(hits),
            "misses": float(objects - hits),
            "false alarms": float(false),
        }
        for key, (objects, hits, false) in zip(ids, counts.tolist(), strict=True)
    }


def _intervals(
    both: Comparison, matching: Matching, events: FrocEvents | None, resamples: int, seed: int
) -> tuple[dict, dict]:
    """Return intervals of the values and of the classes."""
    images, classes = len(both.ids), len(both.classes)
    weighted = WeightedPrecision(matching, images=images, classes=classes)

    def scores(weights: NDArray) -> NDArray:
        parts = np.stack(_four(*weighted(weights), axis=1), axis=1)  # (R, 4, K)
        table = [mean_known(parts, 2), *np.moveaxis(parts, 2, 0)]
        if events is not None:
            table.append(events.sensitivities(weights).mean(1, keepdims=True))
        return np.concatenate(table, axis=1)

    grouped = both.groups if any(group is not None for group in both.groups) else None
    ends = bootstrap(scores, images=images, groups=grouped, resamples=resamples, seed=seed)
    pairs = list(zip(ends.low.tolist(), ends.high.tolist(), strict=True))
    whole = dict(zip(_PER_CLASS, pairs, strict=False))
    if events is not None:
        whole["FROC"] = pairs[-1]
    return whole, {
        name: dict(zip(_PER_CLASS, pairs[4 * (k + 1) :], strict=False))
        for k, name in enumerate(both.classes)
    }
