"""Cases into folds, so that every label's share and the sizes are as equal as they can be.

The order of work is that of iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On
the Stratification of Multi-Label Data", Algorithm 1): the rarest label first, its cases to the
folds that want it most. Three things differ.

- While one label is dealt, who is next depends on that label's counts alone. So the number of
  cases that each fold gets is computed at once (a water level), not case by case.
- A label's cases are sorted by their whole label sets, and each fold's part is spread evenly along
  that order. Pairs of labels become even too, the aim of Szymanski and Kajdanowicz (2017).
- A greedy order cannot mend what earlier labels did to later ones. Exchanges of cases between two
  folds follow, always the best of some thousand, until none lessens the sum of squared surpluses.

The unit is a case, or a group of cases that must stay together: a vector of label counts and a
size. Counts are whole numbers, exact in float32 up to 2**24, so the folds of a seed do not depend
on the order in which a processor sums.
"""

from collections.abc import Sequence

import numpy as np

from vesalius.errors import DataError, RecipeError

_STEPS = 2000
_POOL, _POOLS, _CANDIDATES = 4000, 2, 128
_CASE_SIZE_WEIGHT, _GROUP_SIZE_WEIGHT = 1024, 8
"""What one case too many in a fold costs, in units of one positive too many of a label. Single
cases can always be exchanged one for one, so there sizes come first; groups cannot."""


def assign(
    labels: np.ndarray | Sequence[Sequence[int]],
    *,
    folds: int,
    groups: np.ndarray | Sequence[int] | None = None,
    seed: int | Sequence[int] = 0,
    proportions: Sequence[float] | None = None,
) -> np.ndarray:
    """Return the fold of each of n cases.

    Args:
        labels: bool (n, L), or n sequences of label numbers from 0. L = 0 (or empty sequences)
            balances sizes alone. One label per case is ordinary stratification.
        folds: k, 2 to the number of cases or groups.
        groups: int (n,); cases of equal number come into one fold. None: every case is free.
        seed: of the draw, not negative. The same arguments give the same folds.
        proportions: k positive shares of the cases, relative to their sum; None: equal ones.

    Returns:
        int64 (n,), 0 to k - 1; no fold is empty. Without groups and proportions sizes differ by at
        most one.

    Raises:
        RecipeError: folds, seed or proportions are out of range.
        DataError: lengths differ, or there are fewer cases or groups than folds.

    Examples:
        >>> fold = assign([[0], [0], [1], [1]], folds=2, seed=3)
        >>> bool(fold[0] != fold[1] and fold[2] != fold[3])
        True
    """
    table = label_table(labels)
    units, unit_of = _units(table, groups)
    _check(len(units), folds, grouped=groups is not None)
    targets = _targets(units.sum(0), folds, _shares(folds, proportions))
    rng = np.random.default_rng(_checked_seed(seed))
    fold, surplus = _deal(units, targets, rng)
    weights = np.ones(units.shape[1], np.float32)
    weights[-1] = _CASE_SIZE_WEIGHT if groups is None else _GROUP_SIZE_WEIGHT
    _improve(units, fold, surplus, weights, rng)
    _fill_empty(units, fold, folds)
    return fold if unit_of is None else fold[unit_of]


# --- arguments --------------------------------------------------------------------------------


def label_table(labels: np.ndarray | Sequence[Sequence[int]]) -> np.ndarray:
    """Return bool (n, L)."""
    if isinstance(labels, np.ndarray):
        if labels.ndim != 2:
            raise DataError(
                f"labels has shape {labels.shape}; expected (cases, labels), one column per label"
            )
        return labels.astype(bool, copy=False)
    sizes = [len(row) for row in labels]
    columns = np.array([number for row in labels for number in row], np.int64)
    if columns.size and columns.min() < 0:
        raise DataError(f"label number {columns.min()}: labels are numbered from 0")
    table = np.zeros((len(sizes), columns.max() + 1 if columns.size else 0), bool)
    table[np.repeat(np.arange(len(sizes)), sizes), columns] = True
    return table


def _units(table: np.ndarray, groups: np.ndarray | Sequence[int] | None):
    """Return label counts and size of each unit, float32 (U, L + 1), and each case's unit."""
    counts = np.ones((len(table), table.shape[1] + 1), np.float32)
    counts[:, :-1] = table
    if groups is None:
        return counts, None
    if len(groups) != len(table):
        raise DataError(f"{len(groups)} groups for {len(table)} cases: give one for each")
    _, unit_of = np.unique(np.asarray(groups), return_inverse=True)
    return _sums(counts, unit_of, int(unit_of.max(initial=-1)) + 1), unit_of


def _sums(rows: np.ndarray, part: np.ndarray, parts: int) -> np.ndarray:
    """Return the sum of the rows of each part, (parts, columns)."""
    sums = np.zeros((parts, rows.shape[1]), rows.dtype)
    present, starts = np.unique(np.sort(part), return_index=True)
    if len(present):
        sums[present] = np.add.reduceat(rows[np.argsort(part, kind="stable")], starts, axis=0)
    return sums


