"""How the members' answers for a case become one answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesalius.engine.task import Case, Prediction, Scores, Task
from vesalius.errors import RecipeError
from vesalius.study.averaging import AVERAGES, TINY, average, normalised, scaled_ranks
from vesalius.study.masks import staple
from vesalius.study.members import Member
from vesalius.study.sequences import product_of_experts
from vesalius.study.voting import vote

VOTES = ("vote", "majority", "plurality")
WEIGHTED = (*AVERAGES, "rank-mean", "soft-vote", *VOTES, "product")
STACKED = ("stacking", "blending")
HOWS = (*WEIGHTED, "staple", *STACKED)
LEARNED = ("by-rank", "learned", "log-loss")


@dataclass(frozen=True)
class Question:
    """Cases that all members have answered, with one order of labels.

    Attributes:
        cases: in order.
        members: aligned.
        classes: whether labels exclude each other.
        labels: names along the first axis, or None.
    """

    cases: Sequence[Case]
    members: Sequence[Member] = field(repr=False)
    classes: bool
    labels: tuple[str, ...] | None = None

    @property
    def ids(self) -> list[str]:
        """The ids of the cases."""
        return [case.id for case in self.cases]

    @property
    def units(self) -> list[str]:
        """The patient of each case, or its id."""
        return [case.group or case.id for case in self.cases]

    def stack(self, name: str) -> NDArray[np.float64]:
        """Return all members' answers for a case, (members, labels, *size)."""
        return np.stack([np.asarray(m.answers[name], np.float64) for m in self.members])

    def table(self, what: str) -> NDArray[np.float64]:
        """Return all answers (members, cases, labels).

        Raises:
            RecipeError: answers are maps of pixels, or differ in shape.
        """
        if self.flat is None:
            raise RecipeError(
                f"{what} needs one number per label and case; these answers have shapes such as "
                f"{self.members[0].answers[self.ids[0]].shape}. Use how=mean, geometric, vote or "
                "staple."
            )
        return self.flat

    @cached_property
    def flat(self) -> NDArray[np.float64] | None:
        """All answers (members, cases, labels), or None where they are maps, or of many sizes."""
        shapes = {self.members[0].answers[name].shape for name in self.ids}
        if len(shapes) > 1 or len(next(iter(shapes))) != 1:
            return None
        return np.stack([self.stack(name) for name in self.ids], axis=1)

    def only(self, rows: Sequence[int] | NDArray) -> "Question":
        """Return the question for some of the cases."""
        chosen = [self.cases[int(row)] for row in rows]
        made = Question(chosen, self.members, self.classes, self.labels)
        if self.flat is not None:
            made.__dict__["flat"] = self.flat[:, np.asarray(rows)]
        return made


class Combined(Mapping[str, NDArray]):
    """The members' answers combined case by case, made when asked for.

    Args:
        question: the cases and the members.
        how: one of `WEIGHTED`, or "staple".
        weights: for all cases, or case id -> weights; None: equal.
        threshold: of votes for labels.
    """

    def __init__(
        self,
        question: Question,
        how: str,
        weights: Any = None,
        *,
        threshold: float | NDArray = 0.5,
    ):
        self._question, self._how, self._threshold = question, how, threshold
        self._weights = weights
        self._ids = question.ids
        self._ranks: dict[str, NDArray] | None = None
        if how == "rank-mean":
            ranks = scaled_ranks(question.table("rank-mean"))
            self._ranks = {name: ranks[:, row] for row, name in enumerate(self._ids)}
        self._whole = self._at_once()

    def _at_once(self) -> dict[str, NDArray] | None:
        """Combine vectors of all cases together where that is the same, and much quicker."""
        table = self._question.flat
        several = isinstance(self._weights, Mapping)
        if table is None or several or self._ranks or self._how in ("product", "staple"):
            return None
        joined = one_answer(
            table.transpose(0, 2, 1),
            self._how,
            weights=self._weights,
            classes=self._question.classes,
            threshold=self._threshold,
        )
        return dict(zip(self._ids, joined.T, strict=True))

    def __getitem__(self, name: str) -> NDArray:
        if self._whole is not None:
            return self._whole[name]
        weights = self._weights
        own = weights[name] if isinstance(weights, Mapping) else weights
        if self._ranks is not None:
            return average(self._ranks[name], "mean", weights=own)
        return one_answer(
            self._question.stack(name),
            self._how,
            weights=own,
            classes=self._question.classes,
            threshold=self._threshold,
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


def one_answer(
    stack: NDArray, how: str, *, weights: Any, classes: bool, threshold: float | NDArray = 0.5
) -> NDArray[np.float64]:
    """Combine the members' answers for one case.

    Args:
        stack: (members, labels, *size); for "product" (members, ..., letters).
        how: see `Combined`.
        weights: one per member, or None.
        classes: whether probabilities sum to 1 over the labels.
        threshold: of votes for labels.
    """
    axis = 0 if classes else None
    if how in AVERAGES:
        return average(stack, how, weights=weights, classes=axis)  # type: ignore[arg-type]
    if how == "soft-vote":
        return average(stack, "mean", weights=weights, classes=axis)
    if how in VOTES:
        shape = (-1, *[1] * (stack.ndim - 2))
        limit = threshold if np.ndim(threshold) == 0 else np.reshape(threshold, shape)
        return vote(stack, how, weights=weights, classes=axis, threshold=limit)
    if how == "product":
        if np.abs(stack.sum(-1) - 1).max() > 2e-3:
            raise RecipeError("how=product needs probabilities that sum to 1 over the last axis")
        return np.exp(product_of_experts(np.log(np.clip(stack, TINY, 1)), weights=weights))
    if not classes:
        raise RecipeError("how=staple needs classes that exclude each other; use how=vote")
    decided = np.nan_to_num(stack, nan=-1.0).argmax(1)
    return staple(decided, classes=stack.shape[1]).probabilities


def filled(answers: Mapping[str, NDArray], *, classes: bool) -> Mapping[str, NDArray]:
    """Return a member's answers with 0 for the labels that it lacks."""
    return _Filled(answers, classes)


class _Filled(Mapping[str, NDArray]):
    def __init__(self, answers: Mapping[str, NDArray], classes: bool):
        self._answers, self._classes = answers, classes

    def __getitem__(self, name: str) -> NDArray:
        array = np.asarray(self._answers[name])
        if array.dtype.kind != "f" or not np.isnan(array).any():
            return array
        return normalised(array, axis=0) if self._classes else np.nan_to_num(array, nan=0.0)

    def __iter__(self) -> Iterator[str]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)


def scored(task: Task, cases: Sequence[Case], answers: Mapping[str, NDArray]) -> Scores:
    """Score answers by a task."""
    return task.score(cases, (Prediction(case.id, answers[case.id]) for case in cases))
