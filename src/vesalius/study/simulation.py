"""Simulated studies: is the verdict honest where the truth is known?

Three worlds, from the one that the corrected t-test supposes to one with real learners:

- `exchangeable_study`: Gaussian differences, every two runs of a trick correlate alike (the model
  of Nadeau and Bengio 2003);
- `overlap_study`: Gaussian scores made of the cases that train and validate, so runs correlate by
  how much their parts really overlap, plus noise of the seed;
- `learning_study`: ridge regression on random features (a small network whose first layer stays as
  drawn) of synthetic data, with tricks that truly do nothing or truly help.

They test `vesalius.study.effects` and `vesalius.study.racing`, and answer questions of design: how
many repeats find an effect of this size?
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vesalius.errors import DataError
from vesalius.study.racing import Race

Generator = np.random.Generator


@dataclass(frozen=True)
class Design:
    """Which runs a study makes.

    Attributes:
        cases: n, all cases of the data set.
        folds: k parts of (nearly) equal size.
        repeats: r times the folds are drawn anew.
    """

    cases: int = 100
    folds: int = 5
    repeats: int = 2

    def __post_init__(self):
        if not (2 <= self.folds <= self.cases and self.repeats >= 1):
            raise DataError(f"{self}: give 2 <= folds <= cases and repeats >= 1")

    @property
    def runs(self) -> int:
        """J = repeats x folds."""
        return self.repeats * self.folds

    @property
    def sizes(self) -> dict[str, float]:
        """Mean numbers of training and validation cases, as `effects` takes them."""
        valid = self.cases / self.folds
        return {"train": self.cases - valid, "valid": valid}

    def validation(self, rng: Generator) -> NDArray[np.bool_]:
        """Draw which cases validate in which run, (J, n); the others train."""
        place = np.arange(self.cases) % self.folds
        parts = [rng.permutation(place) for _ in range(self.repeats)]
        return np.concatenate([part == np.arange(self.folds)[:, None] for part in parts])


@dataclass(frozen=True)
class Noise:
    """Standard deviations of a run's score by their source.

    Attributes:
        training: which cases trained. Runs correlate by the share of cases they train on in
            common: (k - 2) / (k - 1) within a repeat, (k - 1) / k across repeats on average.
        validation: which cases validated. 0 within a repeat, 1 / k across repeats on average.
        seed: everything drawn anew in each run.
    """

    training: float = 0.0
    validation: float = 1.0
    seed: float = 0.0


@dataclass(frozen=True, eq=False)
class Study:
    """Scores of a study, higher is better.

    Attributes:
        baseline: (repeats, folds).
        tricks: {name: (repeats, folds)}; NaN where not run.
        helpful: names of tricks with a true effect above 0.
        dropped: names of tricks that a race gave up.
    """

    baseline: NDArray[np.float64]
    tricks: Mapping[str, NDArray[np.float64]]
    helpful: frozenset[str] = frozenset()
    dropped: Collection[str] = ()

    @property
    def differences(self) -> NDArray[np.float64]:
        """Trick minus baseline in the order of the tricks, (m, J)."""
        return np.stack([(one - self.baseline).ravel() for one in self.tricks.values()])

    @property
    def made(self) -> int:
        """How many runs took place, the baseline's among them."""
        return int(sum(np.isfinite(one).sum() for one in (self.baseline, *self.tricks.values())))


def exchangeable_study(
    design: Design,
    effects: Sequence[float],
    rng: Generator,
    *,
    sd: float = 1.0,
    correlation: float | None = None,
) -> Study:
    """Simulate differences of which every two runs of a trick correlate alike.

    Args:
        design: folds and repeats.
        effects: (m,) true mean differences; the tricks are named trick-0 and on.
        rng: source of the draws.
        sd: standard deviation within the study, what `effects.power` calls sd; the whole one is
            sd / sqrt(1 - correlation).
        correlation: of two runs, 0 to below 1. None: n_valid / (n_valid + n_train) = 1 / k, where
            the corrected t-test is exact.
    """
    correlation = 1 / design.folds if correlation is None else correlation
    if not 0 <= correlation < 1:
        raise DataError(f"correlation is {correlation}; give 0 to below 1")
    shared = np.sqrt(correlation / (1 - correlation)) * rng.standard_normal((len(effects), 1))
    own = rng.standard_normal((len(effects), design.runs))
    return _study(design, np.zeros(design.runs), sd * (shared + own), effects)


def overlap_study(design: Design, effects: Sequence[float], rng: Generator, noise: Noise) -> Study:
    """Simulate scores as sums over the cases that train and validate.

    Every arm (the baseline and each trick) reacts in its own way to each case that trains and to
    each that validates, so differences of two tricks to the one baseline correlate by 1 / 2.

    Args:
        design: folds and repeats; the folds are drawn.
        effects: (m,) true mean differences; the tricks are named trick-0 and on.
        rng: source of the draws.
        noise: of one arm's score.
    """
    valid = design.validation(rng)
    arms = len(effects) + 1
    scores = noise.seed * rng.standard_normal((arms, design.runs))
    for part, sd in ((~valid, noise.training), (valid, noise.validation)):
        reaction = rng.standard_normal((arms, design.cases))
        scores += sd * reaction @ (part / np.sqrt(part.sum(1, keepdims=True))).T
    return _study(design, scores[0], scores[1:], effects)


def _study(design: Design, baseline: NDArray, scores: NDArray, effects: Sequence[float]) -> Study:
    shape = (design.repeats, design.folds)
    names = [f"trick-{index}" for index in range(len(effects))]
    moved = scores + np.asarray(effects, dtype=np.float64)[:, None]
    return Study(
        baseline.reshape(shape),
        {name: one.reshape(shape) for name, one in zip(names, moved, strict=True)},
        frozenset(name for name, one in zip(names, effects, strict=True) if one > 0),
    )


