"""From probabilities to answers: ways to choose thresholds.

`python benchmarks/thresholds.py` compares them with the best possible. What thresholds score on
the records that they were fitted to is too high: report `crossfitting.cross_fitted_score`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, PositiveFloat
from scipy.special import expit, logit

from vesalius.block import Block
from vesalius.diagnose.curves import Ranked, each_label
from vesalius.engine.arrays import checked_probabilities, checked_truth, divide
from vesalius.errors import DataError

CANDIDATES = 512
"""Thresholds that a global fit tries: quantiles of the positives' probabilities."""


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Fitted thresholds.

    Attributes:
        method: name of the method that made them.
        values: (labels,) a label is answered where its probability is at least this.
        top: at most this many labels, the most probable, or None.
    """

    method: str
    values: NDArray[np.float64]
    top: int | None = None

    def apply(self, probabilities: ArrayLike) -> NDArray[np.bool_]:
        """Return decisions (N, labels) of probabilities (N, labels)."""
        table = checked_probabilities(probabilities)
        if table.shape[1] != len(self.values):
            raise DataError(
                f"There are thresholds for {len(self.values)} labels, probabilities for "
                f"{table.shape[1]}."
            )
        decided = table >= self.values
        return decided if self.top is None else decided & most_probable(table, self.top)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"method": self.method, "values": self.values.tolist(), "top": self.top}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Thresholds":
        """Rebuild from `to_dict`."""
        return cls(values["method"], np.asarray(values["values"], np.float64), values["top"])


def most_probable(probabilities: NDArray[np.float64], number: int) -> NDArray[np.bool_]:
    """Return (N, labels) with the `number` most probable labels of each record; ties: the first."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :number]
    chosen = np.zeros(probabilities.shape, np.bool_)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen


class _Method(Block):
    needs_truth: ClassVar[bool] = True

    def fit(self, probabilities: ArrayLike, truth: ArrayLike | None = None) -> Thresholds:
        """Return thresholds fitted to probabilities and truth, both (N, labels).

        Raises:
            DataError: shapes differ, values are out of range, or truth is needed and missing.
        """
        table = checked_probabilities(probabilities)
        if 0 in table.shape:
            raise DataError(f"Nothing to fit thresholds to: probabilities of shape {table.shape}.")
        if truth is None:
            if self.needs_truth:
                raise DataError(f"thresholds '{self.name}' are fitted to the truth: give it too")
            return self._fit(table, np.zeros(table.shape, np.bool_))
        truth = checked_truth(truth)
        return self._fit(checked_probabilities(table, truth.shape), truth)

    def _fit(self, probabilities: NDArray, truth: NDArray) -> Thresholds:
        raise NotImplementedError


class FixedThreshold(_Method):
    """One threshold that is not fitted."""

    needs_truth = False
    name: Literal["fixed"] = "fixed"
    value: float = Field(0.5, ge=0, le=1)
    """The threshold."""

    def _fit(self, probabilities: NDArray, truth: NDArray) -> Thresholds:
        return Thresholds(self.name, np.full(truth.shape[1], self.value))


class GlobalThreshold(_Method):
    """The one threshold with the best F1."""

    name: Literal["global"] = "global"
    average: Literal["macro", "micro"] = "macro"
    """Which F1."""

    def _fit(self, probabilities: NDArray, truth: NDArray) -> Thresholds:
        value = best_global(probabilities, truth, average=self.average)
        return Thresholds(self.name, np.full(truth.shape[1], value))


class PerLabelThreshold(_Method):
    """The threshold with the best F1 of each label; the global one for labels without positives."""

    name: Literal["per_label"] = "per_label"

    def _fit(self, probabilities: NDArray, truth: NDArray) -> Thresholds:
        whole = best_global(probabilities, truth)
        values = [
            best_for_f1(label) if label.positives else whole
            for label in each_label(probabilities, truth)
        ]
        return Thresholds(self.name, np.array(values))


class ShrunkThreshold(_Method):
    """Each label's best threshold, drawn towards the global one the fewer positives it has.

    On the log-odds scale, with weight n / (n + strength) for n positives.
    """

    name: Literal["shrunk"] = "shrunk"
    strength: PositiveFloat = 20.0
    """With this many positives the two count alike."""

    def _fit(self, probabilities: NDArray, truth: NDArray) -> Thresholds:
        whole = _log_odds(np.array(best_global(probabilities, truth)))
        own = _log_odds(PerLabelThreshold()._fit(probabilities, truth).values)
        positives = truth.sum(0)
        weight = positives / (positives + self.strength)
        return Thresholds(self.name, expit(weight * own + (1 - weight) * whole))


