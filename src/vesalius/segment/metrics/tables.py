"""Scores of many cases as tables: per label with intervals, and nnU-Net's summary.json.

Two numbers stand for a distance, because one would hide something: the mean over cases where it is
finite with how many are missed or invented, and the penalised mean, in which each of those counts
as the diagonal of its image. JSON knows neither NaN nor infinity: both become null, and the flags
`missed`, `invented` and `absent` beside them say which it was.
"""

import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.errors import RecipeError

Values = Mapping[Hashable, Mapping[str, float]]
"""What `evaluate` returns for one case: label -> metric -> number."""

SCORES = ("dice", "iou", "precision", "recall", "specificity", "accuracy", "f_beta", "mcc", "kappa")
DISTANCES = ("hd", "hd95", "assd")
METRICS = (*SCORES, *DISTANCES, "nsd", "boundary_iou", "cldice")
COLUMNS = ("label", "metric", "mean", "low", "high", "cases", "missed", "invented", "absent")
COLUMNS += ("penalised_mean",)
SHOWN = ("dice", "iou", "hd95", "assd", "nsd")
"""What a reader is shown first; files hold everything."""

_NNUNET = {
    **{"Dice": "dice", "IoU": "iou", "FP": "fp", "TP": "tp", "FN": "fn", "TN": "tn"},
    **{"n_pred": "n_pred", "n_ref": "n_ref"},
}
_ADDED = {"HD": "hd", "HD95": "hd95", "ASSD": "assd", "NSD": "nsd"}


