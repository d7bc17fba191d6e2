"""The scores of a segmentation: per case, per label and over all pixels.

Rules, stated because libraries differ: the background has no Dice or IoU of its own in the means.
A label that is neither in a case's truth nor in its prediction gives NaN and is left out of means
(how often is counted); one that is missed or invented gives 0 and is never left out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from vesalius.engine.task import Scores
from vesalius.segment.metrics import ConfusionMatrix, bootstrap, bootstrap_counts
from vesalius.segment.metrics.instances import Matches, match_instances, pooled_panoptic_quality

RESAMPLES = 2000
"""Bootstrap resamples of a score's interval; training evaluates often."""
PER_CASE = ("dice", "iou", "precision", "recall")


def score_cases(
    pairs: Iterable[tuple[str, np.ndarray, np.ndarray]],
    labels: Sequence[str],
    *,
    ignore: int | None = None,
    groups: Mapping[str, str] | None = None,
) -> Scores:
    """Compare truths with predictions, one case after the other.

    Args:
        pairs: (case id, true class indices, predicted class indices).
        labels: names of the classes, the background first.
        ignore: class index of the truth that counts for nothing.
        groups: case id -> patient; intervals then resample patients, not cases.

    Returns:
        values: `dice` (headline) and `iou`: means over cases and foreground labels; over all
        pixels of all cases at once: `global_dice`, `mean_iou` (with background),
        `pixel_accuracy`, `mean_pixel_accuracy`, `recall` (foreground), `fwiou`. labels: means over
        cases per label, with `global_dice`, `global_iou`, `pixels` and `absent` (cases where
        neither has it). cases: per case, the mean over foreground labels and each label's Dice.
        intervals, label_intervals: 95 % bootstrap intervals over cases of the means over cases.
    """
    whole = ConfusionMatrix(len(labels), ignore=ignore)
    cases: dict[str, dict[str, float]] = {}
    table: dict[str, list[np.ndarray]] = {name: [] for name in PER_CASE}
    for case_id, truth, prediction in pairs:
        own = ConfusionMatrix(len(labels), ignore=ignore)
        own.update(truth, prediction)
        whole.merge(own)
        row = {name: getattr(own, name)() for name in PER_CASE}
        for name in PER_CASE:
            table[name].append(row[name])
        cases[case_id] = {name: _mean(row[name][1:]) for name in PER_CASE}
        cases[case_id] |= {
            f"dice {labels[i]}": float(row["dice"][i]) for i in range(1, len(labels))
        }
    stacked = {name: np.array(rows).reshape(-1, len(labels)) for name, rows in table.items()}
    units = _units(cases, groups)
    return Scores(
        headline="dice",
        values=_overall(whole, stacked),
        labels=_per_label(whole, stacked, labels),
        cases=cases,
        intervals={
            name: _ends([row[name] for row in cases.values()], units)[0] for name in ("dice", "iou")
        },
        label_intervals=_label_intervals(stacked, labels, units),
    )


def _units(cases: Iterable[str], groups: Mapping[str, str] | None) -> list[str] | None:
    """Return the patient of each case, or None where every case is one of its own."""
    return None if groups is None else [groups.get(case) or case for case in cases]


def _label_intervals(stacked, labels, units) -> dict[str, dict[str, tuple[float, float]]]:
    ends = {name: _ends(stacked[name], units) for name in PER_CASE}
    return {label: {name: ends[name][i] for name in PER_CASE} for i, label in enumerate(labels)}


def _ends(values, units: list[str] | None) -> list[tuple[float, float]]:
    """Return the ends of the interval of each column's mean; NaN for fewer than two cases."""
    table = np.asarray(values, np.float64)
    if not len(table):
        return [(float("nan"), float("nan"))] * (table.shape[1] if table.ndim > 1 else 1)
    table = table.reshape(len(table), -1)
    found = bootstrap(table, resamples=RESAMPLES, groups=units)
    return [(float(low), float(high)) for low, high in zip(found.low, found.high, strict=True)]


