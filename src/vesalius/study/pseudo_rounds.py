"""The rounds of pseudo-labelling: accept, train, score; what `study.pseudo_label` works with.

A case that was accepted once keeps its labels, and only the others are asked about again: of cases
that a model was trained on it is too sure, and the rule, fitted to cases that never trained, would
not hold for them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesalius import files
from vesalius.engine.recipe import Recipe
from vesalius.engine.run import Run, from_json, to_json, write_assets
from vesalius.engine.task import Case, Prediction, Scores, Task
from vesalius.errors import DataError, RecipeError
from vesalius.study import confidence, predictions
from vesalius.study.gains import Gain, gains
from vesalius.study.jobs import PREDICTIONS, RUN, Bench, Job, carry_out
from vesalius.study.members import Answers, label_names

ACCEPTED = "accepted.json"


@dataclass(frozen=True)
class Round:
    """One round: what was accepted, and the model that was trained with it.

    Attributes:
        number: from 1.
        asked: unlabelled cases that were asked about.
        sure: of these the rule decided so many wholly.
        accepted: of the sure ones, after quotas and `most`.
        total: accepted cases of all rounds, on which the model was trained.
        rule: thresholds and calibration.
        labels: label -> "accepted" (cases), and where truth is known "right", "precision",
            "recall" of the accepted; masks: the label's scores.
        right: over the accepted cases whose truth is known: "cases" (their number), then for
            labels "positives", "right", "precision", "recall" and "wholly_right" (share of
            cases), for masks the scores. Empty where no truth is known.
        scores: of the score half; None where nothing was accepted, so that nothing was trained.
        gain: over the base, on the same cases.
        folder: of the round; its run/ is the model.
    """

    number: int
    asked: int
    sure: int
    accepted: int
    total: int
    rule: Mapping[str, Any]
    labels: Mapping[str, Mapping[str, float]]
    right: Mapping[str, float]
    folder: Path
    scores: Scores | None = None
    gain: Gain | None = None

    @property
    def verdict(self) -> str:
        """Return "helps" or "hurts" where the interval of the gain excludes 0."""
        if self.gain is None:
            return "nothing accepted"
        if self.gain.low > 0:
            return "helps"
        return "hurts" if self.gain.high < 0 else "no evidence"


@dataclass(frozen=True)
class Options:
    """How cases are accepted; see `vesalius.study.pseudo_label`."""

    precision: float = 0.9
    soft: bool = False
    balanced: bool = True
    most: int | None = None
    calibration: str = "temperature"


@dataclass(frozen=True)
class Halves:
    """Ids of the held-out cases that fit rules, and of those that are for scores alone."""

    rule: tuple[str, ...]
    score: tuple[str, ...]


@dataclass(frozen=True)
class Parts:
    """The cases of a study.

    Attributes:
        train: those with labels that train.
        held: those held out, by id.
        halves: what the held-out cases serve.
        unlabelled: by id; truth in them is only looked at to tell what was right.
    """

    train: Sequence[Case]
    held: Mapping[str, Case]
    halves: Halves
    unlabelled: Mapping[str, Case]


@dataclass(frozen=True)
class Model:
    """A trained model and its predictions of the held-out cases."""

    run: Run
    kept: predictions.Kept

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The labels in the order of its probabilities."""
        first = self.kept.predictions[0].probabilities
        return label_names(self.run.task) or tuple(str(k) for k in range(len(first)))

    @property
    def maps(self) -> bool:
        """Whether predictions are maps of pixels rather than a row of labels."""
        return np.ndim(self.kept.predictions[0].probabilities) > 1


@dataclass(frozen=True)
class Choice:
    """A case to accept: how sure, which labels (None: the map as it is), and soft targets."""

    id: str
    confidence: float
    decided: NDArray[np.bool_] | None = None
    soft: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class _Extended(Bench):
    """The labelled cases as a recipe's task reads them, and cases with pseudo-labels."""

    more: tuple[Case, ...] = ()

    def read(self, task: Task) -> list[Case]:
        """Return all of them."""
        return [*super().read(task), *self.more]


