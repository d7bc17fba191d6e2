"""Pairs of sets that may be similar: one-permutation MinHash, bands, and cheap pruning.

A sketch has 256 values; two sketches agree in a share of them that is close to the Jaccard index of
their sets. It is made by one-permutation hashing (Li, Owen and Zhang 2012) with optimal
densification of empty bins (Shrivastava 2017). Small sets would leave most bins empty, so they are
hashed several times into fewer bins (a set of one shingle: 256 times into one).

Candidates are pairs that agree in all values of some band (locality-sensitive hashing, Broder 1997;
Gionis et al. 1999). What differs here: the bands are random subsets of the 256 values and may
overlap, so that long and many bands cost no further hashing; their length and number are chosen per
corpus from the similarities of randomly drawn pairs. In templated records, where any two texts
share a third of their shingles, the usual layouts propose millions of pairs. Candidates then pass
- the ratio of sizes, which loses nothing;
- a sketch of 256 bits (b-bit minwise hashing with b = 1, Li and König 2010), with a margin of 3
  standard errors;
- 2,048 parities (odd sketches, Mitzenmacher, Pagh and Pham 2014): the number of different ones is
  never above that of shingles in one set alone, so this loses nothing, and for texts up to some
  thousand characters it is sharp;
- the whole sketch, with a margin of 3 standard errors.
What is left is for an exact test.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vesalius.text.shingles import Shingles, mixed

VALUES = 256
_RECALL = 0.975
"""Wanted probability that a pair exactly at the threshold becomes a candidate."""
_EFFECTIVE = 200
"""Values that count as independent: densified ones repeat others."""
_CLASSES = ((1, 1), (6, 4), (24, 16), (96, 64), (384, VALUES))
"""(smallest number of shingles, bins of one pass): at most a fifth of the bins stays empty."""
_MARGIN = 3.0
_PARITIES = 2048
_MOST_BANDS = 1500
_PAIRS_AT_ONCE = 1 << 20
_SKETCHED_AT_ONCE = 2048
_EMPTY = np.uint64(2**64 - 1)


def candidates(sets: Shingles, *, threshold: float, seed: int) -> np.ndarray:
    """Return pairs of sets that may have a Jaccard index of `threshold` or more.

    Returns:
        int64 (P, 2), left < right, sorted, distinct. Empty sets are in no pair. A pair exactly at
        the threshold is missing with a probability of about 0.03, more similar ones with less.
    """
    found = [np.empty((0, 2), np.int64)]
    for members, below, bins in _size_classes(sets.sizes, threshold):
        sketch = Sketches.of(sets, members, bins=bins, seed=seed)
        pairs = members[_similar(sketch, sets.sizes[members], threshold, seed)]
        # A pair belongs to the class of its smaller set; the next class finds the others.
        found.append(pairs[sets.sizes[pairs].min(1) < below])
    return np.unique(np.concatenate(found), axis=0)


def _size_classes(sizes: np.ndarray, threshold: float) -> Iterator[tuple[np.ndarray, float, int]]:
    """Yield the members of each class, the size below which it is responsible, and its bins.

    Sets whose sizes differ by more than the threshold cannot be similar, so a class reaches only
    1 / threshold beyond its upper end.
    """
    ends = [*(first for first, _ in _CLASSES[1:]), np.inf]
    for (first, bins), end in zip(_CLASSES, ends, strict=True):
        reach = np.floor(end / threshold) if np.isfinite(end) else np.inf
        members = np.flatnonzero((sizes >= first) & (sizes <= reach))
        if len(members) > 1 and (sizes[members] < end).any():
            yield members, end, bins


@dataclass(frozen=True)
class Sketches:
    """The MinHash values of N sets, in the two orders in which they are read.

    Attributes:
        rows: uint16 (N, 256), for comparing two sets.
        columns: uint16 (256, N), for the keys of bands.
        bits: uint64 (N, 4), the lowest bit of each value.
        parities: uint64 (N, 32), whether the number of shingles with a hash is odd.
    """

    rows: np.ndarray
    columns: np.ndarray
    bits: np.ndarray
    parities: np.ndarray

    @classmethod
    def of(cls, sets: Shingles, members: np.ndarray, *, bins: int, seed: int) -> "Sketches":
        """Sketch the sets `members` in 256 / `bins` passes over their shingles."""
        rows = np.empty((len(members), VALUES), np.uint16)
        parities = np.empty((len(members), _PARITIES // 64), np.uint64)
        for first in range(0, len(members), _SKETCHED_AT_ONCE):
            chunk = slice(first, first + _SKETCHED_AT_ONCE)
            some = sets.some(members[chunk])
            rows[chunk] = _sketch(some, bins, seed)
            parities[chunk] = _parities(some)
        bits = np.packbits((rows & 1).astype(bool), axis=1).view(np.uint64)
        return cls(rows, np.ascontiguousarray(rows.T), bits, parities)

    def agreement(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return the share of equal values of each pair, float64 (P,): the estimated Jaccard."""
        shares = np.empty(len(left))
        for first in range(0, len(left), 4096):
            chunk = slice(first, first + 4096)
            equal = self.rows[left[chunk]] == self.rows[right[chunk]]
            shares[chunk] = np.count_nonzero(equal, axis=1) / VALUES
        return shares

    def bit_agreement(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return the share of equal bits of each pair, float64 (P,): about (1 + Jaccard) / 2."""
        return 1 - _different(self.bits, left, right) / VALUES

    def surely_different(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return a number of shingles that at least are in one set of a pair alone, (P,)."""
        return _different(self.parities, left, right)


def _different(words: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the number of different bits of two rows, int64 (P,)."""
    counts = np.empty(len(left), np.int64)
    for first in range(0, len(left), 4096):
        chunk = slice(first, first + 4096)
        counts[chunk] = np.bitwise_count(words[left[chunk]] ^ words[right[chunk]]).sum(1)
    return counts


def _sketch(sets: Shingles, bins: int, seed: int) -> np.ndarray:
    """Return the values of each set, uint16 (N, 256)."""
    row = np.repeat(np.arange(len(sets)), sets.sizes)
    hashes = sets.hashes.view(np.uint64)
    least = np.full((len(sets), VALUES), _EMPTY)
    salts = np.random.default_rng((seed, 1)).integers(0, 2**64, VALUES // bins, np.uint64)
    shift = np.uint64(64 - (bins - 1).bit_length())
    for number, salt in enumerate(salts):
        values = mixed(hashes ^ salt)
        chosen = np.zeros(len(values), np.int64) if bins == 1 else (values >> shift).view(np.int64)
        np.minimum.at(least.reshape(-1), row * VALUES + number * bins + chosen, values)
    return _densified(least, bins, seed).astype(np.uint16)  # the low bits are uniform


def _parities(sets: Shingles) -> np.ndarray:
    place = np.repeat(np.arange(len(sets)) * _PARITIES, sets.sizes)
    place += sets.hashes & (_PARITIES - 1)
    counts = np.zeros(len(sets) * _PARITIES, np.uint8)  # an overflow leaves the parity right
    np.add.at(counts, place, np.uint8(1))
    return np.packbits(counts & 1).reshape(len(sets), -1).view(np.uint64)


def _densified(least: np.ndarray, bins: int, seed: int) -> np.ndarray:
    """Fill empty bins from a bin of the same pass that a random sequence names, equal for all."""
    filled = least.copy()
    rows, columns = np.nonzero(least == _EMPTY)
    rng = np.random.default_rng((seed, 2))
    while len(rows):
        offsets = rng.integers(0, bins, VALUES)
        donors = least[rows, columns // bins * bins + offsets[columns]]
        filled[rows, columns] = donors
        still = donors == _EMPTY
        rows, columns = rows[still], columns[still]
    return filled


def _similar(sketch: Sketches, sizes: np.ndarray, threshold: float, seed: int) -> np.ndarray:
    """Return the pairs of one class that some band proposes and no filter drops, (P, 2)."""
    count = len(sizes)
    length, bands = layout(_drawn_agreements(sketch, seed), count, threshold)
    keys, waiting = [np.empty(0, np.int64)], 0
    for columns in _bands(length, bands, seed):
        for left, right in _proposed(sketch.columns, columns, seed):
            left, right = _pruned(sketch, sizes, left, right, threshold)
            keys.append(left * count + right)
            waiting += len(left)
        if waiting > _PAIRS_AT_ONCE:
            keys, waiting = [np.unique(np.concatenate(keys))], 0
    found = np.unique(np.concatenate(keys))
    return np.stack([found // count, found % count], axis=1)


def _drawn_agreements(sketch: Sketches, seed: int, pairs: int = 1 << 14) -> np.ndarray:
    rng = np.random.default_rng((seed, 3))
    left, right = rng.integers(0, len(sketch.rows), (2, pairs))
    return sketch.agreement(left[left != right], right[left != right])


def layout(agreements: np.ndarray, count: int, threshold: float) -> tuple[int, int]:
    """Return the length and number of bands that cost least for the wanted recall.

    Args:
        agreements: shares of equal values of randomly drawn pairs, (M,), 0 to 1.
        count: number of sets.
        threshold: Jaccard index at which the recall is wanted.
    """
    best = (np.inf, 1, _MOST_BANDS)
    for length in range(1, 25):
        bands = _bands_needed(length, threshold)
        if bands is None:
            break
        proposed = count * (count - 1) / 2 * float(np.mean(agreements**length))
        # In nanoseconds, measured: the keys of a band and their sort; a pair and its filters.
        cost = bands * (20_000 + count * (25 + 8 * length) + 40 * proposed)
        best = min(best, (cost, length, bands))
    return best[1], best[2]


def _bands_needed(length: int, threshold: float) -> int | None:
    """Return how many bands find a pair at the threshold, None if that is too many."""
    equal = np.arange(_EFFECTIVE + 1)
    weights = _binomial(equal, _EFFECTIVE, threshold)
    missed_by_one = 1 - (equal / _EFFECTIVE) ** length
    if weights @ missed_by_one**_MOST_BANDS > 1 - _RECALL:
        return None
    low, high = 0, _MOST_BANDS
    while high - low > 1:
        middle = (low + high) // 2
        enough = weights @ missed_by_one**middle <= 1 - _RECALL
        low, high = (low, middle) if enough else (middle, high)
    return high


def _binomial(successes: np.ndarray, trials: int, chance: float) -> np.ndarray:
    # scipy.stats has this, but its import takes longer than the search for duplicates.
    from scipy.special import gammaln, xlog1py, xlogy

    failures = trials - successes
    ways = gammaln(trials + 1) - gammaln(successes + 1) - gammaln(failures + 1)
    return np.exp(ways + xlogy(successes, chance) + xlog1py(failures, -chance))


def _bands(length: int, bands: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the columns of each band; every value is used once before one is used again."""
    rng = np.random.default_rng((seed, 4))
    while True:
        order = rng.permutation(VALUES)
        for first in range(0, VALUES - length + 1, length):
            if bands == 0:
                return
            yield order[first : first + length]
            bands -= 1


def _proposed(
    values: np.ndarray, columns: np.ndarray, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield left < right of all pairs that agree in `columns`, in blocks of bounded size."""
    count = values.shape[1]
    factors = np.random.default_rng((seed, 5)).integers(0, 2**63, len(columns), np.uint64) * 2 + 1
    keys = np.zeros(count, np.uint64)
    for column, factor in zip(columns, factors, strict=True):
        keys += values[column] * factor
    # The number of the set takes the low bits: one sort instead of an indirect one.
    width = np.uint64(max(count - 1, 1).bit_length())
    ordered = np.sort(mixed(keys) >> width << width | np.arange(count, dtype=np.uint64))
    members = (ordered & ((np.uint64(1) << width) - np.uint64(1))).view(np.int64)
    yield from _pairs_in_runs(ordered >> width, members)


def _pairs_in_runs(
    keys: np.ndarray, members: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    firsts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    lengths = np.diff(np.append(firsts, len(keys)))
    partners = np.repeat(firsts + lengths, lengths) - np.arange(len(keys)) - 1
    positions = np.flatnonzero(partners)
    totals = np.cumsum(partners[positions])
    while len(positions):
        take = max(1, int(np.searchsorted(totals, _PAIRS_AT_ONCE)))
        some, number = positions[:take], partners[positions[:take]]
        left = np.repeat(some, number)
        step = np.arange(len(left)) - np.repeat(np.cumsum(number) - number, number)
        yield members[left], members[left + 1 + step]
        positions, totals = positions[take:], totals[take:] - totals[take - 1]


def _pruned(
    sketch: Sketches, sizes: np.ndarray, left: np.ndarray, right: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    small, large = np.minimum(sizes[left], sizes[right]), np.maximum(sizes[left], sizes[right])
    keep = small >= threshold * large - 1e-9
    left, right = left[keep], right[keep]
    keep = sketch.bit_agreement(left, right) >= _least((1 + threshold) / 2)
    left, right = left[keep], right[keep]
    most = (sizes[left] + sizes[right]) * (1 - threshold) / (1 + threshold)
    keep = sketch.surely_different(left, right) <= most + 1e-9
    left, right = left[keep], right[keep]
    keep = sketch.agreement(left, right) >= _least(threshold)
    return left[keep], right[keep]


def _least(expected: float) -> float:
    return expected - _MARGIN * np.sqrt(expected * (1 - expected) / _EFFECTIVE)