class CrossFittedThreshold(_Method):
    """The mean, in log-odds, of each label's best thresholds on many random halves of the records.

    A threshold that hangs on a few records differs from half to half; the mean does not.
    """

    name: Literal["cross_fitted"] = "cross_fitted"
    repeats: int = Field(10, ge=1, le=1000)
    """How many times the records are halved; each time both halves are fitted."""
    strength: PositiveFloat = 20.0
    """Each fit is drawn towards the global threshold as by `shrunk`."""
    seed: int = 0
    """Of the halves."""

    def _fit(self, probabilities: NDArray, truth: NDArray) -> Thresholds:
        number = len(truth)
        if number < 2:
            raise DataError("thresholds 'cross_fitted' need at least two records to be halved")
        rng, fitted = np.random.default_rng(self.seed), []
        inner = ShrunkThreshold(strength=self.strength)
        for _ in range(self.repeats):
            order = rng.permutation(number)
            for rows in (order[: number // 2], order[number // 2 :]):
                fitted.append(_log_odds(inner._fit(probabilities[rows], truth[rows]).values))
        return Thresholds(self.name, expit(np.mean(fitted, axis=0)))


class PlugInThreshold(_Method):
    """Half the best expected F1 of each label, from calibrated probabilities alone.

    Where probabilities p are right, taking the k largest is expected to give tp = their sum and so
    F1 = 2 tp / (k + sum of all p); the best threshold is half of the best F1 (Lipton, Elkan and
    Narayanaswamy 2014; Ye et al. 2012 for the plug-in). It uses no truth, so that it can
    neither overfit to it nor notice that probabilities are wrong: calibrate them first.
    """

    needs_truth = False
    name: Literal["plug_in"] = "plug_in"
    minimum: float = Field(0.05, ge=0, le=1)
    """No label is answered below this probability. For a label that nothing tells apart the best F1
    is to give it to every patient, which nobody wants."""

    def _fit(self, probabilities: NDArray, truth: NDArray) -> Thresholds:
        ordered = -np.sort(-probabilities, axis=0)
        expected = np.cumsum(ordered, axis=0)
        taken = np.arange(1, len(ordered) + 1)[:, None]
        best = divide(2 * expected, taken + expected[-1]).max(0)
        # A label without any chance has no best F1; answered at 0 it would be everyone's.
        values = np.where(expected[-1] > 0, np.maximum(best / 2, self.minimum), 1.0)
        return Thresholds(self.name, values)


class TopK(_Method):
    """The same number of labels for every record."""

    needs_truth = False
    name: Literal["top_k"] = "top_k"
    k: int = Field(1, ge=1)
    """How many labels."""

    def _fit(self, probabilities: NDArray, truth: NDArray) -> Thresholds:
        return Thresholds(self.name, np.zeros(truth.shape[1]), self.k)


ThresholdBlock = Annotated[
    FixedThreshold
    | GlobalThreshold
    | PerLabelThreshold
    | ShrunkThreshold
    | CrossFittedThreshold
    | PlugInThreshold
    | TopK,
    Field(discriminator="name"),
]
"""Any way to choose thresholds, by `name`."""


def best_for_f1(label: Ranked) -> float:
    """Return the threshold with a label's best F1: halfway to the next lower probability."""
    f1 = 2 * label.hits / (label.hits + label.misses + label.positives)
    best = int(np.argmax(f1))
    return float((label.values[best] + label.below[best]) / 2)


def best_global(
    probabilities: NDArray[np.float64],
    truth: NDArray[np.bool_],
    *,
    average: Literal["macro", "micro"] = "macro",
) -> float:
    """Return the one threshold with the best macro or micro F1; 1/2 without any positive."""
    positives = probabilities[truth]
    if not len(positives):
        return 0.5
    candidates = np.unique(np.quantile(positives, np.linspace(0, 1, CANDIDATES), method="lower"))
    hits = np.empty((truth.shape[1], len(candidates)))
    taken = np.empty_like(hits)
    for j in range(truth.shape[1]):
        column = probabilities[:, j]
        for out, values in ((taken, column), (hits, column[truth[:, j]])):
            out[j] = len(values) - np.searchsorted(np.sort(values), candidates, "left")
    support = truth.sum(0)[:, None]
    if average == "micro":
        hits, taken, support = (part.sum(0, keepdims=True) for part in (hits, taken, support))
    f1 = divide(2 * hits, taken + support).mean(0)
    return float(candidates[int(np.argmax(f1))])


def _log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return logit(np.clip(probabilities, 1e-9, 1 - 1e-9))
