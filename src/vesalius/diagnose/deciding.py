"""Decisions for cases: who the patients are, and scores that do not flatter."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vesalius.diagnose.decisions import Decision, FittedDecision
from vesalius.diagnose.record_schema import KNOWN_FIELDS
from vesalius.diagnose.rules import Rules, parse_age, parse_sex
from vesalius.diagnose.thresholds import Thresholds
from vesalius.engine.task import Case

FOLDS = 10
"""Parts into which records are cut so that each is decided by what was fitted to the others."""
_SEX_FIELDS, _AGE_FIELDS = KNOWN_FIELDS[0], KNOWN_FIELDS[1]


def sexes(cases: Sequence[Case]) -> list[str | None]:
    """Return "male", "female" or None for each case, from its field 性别 or sex."""
    return [parse_sex(_field(case, _SEX_FIELDS)) for case in cases]


def ages(cases: Sequence[Case]) -> list[float | None]:
    """Return years for each case, from its field 年龄 or age; months and days are understood."""
    return [parse_age(_field(case, _AGE_FIELDS)) for case in cases]


def _field(case: Case, names: Sequence[str]) -> str:
    for name, text in case.input.items():
        if name.strip().lower() in names:
            return text.strip()
    return ""


def fitted(
    decision: Decision, table: np.ndarray, truth: np.ndarray, cases: Sequence[Case], labels
) -> FittedDecision:
    """Fit a decision to predictions of cases that the model did not train on."""
    return decision.fit(table, truth, labels=labels, ages=ages(cases), sexes=sexes(cases))


def cross_fitted(
    decision: Decision, table: np.ndarray, truth: np.ndarray, cases: Sequence[Case], labels
) -> np.ndarray:
    """Return decisions (N, labels), each record's by what was fitted to the other patients'."""
    groups = [case.group or case.id for case in cases]
    folds = min(FOLDS, len(set(groups)))
    if folds < 2:
        return decided(unfitted(decision, labels), table, cases)
    found = decision.cross_fitted_score(
        table,
        truth,
        folds=folds,
        groups=groups,
        labels=labels,
        ages=ages(cases),
        sexes=sexes(cases),
    )
    return found.decisions


def unfitted(decision: Decision, labels: Sequence[str]) -> FittedDecision:
    """Return the decision that needs no data: threshold 1/2, and the recipe's limits."""
    return FittedDecision(
        thresholds=Thresholds("fixed", np.full(len(labels), 0.5)),
        labels=tuple(labels),
        never_empty=decision.never_empty,
        max_labels=decision.max_labels,
    )


def adjusted(found: FittedDecision, decision: Decision) -> FittedDecision:
    """Return a fitted decision with the limits of another recipe, which need no fitting."""
    rules = None if decision.rules is None else found.rules or Rules.read(decision.rules)
    return replace(
        found, never_empty=decision.never_empty, max_labels=decision.max_labels, rules=rules
    )


def decided(found: FittedDecision, table: np.ndarray, cases: Sequence[Case]) -> np.ndarray:
    """Return decisions (N, labels) for the probabilities of cases."""
    return found.apply(table, ages=ages(cases), sexes=sexes(cases))
