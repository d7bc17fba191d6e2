"""The scores of predicted sets of labels.

Every name follows scikit-learn with `zero_division=0`: a precision, recall, F1 or Jaccard index
whose denominator is 0 is 0. `macro_f1`, the mean over labels of 2PR / (P + R), is the contest's
score; `macro_f1_of_means` is the other reading, 2PR / (P + R) of mean precision and mean recall,
which is larger where labels err in different directions (Opitz and Burst 2019).
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from vesalius.diagnose.curves import curve_scores, ranked, ranking_scores
from vesalius.diagnose.resampling import bootstrap
from vesalius.engine.arrays import checked_probabilities, checked_truth, divide
from vesalius.engine.task import Scores
from vesalius.errors import DataError

BASIC = ("f1", "precision", "recall", "jaccard")
PARTS = ("head", "middle", "tail")


def score(
    truth: ArrayLike,
    predicted: ArrayLike,
    *,
    decisions: ArrayLike | None = None,
    threshold: float | ArrayLike = 0.5,
    labels: Sequence[str] | None = None,
    training_counts: Sequence[int] | None = None,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare predicted with true labels.

    Args:
        truth: (N, labels) booleans or 0 and 1.
        predicted: (N, labels), probabilities (float) or decisions (bool or integer).
        decisions: (N, labels) made from the probabilities; None: probabilities >= threshold.
        threshold: one number, or one per label.
        labels: names; None: "0", "1", ...
        training_counts: positives per label in the training records, by which labels are split
            into head, middle and tail thirds; None: by their positives here.
        groups: patient of each record; intervals then resample patients.
        resamples: bootstrap resamples of the 95 % intervals; 0: no intervals.
        seed: of the resamples.

    Returns:
        values: `{macro,micro,weighted,samples}_{f1,precision,recall,jaccard}`,
            `macro_f1_of_means`, `hamming` (share of wrong labels), `subset_accuracy`,
            `{head,middle,tail}_macro_f1`, `mean_labels`, `mean_predicted_labels`, `empty_answers`
            (share of records); with probabilities `{macro,micro,weighted}_{auroc,auprc}` (labels
            without both classes are left out and counted in `labels_without_both_classes`),
            `coverage_error`, `ranking_loss`, `lrap`.
        labels: per label f1, precision, recall, jaccard, support, predicted, auroc, auprc, part.
        intervals, label_intervals: bias-corrected bootstrap intervals of what is decided (not of
            what is ranked).

    Raises:
        DataError: shapes differ, or values are out of range.
    """
    truth = checked_truth(truth)
    probabilities, decided = _answers(predicted, decisions, threshold, truth.shape)
    names = _names(labels, truth.shape[1])
    parts = split_by_frequency(truth.sum(0) if training_counts is None else training_counts)
    if len(parts) != len(names):
        raise DataError(f"There are {len(parts)} training counts for {len(names)} labels.")
    table = _Table(truth, decided, parts)
    values = table.named(table.statistics(table.totals()[None])[0])
    values |= _counts(truth, decided)
    per_label = _per_label(table, truth, decided)
    if probabilities is not None:
        values |= _ranked_values(truth, probabilities, per_label)
    result = {
        "values": {key: float(value) for key, value in values.items()},
        "labels": _rows(names, per_label, parts),
        "intervals": {},
        "label_intervals": {},
    }
    return result | (_intervals(table, names, groups, resamples, seed) if resamples else {})


def scores(
    ids: Sequence[str],
    truth: ArrayLike,
    probabilities: ArrayLike,
    decisions: ArrayLike,
    labels: Sequence[str],
    groups: Sequence[Hashable] | None = None,
    *,
    training_counts: Sequence[int] | None = None,
    resamples: int = 1000,
) -> Scores:
    """Return `score` in the engine's form; the headline is `macro_f1`.

    Args:
        ids: (N,) ids of the records.
        truth, decisions: (N, labels) booleans.
        probabilities: (N, labels).
        labels: names of the labels.
        groups: (N,) patient of each record, or None.
        training_counts, resamples: as for `score`.

    Returns:
        cases: per record its f1, precision, recall, jaccard, and `labels`, `predicted` and `wrong`
        (numbers of true, predicted and wrong labels).
    """
    found = score(
        truth,
        probabilities,
        decisions=decisions,
        labels=labels,
        training_counts=training_counts,
        groups=groups,
        resamples=resamples,
    )
    truth, decided = checked_truth(truth), checked_truth(decisions)
    if len(ids) != len(truth):
        raise DataError(f"There are {len(ids)} ids for {len(truth)} records.")
    columns = _overlaps(*_tp_fp_fn(truth, decided, axis=1))
    columns |= {"labels": truth.sum(1), "predicted": decided.sum(1)}
    columns["wrong"] = (truth ^ decided).sum(1)
    listed = {key: column.tolist() for key, column in columns.items()}
    cases = {i: {key: row[k] for key, row in listed.items()} for k, i in enumerate(ids)}
    label_rows = {
        name: {key: value for key, value in row.items() if key != "part"}
        for name, row in found["labels"].items()
    }
    return Scores(
        headline="macro_f1",
        values=found["values"],
        labels=label_rows,
        cases=cases,
        intervals=found["intervals"],
        label_intervals=found["label_intervals"],
    )