def round_folder(folder: Path, number: int) -> Path:
    """Return where a round lies; 0 is the base."""
    return folder / f"round-{number}"


def undecided(task: Task) -> Any:
    """Return a task that decides each scored case by the others: its own rule saw too many."""
    if getattr(task, "decider", None) is not None:
        task.decider = None  # pyright: ignore
    return task


def train(
    folder: Path,
    bench: Bench,
    recipe: Recipe,
    cases: Parts,
    *,
    more: Sequence[Case] = (),
) -> Model:
    """Train on the labelled cases and `more`, or find it done; predict the held-out cases."""
    extended = _Extended(bench.task, bench.source, bench.cases, tuple(more))
    ids = tuple(case.id for case in (*cases.train, *more))
    job = Job(folder, recipe, ids, tuple(cases.held), "weights", {"pseudo_labels": len(more)})
    carry_out(extended, job)
    if not (folder / RUN).exists():
        raise DataError(f"{folder / RUN} is gone; delete {folder}, and it is trained again")
    model = Model(Run(folder / RUN), predictions.read(folder / PREDICTIONS))
    _let_decide(model, cases)
    return model


def _let_decide(model: Model, cases: Parts) -> None:
    """Let a department that answers by thresholds fit them, to the rule half alone."""
    task: Any = model.run.task
    if hasattr(task, "fit_decision") and getattr(task, "decider", None) is None:
        own = [item for item in model.kept.predictions if item.id in set(cases.halves.rule)]
        task.fit_decision([cases.held[item.id] for item in own], own)
        write_assets(model.run.folder, task.assets())