def summarise_with_intervals(
    cases: Sequence[Values],
    *,
    names: Mapping[Hashable, str] | None = None,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[Hashable, dict[str, Any]]:
    """Return scores per label over cases, each mean with its bootstrap interval.

    Args:
        cases: results of `evaluate`, one for each case.
        names: label -> its name.
        groups: (cases,) patients; the interval then resamples whole patients.
        resamples, confidence, seed: as for `bootstrap` (expanded BCa).

    Returns:
        label -> what `evaluate.summarise` returns, and for each metric `low` and `high`: the
        interval of `mean`, so over cases with a finite value.
    """
    from vesalius.segment.metrics.evaluate import summarise
    from vesalius.segment.metrics.statistics import bootstrap

    summary = summarise(cases)
    columns = [(label, m) for label in summary for m in METRICS if m in summary[label]]
    if columns:
        values = [[finite(case.get(label, {}).get(m)) for label, m in columns] for case in cases]
        interval = bootstrap(
            values, groups=groups, resamples=resamples, confidence=confidence, seed=seed
        )
        for (label, metric), low, high in zip(columns, interval.low, interval.high, strict=True):
            summary[label][metric] |= {"low": float(low), "high": float(high)}
    return {
        label: {"name": (names or {}).get(label, str(label)), **summary[label]} for label in summary
    }


def finite(value: float | None) -> float:
    """Return the number, NaN for None, NaN and infinities."""
    return float(value) if value is not None and math.isfinite(value) else math.nan


def side(row: Mapping[str, float]) -> dict[str, bool]:
    """Tell from counts whether a label is missed (in the truth alone), invented, or absent."""
    truth, prediction = row["tp"] + row["fn"] > 0, row["tp"] + row["fp"] > 0
    return {
        "missed": truth and not prediction,
        "invented": prediction and not truth,
        "absent": not (truth or prediction),
    }


def label_rows(summary: Mapping[Hashable, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per label and metric, with the keys `COLUMNS`.

    `cases` is how many have a finite value; `missed`, `invented` and `absent` are the label's.
    """
    return [
        {
            "label": row["name"],
            "metric": metric,
            "mean": row[metric]["mean"],
            "low": row[metric].get("low", math.nan),
            "high": row[metric].get("high", math.nan),
            "cases": row[metric]["count"],
            **{key: row[key] for key in ("missed", "invented", "absent")},
            "penalised_mean": row[metric]["penalised_mean"],
        }
        for row in summary.values()
        for metric in METRICS
        if metric in row
    ]


def short_rows(summary: Mapping[Hashable, Mapping[str, Any]]) -> list[list[str]]:
    """Return a header and rows for a reader: the metrics in `SHOWN` that have values anywhere."""
    from vesalius.report.tables import format_value

    shown = [
        metric for metric in SHOWN if any(_is_known(row.get(metric)) for row in summary.values())
    ]
    rows = [
        [
            row["name"] if metric == shown[0] else "",
            metric,
            with_interval(row[metric]),
            format_value(row[metric]["penalised_mean"]),
            format_value(row[metric]["count"]),
        ]
        for row in summary.values()
        for metric in shown
        if metric in row
    ]
    return [["label", "metric", "mean [interval]", "penalised mean", "cases"], *rows]


def _is_known(cell: Mapping[str, Any] | None) -> bool:
    """Tell whether any case has a value, finite or infinite."""
    return bool(cell) and not math.isnan(cell["penalised_mean"])


def with_interval(cell: Mapping[str, Any]) -> str:
    """Write "0.8712 [0.8610, 0.8799]", without brackets where there is no interval."""
    from vesalius.report import tables

    ends = [finite(cell.get(key)) for key in ("low", "high")]
    return tables.format_value(tables.with_interval(cell.get("mean"), ends))


def to_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], suffix: str) -> str:
    """Return a table as CSV (full precision), Markdown or LaTeX (booktabs), by a file's suffix.

    Raises:
        RecipeError: the suffix is none of .csv, .md, .tex.
    """
    from vesalius.report import tables

    writers = {".csv": tables.to_csv, ".md": tables.to_markdown, ".tex": tables.to_latex}
    if suffix not in writers:
        raise RecipeError(f"Tables are written as {', '.join(writers)} and .json, not '{suffix}'.")
    return writers[suffix](rows, columns)


def strict(value: Any) -> Any:
    """Return a value that JSON can hold: NaN and infinities as None, keys as text."""
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    if isinstance(value, np.ndarray):
        return strict(value.tolist())
    if isinstance(value, np.generic):
        return strict(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def to_json(value: Any) -> str:
    """Return strict JSON (RFC 8259), indented."""
    return json.dumps(strict(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def nnunet_summary(
    cases: Sequence[Values],
    files: Sequence[tuple[str | Path, str | Path]],
) -> dict[str, Any]:
    """Return what nnU-Net v2 writes as summary.json, and our distances beside it.

    nnU-Net's keys have nnU-Net's values: NaN where truth and prediction lack a label, means by
    `nanmean`, `foreground_mean` over labels but 0. Added are `HD`, `HD95`, `ASSD`, `NSD`, per label
    `missed`, `invented` and `absent` (flags per case, numbers of cases in `mean`). Distances that
    are infinite (missed or invented) are left out of `mean` like NaN; `penalised` beside it has
    the means in which they count as the image's diagonal. Write it with `to_json`: NaN becomes
    null (nnU-Net itself writes NaN, which JSON does not know).

    Args:
        cases: results of `evaluate`, one for each case.
        files: (prediction, truth) of each case.
    """
    from vesalius.segment.metrics.evaluate import summarise

    rows = [{label: _nnunet_row(row) for label, row in case.items()} for case in cases]
    labels = list(dict.fromkeys(label for row in rows for label in row))
    keys = list(dict.fromkeys(key for row in rows for item in row.values() for key in item))
    mean = {
        label: {key: _mean(row[label].get(key) for row in rows if label in row) for key in keys}
        for label in labels
    }
    summary = summarise(cases)
    penalised = {}
    for label in labels:
        mean[label] |= {key: summary[label][key] for key in ("missed", "invented", "absent")}
        penalised[label] = {
            key: summary[label][name]["penalised_mean"]
            for key, name in _ADDED.items()
            if name in summary[label]
        }
    foreground = [mean[label] for label in labels if label != 0]
    return {
        "foreground_mean": {key: _plain_mean([row[key] for row in foreground]) for key in keys},
        "mean": mean,
        "metric_per_case": [
            {
                "metrics": {label: values | side(case[label]) for label, values in row.items()},
                "prediction_file": str(prediction),
                "reference_file": str(truth),
            }
            for case, row, (prediction, truth) in zip(cases, rows, files, strict=True)
        ],
        "penalised": penalised,
    }


def _nnunet_row(row: Mapping[str, float]) -> dict[str, float]:
    sizes = {"n_pred": row["tp"] + row["fp"], "n_ref": row["tp"] + row["fn"]}
    # From the counts, not from the profile: a reader of summary.json expects nnU-Net's NaN.
    union = row["tp"] + row["fp"] + row["fn"]
    own = {
        "dice": 2 * row["tp"] / (union + row["tp"]) if union else math.nan,
        "iou": row["tp"] / union if union else math.nan,
    }
    source = {**row, **sizes, **own}
    names = {**_NNUNET, **{key: name for key, name in _ADDED.items() if name in row}}
    return {key: source[name] for key, name in names.items()}


def _mean(values: Iterable[float | None]) -> float:
    return _plain_mean([value for value in map(finite, values) if not math.isnan(value)])


def _plain_mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