def _check(units: int, folds: int, *, grouped: bool) -> None:
    if folds < 2:
        raise RecipeError(f"folds is {folds}; at least 2 leave cases to train on")
    if units < folds:
        what = "groups (patients, sets of near-duplicates)" if grouped else "cases"
        raise DataError(f"{units} {what} cannot be cut into {folds} folds; ask for fewer folds")


def _shares(folds: int, proportions: Sequence[float] | None) -> np.ndarray | None:
    if proportions is None:
        return None
    shares = np.asarray(proportions, float)
    if len(shares) != folds or not np.isfinite(shares).all() or (shares <= 0).any():
        raise RecipeError(f"proportions {list(proportions)}: give {folds} numbers above 0")
    return shares / shares.sum()


def _checked_seed(seed: int | Sequence[int]) -> int | Sequence[int]:
    if np.min(seed) < 0:
        raise RecipeError(f"seed {seed}: a seed is not negative")
    return seed


def _targets(totals: np.ndarray, folds: int, shares: np.ndarray | None) -> np.ndarray:
    """Return the wanted counts, float32 (k, L + 1).

    Unequal shares are rounded to whole numbers with the right sum (largest remainder). Equal ones
    stay fractions: any fold may get the one more, and differences between folds, all that is used
    below, are whole numbers anyway.
    """
    if shares is None:
        return np.repeat(totals[None] / np.float32(folds), folds, axis=0)
    exact = shares[:, None] * totals.astype(float)
    whole = np.floor(exact + 1e-6)
    rank = np.argsort(np.argsort(whole - exact, axis=0, kind="stable"), axis=0)
    return (whole + (rank < totals - whole.sum(0))).astype(np.float32)


# --- dealing, the rarest label first ----------------------------------------------------------