NULL_TRICKS = ("seed", "irrelevant", "order")
"""Changes of `learning_study` without an effect, or with a slightly bad one."""


@dataclass(frozen=True)
class Learning:
    """A small problem and its learner.

    Attributes:
        features: of a case that matter and that the baseline sees.
        hidden: random features (ReLU) of the learner.
        noise: standard deviation of what cannot be learned, the rest having 1.
        hint: weight of one more feature, which only the tricks named "hint-..." see.
        penalty: of ridge regression.
        score: "r2", or "accuracy" for the sign of the target, which becomes -1 or 1: a coarse
            score, in steps of 1 / n_valid.
    """

    features: int = 4
    hidden: int = 20
    noise: float = 1.0
    hint: float = 0.0
    penalty: float = 1.0
    score: Literal["r2", "accuracy"] = "r2"


def learning_study(
    design: Design, tricks: Sequence[str], rng: Generator, problem: Learning
) -> Study:
    """Cross-validate a baseline and tricks on one synthetic data set.

    Args:
        design: cases, folds and repeats.
        tricks: names; the part before a hyphen is the kind. "seed": other random features, and
            "irrelevant": one more feature of pure noise, and "order": the training cases turned
            round, which changes nothing. "hint": one more feature that matters
            by `problem.hint`, a true help where that is large enough to pay for the feature.
        rng: source of data, folds and seeds.
        problem: data and learner.

    Returns:
        R^2 or accuracy on the validation cases.

    Raises:
        DataError: a trick of an unknown kind.
    """
    unknown = [name for name in tricks if name.split("-")[0] not in (*NULL_TRICKS, "hint")]
    if unknown:
        raise DataError(f"unknown tricks {unknown}; known: {', '.join((*NULL_TRICKS, 'hint'))}")
    x, hint, y = _data(design.cases, problem, rng)
    valid, seeds = design.validation(rng), rng.integers(2**32, size=design.runs)
    noises = {name: rng.standard_normal(design.cases) for name in tricks}
    scores = {"": _cross_validate(x, y, valid, seeds, problem)}
    for number, name in enumerate(tricks, start=1):
        kind = name.split("-")[0]
        more = {"hint": hint, "irrelevant": noises[name]}.get(kind)
        inputs = x if more is None else np.column_stack([x, more])
        own = seeds + (number * 2**32 if kind == "seed" else 0)
        order = -1 if kind == "order" else 1
        scores[name] = _cross_validate(inputs, y, valid, own, problem, order)
    shaped = {name: one.reshape(design.repeats, design.folds) for name, one in scores.items()}
    helpful = frozenset(name for name in tricks if name.startswith("hint") and problem.hint)
    return Study(shaped.pop(""), shaped, helpful)


def _data(
    cases: int, problem: Learning, rng: Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return features (n, p), the hint (n,) and what is to be predicted (n,)."""
    x = rng.standard_normal((cases, problem.features))
    hint = rng.standard_normal(cases)
    weights = rng.standard_normal((2, problem.features)) / np.sqrt(2 * problem.features)
    y = x @ weights[0] + np.abs(x @ weights[1]) + problem.hint * hint
    y += problem.noise * rng.standard_normal(cases)
    if problem.score == "accuracy":
        y = np.sign(y - np.median(y) + 1e-9)
    return x, hint, y


def _cross_validate(
    x: NDArray, y: NDArray, valid: NDArray, seeds: NDArray, problem: Learning, order: int = 1
) -> NDArray[np.float64]:
    """Return the score of each run, (J,)."""
    scores = []
    for held, seed in zip(valid, seeds, strict=True):
        # The layer for the first features does not depend on how many come after them: tricks that
        # add a feature are paired with the baseline's random features.
        drawn = np.random.default_rng(seed).standard_normal((x.shape[1] + 1, problem.hidden))
        hidden = np.maximum(x @ drawn[1:] + drawn[0], 0)
        inputs = np.column_stack([x, hidden / np.sqrt(problem.hidden)])
        line = ridge(inputs[~held][::order], y[~held][::order], problem.penalty)
        scores.append(_score(y[held], inputs[held] @ line[0] + line[1], problem.score))
    return np.array(scores)


def ridge(x: NDArray, y: NDArray, penalty: float) -> tuple[NDArray[np.float64], float]:
    """Return weights (p,) and intercept of ridge regression on x (n, p), y (n,).

    As scikit-learn's `Ridge`, without its checks, which take longer than such a small fit.
    """
    centre = x.mean(0)
    centred = x - centre
    squares = centred.T @ centred + penalty * np.eye(x.shape[1])
    weights = np.linalg.solve(squares, centred.T @ (y - y.mean()))
    return weights, float(y.mean() - centre @ weights)


def _score(truth: NDArray, predicted: NDArray, score: str) -> float:
    if score == "accuracy":
        return float(((truth > 0) == (predicted > 0)).mean())
    return float(1 - ((truth - predicted) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


def raced(study: Study, design: Design, **options: float) -> Study:
    """Return what a race leaves of a study: NaN where a trick had been dropped.

    Args:
        study: complete; its blocks are told fold by fold, one repeat after the other.
        design: of the study.
        options: of `Race`: least, level, futility.
    """
    race = Race(study.tricks, runs=design.runs, **design.sizes, **options)
    differences = study.differences
    for block in range(design.runs):
        race.tell(dict(zip(race.names, differences[:, block], strict=True)))
    left = {}
    for name, scores in study.tricks.items():
        run = np.arange(design.runs) < race.dropped.get(name, design.runs)
        left[name] = np.where(run.reshape(scores.shape), scores, np.nan)
    return Study(study.baseline, left, study.helpful, tuple(race.dropped))
