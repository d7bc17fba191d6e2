"""Are the verdicts of a study honest? Simulated studies whose truth is known.

    python benchmarks/study_honesty.py [--studies 2000] [--part level|repeats|power|learning]

Prints: the share of studies of m tricks without any effect in which at least one is called "helps"
(aim: at most 0.05) or "hurts"; the same for a plain paired t-test and without Holm's correction;
how often a planted effect is found, beside what `effects.power` promised; and what a race does to
all of it and to the number of runs. Only "level" makes all studies, the other parts a quarter.
Shares of 2,000 (500) studies have a standard error of 0.005 (0.010) at 0.05 and of 0.009 (0.018)
at 0.8. Nearly all the time is computing; give OMP_NUM_THREADS=1.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from scipy.special import stdtr
from scipy.stats import ttest_1samp

from vesalius.study.effects import holm, mean_interval, power, table
from vesalius.study.power import detectable
from vesalius.study.simulation import (
    Design,
    Learning,
    Noise,
    Study,
    exchangeable_study,
    learning_study,
    overlap_study,
    raced,
)

DESIGN = Design(cases=100, folds=5, repeats=2)
LEVEL = 0.05
RACED = ("exchangeable, 1/k", "validation, seed, training 1/3")
"""Worlds where the level is measured with a race too; it cannot be higher anywhere."""
NOISES = {
    "validation": Noise(0, 1, 0),
    "validation, seed": Noise(0, 1, 1),
    "validation, seed, training 1/9": Noise(0.5, 1, 1),
    "validation, seed, training 1/3": Noise(1, 1, 1),
    "validation, training 1/2": Noise(1, 1, 0),
    "training": Noise(1, 0, 0),
}
"""Variances that are not named as a share are equal."""
Make = Callable[[np.random.Generator, list[float]], Study]
WORLDS: dict[str, Make] = {
    "exchangeable, 1/k": lambda rng, effects: exchangeable_study(DESIGN, effects, rng),
    **{
        name: lambda rng, effects, noise=noise: overlap_study(DESIGN, effects, rng, noise)
        for name, noise in NOISES.items()
    },
}


def verdicts(study: Study, design: Design) -> dict[str, set[str]]:
    """Return the tricks that help and those that hurt, by the table of the study."""
    rows = table(study.baseline, study.tricks, **design.sizes, dropped=study.dropped)
    return {
        verdict: {row.name for row in rows if row.verdict == verdict}
        for verdict in ("helps", "hurts")
    }


def by_t_tests(study: Study, design: Design) -> dict[str, set[str]]:
    """Return the tricks that other tests would call "helps"."""
    test = ttest_1samp(study.differences, 0.0, axis=1)
    share = 1 / design.runs
    # The corrected statistic is the plain one, shrunk.
    shrunk = np.sqrt(share / (share + design.sizes["valid"] / design.sizes["train"]))
    corrected = 2 * stdtr(design.runs - 1, -np.abs(shrunk * test.statistic))
    p_values = {
        "corrected, no Holm": corrected,
        "paired t, Holm": holm(test.pvalue),
        "paired t": test.pvalue,
    }
    better = test.statistic > 0
    return {
        name: {trick for trick, yes in zip(study.tricks, better & (p < LEVEL), strict=True) if yes}
        for name, p in p_values.items()
    }


def false_shares(studies: Iterable[Study], design: Design, *, race: bool) -> dict[str, float]:
    """Return the share of studies with at least one false verdict, by way of deciding."""
    counts: dict[str, list[bool]] = {}
    for study in studies:
        called = {**verdicts(study, design), **by_t_tests(study, design)}
        if race:
            left = raced(study, design)
            called["helps, raced"] = verdicts(left, design)["helps"]
            counts.setdefault("runs, raced", []).append(left.made / study.made)
        for name, tricks in called.items():
            counts.setdefault(name, []).append(bool(tricks - study.helpful))
    return {name: float(np.mean(values)) for name, values in counts.items()}


def show(title: str, shares: dict[str, float]) -> None:
    """Print one row."""
    cells = "; ".join(f"{name} {value:.3f}" for name, value in shares.items())
    print(f"{title}: {cells}", flush=True)


def draws(make: Make, effects: list[float], studies: int, seed: int = 0) -> Iterator[Study]:
    """Yield so many studies."""
    rng = np.random.default_rng(seed)
    return (make(rng, effects) for _ in range(studies))


def print_level(studies: int) -> None:
    """Nothing helps: how often does something seem to?"""
    print("\nNo trick has an effect (5 folds, 2 repeats): share of studies with a false verdict")
    for name, make in WORLDS.items():
        for m in (10, 20):
            show(
                f"{name}, m={m}",
                false_shares(draws(make, [0.0] * m, studies), DESIGN, race=name in RACED),
            )


def print_repeats(studies: int) -> None:
    """Do more repeats make the test liberal?"""
    print('\nNo trick has an effect, m=10, 5 folds: share of studies with a false "helps"')
    for name in ("validation, seed", *list(NOISES)[2:5]):
        shares = {}
        for repeats in (1, 2, 5, 10):
            design, rng = Design(100, 5, repeats), np.random.default_rng(repeats)
            made = (overlap_study(design, [0.0] * 10, rng, NOISES[name]) for _ in range(studies))
            wrong = [bool(verdicts(study, design)["helps"]) for study in made]
            shares[f"repeats {repeats}"] = float(np.mean(wrong))
        show(name, shares)


def spread(studies: Iterable[Study]) -> float:
    """Return the root mean variance of differences within a study."""
    return float(np.sqrt(np.mean([study.differences.var(1, ddof=1).mean() for study in studies])))


def print_power(studies: int) -> None:
    """One trick of ten helps: is it found as often as promised?"""
    print("\nOne of 10 tricks helps, the others do nothing: how often is it found?")
    for name, make in WORLDS.items():
        sd = spread(draws(make, [0.0] * 10, 200, seed=1))
        design = {**DESIGN.sizes, "tests": 10}
        smallest = detectable(sd, DESIGN.runs, **design)
        for times in (0.7, 1.0, 1.4):
            effect = times * smallest
            promised = power(effect, sd, DESIGN.runs, **design)
            made = draws(make, [effect] + [0.0] * 9, studies, seed=2)
            show(f"{name}, {times} x detectable", outcome(made, promised, {"trick-0"}))


def outcome(studies: Iterable[Study], promised: float, planted: set[str]) -> dict[str, float]:
    """Return how often planted tricks were found, without and with a race."""
    hits, left, runs = [], [], []
    for study in studies:
        race = raced(study, DESIGN)
        hits.append(planted <= verdicts(study, DESIGN)["helps"])
        left.append(planted <= verdicts(race, DESIGN)["helps"])
        runs.append(race.made / study.made)
    means = {"found": np.mean(hits), "found, raced": np.mean(left), "runs, raced": np.mean(runs)}
    return {"promised": promised} | {name: float(value) for name, value in means.items()}


def print_learning(studies: int) -> None:
    """Do the same with learners."""
    print("\nRidge regression on random features, 100 cases, 5 folds, 2 repeats")
    for score in ("r2", "accuracy"):
        for m in (10, 20):
            names = [f"{kind}-{i}" for i in range(m // 2) for kind in ("seed", "irrelevant")]
            names[-1] = "order-0"
            rng = np.random.default_rng(m)
            made = (
                learning_study(DESIGN, names, rng, Learning(score=score)) for _ in range(studies)
            )
            show(f"{score}, nothing helps, m={m}", false_shares(made, DESIGN, race=True))
        for hint in (0.7, 1.0, 1.5):
            print_hint(Learning(hint=hint, score=score), studies)


def print_hint(problem: Learning, studies: int) -> None:
    """A feature that matters among nine tricks that do nothing."""
    names = ["hint-0", *(f"seed-{i}" for i in range(9))]
    rng = np.random.default_rng(3)
    made = [learning_study(DESIGN, names, rng, problem) for _ in range(studies)]
    own = [study.differences[0] for study in made]
    sd = float(np.sqrt(np.mean([one.var(ddof=1) for one in own])))
    effect = float(np.mean(own))
    promised = power(effect, sd, DESIGN.runs, **DESIGN.sizes, tests=10)
    intervals = [mean_interval(one, **DESIGN.sizes) for one in own]
    covered = np.mean([one.low <= effect <= one.high for one in intervals])
    title = f"{problem.score}, hint {problem.hint}: true effect {effect:.3f}, sd {sd:.3f}"
    show(title, outcome(made, promised, {"hint-0"}) | {"interval covers": float(covered)})


def main() -> None:
    """Print all parts, or one."""
    parts = {
        "level": print_level,
        "repeats": print_repeats,
        "power": print_power,
        "learning": print_learning,
    }
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--part", choices=sorted(parts))
    given = parser.parse_args()
    for name, part in parts.items():
        if given.part in (None, name):
            part(given.studies if name == "level" else max(1, given.studies // 4))


if __name__ == "__main__":
    main()
