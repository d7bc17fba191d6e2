"""Stacking (Wolpert 1992) and blending: a second model learns from the members' probabilities.

One learner per label. Its features are the members' log-odds: of this label, or of all labels. The
members' probabilities must be of cases that they did not train on.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.errors import DataError, RecipeError
from vesalius.study.averaging import TINY, checked_probabilities, normalised
from vesalius.study.weights import checked_truth, cross_fitted, parts

Features = Literal["label", "all"]


@dataclass(frozen=True)
class Stacker:
    """Learners that were fitted to the members' probabilities, one per label.

    Attributes:
        learners: fitted scikit-learn estimators; a number where a label had one class only.
        features: "label" or "all".
        classes: whether probabilities sum to 1 over the labels.
    """

    learners: tuple[Any, ...] = field(repr=False)
    features: Features = "label"
    classes: bool = False

    def predict(self, probabilities: ArrayLike) -> NDArray[np.float64]:
        """Return (cases, labels) for the members' probabilities (members, cases, labels)."""
        table = checked_probabilities(probabilities)
        if table.ndim != 3 or table.shape[2] != len(self.learners):
            raise DataError(
                f"The probabilities have shape {table.shape}; this stacking needs (members, cases, "
                f"{len(self.learners)})."
            )
        columns = [
            np.full(table.shape[1], learner)
            if isinstance(learner, float)
            else _probability(learner, _features(table, label, self.features))
            for label, learner in enumerate(self.learners)
        ]
        joined = np.stack(columns, axis=1)
        return normalised(joined, axis=1) if self.classes else joined


@dataclass(frozen=True)
class Stacked:
    """A stacking that can be scored without flattering, and used from now on.

    Attributes:
        out_of_fold: (cases, labels) each case by learners that were fitted to the others.
        fitted: learners fitted to all cases.
    """

    out_of_fold: NDArray[np.float64]
    fitted: Stacker


def fit_stacker(
    probabilities: ArrayLike,
    truth: ArrayLike,
    *,
    learner: Any = None,
    features: Features = "label",
    classes: bool = False,
) -> Stacker:
    """Fit one learner per label.

    Args:
        probabilities: (members, cases, labels), 0 to 1; NaN where a member lacks the label.
        truth: (cases, labels), 0 or 1.
        learner: a scikit-learn classifier or regressor, cloned per label; None: logistic
            regression. What a regressor predicts is cut to 0 to 1.
        features: the members' log-odds of this "label", or of "all" labels.
        classes: the labels exclude each other.

    A label that is true of all cases, or of none, is not learned: it gets its Laplace rate
    (positives + 1) / (cases + 2).

    Raises:
        DataError: shapes differ, or a label is known to no member.
        RecipeError: the learner cannot be cloned, or `features` is unknown.
    """
    if features not in ("label", "all"):
        raise RecipeError(f"features '{features}' is none of label, all")
    table = checked_probabilities(probabilities)
    true = checked_truth(truth, table.shape[1:])
    _refuse_unknown(table)
    made = []
    for label in range(table.shape[2]):
        target = true[:, label]
        if target.all() or not target.any():
            made.append(float((target.sum() + 1) / (len(target) + 2)))
        else:
            own = _fresh(learner)
            made.append(own.fit(_features(table, label, features), target.astype(np.int64)))
    return Stacker(tuple(made), features, classes)


