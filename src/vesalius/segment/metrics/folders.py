"""Score folders of predicted masks: read, check, evaluate case by case, summarise."""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.errors import DataError
from vesalius.segment.metrics import tables
from vesalius.segment.metrics.case_files import CaseFiles, declared_values, names_of, pair_files
from vesalius.segment.metrics.case_scores import CaseScores, Settings, scored

INSTANCE_SCORES = ("pq", "sq", "rq", "f1", "aji", "detection_accuracy")


@dataclass(frozen=True, eq=False)
class FolderScores:
    """The scores of all cases of a folder.

    Attributes:
        files: the cases, ordered by name.
        scores: of each case.
        names: label -> name.
        settings: how they were computed.
        groups: (cases,) patients, or None.
        resamples, confidence, seed: of the bootstrap intervals.
    """

    files: list[CaseFiles]
    scores: list[CaseScores]
    names: Mapping[int, str]
    settings: Settings
    groups: Sequence[Hashable] | None = None
    resamples: int = 10_000
    confidence: float = 0.95
    seed: int = 0
    _interval: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self):
        how = ("groups", "resamples", "confidence", "seed")
        object.__setattr__(self, "_interval", {name: getattr(self, name) for name in how})

    @property
    def values(self) -> list[dict[int, dict[str, float]]]:
        """What `evaluate` returns, for each case, under the chosen profile."""
        return [case.profiles[self.settings.profiles[0]] for case in self.scores]

    @cached_property
    def labels(self) -> dict[Hashable, dict[str, Any]]:
        """Label -> its scores over all cases, with intervals."""
        return tables.summarise_with_intervals(self.values, names=self.names, **self._interval)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """All that is said about the cases together; see `metrics`."""
        settings = self.settings
        summary = {
            "cases": len(self.files),
            "profile": settings.profiles[0],
            "tolerance": settings.tolerance,
            "ignore": settings.ignore,
            "interval": {
                **{name: self._interval[name] for name in ("confidence", "resamples", "seed")},
                "method": "expanded bca",
                "units": len(self.files if self.groups is None else set(self.groups)),
            },
            "labels": self.labels,
            "mean": self._mean(),
            "global": self._global(),
        }
        if settings.instances:
            summary["instances"] = self._instances()
        if len(settings.profiles) > 1:
            summary["profiles"] = self.divergence()
        return summary

    def divergence(self) -> dict[str, dict[int, dict[str, float]]]:
        """Return profile -> label -> metric -> mean over the cases that the profile keeps.

        NaN is left out and infinity is not, so this is what that library's users would print.
        """
        return {
            profile: {
                label: {
                    metric: _nanmean(
                        [case.profiles[profile][label][metric] for case in self.scores]
                    )
                    for metric in tables.METRICS
                    if metric in self.scores[0].profiles[profile][label]
                }
                for label in self.names
            }
            for profile in self.settings.profiles
        }

    def to_dict(self) -> dict[str, Any]:
        """Return {"cases": [{"case", "labels"}], "summary"}; `tables.strict` makes it JSON."""
        rows = []
        for files, scores, values in zip(self.files, self.scores, self.values, strict=True):
            labels = {label: {**row, **tables.side(row)} for label, row in values.items()}
            own = {"instances": scores.instances} if scores.instances is not None else {}
            rows.append({"case": files.case, "labels": labels, **own})
        return {"cases": rows, "summary": self.summary}

    def write(self, path: str | Path) -> Path:
        """Write a table (.csv, .md, .tex), everything (.json), or nnU-Net's summary.json.

        Raises:
            RecipeError: another suffix.
            StorageError: the file cannot be written.
        """
        from vesalius import files

        path = Path(path)
        if path.name == "summary.json":
            pairs = [(item.prediction, item.truth) for item in self.files]
            text = tables.to_json(tables.nnunet_summary(self.values, pairs))
        elif path.suffix == ".json":
            text = tables.to_json(self.to_dict())
        else:
            text = tables.to_text(tables.label_rows(self.labels), tables.COLUMNS, path.suffix)
        files.write_text(path, text)
        return path

    def _mean(self) -> dict[str, float]:
        """Return for each metric the mean over labels of their means and penalised means."""
        kinds = ("mean", "penalised_mean")
        return {
            metric: {
                kind: _nanmean([row[metric][kind] for row in self.labels.values()])
                for kind in kinds
            }
            for metric in tables.METRICS
            if any(metric in row for row in self.labels.values())
        }

    def _global(self) -> dict[str, Any]:
        """Return Dice and IoU of all voxels of all cases at once, with intervals."""
        from vesalius.segment.metrics.statistics import bootstrap_counts

        if not self.names:
            return {}
        counts = {
            name: np.array([[row[label][name] for label in self.names] for row in self.values])
            for name in ("tp", "fp", "fn")
        }
        found = bootstrap_counts(counts, **self._interval)
        whole = ("mean_dice", "mean_iou", "micro_dice", "micro_iou")
        return {
            **{
                name: {label: _ends(found[name][i]) for i, label in enumerate(self.names)}
                for name in ("dice", "iou")
            },
            **{name: _ends(found[name]) for name in whole},
        }

    def _instances(self) -> dict[str, Any]:
        """Return means over cases with intervals, and the quality of all instances pooled."""
        from vesalius.segment.metrics.statistics import bootstrap

        rows = [case.instances for case in self.scores]
        values = [[row[name] for name in INSTANCE_SCORES] for row in rows]
        found = bootstrap(values, **self._interval)
        means = {
            name: {**_ends(found[i]), "cases": int(found.cases[i])}
            for i, name in enumerate(INSTANCE_SCORES)
        }
        tp, fp, fn = (sum(row[name] for row in rows) for name in ("tp", "fp", "fn"))
        shared = sum(row["sq"] * row["tp"] for row in rows if row["tp"])
        rq = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else math.nan
        sq = shared / tp if tp else 0.0 * rq
        pooled = {"pq": sq * rq, "sq": sq, "rq": rq, "tp": tp, "fp": fp, "fn": fn}
        return {"mean": means, "pooled": pooled}


