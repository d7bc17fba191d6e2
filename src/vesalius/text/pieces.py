"""A text cut into words, spaces and marks, those that carry a fact locked."""

import re
from collections.abc import Iterator, Sequence
from typing import overload

from vesalius.text.augmenters.base import Piece, is_chinese
from vesalius.text.facts import clauses, remembered, stated
from vesalius.text.lexicons import Lexicon

_NOTHING = Lexicon([])
"""Stands for "lock nothing"."""
_WORDS = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)*|\s|_+|[^\w\s]")


class Pieces(Sequence[Piece]):
    """The pieces of a text; those of its clauses are shared and move to their place when asked for.

    Attributes:
        free: numbers of the words that are not locked.
        free_words: those words.
        word_count: number of words.
    """

    __slots__ = ("_offsets", "_pieces", "free", "free_words", "word_count")

    def __init__(
        self,
        pieces: list[Piece],
        offsets: list[int],
        free: list[int],
        free_words: list[str],
        word_count: int,
    ) -> None:
        self._pieces, self._offsets = pieces, offsets
        self.free, self.free_words, self.word_count = free, free_words, word_count

    def __len__(self) -> int:
        return len(self._pieces)

    @overload
    def __getitem__(self, number: int) -> Piece: ...
    @overload
    def __getitem__(self, number: slice) -> list[Piece]: ...
    def __getitem__(self, number: int | slice) -> Piece | list[Piece]:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        start, end, word, locked = self._pieces[number]
        offset = self._offsets[number]
        return Piece(start + offset, end + offset, word, locked)

    def __iter__(self) -> Iterator[Piece]:
        for offset, (start, end, word, locked) in zip(self._offsets, self._pieces, strict=True):
            yield Piece(start + offset, end + offset, word, locked)


def cut(text: str, lexicon: Lexicon, *, protect: bool = True) -> Pieces:
    """Cut a text into pieces; joined they are the text.

    Chinese is cut into words by rjieba (the algorithm of jieba), English at its spaces and marks.
    A piece that overlaps a fact is locked, a negation's whole scope included.

    Args:
        text: any.
        lexicon: names the terms.
        protect: False locks nothing.
    """
    pieces: list[Piece] = []
    offsets: list[int] = []
    free: list[int] = []
    words: list[str] = []
    count = offset = 0
    known = lexicon if protect else _NOTHING
    for clause in clauses(text):
        own, own_free, own_words, own_count = _of_clause(clause, known)
        first = len(pieces)
        free += [first + number for number in own_free] if first else own_free
        words += own_words
        pieces += own
        offsets += [offset] * len(own)
        count += own_count
        offset += len(clause)
    return Pieces(pieces, offsets, free, words, count)


@remembered
def _of_clause(clause: str, lexicon: Lexicon) -> tuple[list[Piece], list[int], list[str], int]:
    """Return a clause's pieces, its free words by number and text, and how many words it has."""
    facts = bytearray(len(clause))  # 1 where a fact is
    for start, end, *_ in () if lexicon is _NOTHING else stated(clause, lexicon):
        facts[start:-end] = b"\1" * (-end - start)
    pieces, free, words, count, start = [], [], [], 0, 0
    for number, word in enumerate(cut_words(clause)):
        end = start + len(word)
        locked = 1 in facts[start:end]
        pieces.append(Piece(start, end, word, locked))
        if word[0].isalnum():
            count += 1
            if not locked:
                free.append(number)
                words.append(word)
        start = end
    return pieces, free, words, count


def cut_words(text: str) -> list[str]:
    """Return words, single white spaces and single marks; joined they are the text."""
    if not is_chinese(text):
        return _WORDS.findall(text)
    import rjieba

    return rjieba.cut(text)
