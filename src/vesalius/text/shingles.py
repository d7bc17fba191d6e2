"""Texts as sets of hashed character n-grams ("shingles", Broder 1997), a whole batch at once.

The texts of a batch are one UTF-32 array; every window of it is hashed by one polynomial modulo
2^64 and then mixed, so that no Python loop runs over characters. Hashes have 63 bits: among 10^9
distinct shingles about 0.05 pairs are expected to share one, and a comparison of two texts of 1,000
shingles is disturbed with a probability of 10^-13.

Texts are compared in a normal form, made on the same array: lower case, full-width ASCII as
half-width, runs of white space as one space, none beside Chinese characters. ³ and ⁹ stay what
they are: 10⁹ and 109 are different values (NFKC would make them equal).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vesalius.errors import DataError, RecipeError

_SEPARATOR = 0x110000  # one more than the largest code point
_WIDE = 0x2E80  # from here on scripts are written without spaces; the separator counts as well
_BATCH = 1 << 19  # characters; the arrays of a batch are used again by the next one
_BLOCK = 1 << 15  # windows hashed together: their arrays fit the cache
_HALF = 0x7FFFFFFFFFFFFFFF


@dataclass(frozen=True)
class Shingles:
    """The shingle sets of N texts.

    Attributes:
        hashes: int64 (S,), values 0 to 2^63 - 1, ascending and distinct within each text.
        starts: int64 (N + 1,); the set of text i is `hashes[starts[i]:starts[i + 1]]`.
    """

    hashes: np.ndarray
    starts: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Number of distinct shingles of each text, int64 (N,)."""
        return np.diff(self.starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, index: int) -> np.ndarray:
        """Return the set of one text, ascending."""
        return self.hashes[self.starts[index] : self.starts[index + 1]]

    def some(self, members: np.ndarray) -> "Shingles":
        """Return the sets of the texts `members`, int (M,), in that order."""
        sizes = self.sizes[members]
        starts = np.concatenate(([0], np.cumsum(sizes)))
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], sizes)
        return Shingles(self.hashes[np.repeat(self.starts[members], sizes) + within], starts)


def shingles(texts: Sequence[str], *, ngram: int = 5) -> Shingles:
    """Return the sets of character n-grams of `texts` in their normal form.

    A text shorter than `ngram` has one shingle, itself; an empty text has none.

    Raises:
        RecipeError: `ngram` is not positive.
        DataError: something in `texts` is not a string.
    """
    if ngram < 1:
        raise RecipeError(f"ngram {ngram}: a shingle has at least one character.")
    # Filled batch by batch: joining the parts at the end would need the memory twice.
    check_texts(texts)
    hashes = np.empty(sum(map(len, texts)), np.int64)
    sizes, filled = [np.zeros(1, np.int64)], 0
    for batch in normal_forms(texts, gap=ngram - 1):
        values, new, size = _distinct(*_hashed(*batch, ngram))
        added = int(size.sum())
        np.compress(new, values, out=hashes[filled : filled + added])
        sizes.append(size)
        filled += added
    return Shingles(hashes[:filled], np.cumsum(np.concatenate(sizes)))


def check_texts(texts: Sequence[str]) -> None:
    """Raise a `DataError` where something is not a string."""
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"text {index} is a {type(text).__name__}, not a string.")