def split_by_frequency(counts: Sequence[int] | NDArray) -> NDArray[np.int64]:
    """Return 0 (head), 1 (middle) or 2 (tail) per label: thirds of the labels by frequency."""
    counts = np.asarray(counts)
    order = np.argsort(-counts, kind="stable")
    parts = np.empty(len(counts), np.int64)
    parts[order] = np.arange(len(counts)) * 3 // len(counts)
    return parts


class _Table:
    """What each record adds to the sums that every averaged score is a function of."""

    def __init__(self, truth: NDArray, decided: NDArray, parts: NDArray):
        self.truth, self.decided, self.parts = truth, decided, parts
        self.labels = truth.shape[1]
        by_record = _overlaps(*_tp_fp_fn(truth, decided, axis=1))
        wrong = (truth ^ decided).sum(1)
        self.means = np.stack(
            [
                *(by_record[key] for key in BASIC),
                wrong / self.labels,
                wrong == 0,
                np.ones(len(truth)),
            ],
            axis=1,
        )
        self.seen = (truth | decided).any(0)
        self.names = [f"{how}_{key}" for how in ("macro", "micro", "weighted") for key in BASIC]
        self.names += [f"samples_{key}" for key in BASIC] + ["hamming", "subset_accuracy"]
        self.present = [k for k in range(3) if (parts == k).any()]
        self.names += [f"{PARTS[k]}_macro_f1" for k in self.present] + ["macro_f1_of_means"]

    def totals(self) -> NDArray[np.float64]:
        """Return the sums over all records."""
        counts = _tp_fp_fn(self.truth, self.decided, axis=0)
        return np.concatenate([*counts, self.means.sum(0)])

    def sums(self) -> sparse.csr_array:
        """Return what each record adds, (N, 3 labels + 7)."""
        parts = (self.truth & self.decided, ~self.truth & self.decided, self.truth & ~self.decided)
        blocks = [sparse.csr_array(part, dtype=np.float64) for part in parts]
        return sparse.hstack([*blocks, sparse.csr_array(self.means)], format="csr")

    def per_label(self, totals: NDArray) -> dict[str, NDArray]:
        """Return f1, precision, recall, jaccard, each (R, labels), of totals (R, addends)."""
        return _overlaps(*(totals[:, k * self.labels : (k + 1) * self.labels] for k in range(3)))

    def statistics(self, totals: NDArray) -> NDArray[np.float64]:
        """Return (R, scores) in the order of `names`.

        A resample that lost a label altogether says nothing about it: it is left out of the macro
        means there. As 0 it would pull every resample far below the estimate.
        """
        size = self.labels
        tp, fp, fn = (totals[:, k * size : (k + 1) * size] for k in range(3))
        own = _overlaps(tp, fp, fn)
        pooled = _overlaps(tp.sum(1), fp.sum(1), fn.sum(1))
        support = tp + fn
        weighted = [divide((own[k] * support).sum(1), support.sum(1)) for k in BASIC]
        means = totals[:, 3 * size : -1] / totals[:, -1:]
        kept = ~(self.seen & (tp + fp + fn == 0))
        macro = [_mean(own[key], kept) for key in BASIC]
        precision, recall = macro[BASIC.index("precision")], macro[BASIC.index("recall")]
        columns = macro + [pooled[key] for key in BASIC] + weighted
        columns += [_mean(own["f1"], kept & (self.parts == k)) for k in self.present]
        columns.append(divide(2 * precision * recall, precision + recall))
        return np.concatenate([np.stack(columns[:12], 1), means, np.stack(columns[12:], 1)], axis=1)

    def named(self, row: NDArray) -> dict[str, float]:
        """Return one row of `statistics` by name."""
        return dict(zip(self.names, row.tolist(), strict=True))


