"""How probabilities become an answer: calibration, co-occurrence, rules, thresholds, limits.

The order: probabilities are calibrated, moved by what the other labels say, set to 0 where a rule
of age or sex forbids the label, compared with thresholds; of labels that exclude each other the
more probable stays, at most `max_labels` stay, and a record that would have none gets its most
probable label where `never_empty` says so. Thresholds are fitted to probabilities that have been
through all of that.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from vesalius.block import Block
from vesalius.diagnose.co_occurrence import CoOccurrence, CoOccurrenceBlock
from vesalius.diagnose.crossfitting import (
    CrossFitted,
    cross_fitted_decisions,
    fold_numbers,
    macro_f1,
)
from vesalius.diagnose.rules import Rules
from vesalius.diagnose.thresholds import (
    PlugInThreshold,
    ThresholdBlock,
    Thresholds,
    most_probable,
)
from vesalius.engine.arrays import checked_probabilities, checked_truth
from vesalius.engine.calibration import (
    Calibration,
    CalibrationBlock,
    PlattBlock,
    calibration_from_dict,
)
from vesalius.errors import DataError


@dataclass(frozen=True, eq=False)
class FittedDecision:
    """A decision that knows its data; made by `Decision.fit`, kept as JSON.

    Attributes:
        thresholds: (labels,) and their method.
        labels: names, needed by rules.
        calibration, co_occurrence, rules: None where the recipe has none.
        never_empty, max_labels: as in the recipe.
        notes: what a user should know, for example rules that match no label.
    """

    thresholds: Thresholds
    labels: tuple[str, ...] | None = None
    calibration: Calibration | None = None
    co_occurrence: CoOccurrence | None = None
    rules: Rules | None = None
    never_empty: bool = True
    max_labels: int | None = None
    notes: tuple[str, ...] = field(default=())

    def probabilities(
        self,
        probabilities: ArrayLike,
        *,
        ages: Sequence[float | None] | None = None,
        sexes: Sequence[str | None] | None = None,
    ) -> NDArray[np.float64]:
        """Return (N, labels) after calibration, co-occurrence and rules: what thresholds see.

        Args:
            probabilities: (N, labels) of the model.
            ages, sexes: of the N patients, in years and "male" or "female"; None: not known.
        """
        table = self._moved(checked_probabilities(probabilities))
        return np.where(self._possible(len(table), ages, sexes), table, 0.0)

    def apply(
        self,
        probabilities: ArrayLike,
        *,
        ages: Sequence[float | None] | None = None,
        sexes: Sequence[str | None] | None = None,
    ) -> NDArray[np.bool_]:
        """Return decisions (N, labels); arguments as for `probabilities`.

        Where rules leave a record no possible label, `never_empty` takes the most probable one
        regardless of them.
        """
        moved = self._moved(checked_probabilities(probabilities))
        possible = self._possible(len(moved), ages, sexes)
        table = np.where(possible, moved, 0.0)
        decided = self.thresholds.apply(table) & possible
        if self.rules is not None and self.labels is not None:
            decided = self.rules.without_excluded(self.labels, decided, table)
        if self.max_labels is not None:
            decided &= most_probable(np.where(decided, table, -1.0), self.max_labels)
        if self.never_empty:
            best = np.where(possible.any(1, keepdims=True), np.where(possible, moved, -1.0), moved)
            decided |= most_probable(best, 1) & ~decided.any(1, keepdims=True)
        return decided

    def _moved(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.calibration is not None:
            table = self.calibration.apply(table)
        return table if self.co_occurrence is None else self.co_occurrence.apply(table)

    def _possible(self, number: int, ages, sexes) -> NDArray[np.bool_]:
        if self.rules is None or self.labels is None:
            return np.ones((number, 1), np.bool_)
        ages, sexes = ([None] * number if v is None else list(v) for v in (ages, sexes))
        if len(ages) != number:
            raise DataError(f"There are {len(ages)} ages for {number} records.")
        return self.rules.possible(self.labels, ages, sexes)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        parts = {
            name: None if (part := getattr(self, name)) is None else part.to_dict()
            for name in ("thresholds", "calibration", "co_occurrence")
        }
        return parts | {
            "labels": None if self.labels is None else list(self.labels),
            "rules": None if self.rules is None else self.rules.model_dump(mode="json"),
            "never_empty": self.never_empty,
            "max_labels": self.max_labels,
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "FittedDecision":
        """Rebuild from `to_dict`."""
        known = dict(values)
        builders = {
            "thresholds": Thresholds.from_dict,
            "calibration": calibration_from_dict,
            "co_occurrence": CoOccurrence.from_dict,
            "rules": Rules.model_validate,
            "labels": tuple,
            "notes": tuple,
        }
        for name, build in builders.items():
            known[name] = None if known[name] is None else build(known[name])
        return cls(**known)


class Decision(Block):
    """How probabilities become an answer."""

    calibration: CalibrationBlock | None = PlattBlock()
    """makes probabilities mean what they say; null: they are used as they are"""
    co_occurrence: CoOccurrenceBlock | None = None
    """moves probabilities by what the record's other labels say; null: each stands alone"""
    thresholds: ThresholdBlock = PlugInThreshold()
    """where the answer begins"""
    rules: str | None = None
    """YAML file of what age and sex rule out and of labels that exclude each other; age-sex: the
    rules that ship with the package"""
    never_empty: bool = True
    """a record that would have no label gets its most probable one"""
    max_labels: int | None = Field(None, ge=1)
    """at most this many labels per record, the most probable; null: any number"""

    def fit(
        self,
        probabilities: ArrayLike,
        truth: ArrayLike,
        *,
        labels: Sequence[str] | None = None,
        training: ArrayLike | None = None,
        ages: Sequence[float | None] | None = None,
        sexes: Sequence[str | None] | None = None,
    ) -> FittedDecision:
        """Fit all parts to records that the model did not train on.

        Args:
            probabilities, truth: (N, labels).
            labels: names of the labels; needed by rules.
            training: (M, labels) labels of the training records, for co-occurrence; None: truth.
            ages, sexes: of the N patients, in years and "male" or "female"; None: not known.

        Raises:
            DataError: shapes differ, values are out of range, or rules have no label names.
        """
        truth = checked_truth(truth)
        table = checked_probabilities(probabilities, truth.shape)
        rules = self._rules(labels, truth.shape[1])
        calibration = self.calibration and self.calibration.fit(table, truth)
        pairs = None
        if self.co_occurrence is not None:
            calibrated = table if calibration is None else calibration.apply(table)
            known = None if training is None else checked_truth(training, name="training labels")
            pairs = self.co_occurrence.fit(calibrated, truth, known)
        unused = [] if rules is None else rules.unmatched(labels or ())
        unfitted = FittedDecision(
            thresholds=Thresholds("none", np.full(truth.shape[1], 0.5)),
            labels=None if labels is None else tuple(labels),
            calibration=calibration,
            co_occurrence=pairs,
            rules=rules,
            never_empty=self.never_empty,
            max_labels=self.max_labels,
            notes=tuple(f"the rule for '{name}' matches no label" for name in unused),
        )
        seen = unfitted.probabilities(table, ages=ages, sexes=sexes)
        thresholds = self.thresholds.fit(seen, truth)
        return FittedDecision(**{**vars(unfitted), "thresholds": thresholds})

    def cross_fitted_score(
        self,
        probabilities: ArrayLike,
        truth: ArrayLike,
        *,
        folds: int = 10,
        groups: Sequence[Hashable] | None = None,
        seed: int = 0,
        ages: Sequence[float | None] | None = None,
        sexes: Sequence[str | None] | None = None,
        **options: Any,
    ) -> CrossFitted:
        """Return the macro F1 of decisions that were fitted to other records, and the decisions.

        Args:
            probabilities, truth, ages, sexes: as for `fit`.
            folds, groups, seed: as for `crossfitting.cross_fitted_score`.
            options: `labels` and `training`, as for `fit`.
        """
        truth = checked_truth(truth)
        table = checked_probabilities(probabilities, truth.shape)
        known = {"ages": ages, "sexes": sexes}

        def chosen(rows: NDArray[np.int64]) -> dict[str, Any]:
            return {k: v and [v[i] for i in rows] for k, v in known.items()}

        decisions = cross_fitted_decisions(
            lambda rows: self.fit(table[rows], truth[rows], **chosen(rows), **options),
            lambda fitted, rows: fitted.apply(table[rows], **chosen(rows)),
            fold_numbers(len(truth), folds, groups=groups, seed=seed),
            truth.shape[1],
        )
        fitted = self.fit(table, truth, **known, **options)
        inside = macro_f1(truth, fitted.apply(table, **known))
        return CrossFitted(macro_f1(truth, decisions), inside, decisions, fitted)

    def _rules(self, labels: Sequence[str] | None, number: int) -> Rules | None:
        if labels is not None and len(labels) != number:
            raise DataError(f"There are {len(labels)} label names for {number} labels.")
        if self.rules is None:
            return None
        if labels is None:
            raise DataError("decide.rules needs the names of the labels: give labels to fit")
        return Rules.read(self.rules)
