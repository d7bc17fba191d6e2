"""Boosting over any base learner that takes sample weights.

AdaBoost in its form for several classes, SAMME (Zhu, Zou, Rosset and Hastie 2009), run label by
label for several labels; gradient boosting by fitting residuals (Friedman 2001), with Newton steps
for the log loss (LogitBoost: Friedman, Hastie and Tibshirani 2000).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.errors import DataError, RecipeError

Predict = Callable[[Any], Any]
Learner = Callable[[Any, NDArray, NDArray], Predict]
"""(inputs, targets (N,), weights (N,)) -> predictor: inputs -> (N,) classes or numbers."""
LARGEST_STEP = 4.0
"""Newton steps beyond are cut, as Friedman, Hastie and Tibshirani advise (section 4.3)."""


def of_estimator(estimator: Any) -> Learner:
    """Return a learner of a scikit-learn estimator whose `fit` takes `sample_weight`."""

    def learn(inputs: Any, targets: NDArray, weights: NDArray) -> Predict:
        from sklearn.base import clone

        return clone(estimator).fit(inputs, targets, sample_weight=weights).predict

    return learn


@dataclass(frozen=True)
class AdaBoost:
    """What `adaboost` fitted to one target.

    Attributes:
        members: predictors of classes.
        weights: of their votes.
        classes: what they vote for.
        errors: weighted error of each on the cases it was fitted to.
    """

    members: tuple[Predict, ...] = field(repr=False)
    weights: tuple[float, ...]
    classes: tuple[Any, ...]
    errors: tuple[float, ...]

    def votes(self, inputs: Any) -> NDArray[np.float64]:
        """Return the weighted share of votes (N, classes), sum 1."""
        share = sum(
            weight * (np.asarray(member(inputs))[:, None] == np.array(self.classes))
            for member, weight in zip(self.members, self.weights, strict=True)
        )
        return np.asarray(share, np.float64) / sum(self.weights)

    def predict(self, inputs: Any) -> NDArray:
        """Return the class with the most votes, the first of equals."""
        return np.array(self.classes)[self.votes(inputs).argmax(1)]


def adaboost(
    learner: Learner,
    inputs: Any,
    targets: ArrayLike,
    *,
    rounds: int = 50,
    rate: float = 1.0,
) -> AdaBoost:
    """Fit members one after the other, each to the cases that the earlier ones got wrong.

    Args:
        learner: see `Learner`; `of_estimator` makes one.
        inputs: whatever the learner takes.
        targets: (N,) classes, at least two different ones.
        rounds: most members.
        rate: shrinks the members' votes, above 0.

    Ends early where a member makes no error (it alone answers for that round on, with vote 1), or
    is no better than guessing.

    Raises:
        DataError: one class, or a first member no better than guessing.
    """
    truth = np.asarray(targets)
    classes = np.unique(truth)
    _check(rounds, rate)
    if truth.ndim != 1 or len(classes) < 2:
        raise DataError(f"AdaBoost needs (N,) targets of two classes or more; got {classes}.")
    weights = np.full(len(truth), 1 / len(truth))
    members, votes, errors = [], [], []
    for _ in range(rounds):
        member = learner(inputs, truth, weights)
        wrong = np.asarray(member(inputs)) != truth
        error = float(weights @ wrong)
        if error >= 1 - 1 / len(classes):
            break
        members.append(member)
        errors.append(error)
        if error <= 0:
            votes.append(1.0)
            break
        vote = rate * (np.log((1 - error) / error) + np.log(len(classes) - 1))
        votes.append(float(vote))
        weights = weights * np.exp(vote * wrong)
        weights /= weights.sum()
    if not members:
        raise DataError("The first member is no better than guessing; choose another learner.")
    return AdaBoost(tuple(members), tuple(votes), tuple(classes.tolist()), tuple(errors))


def adaboost_labels(
    learner: Learner, inputs: Any, truth: ArrayLike, *, rounds: int = 50, rate: float = 1.0
) -> Callable[[Any], NDArray[np.float64]]:
    """Boost each label on its own; return a predictor of vote shares (N, labels).

    Args:
        truth: (N, labels), 0 or 1, both of them in every column.
        learner, inputs, rounds, rate: as for `adaboost`.
    """
    table = np.asarray(truth).astype(np.int64)
    single = [k for k in range(table.shape[1]) if len(np.unique(table[:, k])) < 2]
    if single:
        raise DataError("Labels with one class cannot be boosted.", [f"column {k}" for k in single])
    made = [adaboost(learner, inputs, column, rounds=rounds, rate=rate) for column in table.T]
    return lambda new: np.stack([boosted.votes(new)[:, 1] for boosted in made], axis=1)


@dataclass(frozen=True)
class GradientBoost:
    """What `gradient_boost` fitted to one target.

    Attributes:
        start: prediction before the first member: the mean, or its log-odds.
        members: predictors of steps.
        rate: by which every step is shrunk.
        loss: "squared" or "logistic".
        losses: mean loss after 0, 1, ... members, on the cases fitted to.
    """

    start: float
    members: tuple[Predict, ...] = field(repr=False)
    rate: float
    loss: str
    losses: tuple[float, ...] = field(repr=False)

    def raw(self, inputs: Any) -> NDArray[np.float64]:
        """Return the sum of all steps (N,): numbers, or log-odds."""
        steps: Sequence[NDArray] = [np.asarray(member(inputs)) for member in self.members]
        return self.start + self.rate * np.sum(steps, axis=0)

    def predict(self, inputs: Any) -> NDArray[np.float64]:
        """Return numbers (squared loss) or probabilities (logistic loss), (N,)."""
        return self.raw(inputs) if self.loss == "squared" else _sigmoid(self.raw(inputs))


def gradient_boost(
    learner: Learner,
    inputs: Any,
    targets: ArrayLike,
    *,
    rounds: int = 100,
    rate: float = 0.1,
    loss: Literal["squared", "logistic"] = "logistic",
) -> GradientBoost:
    """Fit members one after the other to what is left to explain.

    Squared loss: to the residuals y - F, with equal weights. Logistic loss: to Newton steps
    (y - p) / (p (1 - p)) with weights p (1 - p), steps cut to +-4.

    Args:
        learner: of numbers; see `Learner`.
        inputs: whatever the learner takes.
        targets: (N,) numbers; 0 and 1, both of them, for the logistic loss.
        rounds: members, from 1.
        rate: by which every step is shrunk, above 0.
    """
    truth = np.asarray(targets, np.float64)
    _check(rounds, rate)
    if loss not in ("squared", "logistic"):
        raise RecipeError(f"loss '{loss}' is none of squared, logistic")
    if truth.ndim != 1 or not truth.size:
        raise DataError(f"Gradient boosting needs (N,) targets; these are {truth.shape}.")
    if loss == "logistic" and not np.array_equal(np.unique(truth), [0, 1]):
        raise DataError("The logistic loss needs targets of 0 and 1, both of them.")
    mean = float(truth.mean())
    start = mean if loss == "squared" else float(np.log(mean / (1 - mean)))
    raw, members = np.full(len(truth), start), []
    losses = [_loss(raw, truth, loss)]
    for _ in range(rounds):
        steps, weights = _working(raw, truth, loss)
        member = learner(inputs, steps, weights)
        raw = raw + rate * np.asarray(member(inputs), np.float64)
        members.append(member)
        losses.append(_loss(raw, truth, loss))
    return GradientBoost(start, tuple(members), rate, loss, tuple(losses))


def _working(raw: NDArray, truth: NDArray, loss: str) -> tuple[NDArray, NDArray]:
    """Return what the next member is fitted to, and the weights."""
    if loss == "squared":
        return truth - raw, np.ones(len(truth))
    p = _sigmoid(raw)
    curvature = np.maximum(p * (1 - p), 1e-10)
    return np.clip((truth - p) / curvature, -LARGEST_STEP, LARGEST_STEP), curvature


def _loss(raw: NDArray, truth: NDArray, loss: str) -> float:
    if loss == "squared":
        return float(((truth - raw) ** 2).mean())
    return float((np.logaddexp(0, raw) - truth * raw).mean())


def _sigmoid(raw: NDArray) -> NDArray[np.float64]:
    from scipy.special import expit

    return expit(raw)


def _check(rounds: int, rate: float) -> None:
    if rounds < 1 or rate <= 0:
        raise RecipeError(f"rounds is {rounds} and rate {rate}; give rounds >= 1 and rate > 0")
