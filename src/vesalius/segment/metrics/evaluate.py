"""All metrics of one case, label by label, under a stated convention.

The default convention (`profiles.describe("vesalius")`): background has no row; distances are in
units of the spacing between area-weighted surface elements; a label that is missed (in the truth
alone) or invented (in the prediction alone) has Dice and NSD 0 and distances infinite, so that it
is never dropped; one that neither map has is NaN.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vesalius.errors import DataError, RecipeError
from vesalius.segment.metrics import profiles
from vesalius.segment.metrics.boundary import SHARE
from vesalius.segment.metrics.pair import Case, LabelPair, label_names

SLOW = ("boundary_iou", "cldice")
"""Metrics that cost many times as much as all others together; computed when asked for."""
DEFAULT = tuple(metric for metric in profiles.METRICS if metric not in SLOW)

Values = dict[Hashable, dict[str, float]]


def evaluate(
    truth: Any,
    prediction: Any,
    *,
    labels: Sequence[int] | Mapping[Hashable, int] | None = None,
    spacing: float | Sequence[float] | None = None,
    tolerance: float | Mapping[Hashable, float] = 1.0,
    ignore: int | None = None,
    profile: str = "vesalius",
    metrics: Iterable[str] | str | None = None,
    beta: float = 1.0,
    boundary: float = SHARE,
) -> Values:
    """Compare a predicted label map with the truth.

    Args:
        truth: integers (H, W) or (D, H, W), numpy or torch.
        prediction: integers of the same shape.
        labels: the values to score, or a mapping of names to values; all but 0 that occur in
            either map if not given.
        spacing: size of a voxel along each axis of the array, in mm; one number for all; 1 if not
            given, so distances are in voxels.
        tolerance: distance up to which surfaces agree for NSD, in mm; one for each label (by the
            keys of the result) or one for all.
        ignore: voxels whose truth has this value count for nothing.
        profile: whose conventions to follow: vesalius, monai, medpy, surface-distance, nnunet,
            torchmetrics, panoptica or metrics-reloaded (`profiles.describe` says their rules).
        metrics: names to compute, or "all"; all but boundary_iou and cldice if not given (these
            two take many times as long as the rest together).
        beta: of `f_beta`; 1 weighs precision and recall alike.
        boundary: thickness of `boundary_iou` as a share of the image's diagonal.

    Returns:
        label (its name if names were given, its value otherwise) -> name -> number. Always there:
        `tp`, `tn`, `fp`, `fn` (exact voxel counts), `volume_truth` and `volume_prediction` (mm^3,
        in 2D mm^2), `diagonal` (of the image, mm: what a missed label is charged in `aggregate`).
        As chosen: `dice`, `iou`, `precision`, `recall`, `specificity`, `accuracy`, `f_beta`, `nsd`,
        `boundary_iou`, `cldice` (0 to 1), `mcc`, `kappa` (-1 to 1), `hd`, `hd95`, `assd` (mm).

    Raises:
        DataError: maps, spacing, tolerance or labels are not what they should be.
        RecipeError: there is no such profile or metric.

    Example:
        >>> values = evaluate([[0, 1, 1]], [[0, 1, 0]])
        >>> round(values[1]["dice"], 3), values[1]["hd"]
        (0.667, 1.0)
    """
    table = compare_profiles(
        truth,
        prediction,
        labels=labels,
        spacing=spacing,
        tolerance=tolerance,
        ignore=ignore,
        metrics=metrics,
        beta=beta,
        boundary=boundary,
        names=(profile,),
    )
    return table[profile]


def compare_profiles(
    truth: Any,
    prediction: Any,
    *,
    labels: Sequence[int] | Mapping[Hashable, int] | None = None,
    spacing: float | Sequence[float] | None = None,
    tolerance: float | Mapping[Hashable, float] = 1.0,
    ignore: int | None = None,
    metrics: Iterable[str] | str | None = None,
    beta: float = 1.0,
    boundary: float = SHARE,
    names: Sequence[str] | None = None,
) -> dict[str, Values]:
    """Evaluate one pair under several profiles, to see how far they disagree.

    Distances are computed once and shared.

    Args:
        names: of the profiles; all if not given. The others are those of `evaluate`.

    Returns:
        profile -> what `evaluate` returns.

    Raises:
        DataError, RecipeError: as `evaluate` does.
    """
    chosen = [profiles.find(name) for name in (profiles.PROFILES if names is None else names)]
    wanted = _metric_names(metrics)
    _check_share(beta, "beta", math.inf)
    _check_share(boundary, "boundary", 1.0)
    case = Case.of(truth, prediction, spacing, ignore)
    labels = label_names(labels, case.values() if labels is None else ())
    limits = _tolerances(tolerance, labels)
    table: dict[str, Values] = {profile.name: {} for profile in chosen}
    for name, pair in case.pairs(labels, limits, beta=float(beta), boundary=float(boundary)):
        # Made once for all libraries, so that they share its distances.
        plain = pair if pair.valid is None else pair.without_ignored()
        for profile in chosen:
            seen = pair if profile.keeps_ignored else plain
            table[profile.name][name] = _facts(pair) | {m: profile(m, seen) for m in wanted}
    return table


def aggregate(
    values: Iterable[float], *, penalty: float | Sequence[float] | None = None
) -> dict[str, float]:
    """Summarise one metric over cases without hiding those where it could not be measured.

    Args:
        values: one for each case: finite, infinite (missed or invented) or NaN (absent).
        penalty: what an infinite value counts as in the penalised mean: one number, or one for
            each case (the rule of `summarise`: the diagonal of the case's image, which no
            distance within the image exceeds). Not given: infinite values stay infinite.

    Returns:
        `mean` over finite values, `count` of these, `missed`: how many were infinite, `absent`:
        how many were NaN, `penalised_mean` over finite and infinite ones. Means of nothing are
        NaN.

    Raises:
        DataError: as many penalties as values are needed, or one.

    Example:
        >>> aggregate([1.0, 3.0, float("inf"), float("nan")], penalty=8.0)
        {'mean': 2.0, 'count': 2, 'missed': 1, 'absent': 1, 'penalised_mean': 4.0}
    """
    values = np.array(list(values), dtype=float)
    charge = np.asarray(math.inf if penalty is None else penalty, dtype=float)
    if charge.ndim and charge.shape != values.shape:
        raise DataError(f"{charge.size} penalties for {values.size} values; give one for each.")
    infinite = np.isinf(values)
    finite = values[np.isfinite(values)]
    charged = np.where(infinite, charge, values)[~np.isnan(values)]
    return {
        "mean": float(finite.mean()) if finite.size else math.nan,
        "count": int(finite.size),
        "missed": int(infinite.sum()),
        "absent": int(np.isnan(values).sum()),
        "penalised_mean": float(charged.mean()) if charged.size else math.nan,
    }


def summarise(cases: Iterable[Values]) -> dict[Hashable, dict[str, dict[str, float]]]:
    """Aggregate what `evaluate` returned for many cases, label by label.

    A distance that is infinite, or NaN although one of the two maps has the label (some profiles
    drop it so), counts as missed and is charged the diagonal of its image in the penalised mean.

    Args:
        cases: results of `evaluate`, one for each case, with the same labels or not.

    Returns:
        label -> metric -> `aggregate`, and under `missed` and `invented` and `absent` the number of
        cases where the label is in the truth alone, in the prediction alone, in neither. Cases
        whose result lacks a label (neither map has it) count as absent.
    """
    cases = list(cases)
    names = list(dict.fromkeys(name for case in cases for name in case))
    return {name: _summary([case[name] for case in cases if name in case], cases) for name in names}


def _summary(rows: list[dict[str, float]], cases: list[Values]) -> dict[str, Any]:
    sides = [(row["tp"] + row["fn"] > 0, row["tp"] + row["fp"] > 0) for row in rows]
    lacking = len(cases) - len(rows)
    summary: dict[str, Any] = {
        "cases": len(cases),
        "missed": sides.count((True, False)),
        "invented": sides.count((False, True)),
        "absent": sides.count((False, False)) + lacking,
    }
    for metric in profiles.METRICS:
        present = [i for i, row in enumerate(rows) if metric in row]
        if not present:
            continue
        values = [_charged(metric, rows[i][metric], sides[i]) for i in present]
        values += [math.nan] * lacking
        diagonals = [rows[i]["diagonal"] for i in present] + [0.0] * lacking
        summary[metric] = aggregate(values, penalty=diagonals)
    return summary


def _charged(metric: str, value: float, sides: tuple[bool, bool]) -> float:
    """Return a dropped distance of a label on one side only as infinite."""
    dropped = metric in ("hd", "hd95", "assd") and math.isnan(value) and sides[0] != sides[1]
    return math.inf if dropped else value


def _facts(pair: LabelPair) -> dict[str, float]:
    counts = pair.counts
    return {
        "tp": counts.tp,
        "tn": counts.tn,
        "fp": counts.fp,
        "fn": counts.fn,
        "volume_truth": counts.truth * pair.voxel_size,
        "volume_prediction": counts.prediction * pair.voxel_size,
        "diagonal": pair.diagonal,
    }


def _metric_names(metrics: Iterable[str] | str | None) -> tuple[str, ...]:
    if metrics is None:
        return DEFAULT
    if isinstance(metrics, str):
        metrics = profiles.METRICS if metrics == "all" else (metrics,)
    metrics = tuple(metrics)
    unknown = [name for name in metrics if name not in profiles.METRICS]
    if unknown:
        raise RecipeError(
            f"No metric {', '.join(map(repr, unknown))}. There are: {', '.join(profiles.METRICS)}."
        )
    return metrics


def _tolerances(
    tolerance: float | Mapping[Hashable, float], labels: Mapping[Hashable, int]
) -> dict[Hashable, float]:
    if isinstance(tolerance, Mapping):
        missing = [name for name in labels if name not in tolerance]
        if missing:
            raise DataError(f"No tolerance for the labels {missing}. Give one for each label.")
        limits = {name: float(tolerance[name]) for name in labels}
    else:
        limits = dict.fromkeys(labels, float(tolerance))
    for limit in limits.values() or [float(tolerance) if not isinstance(tolerance, Mapping) else 0]:
        _check_share(limit, "tolerance", math.inf)
    return limits


def _check_share(value: float, name: str, most: float) -> None:
    if not (0 <= value < math.inf) or value > most:
        limit = "a finite number" if most == math.inf else "a number up to 1"
        raise DataError(f"{name} is {value}; give {limit}, at least 0.")
