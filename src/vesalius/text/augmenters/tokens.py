"""Operations on words: EDA (Wei & Zou 2019), the order of sentences, and the plain copy.

Differences from the EDA paper: the number of words is that of all words of the text, of which
only those without a clinical fact may change; stop words are not spared, since clinical text has
few; synonyms come from a thesaurus for Chinese and English alike.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

from vesalius.text.augmenters.base import (
    Edit,
    Piece,
    Proposal,
    delete,
    draw,
    free,
    free_words,
    how_many,
    insert_after,
    merge,
    pick,
    proposal,
    replace,
    swap,
    word_count,
)
from vesalius.text.augmenters.synonyms import Synonyms, load

SynonymSource = str | Path | dict[str, Iterable[str]]


class Duplicate:
    """The text itself: the control that many augmentations do not beat (use it to compare)."""

    keeps_text = True

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Return the text."""
        return Proposal(text)


class Swap:
    """Exchange two words, n = max(1, floor(strength x words)) times."""

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Return a text with pairs of free words exchanged; no word moves twice."""
        candidates = free(pieces)
        pairs = min(how_many(word_count(pieces), strength), len(candidates) // 2)
        chosen = draw(candidates, 2 * pairs, rng)
        edits: list[Edit] = []
        for first, second in zip(chosen[::2], chosen[1::2], strict=True):
            edits += swap(pieces[first], pieces[second])
        return proposal(text, edits)


class Deletion:
    """Delete each free word with the probability `strength`; at least one goes, one stays."""

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Return a text without some of its free words."""
        candidates = free(pieces)
        if not candidates or word_count(pieces) < 2:
            return Proposal(text)
        chosen = [number for number in candidates if rng.random() < strength]
        if not chosen:
            chosen = [rng.choice(candidates)]
        if len(chosen) == word_count(pieces):
            chosen.remove(rng.choice(chosen))
        return proposal(text, merge(delete(pieces, number) for number in chosen))


class Insertion:
    """Insert a synonym of a random free word behind another free word, n times.

    Args:
        synonyms: see `vesalius.text.augmenters.synonyms.load`.
    """

    def __init__(self, *, synonyms: SynonymSource = "auto"):
        self.synonyms: Synonyms = load(synonyms)

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Return a text with more words; no position gets two."""
        candidates = free(pieces)
        known = [word for _, word in free_words(pieces) if self.synonyms.of(word)]
        if not known:
            return Proposal(text)
        places = min(how_many(word_count(pieces), strength), len(candidates))
        edits = [
            insert_after(pieces[place], self.synonyms.draw(pick(known, rng), rng))
            for place in draw(candidates, places, rng)
        ]
        return proposal(text, edits)


class Replacement:
    """Replace n free words by a synonym: EDA's first operation.

    Args:
        synonyms: see `vesalius.text.augmenters.synonyms.load`.
    """

    def __init__(self, *, synonyms: SynonymSource = "auto"):
        self.synonyms: Synonyms = load(synonyms)

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Return a text with other words of the same meaning."""
        known = [number for number, word in free_words(pieces) if self.synonyms.of(word)]
        times = min(how_many(word_count(pieces), strength), len(known))
        edits = [
            replace(pieces[number], self.synonyms.draw(pieces[number].text, rng))
            for number in draw(known, times, rng)
        ]
        return proposal(text, edits)


class EDA:
    """One of synonym replacement, random insertion, random swap and random deletion.

    The paper makes a quarter of its outputs with each operation: here each output draws one.

    Args:
        synonyms: see `vesalius.text.augmenters.synonyms.load`.
    """

    def __init__(self, *, synonyms: SynonymSource = "auto"):
        self.operations = (
            Replacement(synonyms=synonyms),
            Insertion(synonyms=synonyms),
            Swap(),
            Deletion(),
        )

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Return the proposal of a random operation; of another where it can do nothing."""
        made = Proposal(text)
        for operation in draw(self.operations, len(self.operations), rng):
            made = operation.propose(text, pieces, rng, strength)
            if made.text != text:
                break
        return made


class SentenceShuffle:
    """Another order of the sentences (Yan et al. 2019); the marks between them stay in place."""

    allows = ("order",)

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Return the text with its sentences permuted; `strength` plays no part."""
        spans = [match.span() for match in _SENTENCE.finditer(text)]
        order = list(range(len(spans)))
        rng.shuffle(order)
        if order == sorted(order) and len(order) > 1:  # two sentences have but one other order
            order[:2] = order[1::-1]
        bodies = [text[start:end] for start, end in spans]
        return proposal(
            text,
            [
                Edit(start, end, body, bodies[order[place]])
                for place, ((start, end), body) in enumerate(zip(spans, bodies, strict=True))
            ],
        )


_SENTENCE = re.compile(r"(?=\S)(?:[^。！？!?\n.]|\.(?!\s|$))+(?<=\S)")
"""The body of a sentence, without the mark that ends it."""
