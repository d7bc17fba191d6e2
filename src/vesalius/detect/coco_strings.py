"""COCO's compressed run lengths, read for many masks at once.

One mask of a results file costs a microsecond or two here, against a hundred when each string is
read alone (`rle.from_string`, which says what is wrong with a damaged one).
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vesalius.detect import rle
from vesalius.errors import DataError

CHARACTERS = 1 << 20
"""Characters read in one pass: bounds the memory, about 100 MB."""


def read_strings(strings: Sequence[str | bytes], sizes: Sequence[tuple[int, ...]]) -> list:
    """Return the run lengths (`rle.Runs`) of many compressed strings.

    Args:
        strings: as pycocotools writes them.
        sizes: shape of each mask.

    Raises:
        DataError: strings are damaged or do not fit their sizes; they are listed by place.
    """
    raw = [
        text if isinstance(text, bytes) else text.encode("latin-1", "replace") for text in strings
    ]
    found = []
    for start, stop in _passes([len(text) for text in raw]):
        masks = _read(raw[start:stop], sizes[start:stop])
        found += masks if masks is not None else _one_by_one(raw, sizes, start, stop)
    return found


def _passes(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    passes = np.cumsum(lengths) // CHARACTERS
    bounds = [0, *(np.flatnonzero(np.diff(passes)) + 1).tolist(), len(lengths)]
    yield from pairwise(bounds)


def _one_by_one(raw, sizes, start: int, stop: int) -> list:
    """Read with the careful reader, which raises for the strings that are wrong."""
    masks, problems = [], []
    for place in range(start, stop):
        try:
            masks.append(rle.from_string(raw[place], sizes[place]))
        except DataError as error:
            problems.append(f"mask {place}: {error}")
    if problems:
        raise DataError(f"{len(problems)} masks cannot be read:", problems[:20])
    return masks


def _read(raw: Sequence[bytes], sizes: Sequence[tuple[int, ...]]) -> list | None:
    """Return the masks, or None where one of them is not sound."""
    digits = np.frombuffer(b"".join(raw), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((digits & 32) == 0)
    lengths = np.diff(ends, prepend=-1)
    borders = np.cumsum([len(text) for text in raw])  # characters up to the end of each mask
    numbers = np.searchsorted(ends, borders)  # run lengths up to there
    sound = digits.size and digits.min() >= 0 and digits.max() < 64 and lengths.max() <= 7
    full = np.diff(borders, prepend=0) > 0
    if not (sound and full.all() and np.array_equal(ends[numbers - 1] + 1, borders)):
        return None
    counts = _undone(_values(digits, ends, lengths), np.diff(numbers, prepend=0))
    totals = np.add.reduceat(counts, np.append(0, numbers[:-1]))
    pixels = np.prod(np.array(sizes, np.int64).reshape(len(raw), -1), axis=1)
    if counts.min() < 0 or (totals != pixels).any():
        return None
    counts = counts.astype(np.uint32)
    bounds = pairwise([0, *numbers.tolist()])
    return [
        _checked(tuple(size), counts[start:stop])
        for size, (start, stop) in zip(sizes, bounds, strict=True)
    ]


def _values(digits: NDArray, ends: NDArray, lengths: NDArray) -> NDArray[np.int64]:
    """Return the signed numbers whose digits of five bits end at `ends`, the lowest first."""
    starts = ends - lengths + 1
    values = digits[starts] & 31
    for place in range(1, int(lengths.max())):
        longer = np.flatnonzero(lengths > place)
        values[longer] |= (digits[starts[longer] + place] & 31) << (5 * place)
    return values - ((digits[ends] >> 4 & 1) << (5 * lengths))


def _undone(values: NDArray, lengths: NDArray) -> NDArray[np.int64]:
    """Undo the differences: from the fourth on, a number is less the one two before it."""
    starts = np.cumsum(lengths) - lengths
    sums = values.copy()  # of every other number, over all masks
    for parity in (0, 1):
        np.cumsum(values[parity::2], out=sums[parity::2])
    odd = (np.arange(len(values)) - np.repeat(starts, lengths)) & 1
    # The chain of a mask's second number begins before the mask, that of its third with the first.
    before = np.where(starts > 0, sums[starts - 1], 0)
    counts = sums - np.where(odd, np.repeat(before, lengths), np.repeat(sums[starts], lengths))
    counts[starts] = values[starts]
    return counts


def _checked(size: tuple[int, ...], counts: NDArray[np.uint32]) -> rle.Runs:
    """Return runs without checking them again, which would take most of the time."""
    runs = object.__new__(rle.Runs)
    object.__setattr__(runs, "size", size)
    object.__setattr__(runs, "counts", counts)
    return runs
