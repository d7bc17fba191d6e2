"""What every augmenter is: a thing that proposes edits of a text cut into pieces.

An augmenter proposes; it does not judge. `vesalius.text.augmenting` locks the pieces that carry
clinical facts, asks for proposals, and lets only those out whose certificate is clean.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

T = TypeVar("T")


class Piece(NamedTuple):
    """A word, a run of white space or a punctuation mark; `text[start:end]` is its `text`.

    Attributes:
        start: first character in the text.
        end: one past the last.
        text: the characters.
        locked: it carries a fact and must stay as it is.
    """

    start: int
    end: int
    text: str
    locked: bool


class Edit(NamedTuple):
    """`old`, which stood at `start:end` of the input, became `new` ("" inserts or deletes)."""

    start: int
    end: int
    old: str
    new: str


class Proposal(NamedTuple):
    """A new text and the edits that lead to it from the input.

    Attributes:
        text: what is proposed; equal to the input where nothing could be changed.
        edits: sorted, not overlapping; applied to the input they give `text`.
        reference: what the facts are compared with, where that is not the input (the sentences
            that a crossover took over from two texts).
    """

    text: str
    edits: tuple[Edit, ...] = ()
    reference: str | None = None


@runtime_checkable
class Augmenter(Protocol):
    """One kind of augmentation.

    `propose` must change no locked piece, must draw all its chance from `rng`, and returns
    `Proposal(text)` where it finds nothing to change. Two optional class attributes: `allows`, a
    tuple of what its certificate permits (see `vesalius.text.certificate`; ("order",) for one
    that moves sentences), and `keeps_text = True` for one whose output equals the input.
    An augmenter that learns from texts has `fit(texts) -> Self`.
    """

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Return one variation of `text`.

        Args:
            text: the input.
            pieces: it, cut without gaps: the texts of the pieces joined are `text`.
            rng: the only source of chance.
            strength: share of the words that change, in (0, 1].
        """
        ...


def proposal(text: str, edits: Iterable[Edit]) -> Proposal:
    """Return the proposal that `edits`, in any order, make of `text`; no-ops are dropped.

    Raises:
        ValueError: two edits overlap.
    """
    kept = tuple(sorted(edit for edit in edits if edit.old != edit.new))
    return Proposal(apply(text, kept), kept)


def apply(text: str, edits: Sequence[Edit]) -> str:
    """Return `text` after sorted edits.

    Raises:
        ValueError: two edits overlap, or one's `old` is not what stands there.
    """
    parts: list[str] = []
    last = 0
    for start, end, old, new in edits:
        if start < last or text[start:end] != old:
            raise ValueError(f"the edit {old!r} -> {new!r} does not fit at {start}:{end}")
        parts += (text[last:start], new)
        last = end
    parts.append(text[last:])
    return "".join(parts)


def free(pieces: Sequence[Piece]) -> list[int]:
    """Return the numbers of the pieces that may change: words that carry no fact."""
    known = getattr(pieces, "free", None)  # `vesalius.text.pieces.cut` has counted them
    if known is not None:
        return known
    return [
        number
        for number, piece in enumerate(pieces)
        if not piece.locked and piece.text[0].isalnum()
    ]


def free_words(pieces: Sequence[Piece]) -> Iterable[tuple[int, str]]:
    """Return the numbers and texts of the words that may change."""
    numbers = free(pieces)
    known = getattr(pieces, "free_words", None)
    return zip(numbers, known or [pieces[number].text for number in numbers], strict=True)


def words(pieces: Sequence[Piece]) -> list[int]:
    """Return the numbers of all pieces that are words, locked or not."""
    return [number for number, piece in enumerate(pieces) if piece.text[0].isalnum()]


def word_count(pieces: Sequence[Piece]) -> int:
    """Return the number of words, locked or not."""
    known = getattr(pieces, "word_count", None)
    return len(words(pieces)) if known is None else known


def how_many(length: int, strength: float) -> int:
    """Return n = max(1, floor(strength x length)): the rule of EDA (Wei & Zou 2019)."""
    return max(1, int(strength * length))


def pick(items: Sequence[T], rng: Random) -> T:
    """Return one of the items: several times as quick as `rng.choice`, and so few need no more."""
    return items[int(rng.random() * len(items))]


def draw(items: Sequence[T], count: int, rng: Random) -> list[T]:
    """Return `count` different items in random order, by the first steps of Fisher and Yates."""
    pool = list(items)
    for place in range(count):
        other = place + int(rng.random() * (len(pool) - place))
        pool[place], pool[other] = pool[other], pool[place]
    return pool[:count]


def replace(piece: Piece, new: str) -> Edit:
    """Return the edit that puts `new` in the place of a piece."""
    return Edit(piece[0], piece[1], piece[2], new)


def insert_after(piece: Piece, word: str) -> Edit:
    """Return the edit that puts `word` behind a piece, with a space between Latin words."""
    space = " " if _is_latin(piece[2][-1]) or _is_latin(word[0]) else ""
    return Edit(piece[1], piece[1], "", space + word)


def delete(pieces: Sequence[Piece], number: int) -> Edit:
    """Return the edit that removes a piece, and one of the spaces around it."""
    start, end, word, _ = pieces[number]
    before = pieces[number - 1] if number else None
    after = pieces[number + 1] if number + 1 < len(pieces) else None
    if before is not None and before.text == " ":
        return Edit(before.start, end, before.text + word, "")
    if before is None and after is not None and after.text == " ":
        return Edit(start, after.end, word + after.text, "")
    return Edit(start, end, word, "")


def swap(first: Piece, second: Piece) -> tuple[Edit, Edit]:
    """Return the two edits that exchange two pieces."""
    return replace(first, second[2]), replace(second, first[2])


def merge(edits: Iterable[Edit]) -> list[Edit]:
    """Return sorted edits without those that overlap an earlier one."""
    ordered = sorted(edits)
    kept = ordered[:1]
    for (_, last, _, _), edit in pairwise(ordered):
        if edit[0] >= max(last, kept[-1][1]):
            kept.append(edit)
    return kept


_HAN = re.compile(r"[\u3400-\u9fff]")


def is_chinese(text: str) -> bool:
    """Whether the text holds a Chinese character."""
    return _HAN.search(text) is not None


def _is_latin(char: str) -> bool:
    return char.isalnum() and not is_chinese(char)
