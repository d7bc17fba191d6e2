"""Several models, one answer: how good is each, how good are all together, is the gain real?

Works for every department through the task contract. What is learned from cases (weights,
stacking) is scored on other cases: weights are cross-fitted, or learned from `fit_on`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesalius.engine.run import refuse_existing, to_json
from vesalius.engine.task import Case, Prediction, Scores, Task
from vesalius.errors import RecipeError
from vesalius.language import say
from vesalius.study import members as asking
from vesalius.study import predictions
from vesalius.study.asking import Asker
from vesalius.study.combining import (
    HOWS,
    LEARNED,
    STACKED,
    WEIGHTED,
    filled,
    scored,
)
from vesalius.study.gains import RESCORED_RESAMPLES, Gain, gains
from vesalius.study.learning import Made, stacked, weighted
from vesalius.study.members import Answers
from vesalius.study.stacking import Stacker


@dataclass(frozen=True)
class EnsembleResult:
    """What `ensemble` found.

    Attributes:
        how: the combination.
        names: of the members.
        ids: of the cases that were combined (of a blending: those it was not fitted to).
        labels: names along the first axis of the answers, or None.
        weights: of the members, sum 1 (of a product: exponents), to be used from now on; None for
            staple and stacking.
        part_weights: the weights behind the score where they were cross-fitted, one row per part.
        members: scores of each member; empty where no truth is known.
        scores: of the ensemble, or None.
        gains: over the best and over the mean member.
        notes: what must be known to read the scores.
        answers: case id -> probabilities of the ensemble.
        stacker: what stacking or blending fitted, to be used from now on.
    """

    how: str
    names: tuple[str, ...]
    ids: tuple[str, ...] = field(repr=False)
    labels: tuple[str, ...] | None = field(repr=False)
    weights: tuple[float, ...] | None
    part_weights: tuple[tuple[float, ...], ...] = field(repr=False)
    members: tuple[Scores, ...] = field(repr=False)
    scores: Scores | None = field(repr=False)
    gains: tuple[Gain, ...]
    notes: tuple[str, ...]
    answers: Mapping[str, NDArray] = field(repr=False)
    stacker: Stacker | None = field(default=None, repr=False)

    @property
    def predictions(self) -> list[Prediction]:
        """The ensemble's predictions in the order of the cases."""
        return [Prediction(name, np.asarray(self.answers[name])) for name in self.ids]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, without the predictions."""
        weights = None if self.weights is None else dict(zip(self.names, self.weights, strict=True))
        scores = self.members or (None,) * len(self.names)
        return {
            "how": self.how,
            "cases": len(self.ids),
            "labels": self.labels,
            "weights": weights,
            "part_weights": self.part_weights,
            "headline": self.scores and self.scores.headline,
            "members": {
                name: own and own.to_dict() for name, own in zip(self.names, scores, strict=True)
            },
            "ensemble": self.scores and self.scores.to_dict(),
            "gains": [gain.to_dict() for gain in self.gains],
            "notes": self.notes,
        }

    def write(self, folder: str | Path) -> Path:
        """Write ensemble.json and predictions.npz, each atomically.

        Raises:
            RecipeError: the folder holds something already.
        """
        from vesalius import files

        folder = Path(folder)
        refuse_existing(folder)
        predictions.write(folder / "predictions.npz", self.predictions, self.labels or ())
        files.write_text(folder / "ensemble.json", to_json(self.to_dict()))
        return folder


def ensemble(
    runs: Sequence[Any],
    cases_or_source: Sequence[Case] | str | Path | None = None,
    *,
    how: str = "mean",
    weights: Sequence[float] | str | None = None,
    fit_on: Sequence[Case] | str | Path | None = None,
    held_out: bool = False,
    task: Task | None = None,
    classes: bool | None = None,
    threshold: float | Mapping[str, float] = 0.5,
    learner: Any = None,
    features: str = "label",
    share: float = 0.7,
    folds: int = 5,
    rounds: int = 10,
    resamples: int | None = None,
    interval: str = "auto",
    device: str = "auto",
    seed: int = 0,
    out: str | Path | None = None,
    started: Callable[[int], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> EnsembleResult:
    """Combine the answers of several models of one department, and measure the gain.

    Members may know labels in another order, or lack some: they are aligned by name to the labels
    of the member that knows most. A decision that was fitted to one member's probabilities
    (thresholds) does not suit the others': where the task has such a `decider` it is put aside, so
    that all are scored by the same rule.

    Args:
        runs: runs, run folders, `Member`s or predictions.npz files; two or more.
        cases_or_source: a source, read by each member with its own task, or cases. None: stored
            predictions are combined without a score.
        how: mean, geometric, log, rank-mean, soft-vote, vote (shares of hard votes), majority,
            plurality, product (of experts, over the last axis), staple (of masks), stacking,
            blending.
        weights: one per member; "by-rank" (3/6, 2/6, 1/6); "learned" (greedy selection by the
            task's headline); "log-loss"; None: equal.
        fit_on: cases with truth from which weights, or stacking, are learned. None: from the cases
            themselves, each part of them scored by what was learned from the others.
        held_out: use only cases that trained no member.
        task: what scores; None: that of the run with the most labels, the first of equals.
        classes: whether labels exclude each other; None: whether all answers sum to 1.
        threshold: of hard votes on labels that do not exclude each other, for all or by name.
        learner, features, share: of stacking and blending; see `stacking.fit_stacker`.
        folds: parts for cross-fitting; patients stay whole.
        rounds: of the greedy selection.
        resamples, interval: see `gains.gains`; resamples=0: no intervals.
        device: auto, cpu, cuda, ...
        seed: of parts and resamples.
        out: folder to write ensemble.json and predictions.npz to.
        started, progress: called with the number of steps, and with steps done.

    Raises:
        DataError: members do not fit together, or would learn from cases that trained them.
        RecipeError: options that do not fit together, or an `out` that exists.
    """
    learns = how in STACKED or isinstance(weights, str)
    _check(how, weights, fit_on, cases_or_source, fit_needed=learns)
    if (resamples or 0) < 0 or interval not in ("auto", "cases", "rescored"):
        raise RecipeError(
            f"resamples={resamples}, interval={interval}: give 0 or more; auto, cases or rescored"
        )
    if out is not None:
        refuse_existing(Path(out))
    opened = asking.open_members(runs)
    ask = Asker(opened, task, held_out=held_out, classes=classes, device=device, progress=progress)
    cases = ask.cases(cases_or_source)
    fitting = [] if fit_on is None else ask.cases(fit_on)
    planned = RESCORED_RESAMPLES if resamples is None else resamples
    if started:
        started(len(ask.runs) * (len(cases) + len(fitting)) + planned)
    question = ask.about(cases_or_source, cases)
    source = question if fit_on is None else ask.about(fit_on, fitting, like=question)
    limit = _threshold(threshold, question.labels)
    plan = {"learner": learner, "features": features, "share": share, "folds": folds, "seed": seed}
    if how in STACKED:
        made = stacked(question, source, how, ask, **plan)
    else:
        made = weighted(question, source, how, weights, ask, limit, rounds, folds, seed)
    result = _judged(made, ask, how, resamples, interval, seed)
    if progress and not any(gain.method == "rescored" for gain in result.gains):
        progress(planned)
    if out is not None:
        result.write(out)
    return result


def _check(how: str, weights: Any, fit_on: Any, source: Any, *, fit_needed: bool) -> None:
    if how not in HOWS:
        raise RecipeError(f"how={how}: give one of {', '.join(HOWS)}")
    if isinstance(weights, str) and weights not in LEARNED:
        raise RecipeError(f"weights={weights}: give numbers, or one of {', '.join(LEARNED)}")
    if weights is not None and how not in WEIGHTED:
        raise RecipeError(f"how={how} takes no weights")
    if fit_on is not None and not fit_needed:
        raise RecipeError("fit_on is for weights that are learned, stacking and blending")
    if how == "blending" and fit_on is not None:
        raise RecipeError("blending parts the cases itself; with fit_on use how=stacking")
    if fit_needed and source is None:
        raise RecipeError("learning needs cases whose truth is known: give a source")


def _judged(made: Made, ask: Asker, how, resamples, interval, seed) -> EnsembleResult:
    """Score members and ensemble on the cases whose truth is known."""
    question, task = made.question, ask.task
    # Each answer is asked for by several scores; STAPLE and votes are made once.
    lasting = filled(made.answers, classes=question.classes)
    answers = Answers(Prediction(name, lasting[name]) for name in question.ids)
    known = [case for case in question.cases if case.target is not None]
    singles, whole, found = (), None, []
    if task is not None and known:
        if len(known) < len(question.cases):
            missing = len(question.cases) - len(known)
            ask.notes.append(
                say(
                    f"{missing} case(s) without truth are answered and not scored",
                    f"{missing} 例无真值，只回答，不评分",
                )
            )
        own = [filled(member.answers, classes=question.classes) for member in question.members]
        singles = tuple(scored(task, known, each) for each in own)
        whole = scored(task, known, answers)
        found = gains(
            task, known, singles, whole, [*own, answers], resamples=resamples,
            interval=interval, seed=seed, progress=ask.progress,
        )  # fmt: skip
    return EnsembleResult(
        how=how,
        names=tuple(ask.names),
        ids=tuple(question.ids),
        labels=question.labels,
        weights=None if made.weights is None else tuple(float(w) for w in made.weights),
        part_weights=tuple(tuple(float(w) for w in row) for row in made.part_weights),
        members=singles,
        scores=whole,
        gains=tuple(found),
        notes=tuple(dict.fromkeys(ask.notes)),
        answers=answers,
        stacker=made.stacker,
    )


def _threshold(threshold: Any, labels: Sequence[str] | None) -> float | NDArray:
    """Return one threshold, or one per label."""
    if not isinstance(threshold, Mapping):
        return float(threshold)
    missing = [name for name in labels or () if name not in threshold]
    if labels is None or missing:
        raise RecipeError(f"threshold: no number for {', '.join(missing[:8]) or 'these labels'}")
    return np.array([float(threshold[name]) for name in labels])