class Rounds:
    """The state between rounds: the latest model, and who has been accepted."""

    def __init__(
        self,
        folder: Path,
        bench: Bench,
        recipe: Recipe,
        cases: Parts,
        base: Model,
        options: Options,
        *,
        seed: int,
        device: str,
        resamples: int | None,
    ):
        self.folder, self.bench, self.recipe, self.cases = folder, bench, recipe, cases
        self.model, self.options, self.device = base, options, device
        self.accepted: dict[str, Case] = {}
        self.open = {name: replace(c, target=None) for name, c in cases.unlabelled.items()}
        self.judge = _Judge(base, cases, seed=seed, resamples=resamples)
        self.shares = self._shares() if options.balanced and not base.maps else None

    def _shares(self) -> dict[str | None, float]:
        """Return the share of the training cases with each label; None: with no label."""
        names = self.model.names
        table, _ = confidence.truth_table(self.cases.train, names, len(names))
        shares = dict(zip(names, table.mean(0).tolist(), strict=True))
        return {**shares, None: float((~table.any(1)).mean())}

    def next(self, number: int) -> Round:
        """Accept cases by the latest model, train with them, score."""
        folder = round_folder(self.folder, number)
        if not (folder / ACCEPTED).exists():
            files.write_text(folder / ACCEPTED, to_json(self._accept(folder)))
        stored, made = self._accepted(folder)
        self.accepted |= made
        self.open = {name: case for name, case in self.open.items() if name not in made}
        done = Round(number, **stored, total=len(self.accepted), folder=folder)
        if not made:
            return done
        more = tuple(self.accepted.values())
        self.model = train(folder, self.bench, self.recipe, self.cases, more=more)
        scores, gain = self.judge.compare(self.model)
        return replace(done, scores=scores, gain=gain)

    def _accepted(self, folder: Path) -> tuple[dict[str, Any], dict[str, Case]]:
        path = folder / ACCEPTED
        try:
            stored = from_json(path.read_text(encoding="utf-8"))
            rows = stored.pop("cases")
            made = {name: _restored(self.open[name], row, folder) for name, row in rows.items()}
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} is damaged, or a case of it is not in the data any more ({error}). Put it "
                "back, or begin in another folder."
            ) from None
        return stored, made

    # --- accepting ------------------------------------------------------------------------------

    def _accept(self, folder: Path) -> dict[str, Any]:
        """Fit the rule, ask about all open cases, and label the sure ones."""
        task, answers = undecided(self.model.run.task), Answers()
        half = [item for item in self.model.kept.predictions if item.id in self._rule_half]
        ask = self._ask_maps if self.model.maps else self._ask_labels
        rule, sure, chosen = ask(task, half, answers)
        made = []
        for choice in chosen:
            item = Prediction(choice.id, np.array(answers[choice.id]))
            soft = {} if choice.soft is None else {"soft": choice.soft}
            case = self.open[choice.id]
            made.append(task.labelled(case, item, choice.decided, folder / "masks", **soft))
        right_maps, right_rows = self._right_maps, self._right_rows
        labels, right = (right_maps if self.model.maps else right_rows)(task, chosen, answers)
        return {
            "asked": len(self.open),
            "sure": sure,
            "accepted": len(made),
            "rule": rule,
            "labels": labels,
            "right": right,
            "cases": {
                case.id: _stored(self.open[case.id], case, folder)
                | {"confidence": choice.confidence}
                for case, choice in zip(made, chosen, strict=True)
            },
        }

    @property
    def _rule_half(self) -> set[str]:
        return set(self.cases.halves.rule)

    def _predicted(self):
        return self.model.run.predictions(list(self.open.values()), device=self.device)

    def _ask_labels(self, task: Any, half: Sequence[Prediction], answers: Answers):
        names, order = self.model.names, list(self.open)
        cases = [self.cases.held[item.id] for item in half]
        truth, exclusive = confidence.truth_table(cases, names, len(names))
        rule = confidence.fit_label_rule(
            np.stack([item.probabilities for item in half]),
            truth,
            names=names,
            precision=self.options.precision,
            calibration=self.options.calibration,
            exclusive=exclusive,
        )
        for item in self._predicted() if order else ():
            answers.add(item.id, item.probabilities)
        table = np.array([answers[name] for name in order]).reshape(len(order), len(names))
        found = rule.decide(table)
        # A later model may know the labels in another order.
        shares = None if self.shares is None else [self.shares[key] for key in (*names, None)]
        with_none = np.hstack([found.answers, ~found.answers.any(1, keepdims=True)])
        rows = confidence.pick(
            with_none, found.confidence, found.sure, shares=shares, most=self.options.most
        )
        soft = self.options.soft
        chosen = [
            Choice(
                order[k],
                float(found.confidence[k]),
                found.answers[k],
                found.probabilities[k] if soft else None,
            )
            for k in rows
        ]
        return rule.to_dict(), int(found.sure.sum()), chosen

    def _ask_maps(self, task: Any, half: Sequence[Prediction], answers: Answers):
        if self.options.soft:
            raise RecipeError("soft pseudo-labels are for labels; masks are written as decided")
        scores = task.score([self.cases.held[item.id] for item in half], half)
        rule = confidence.fit_mask_rule(
            {item.id: confidence.mask_confidence(item.probabilities) for item in half},
            scores.cases,
            headline=scores.headline,
            wanted=self.options.precision,
            higher_is_better=scores.higher_is_better,
        )
        surety = {}
        for item in self._predicted() if self.open else ():
            surety[item.id] = confidence.mask_confidence(item.probabilities)
            if surety[item.id] >= rule.threshold:
                answers.add(item.id, item.probabilities)
        sure = sorted(answers, key=lambda name: -surety[name])
        chosen = [Choice(name, surety[name]) for name in sure[: self.options.most]]
        return rule.to_dict(), len(sure), chosen

    # --- how many were right --------------------------------------------------------------------

    def _truth(self, chosen: Sequence[Choice]) -> list[tuple[Case, Choice]]:
        pairs = [(self.cases.unlabelled[choice.id], choice) for choice in chosen]
        return [(case, choice) for case, choice in pairs if case.target is not None]

    def _right_maps(self, task: Any, chosen: Sequence[Choice], answers: Answers):
        """Return the scores of the accepted masks, per label and over all."""
        known = [case for case, _ in self._truth(chosen)]
        if not known:
            return {}, {}
        scores = task.score(known, (Prediction(c.id, np.array(answers[c.id])) for c in known))
        return scores.labels, {"cases": len(known), **scores.values}

    def _right_rows(self, task: Any, chosen: Sequence[Choice], answers: Answers):
        """Return how many accepted positives are right, per label and over all."""
        names = self.model.names

        def decided(choices: Sequence[Choice]) -> NDArray[np.bool_]:
            return np.array([c.decided for c in choices], bool).reshape(-1, len(names))

        labels: dict[str, dict[str, float]] = {
            name: {"accepted": int(n)}
            for name, n in zip(names, decided(chosen).sum(0), strict=True)
        }
        known = self._truth(chosen)
        if not known:
            return labels, {}
        truth, _ = confidence.truth_table([case for case, _ in known], names, len(names))
        given = decided([choice for _, choice in known])
        for k, name in enumerate(names):
            labels[name] |= _right(given[:, k], truth[:, k])
        overall = {"cases": len(known), "positives": int(given.sum()), **_right(given, truth)}
        return labels, overall | {"wholly_right": float((truth == given).all(1).mean())}