def _mean(columns: NDArray, kept: NDArray) -> NDArray[np.float64]:
    """Return the mean of each row over what is kept, 0 where nothing is."""
    return divide((columns * kept).sum(1), kept.sum(1))


def _tp_fp_fn(truth: NDArray, decided: NDArray, *, axis: int) -> tuple[NDArray, NDArray, NDArray]:
    tp = (truth & decided).sum(axis)
    return tp, decided.sum(axis) - tp, truth.sum(axis) - tp


def _overlaps(tp: NDArray, fp: NDArray, fn: NDArray) -> dict[str, NDArray]:
    return {
        "f1": divide(2 * tp, 2 * tp + fp + fn),
        "precision": divide(tp, tp + fp),
        "recall": divide(tp, tp + fn),
        "jaccard": divide(tp, tp + fp + fn),
    }


def _answers(predicted, decisions, threshold, shape) -> tuple[NDArray | None, NDArray]:
    predicted = np.asarray(predicted)
    probabilities = None
    if predicted.dtype.kind == "f":
        probabilities = checked_probabilities(predicted, shape)
        given = probabilities >= np.asarray(threshold) if decisions is None else decisions
    elif decisions is None:
        given = predicted
    else:
        raise DataError("Decisions are given twice: give probabilities (float) beside them.")
    decided = checked_truth(given, name="array of decisions")
    if decided.shape != shape:
        raise DataError(f"The decisions have shape {decided.shape}, the truth {shape}.")
    return probabilities, decided


def _names(labels: Sequence[str] | None, number: int) -> list[str]:
    names = [str(i) for i in range(number)] if labels is None else list(labels)
    if len(names) != number or len(set(names)) != number:
        raise DataError(f"There are {len(set(names))} label names for {number} labels.")
    return names


def _counts(truth: NDArray, decided: NDArray) -> dict[str, float]:
    return {
        "mean_labels": truth.sum(1).mean(),
        "mean_predicted_labels": decided.sum(1).mean(),
        "empty_answers": (~decided.any(1)).mean(),
    }


def _per_label(table: _Table, truth: NDArray, decided: NDArray) -> dict[str, NDArray]:
    own = {key: rows[0] for key, rows in table.per_label(table.totals()[None]).items()}
    return own | {"support": truth.sum(0), "predicted": decided.sum(0)}


def _ranked_values(
    truth: NDArray, probabilities: NDArray, per_label: dict[str, NDArray]
) -> dict[str, float]:
    curves = curve_scores(probabilities, truth)
    per_label |= curves
    known = ~np.isnan(curves["auroc"])
    support = truth.sum(0)[known]
    whole = ranked(probabilities.ravel(), truth.ravel())
    values = {"micro_auroc": whole.auroc, "micro_auprc": whole.average_precision}
    for key, column in curves.items():
        column = column[known]
        values[f"macro_{key}"] = column.mean() if known.any() else np.nan
        values[f"weighted_{key}"] = divide(
            (column * support).sum(), support.sum(), otherwise=np.nan
        )
    values["labels_without_both_classes"] = int((~known).sum())
    return values | ranking_scores(probabilities, truth)


def _rows(names: list[str], columns: Mapping[str, NDArray], parts: NDArray) -> dict[str, dict]:
    listed = {key: column.tolist() for key, column in columns.items()}
    return {
        name: {**{key: column[i] for key, column in listed.items()}, "part": PARTS[parts[i]]}
        for i, name in enumerate(names)
    }


def _intervals(table: _Table, names: list[str], groups, resamples: int, seed: int) -> dict:
    def statistics(totals: NDArray) -> NDArray:
        own = table.per_label(totals)
        columns = [own[key] for key in ("f1", "precision", "recall")]
        return np.concatenate([table.statistics(totals), *columns], axis=1)

    ends = bootstrap(table.sums(), statistics, groups=groups, resamples=resamples, seed=seed)
    pairs = list(zip(ends[0].tolist(), ends[1].tolist(), strict=True))
    first, size = len(table.names), len(names)
    return {
        "intervals": dict(zip(table.names, pairs[:first], strict=True)),
        "label_intervals": {
            name: {
                key: pairs[first + k * size + i]
                for k, key in enumerate(("f1", "precision", "recall"))
            }
            for i, name in enumerate(names)
        },
    }
