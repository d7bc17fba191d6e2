"""Compare two models whose predictions of the same cases lie in two folders."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesalius.segment.metrics import tables
from vesalius.segment.metrics.comparison import Comparison, compare
from vesalius.segment.metrics.folders import INSTANCE_SCORES, FolderScores, metrics

COMPARED = ("dice", "iou", "nsd", "hd95", "assd")
COLUMNS = ("metric", "label", "mean_a", "mean_b", "difference", "low", "high", "wilcoxon_p")
COLUMNS += ("permutation_p", "better", "equal", "worse", "cases", "unpaired", "unbounded")
OVERALL = "mean"
"""The name of the row in which every case counts with the mean over its labels."""


@dataclass(frozen=True, eq=False)
class FolderComparison:
    """Two models, case by case on the same truths.

    Attributes:
        a, b: their scores.
        comparisons: metric -> (names of the rows, their comparison); the first row is the mean
            over labels where there are several.
    """

    a: FolderScores
    b: FolderScores
    comparisons: dict[str, tuple[list[str], Comparison]]

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per metric and label, with the keys `COLUMNS`; p-values are Holm's."""
        return [
            {"metric": metric, "label": name, **_row(found[i])}
            for metric, (names, found) in self.comparisons.items()
            for i, name in enumerate(names)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return {"cases", "profile", "metrics": {metric: {label: comparison}}}."""
        return {
            "cases": [item.case for item in self.a.files],
            "profile": self.a.settings.profiles[0],
            "metrics": {
                metric: {name: found[i].to_dict() for i, name in enumerate(names)}
                for metric, (names, found) in self.comparisons.items()
            },
        }

    def write(self, path: str | Path) -> Path:
        """Write a table (.csv, .md, .tex) or everything (.json); errors as `FolderScores.write`."""
        from vesalius import files

        path = Path(path)
        if path.suffix == ".json":
            text = tables.to_json(self.to_dict())
        else:
            text = tables.to_text(self.rows(), COLUMNS, path.suffix)
        files.write_text(path, text)
        return path


def compare_folders(
    a: str | Path,
    b: str | Path,
    truth: str | Path,
    *,
    groups: Mapping[str, Hashable] | None = None,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> FolderComparison:
    """Compare the predictions of two models, paired by case.

    Dice, IoU and NSD are better when higher, HD95 and ASSD when lower; objects' scores are added
    with `instances`. P-values are corrected over the labels of one metric (Holm), not over metrics:
    decide before you look which metric counts.

    Args:
        a, b: folders of predictions (or two files), of the same cases.
        truth, groups, resamples, confidence, seed, progress, options: as for `metrics`.

    Raises:
        DataError: as `metrics`, or the folders hold different cases.
        RecipeError: as `metrics`.
    """
    how = {"groups": groups, "resamples": resamples, "confidence": confidence, "seed": seed}
    first = metrics(a, truth, progress=progress, **how, **options)
    second = metrics(b, truth, progress=progress, **how, **options)
    _check_same_cases(first, second)
    labels = sorted({*first.names, *second.names})
    names = {label: {**second.names, **first.names}[label] for label in labels}
    found = {}
    how["groups"] = first.groups
    for metric in (name for name in COMPARED if name in next(iter(first.values[0].values()), {})):
        columns = [_column(scores, metric, labels) for scores in (first, second)]
        better = metric not in tables.DISTANCES
        found[metric] = _named(names), compare(*columns, higher_is_better=better, **how)
    if first.settings.instances:
        for metric in INSTANCE_SCORES:
            columns = [[case.instances[metric] for case in s.scores] for s in (first, second)]
            pair = (np.array(column)[:, None] for column in columns)
            found[f"instance {metric}"] = ["objects"], compare(*pair, **how)
    return FolderComparison(first, second, found)


def _check_same_cases(first: FolderScores, second: FolderScores) -> None:
    from vesalius.images.layout import listed

    cases = [{item.case: item.prediction for item in scores.files} for scores in (first, second)]
    lonely = sorted(cases[0].keys() ^ cases[1].keys())
    if lonely:
        paths = [{**cases[0], **cases[1]}[name] for name in lonely]
        raise listed(
            f"{len(lonely)} cases were predicted by one model only; a comparison needs pairs.",
            [
                f"{path} has no partner. Predict it with the other model, or remove it."
                for path in paths
            ],
        )


def _column(scores: FolderScores, metric: str, labels: Sequence[int]) -> NDArray[np.float64]:
    """Return (cases, rows) of one metric: the mean over labels first where there are several."""
    profile = scores.settings.profiles[0]
    values = np.array(
        [
            [case.profiles[profile].get(label, case.absent[profile])[metric] for label in labels]
            for case in scores.scores
        ]
    )
    if len(labels) < 2:
        return values
    number = (~np.isnan(values)).sum(1)
    with np.errstate(invalid="ignore"):
        mean = np.where(number > 0, np.nansum(values, axis=1) / np.maximum(number, 1), np.nan)
    return np.column_stack([mean, values])


def _named(names: Mapping[int, str]) -> list[str]:
    return [OVERALL, *names.values()] if len(names) > 1 else list(names.values())


def _row(found: Comparison) -> dict[str, float]:
    return {
        "mean_a": float(found.mean_a),
        "mean_b": float(found.mean_b),
        "difference": float(found.difference.estimate),
        "low": float(found.difference.low),
        "high": float(found.difference.high),
        "wilcoxon_p": float(found.wilcoxon_holm),
        "permutation_p": float(found.permutation_holm),
        **{key: float(getattr(found, key)) for key in ("better", "equal", "worse")},
        **{key: int(getattr(found, key)) for key in ("cases", "unpaired", "unbounded")},
    }
