"""Bagging (Breiman 1996): the same model on bootstrap samples, scored on what each did not see.

Samples are drawn of cases, or of whole groups (patients): a patient who is in the bag and out of
it would flatter the score.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vesalius.errors import DataError

Predictor = Callable[[Sequence[str]], Any]
"""ids -> (ids, ...) probabilities."""


@dataclass(frozen=True)
class Bag:
    """One bootstrap sample.

    Attributes:
        train: ids, repeated as often as they were drawn.
        out_of_bag: ids that were not drawn.
    """

    train: tuple[str, ...]
    out_of_bag: tuple[str, ...]


@dataclass(frozen=True)
class Bagged:
    """Members that were fitted to bootstrap samples.

    Attributes:
        members: what `fit` returned, one per bag.
        bags: who trained which.
        ids: of the cases that were out of at least one bag.
        out_of_bag: (ids, ...) mean over the members that did not see the case.
        never_out: ids that were in every bag: they cannot be scored.
    """

    members: tuple[Predictor, ...] = field(repr=False)
    bags: tuple[Bag, ...] = field(repr=False)
    ids: tuple[str, ...] = field(repr=False)
    out_of_bag: NDArray[np.float64] = field(repr=False)
    never_out: tuple[str, ...] = ()

    def predict(self, ids: Sequence[str]) -> NDArray[np.float64]:
        """Return the mean over all members, (ids, ...)."""
        return np.mean([np.asarray(member(ids), np.float64) for member in self.members], axis=0)

    def out_of_bag_score(self, score: Callable[[Sequence[str], NDArray], float]) -> float:
        """Return `score(ids, probabilities)` of what no member had seen."""
        return float(score(self.ids, self.out_of_bag))


def bags(
    ids: Sequence[str],
    number: int = 10,
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> list[Bag]:
    """Draw bootstrap samples, with replacement, of as many cases (or groups) as there are.

    Args:
        ids: of the cases, each once.
        number: of samples.
        groups: (ids,) patient of each case, or None; None among them: a patient of one case.
        seed: of the draws. Sample k is the same whatever `number` is.

    Raises:
        DataError: ids that repeat, groups of another number, fewer than two units, no sample.
    """
    if len(set(ids)) != len(ids):
        raise DataError("An id comes twice; every case is given once.")
    if groups is not None and len(groups) != len(ids):
        raise DataError(f"There are {len(groups)} groups for {len(ids)} cases.")
    members: dict[Hashable, list[str]] = {}
    for index, name in enumerate(ids):
        group = None if groups is None else groups[index]
        members.setdefault(("case", name) if group is None else ("group", group), []).append(name)
    if len(members) < 2 or number < 1:
        raise DataError(f"{number} samples of {len(members)} cases (or patients) make no bagging.")
    units = list(members.values())
    return [_bag(units, np.random.default_rng((seed, k))) for k in range(number)]


def _bag(units: list[list[str]], rng: np.random.Generator) -> Bag:
    # All units drawn would leave nothing out of the bag; of two that happens every second time.
    while True:
        drawn = rng.integers(0, len(units), len(units))
        missing = set(range(len(units))) - set(drawn.tolist())
        if missing:
            break
    train = tuple(name for unit in drawn for name in units[unit])
    return Bag(train, tuple(name for unit in sorted(missing) for name in units[unit]))


def bagging(
    fit: Callable[[Sequence[str]], Predictor],
    ids: Sequence[str],
    *,
    number: int = 10,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Bagged:
    """Fit a model to each of several bootstrap samples.

    Args:
        fit: ids (with repetitions) -> a predictor: ids -> (ids, ...) probabilities.
        ids, number, groups, seed: as for `bags`.
    """
    drawn = bags(ids, number, groups=groups, seed=seed)
    members = tuple(fit(bag.train) for bag in drawn)
    place = {name: index for index, name in enumerate(ids)}
    total, times = None, np.zeros(len(ids))
    for member, bag in zip(members, drawn, strict=True):
        found = np.asarray(member(bag.out_of_bag), np.float64)
        if len(found) != len(bag.out_of_bag):
            raise DataError(f"A member gave {len(found)} answers for {len(bag.out_of_bag)} cases.")
        rows = [place[name] for name in bag.out_of_bag]
        total = np.zeros((len(ids), *found.shape[1:])) if total is None else total
        total[rows] += found
        times[rows] += 1
    assert total is not None
    kept = np.flatnonzero(times)
    mean = total[kept] / times[kept].reshape(-1, *[1] * (total.ndim - 1))
    never = tuple(name for index, name in enumerate(ids) if not times[index])
    return Bagged(members, tuple(drawn), tuple(ids[i] for i in kept), mean, never)
