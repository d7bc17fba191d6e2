"""Ensembles that learn: weights and stackers, fitted to some cases and applied to others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesalius.engine.task import Scores, Task
from vesalius.errors import DataError, RecipeError
from vesalius.language import say
from vesalius.study.averaging import checked_weights
from vesalius.study.combining import Combined, Question, filled, scored
from vesalius.study.gains import is_mean_of_cases
from vesalius.study.stacking import Stacker, blending_rows, fit_stacker, stack
from vesalius.study.weights import (
    by_rank,
    cross_fitted,
    greedy_selection,
    log_loss_weights,
    parts,
)


@dataclass(frozen=True)
class Made:
    """An ensemble before it is scored."""

    question: Question
    answers: Mapping[str, NDArray]
    weights: NDArray | None = None
    part_weights: Sequence[NDArray] = ()
    stacker: Stacker | None = None


def weighted(question, source, how, weights, ask, threshold, rounds, folds, seed) -> Made:
    """Combine by given, equal or learned weights."""
    number = len(question.members)
    if not isinstance(weights, str):
        given = checked_weights(weights, number)
        if how == "product":  # exponents: they need not sum to 1
            given = np.ones(number) if weights is None else np.asarray(weights, np.float64)
        answers = Combined(question, how, given, threshold=threshold)
        return Made(question, answers, None if how == "staple" else given)
    ask.refuse_unfit(source)
    learner = WeightLearner(source, ask.task, weights, how=how, threshold=threshold, rounds=rounds)
    rows = np.arange(len(source.cases))
    found = learner.fit(rows)
    if source is not question:
        return Made(question, Combined(question, how, found, threshold=threshold), found)
    numbers = parts(len(rows), folds, groups=source.units, seed=seed)
    by_part = cross_fitted(learner.fit, numbers)
    own = {question.ids[row]: w for w, inside in by_part for row in inside}
    ask.notes.append(
        say(
            f"weights are cross-fitted: each of {folds} parts is scored with weights learned from "
            "the others; those shown are learned from all cases",
            f"权重交叉拟合：{folds} 份中每份用其余各份学得的权重评分；所示权重由全部病例学得",
        )
    )
    answers = Combined(question, how, own, threshold=threshold)
    return Made(question, answers, found, [w for w, _ in by_part])


def stacked(question, source, how, ask, *, learner, features, share, folds, seed) -> Made:
    """Combine by a second model."""
    ask.refuse_unfit(source)
    table, truth = source.table(how), truth_table(source, how)
    options = {"learner": learner, "features": features, "classes": source.classes}
    if source is not question:
        fitted = fit_stacker(table, truth, **options)
        return Made(question, _rows(question, fitted.predict(question.table(how))), stacker=fitted)
    if how == "blending":
        inside = blending_rows(len(truth), share, groups=source.units, seed=seed)
        fitted = fit_stacker(table[:, inside], truth[inside], **options)
        held = question.only(np.flatnonzero(~inside))
        ask.notes.append(
            say(
                f"blending was fitted to {inside.sum()} cases; all scores are of the other "
                f"{len(held.cases)}",
                f"blending 在 {inside.sum()} 例上拟合；所有得分来自其余 {len(held.cases)} 例",
            )
        )
        return Made(held, _rows(held, fitted.predict(table[:, ~inside])), stacker=fitted)
    found = stack(table, truth, folds=folds, groups=source.units, seed=seed, **options)
    ask.notes.append(
        say(
            f"stacking is scored out of fold: each of {folds} parts is answered by learners that "
            "were fitted to the others",
            f"stacking 按折外评分：{folds} 份中每份由其余各份拟合的学习器回答",
        )
    )
    return Made(question, _rows(question, found.out_of_fold), stacker=found.fitted)


def _rows(question: Question, table: NDArray) -> dict[str, NDArray]:
    return dict(zip(question.ids, table, strict=True))


def truth_table(question: Question, what: str) -> NDArray[np.bool_]:
    """Return the truth (cases, labels) where targets are names of labels, or class numbers.

    Raises:
        RecipeError: targets are something else.
    """
    width = question.members[0].answers[question.cases[0].id].shape[0]
    names = {name: index for index, name in enumerate(question.labels or ())}
    truth = np.zeros((len(question.cases), width), np.bool_)
    for row, case in zip(truth, question.cases, strict=True):
        target = case.target
        if isinstance(target, int | np.integer) and question.classes and 0 <= target < width:
            row[int(target)] = True
            continue
        listed = [target] if isinstance(target, str) else target
        plain = isinstance(listed, list | tuple | set | frozenset)
        if not names or not plain or not all(isinstance(item, str) for item in listed):
            raise RecipeError(
                f"{what} needs the names of each case's true labels; case {case.id} has a "
                f"{type(target).__name__}. Weights 'learned' need only the task's score."
            )
        row[[names[item] for item in listed if item in names]] = True
    return truth


class WeightLearner:
    """Finds weights for the members from cases whose truth is known.

    Args:
        question: cases and members.
        task: scores them.
        kind: "by-rank", "learned" (greedy selection by the task's headline), "log-loss".
        how, threshold: how members are combined.
        rounds: of the greedy selection.
    """

    def __init__(
        self, question: Question, task: Task, kind: str, *, how: str, threshold: Any, rounds: int
    ):
        self.question, self.task, self.kind = question, task, kind
        self.how, self.threshold, self.rounds = how, threshold, rounds
        self._whole: dict[tuple[float, ...], NDArray] = {}
        self._additive = True
        if kind == "log-loss":
            self._table = question.table("weights log-loss")
            self._truth = truth_table(question, "weights log-loss")
            if question.classes and not (self._truth.sum(1) == 1).all():
                raise DataError("weights log-loss: a case has none, or several, of the classes")

    def fit(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return weights (members,), sum 1, learned from some of the cases."""
        number = len(self.question.members)
        if self.kind == "log-loss":
            part = self._table[:, rows]
            return log_loss_weights(part, self._truth[rows], classes=self.question.classes)
        if self.kind == "by-rank":
            return by_rank([self._value(one, rows, alone=True) for one in np.eye(number)])
        return greedy_selection(lambda w: self._value(w, rows), number, rounds=self.rounds)

    def _value(self, weights: NDArray, rows: NDArray, *, alone: bool = False) -> float:
        """Return the headline on some cases, higher is better."""
        key = tuple(np.round(weights, 12))
        if self._additive and key not in self._whole:
            self._additive = self._remember(key, weights, alone)
        if self._additive:
            return float(np.nanmean(self._whole[key][rows]))
        return self._signed(self._score(self.question.only(rows), weights, alone))

    def _remember(self, key: tuple[float, ...], weights: NDArray, alone: bool) -> bool:
        """Keep the values per case, for any part of the cases, where the headline is their mean.

        One headline that is something else tells that the task pools.
        """
        scores = self._score(self.question, weights, alone)
        row = [scores.cases.get(name, {}).get(scores.headline) for name in self.question.ids]
        if any(value is None for value in row) or not is_mean_of_cases(scores, row):
            return False
        sign = 1 if scores.higher_is_better else -1
        self._whole[key] = sign * np.array(row, np.float64)
        return True

    def _score(self, question: Question, weights: NDArray, alone: bool) -> Scores:
        if alone:
            member = question.members[int(weights.argmax())]
            answers = filled(member.answers, classes=question.classes)
        else:
            answers = Combined(question, self.how, weights, threshold=self.threshold)
            answers = filled(answers, classes=question.classes)
        return scored(self.task, question.cases, answers)

    def _signed(self, scores: Scores) -> float:
        return scores.best if scores.higher_is_better else -scores.best