def _right(answers: NDArray, truth: NDArray) -> dict[str, float]:
    """Return right positives, and precision and recall; NaN where there is nothing to divide by."""
    hits, given, true = int((answers & truth).sum()), int(answers.sum()), int(truth.sum())
    nan = float("nan")
    return {
        "right": hits,
        "precision": hits / given if given else nan,
        "recall": hits / true if true else nan,
    }


def _stored(before: Case, after: Case, folder: Path) -> dict[str, Any]:
    """Return what pseudo-labelling changed of a case, JSON-ready; files relative to the round."""
    target = after.target
    if isinstance(target, Path):
        target = {"file": target.relative_to(folder).as_posix()}
    changed = {k: v for k, v in after.extra.items() if before.extra.get(k) is not v}
    return {"target": target, "extra": changed}


def _restored(case: Case, row: Mapping[str, Any], folder: Path) -> Case:
    target = row["target"]
    if isinstance(target, Mapping):
        target = folder / target["file"]
    elif isinstance(target, list):
        target = tuple(target)
    return replace(case, target=target, extra={**case.extra, **row["extra"]})


class _Judge:
    """Scores models on the score half, all by the base's task and against the base."""

    def __init__(self, base: Model, cases: Parts, *, seed: int, resamples: int | None):
        self.scorer = undecided(base.run.task)
        self.cases = [cases.held[name] for name in cases.halves.score]
        self.seed, self.resamples = seed, resamples
        self._answers = self._of(base)
        self.base = self._score(self._answers)

    def _of(self, model: Model) -> dict[str, NDArray]:
        found = predictions.aligned(model.kept, label_names(self.scorer) or ())
        return {item.id: item.probabilities for item in found}

    def _score(self, answers: Mapping[str, NDArray]) -> Scores:
        return self.scorer.score(self.cases, (Prediction(c.id, answers[c.id]) for c in self.cases))

    def compare(self, model: Model) -> tuple[Scores, Gain]:
        """Return a model's scores and its gain over the base, with a paired interval."""
        answers = self._of(model)
        scores = self._score(answers)
        found = gains(
            self.scorer,
            self.cases,
            [self.base],
            scores,
            [self._answers, answers],
            resamples=self.resamples,
            seed=self.seed,
        )
        return scores, replace(found[0], over="base")
