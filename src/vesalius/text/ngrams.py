"""n-grams of words or characters, with marks for the begin and the end of a text."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from vesalius.errors import RecipeError

BOS, EOS = "[BOS]", "[EOS]"


def ngrams(units: Iterable[str], n: int, *, marks: bool = True) -> Iterator[tuple[str, ...]]:
    """Yield the n-grams of a text from left to right.

    Args:
        units: its words; a string stands for its characters. Any iterable, read once.
        n: units of an n-gram, 1 or more.
        marks: put n - 1 times `BOS` before and once `EOS` behind, so that every unit, and the end,
            is predicted from n - 1 units; without them a text shorter than n has none.

    Raises:
        RecipeError: n is less than 1.

    Examples:
        >>> [" ".join(gram) for gram in ngrams("胸痛", 2)]
        ['[BOS] 胸', '胸 痛', '痛 [EOS]']
    """
    if n < 1:
        raise RecipeError(f"n {n}: an n-gram has at least one unit.")
    return _windows(_marked(units, n) if marks else iter(units), n)


def _marked(units: Iterable[str], n: int) -> Iterator[str]:
    yield from [BOS] * (n - 1)
    yield from units
    yield EOS


def _windows(units: Iterator[str], n: int) -> Iterator[tuple[str, ...]]:
    window = tuple(islice(units, n - 1))
    for unit in units:
        window = (*window, unit)
        yield window
        window = window[1:]


def count_ngrams(
    texts: Iterable[Iterable[str]],
    n: int | Sequence[int],
    *,
    marks: bool = True,
    min_count: int = 1,
    most: int | None = None,
) -> Counter[tuple[str, ...]]:
    """Count the n-grams of many texts, which are read once and not kept.

    Args:
        texts: the words of each text, or strings for characters.
        n: a length, or several.
        marks: as in `ngrams`.
        min_count: leave rarer ones out of the result.
        most: bound on the table. Whenever it holds more, rare n-grams are forgotten (lossy
            counting, Manku and Motwani 2002): a count is then too small by at most
            `result.forgotten`, and any n-gram seen more often than that is there.

    Returns:
        A `Counts`: a Counter, the most frequent first, equal counts in alphabetical order.

    Raises:
        RecipeError: a length or limit below 1.
    """
    lengths = (n,) if isinstance(n, int) else tuple(n)
    if min_count < 1 or (most is not None and most < 1):
        raise RecipeError(f"min_count {min_count}, most {most}: give 1 or more.")
    counts, forgotten = Counter[tuple[str, ...]](), 0
    for text in texts:
        units = list(text)
        for length in lengths:
            counts.update(ngrams(units, length, marks=marks))
        while most is not None and len(counts) > most:
            forgotten += 1
            counts = Counter({gram: count - 1 for gram, count in counts.items() if count > 1})
    kept = [(gram, count) for gram, count in counts.items() if count >= min_count]
    return Counts(dict(sorted(kept, key=lambda item: (-item[1], item[0]))), forgotten)


class Counts(Counter[tuple[str, ...]]):
    """Counts of n-grams; `forgotten` bounds how much too small each may be (0: exact)."""

    def __init__(self, counts: dict[tuple[str, ...], int], forgotten: int = 0):
        super().__init__(counts)
        self.forgotten = forgotten