def _deal(
    units: np.ndarray, targets: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return each unit's fold (U,), and what the folds then have above their targets (k, L + 1)."""
    columns = np.append(np.argsort(units[:, :-1].sum(0), kind="stable"), units.shape[1] - 1)
    order = _by_rarest_label(units[:, columns] > 0, rng)
    ordered = units[order]
    # Every unit has a size, the last column, so units without labels are dealt last and by size.
    rarest = (ordered[:, columns] > 0).argmax(1)
    bounds = np.searchsorted(rarest, np.arange(len(columns) + 1))
    fold, surplus = np.empty(len(units), np.int64), -targets
    for place in np.flatnonzero(np.diff(bounds)).tolist():
        run = slice(bounds[place], bounds[place + 1])
        fold[order[run]] = _deal_run(ordered[run], columns[place], surplus, rng)
    return fold, surplus


def _by_rarest_label(present: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sort rows by their bits, the leftmost first and ones before zeros; equal rows at random."""
    packed = np.packbits(~present, axis=1)
    words = np.pad(packed, ((0, 0), (0, -packed.shape[1] % 8)))
    words = np.ascontiguousarray(words).view(">u8").astype(np.uint64)
    drawn = rng.permutation(len(present))
    return drawn[np.lexsort(words[drawn].T[::-1])]


def _deal_run(
    units: np.ndarray, column: int, surplus: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the folds of units that share their rarest label; `surplus` is brought up to date."""
    fold = np.empty(len(units), np.int64)
    amounts = units[:, column]
    for amount in np.unique(amounts)[::-1]:  # the heavy ones first: the light ones fill the gaps
        alike = np.flatnonzero(amounts == amount)
        tie = rng.random(len(surplus)) - 2 * surplus[:, -1]
        counts = _water_fill(-surplus[:, column], float(amount), len(alike), tie)
        fold[alike] = _spread(counts, rng)
        surplus += _sums(units[alike], fold[alike], len(surplus))
    return fold


def _water_fill(want: np.ndarray, amount: float, items: int, tie: np.ndarray) -> np.ndarray:
    """Return how many of equal items each fold gets if the one that wants most is always next.

    Args:
        want: (k,) what each fold still wants, in units of the items' amount.
        amount: of one item.
        items: their number.
        tie: (k,) larger is preferred among equal wants.

    Returns:
        int64 (k,), sum `items`.
    """
    falling = np.sort(want.astype(float))[::-1]
    levels = (np.cumsum(falling) - items * amount) / np.arange(1, len(want) + 1)
    level = levels[np.flatnonzero(levels < falling)[-1]]
    counts = np.floor(np.maximum(want - level, 0) / amount).astype(np.int64)
    left = items - counts.sum()
    # Rounded: equal wants must tie although their fractions went through different sums.
    counts[np.lexsort((tie, np.round(want - counts * amount, 3)))[::-1][:left]] += 1
    return counts


def _spread(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return `counts[f]` times each fold f, each fold evenly along the sequence, jittered."""
    fold = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(fold)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = (within + rng.random(len(fold))) / counts[fold]
    return fold[np.argsort(places, kind="stable")]


# --- exchanges between two folds ---------------------------------------------------------------


def _improve(
    units: np.ndarray,
    fold: np.ndarray,
    surplus: np.ndarray,
    weights: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Exchange units while that makes the weighted sum of squared surpluses less (in place)."""
    steps = _STEPS
    for _ in range(_POOLS if len(units) > _POOL else 1):
        rows = np.arange(len(units))
        if len(units) > _POOL:  # a part has all the freedom that is needed, at a bounded cost
            rows = np.sort(rng.choice(len(units), _POOL, replace=False))
        exchange = _Exchange(units[rows], fold[rows], surplus, weights)
        made = exchange.run(steps)
        fold[rows] = exchange.fold
        steps -= made
        if not made:
            return


class _Exchange:
    """Moves and swaps of units between the two folds that differ most.

    Moving the counts z from fold a to b changes the sum of w * surplus**2 by 2 sum(w z (u + z)),
    where u is surplus[b] - surplus[a]. For one unit x against one unit y, z = x - y. Below, halves
    of these changes are compared.
    """

    def __init__(self, units, fold, surplus, weights):
        self.units, self.fold, self.surplus, self.weights = units, fold, surplus, weights
        self.weighted = units * weights
        self.own = (self.weighted * units).sum(1)
        self.gaps = np.zeros((len(surplus), len(surplus)), np.float32)
        for number in range(len(surplus)):
            self._measure(number)

    def run(self, steps: int) -> int:
        """Let up to `steps` pairs of folds exchange; return how many did."""
        made = 0
        while made < steps:
            a, b = divmod(int(self.gaps.argmax()), len(self.gaps))
            if self.gaps[a, b] <= 0:
                break
            if self._exchange(a, b):
                self._measure(a)
                self._measure(b)
                made += 1
            else:
                self.gaps[a, b] = self.gaps[b, a] = 0  # until one of the two changes
        return made

    def _measure(self, number: int) -> None:
        """Set the gaps of one fold to the others; a difference of one everywhere cannot shrink."""
        apart = np.rint(self.surplus - self.surplus[number])
        gap = (apart**2 * self.weights).sum(1) * (np.abs(apart).max(1) > 1)
        self.gaps[number] = self.gaps[:, number] = gap

    def _exchange(self, a: int, b: int) -> bool:
        """Make exchanges between two folds among the best candidates; return False if none helps.

        One search in the whole folds serves for many exchanges: after each the candidates' changes
        are brought up to date, which costs little.
        """
        apart = np.rint(self.surplus[b] - self.surplus[a])
        pull = self.weighted @ apart
        leave, leave_change = self._best(a, self.own + pull)
        come, come_change = self._best(b, self.own - pull)
        here, there = self._with_nobody(leave), self._with_nobody(come)
        weighted_here, weighted_there = here * self.weights, there * self.weights
        # Of each pair; the last on either side is nobody.
        change = leave_change[:, None] + come_change - 2 * (weighted_here @ there.T)
        total = np.zeros_like(apart)
        while True:
            i, j = divmod(int(change.argmin()), len(there))
            if change[i, j] >= 0:
                break
            moved = here[i] - there[j]
            change += 2 * ((weighted_here @ moved)[:, None] - weighted_there @ moved)
            if i < len(leave):
                self.fold[leave[i]], change[i] = b, np.inf
            if j < len(come):
                self.fold[come[j]], change[:, j] = a, np.inf
            total += moved
        self.surplus[a] -= total
        self.surplus[b] += total
        return bool(total.any())

    def _best(self, number: int, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the units of a fold whose leaving changes the sum most, and by how much.

        The changes have a zero more, for nobody.
        """
        members = np.flatnonzero(self.fold == number)
        change = change[members]
        if len(members) > _CANDIDATES:
            # By value, since which of equal ones argpartition takes depends on the processor.
            last = np.partition(change, _CANDIDATES - 1)[_CANDIDATES - 1]
            best = np.concatenate([np.flatnonzero(change < last), np.flatnonzero(change == last)])
            best = best[:_CANDIDATES]
            members, change = members[best], change[best]
        return members, np.append(change, np.float32(0))

    def _with_nobody(self, members: np.ndarray) -> np.ndarray:
        return np.vstack([self.units[members], np.zeros_like(self.units[:1])])


def _fill_empty(units: np.ndarray, fold: np.ndarray, folds: int) -> None:
    """Give each empty fold the smallest unit of those in folds with several (in place)."""
    for empty in np.setdiff1d(np.arange(folds), fold):
        spare = np.flatnonzero(np.bincount(fold, minlength=folds)[fold] > 1)
        fold[spare[units[spare].sum(1).argmin()]] = empty