def metrics(
    predictions: str | Path,
    truth: str | Path,
    *,
    labels: Sequence[int | str] | Mapping[str, int] | None = None,
    spacing: float | Sequence[float] | None = None,
    tolerance: float = 1.0,
    ignore: int | None = None,
    profile: str = "vesalius",
    all_profiles: bool = False,
    instances: bool = False,
    which: Iterable[str] | str | None = None,
    subset: bool = False,
    groups: Mapping[str, Hashable] | None = None,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    workers: int = 1,
    started: Callable[[int], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> FolderScores:
    """Score predicted masks against true ones, case by case and together.

    Args:
        predictions: a folder of masks, or one file, of any format that `read_mask` reads.
        truth: a folder of masks with the same names, a data set, or one file.
        labels: values, or names that `dataset.json` or `labels.txt` beside the truth declares, or
            name -> value. None: the declared ones but the background, else all values but 0 that
            occur anywhere.
        spacing: mm along each axis of the array; None: as the truth's file says.
        tolerance: of NSD, in mm.
        ignore: true value that counts for nothing. None: the value that `dataset.json` calls
            "ignore", if it does.
        profile: whose conventions, see `evaluate`.
        all_profiles: also compute every other profile, to see how far they disagree.
        instances: the maps number objects: match them, and score all of them as one label 1.
        which: metrics to compute, as `evaluate(metrics=)`.
        subset: score the predicted cases only, though `truth` has more.
        groups: case -> patient; intervals then resample patients.
        resamples, confidence, seed: of the intervals, see `bootstrap`.
        workers: processes that read and score cases.
        started: called with the number of cases once it is known.
        progress: called with the number of cases done since the last call.

    Returns:
        scores with `.values`, `.labels`, `.summary`, `.to_dict()` and `.write(path)`.

    Raises:
        DataError: files without partner, unreadable ones, other shapes or affines: all are listed.
        RecipeError: no such profile, metric or label name.
    """
    from vesalius.segment.metrics.profiles import PROFILES, find

    find(profile)
    files = pair_files(predictions, truth, subset=subset)
    declared = declared_values(Path(truth))
    ignore = declared.pop("ignore", None) if ignore is None else ignore
    names = {0: "foreground"} if instances else names_of(labels, declared, ignore)
    others = [name for name in PROFILES if name != profile] if all_profiles else []
    settings = Settings(
        labels=tuple(names) if names and not instances else None,
        declared=frozenset(declared.values()) if declared and labels is None else None,
        spacing=None if spacing is None else tuple(np.ravel(spacing).astype(float).tolist()),
        tolerance=tolerance,
        ignore=ignore,
        profiles=(profile, *others),
        metrics=which if which is None or isinstance(which, str) else tuple(which),
        instances=instances,
    )
    if started:
        started(len(files))
    scores = _all_scores(files, settings, workers, progress)
    if instances:
        names = {1: "foreground"}
    elif names is None:
        names = {value: str(value) for value in _filled(scores, profile)}
    known = None if groups is None else _groups(files, groups)
    how = {"resamples": resamples, "confidence": confidence, "seed": seed}
    return FolderScores(files, scores, names, settings, known, **how)


def _all_scores(
    files: Sequence[CaseFiles],
    settings: Settings,
    workers: int,
    progress: Callable[[int], None] | None,
) -> list[CaseScores]:
    """Score every case; raise what is wrong with any of them together."""
    from vesalius.images.layout import listed

    scores, problems = [], []
    for found in scored(files, settings, workers):
        (problems if isinstance(found, str) else scores).append(found)
        if progress:
            progress(1)
    if problems:
        raise listed(f"{len(problems)} of {len(files)} cases cannot be scored.", problems)
    return scores


def _filled(scores: Sequence[CaseScores], profile: str) -> list[int]:
    """Give every case a row for every label that occurs anywhere; return the labels."""
    values = sorted({label for case in scores for label in case.profiles[profile]})
    for case in scores:
        for name, table in case.profiles.items():
            table |= {value: case.absent[name] for value in values if value not in table}
    return values


def _groups(files: Sequence[CaseFiles], groups: Mapping[str, Hashable]) -> list[Hashable]:
    lost = [item.case for item in files if item.case not in groups]
    if lost:
        raise DataError("These cases have no group. Name one for each:", lost)
    return [groups[item.case] for item in files]


def _ends(interval: Any) -> dict[str, float]:
    return {name: float(getattr(interval, name)) for name in ("estimate", "low", "high")}


def _nanmean(values: Sequence[float]) -> float:
    kept = [value for value in values if not math.isnan(value)]
    return float(np.mean(kept)) if kept else math.nan