def score_objects(
    pairs: Iterable[tuple[str, np.ndarray, np.ndarray]],
    *,
    ignore: int | None = None,
    groups: Mapping[str, str] | None = None,
) -> Scores:
    """Compare true with predicted objects, one case after the other.

    Args:
        pairs: (case id, true instances, predicted instances); 0 is the background.
        ignore: value of the truth that counts for nothing.
        groups: case id -> patient; intervals then resample patients, not cases.

    Returns:
        values: `instance_f1` (headline): F1 of objects matched at IoU above 0.5, over the objects
        of all cases together; `mean_instance_f1`: its mean over cases; `pq`, `sq`, `rq`: panoptic
        quality over all objects; then the scores of `score_cases` for the foreground as a whole.
        cases: per case the same, with `objects` and `predicted_objects`.
    """
    objects: dict[str, Matches] = {}

    def foregrounds() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        for case_id, truth, prediction in pairs:
            valid = np.ones(truth.shape, bool) if ignore is None else truth != ignore
            truth, prediction = truth * valid, prediction * valid
            objects[case_id] = match_instances(truth, prediction)
            yield case_id, np.where(valid, truth > 0, -1), prediction > 0

    scores = score_cases(foregrounds(), ["background", "foreground"], ignore=-1, groups=groups)
    for case_id, found in objects.items():
        scores.cases[case_id] |= {
            "instance_f1": found.f1,
            "pq": pooled_panoptic_quality([found])["pq"],
            "objects": found.tp + found.fn,
            "predicted_objects": found.tp + found.fp,
        }
    return replace(
        scores,
        headline="instance_f1",
        values=_of_objects(objects) | scores.values,
        intervals=_object_intervals(objects, groups) | dict(scores.intervals),
    )


def _object_intervals(objects: Mapping[str, Matches], groups) -> dict[str, tuple[float, float]]:
    """Return the interval of the pooled F1, which is a Dice of counted objects."""
    if not objects:
        return {}
    counts = {
        key: np.array([[getattr(found, key)] for found in objects.values()])
        for key in ("tp", "fp", "fn")
    }
    units = _units(objects, groups)
    found = bootstrap_counts(counts, resamples=RESAMPLES, groups=units)["mean_dice"]
    return {"instance_f1": (float(found.low), float(found.high))}


def _of_objects(objects: Mapping[str, Matches]) -> dict[str, float]:
    pooled = pooled_panoptic_quality(objects.values())
    return {
        "instance_f1": pooled["rq"],
        "mean_instance_f1": _mean(np.array([found.f1 for found in objects.values()], float)),
        **{name: pooled[name] for name in ("pq", "sq", "rq")},
    }


def _overall(whole: ConfusionMatrix, stacked) -> dict[str, float]:
    return {
        "dice": _mean(stacked["dice"][:, 1:]),
        "iou": _mean(stacked["iou"][:, 1:]),
        "global_dice": _mean(whole.dice()[1:]),
        "mean_iou": whole.mean_iou(),
        "pixel_accuracy": whole.pixel_accuracy(),
        "mean_pixel_accuracy": whole.mean_pixel_accuracy(),
        "recall": _mean(whole.recall()[1:]),
        "fwiou": whole.frequency_weighted_iou(),
    }


def _per_label(whole: ConfusionMatrix, stacked, labels) -> dict[str, dict[str, float]]:
    dice, iou, pixels = whole.dice(), whole.iou(), whole.counts.sum(1)
    return {
        name: {
            **{metric: _mean(stacked[metric][:, i]) for metric in PER_CASE},
            "global_dice": float(dice[i]),
            "global_iou": float(iou[i]),
            "pixels": int(pixels[i]),
            "absent": int(np.isnan(stacked["dice"][:, i]).sum()),
        }
        for i, name in enumerate(labels)
    }


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