def stack(
    probabilities: ArrayLike,
    truth: ArrayLike,
    *,
    learner: Any = None,
    features: Features = "label",
    classes: bool = False,
    folds: int = 5,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Stacked:
    """Fit learners to all cases but one fold, predict that fold, and fit to all in the end.

    Args:
        probabilities, truth, learner, features, classes: as for `fit_stacker`.
        folds: 2 to the number of cases (or groups).
        groups: (cases,) patient of each case: whole patients are put into folds.
        seed: of the folds.
    """
    table = checked_probabilities(probabilities)
    true = checked_truth(truth, table.shape[1:])
    options = {"learner": learner, "features": features, "classes": classes}
    numbers = parts(len(true), folds, groups=groups, seed=seed)
    found = np.empty(true.shape)
    fits = cross_fitted(lambda rows: fit_stacker(table[:, rows], true[rows], **options), numbers)
    for fitted, rows in fits:
        found[rows] = fitted.predict(table[:, rows])
    return Stacked(found, fit_stacker(table, true, **options))


@dataclass(frozen=True)
class Blended:
    """A stacking that was fitted to a share of the cases.

    Attributes:
        fitted: the learners.
        fitted_on, held_out: rows of the cases of each side; score on `held_out` alone.
        probabilities: (held out, labels), the answers for `held_out`.
    """

    fitted: Stacker
    fitted_on: NDArray[np.int64]
    held_out: NDArray[np.int64]
    probabilities: NDArray[np.float64]


def blend(
    probabilities: ArrayLike,
    truth: ArrayLike,
    *,
    share: float = 0.7,
    learner: Any = None,
    features: Features = "label",
    classes: bool = False,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Blended:
    """Fit learners to a share of the cases; the others are for the score.

    Args:
        share: of the cases (whole patients) to fit to, between 0 and 1.
        probabilities, truth, learner, features, classes, groups, seed: as for `stack`.
    """
    table = checked_probabilities(probabilities)
    true = checked_truth(truth, table.shape[1:])
    inside = blending_rows(len(true), share, groups=groups, seed=seed)
    fit_on, held = np.flatnonzero(inside), np.flatnonzero(~inside)
    fitted = fit_stacker(
        table[:, fit_on], true[fit_on], learner=learner, features=features, classes=classes
    )
    return Blended(fitted, fit_on, held, fitted.predict(table[:, held]))


def blending_rows(
    cases: int, share: float, *, groups: Sequence[Hashable] | None = None, seed: int = 0
) -> NDArray[np.bool_]:
    """Return which cases are fitted to; at least one patient lies on each side."""
    if not 0 < share < 1:
        raise RecipeError(f"the share to fit to is {share}; it lies between 0 and 1")
    units = list(range(cases)) if groups is None else list(groups)
    names = list(dict.fromkeys(units))
    if len(names) < 2:
        raise DataError("One case (or one patient) cannot be fitted to and scored on.")
    number = min(len(names) - 1, max(1, round(share * len(names))))
    drawn = np.random.default_rng(seed).permutation(len(names))[:number]
    chosen = {names[i] for i in drawn}
    return np.array([unit in chosen for unit in units])


def _features(table: NDArray, label: int, features: Features) -> NDArray[np.float64]:
    """Return (cases, features); opinions that a member lacks for this label are left out."""
    own = table[:, :, label] if features == "label" else table
    clipped = np.clip(own, TINY, 1 - TINY)
    odds = np.log(clipped / (1 - clipped))
    odds = odds.T if features == "label" else odds.transpose(1, 0, 2).reshape(table.shape[1], -1)
    return odds[:, ~np.isnan(odds).any(0)]


def _refuse_unknown(table: NDArray) -> None:
    if table.ndim != 3:
        raise DataError(
            f"The probabilities have shape {table.shape}; stacking needs (members, cases, labels)."
        )
    partly = np.isnan(table).any(1) & ~np.isnan(table).all(1)
    if partly.any():
        raise DataError("A member knows a label in some cases only; it must know it in all.")
    nobody = np.isnan(table).all((0, 1))
    if nobody.any():
        raise DataError(f"No member knows the labels at {np.flatnonzero(nobody).tolist()}.")


def _fresh(learner: Any) -> Any:
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression

    if learner is None:
        return LogisticRegression(max_iter=1000)
    try:
        return clone(learner)
    except TypeError as error:
        raise RecipeError(f"the learner is no scikit-learn estimator: {error}") from None


def _probability(learner: Any, features: NDArray) -> NDArray[np.float64]:
    if hasattr(learner, "predict_proba"):
        return np.asarray(learner.predict_proba(features))[:, list(learner.classes_).index(1)]
    if hasattr(learner, "decision_function"):
        return 1 / (1 + np.exp(-learner.decision_function(features)))
    return np.clip(learner.predict(features), 0.0, 1.0)