def normal_forms(
    texts: Sequence[str], *, gap: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield, batch by batch, the code points of the normal forms and where each text lies.

    Yields:
        codes: uint32 (C,), the texts one after the other, at least `gap` separators
            (0x110000) after each.
        starts, ends: int64 (n,), the position of each text of the batch in `codes`.
    """
    for batch in _batches(texts):
        yield _normal_form(batch, max(gap, 1))


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)))
    first = done = 0
    while first < len(texts):
        last = max(first + 1, int(np.searchsorted(ends, done + _BATCH, "right")))
        yield texts[first:last]
        first, done = last, int(ends[last - 1])


def _normal_form(texts: Sequence[str], gap: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    joined = ("\0" * gap).join([*texts, ""])
    # Lone surrogates occur in damaged files; they must not stop a comparison.
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")
    codes = _folding()[codes]
    ends = np.cumsum(lengths + gap) - gap
    for offset in range(gap):
        codes[ends + offset] = _SEPARATOR
    return _without_idle_spaces(codes, ends - lengths, ends)


@lru_cache(maxsize=1)
def _folding() -> np.ndarray:
    """Return the table code point -> code point in the normal form, uint32 (0x110000,)."""
    table = np.arange(_SEPARATOR, dtype=np.uint32)
    for code in range(0x1F000):  # no letter with two cases and no space lies beyond
        character = chr(code)
        lower = character.lower()
        if character.isspace():
            table[code] = 32
        elif len(lower) == 1 and lower != character:
            table[code] = ord(lower)
    for code in range(0xFF01, 0xFF5F):
        table[code] = table[code - 0xFEE0]
    return table


def _without_idle_spaces(
    codes: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Remove repeated spaces first, then those beside a wide character or at an end of a text."""
    for idle in (_repeated, _beside_wide):
        spaces = np.flatnonzero(codes == 32)
        keep = np.ones(len(codes), bool)
        keep[spaces[idle(codes, spaces)]] = False
        if keep.all():
            continue
        moved = np.concatenate(([0], np.cumsum(keep)))
        codes, starts, ends = codes[keep], moved[starts], moved[ends]
    return codes, starts, ends


def _repeated(codes: np.ndarray, spaces: np.ndarray) -> np.ndarray:
    return (spaces > 0) & (codes[spaces - 1] == 32)


def _beside_wide(codes: np.ndarray, spaces: np.ndarray) -> np.ndarray:
    # A separator follows every text, so `spaces + 1` exists.
    return (spaces == 0) | (codes[spaces - 1] >= _WIDE) | (codes[spaces + 1] >= _WIDE)


def _hashed(
    codes: np.ndarray, starts: np.ndarray, ends: np.ndarray, ngram: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the hashes of all windows inside texts, and how many each text has."""
    counts = np.maximum(ends - starts - ngram + 1, np.minimum(ends - starts, 1))
    windows = len(codes) - ngram + 1
    if windows < 1:
        return np.empty(0, np.uint64), counts
    inside = codes[:windows] != _SEPARATOR
    # Windows that run out of their text count only where the text is shorter than a window.
    inside &= codes[ngram - 1 :] != _SEPARATOR
    inside[starts[(ends > starts) & (ends - starts < ngram)]] = True
    return _polynomial(codes, ngram)[inside], counts


def _polynomial(codes: np.ndarray, ngram: int) -> np.ndarray:
    factors = np.random.default_rng(20).integers(0, 2**63, ngram, np.uint64) * 2 + 1
    windows = len(codes) - ngram + 1
    hashes = np.empty(windows, np.uint64)
    for first in range(0, windows, _BLOCK):
        last = min(first + _BLOCK, windows)
        block = codes[first : last + ngram - 1].astype(np.uint64)
        total = block[: last - first] * factors[0]
        for offset in range(1, ngram):
            total += block[offset : offset + last - first] * factors[offset]
        hashes[first:last] = mixed(total)
    return hashes


def mixed(values: np.ndarray) -> np.ndarray:
    """Scramble uint64 values one to one, in place (the finaliser of MurmurHash3, Appleby 2011)."""
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xFF51AFD7ED558CCD)
    values ^= values >> np.uint64(33)
    values *= np.uint64(0xC4CEB9FE1A85EC53)
    values ^= values >> np.uint64(33)
    return values


def _distinct(hashes: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the hashes ascending in each text, which to keep, and how many are kept of each."""
    values = (hashes & np.uint64(_HALF)).view(np.int64)
    starts = np.concatenate(([0], np.cumsum(counts)))
    for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        values[first:last].sort()
    new = np.ones(len(values), bool)
    new[1:] = values[1:] != values[:-1]
    filled = counts > 0
    first = starts[:-1][filled]
    new[first] = True
    sizes = np.zeros(len(counts), np.int64)
    if len(first):
        sizes[filled] = np.add.reduceat(new, first, dtype=np.int64)
    return values, new, sizes
