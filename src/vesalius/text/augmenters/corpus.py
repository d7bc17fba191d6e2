"""Augmentations that learn from a corpus: TF-IDF replacement, noising, crossover.

TF-IDF replacement follows UDA (Xie et al. 2020, appendix): word i of a text is replaced with the
probability p |x| (C - t_i) / sum_j (C - t_j), where t is its TF-IDF and C the largest of the text;
the new word is w with a probability proportional to max S - S(w), S(w) being the sum of its TF-IDF
over the corpus. Differences: a probability is capped at 1; where all words have the same TF-IDF
(0/0 in the formula) each is replaced with p; words that carry a fact neither go nor come.
"""

import math
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Self

from vesalius.errors import DataError, RecipeError
from vesalius.text.augmenters.base import (
    Edit,
    Piece,
    Proposal,
    free,
    is_chinese,
    proposal,
    replace,
    words,
)
from vesalius.text.facts import facts
from vesalius.text.pieces import cut_words

Corpus = str | Path | Iterable[str] | None


class _Sampler:
    """Draws words in proportion to weights, by bisection of their running sum."""

    def __init__(self, weights: Mapping[str, float]):
        kept = {word: weight for word, weight in weights.items() if weight > 0}
        self._words = list(kept)
        self._sums = list(accumulate(kept.values()))

    def __len__(self) -> int:
        return len(self._words)

    def draw(self, rng: Random) -> str:
        place = bisect(self._sums, rng.random() * self._sums[-1])
        return self._words[min(place, len(self._words) - 1)]


class TfIdf:
    """Replace words that say little by words that say little (UDA).

    Args:
        corpus: a text file with one text a line, or texts; `fit` takes texts later.
    """

    def __init__(self, *, corpus: Corpus = None):
        self._idf: dict[str, float] = {}
        self._unseen = 0.0
        self._sampler = _Sampler({})
        if corpus is not None:
            self.fit(_texts(corpus))

    def fit(self, texts: Iterable[str]) -> Self:
        """Learn the TF-IDF of words.

        Raises:
            DataError: the texts have no word that could replace another.
        """
        documents = [Counter(_words(text)) for text in texts]
        frequency = Counter(word for document in documents for word in document)
        self._unseen = math.log(max(2, len(documents)))
        self._idf = {word: math.log(len(documents) / times) for word, times in frequency.items()}
        totals: Counter[str] = Counter()
        for document in documents:
            totals.update(self._tf_idf(document))
        scores = {word: score for word, score in totals.items() if _replaces(word)}
        if not scores:
            raise DataError("tf-idf: the corpus has no word without a fact. Give more texts.")
        top = max(scores.values())
        weights = {word: top - score for word, score in scores.items()}
        # Where all words are worth the same, each is as good as another.
        self._sampler = _Sampler(weights if any(weights.values()) else dict.fromkeys(scores, 1.0))
        return self

    def _tf_idf(self, document: "Counter[str]") -> dict[str, float]:
        total = document.total()
        return {
            word: times / total * self._idf.get(word, self._unseen)
            for word, times in document.items()
        }

    def probabilities(self, tokens: Sequence[str], strength: float) -> list[float]:
        """Return for each word the probability that it is replaced; each in [0, 1]."""
        scores = self._tf_idf(Counter(token.lower() for token in tokens))
        gaps = [scores[token.lower()] for token in tokens]
        gaps = [max(gaps) - score for score in gaps]
        total = sum(gaps)
        if total <= 1e-12:
            return [strength] * len(tokens)
        return [min(1.0, strength * len(tokens) * gap / total) for gap in gaps]

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Return a text with some of its uninformative words replaced."""
        _need(len(self._sampler), "tf-idf")
        numbers = words(pieces)
        if not numbers:
            return Proposal(text)
        chances = self.probabilities([pieces[number].text for number in numbers], strength)
        edits = [
            replace(pieces[number], self._sampler.draw(rng))
            for number, chance in zip(numbers, chances, strict=True)
            if not pieces[number].locked and rng.random() < chance
        ]
        return proposal(text, edits)


class UnigramNoise:
    """Replace each free word with the probability `strength` by a draw from the corpus.

    Data noising as smoothing (Xie et al. 2017), section 3.2: words come with their frequency.

    Args:
        corpus: a text file with one text a line, or texts; `fit` takes texts later.
    """

    def __init__(self, *, corpus: Corpus = None):
        self._sampler = _Sampler({})
        if corpus is not None:
            self.fit(_texts(corpus))

    def fit(self, texts: Iterable[str]) -> Self:
        """Count the words of a corpus.

        Raises:
            DataError: it has no word without a fact.
        """
        counts = Counter(word for text in texts for word in _words(text))
        kept = {word: float(times) for word, times in counts.items() if _replaces(word)}
        if not kept:
            raise DataError("unigram-noise: the corpus has no word without a fact.")
        self._sampler = _Sampler(kept)
        return self

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Return a text with some words replaced."""
        _need(len(self._sampler), "unigram-noise")
        edits = [
            replace(pieces[number], self._sampler.draw(rng))
            for number in free(pieces)
            if rng.random() < strength
        ]
        return proposal(text, edits)


class BlankNoise:
    """Replace each free word with the probability `strength` by a blank (Xie et al. 2017).

    Args:
        blank: what stands for a missing word.
    """

    def __init__(self, *, blank: str = "_"):
        if not blank:
            raise RecipeError("blank is empty; give a sign, or use the kind 'deletion'.")
        self.blank = blank

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Return a text with some words blanked."""
        edits = [
            replace(pieces[number], self.blank)
            for number in free(pieces)
            if rng.random() < strength
        ]
        return proposal(text, edits)


class Crossover:
    """Join the first half of a text and the second half of another (Luque 2019, TASS).

    The halves are whole sentences. A partner that contradicts the text (the same term affirmed in
    one half and negated in the other, or another sex) is not taken.

    Args:
        partners: texts that have the same labels as those that will be given; a file has one a
            line. `fit` takes labelled texts instead.
    """

    labelled = True

    def __init__(self, *, partners: Corpus = None):
        given = () if partners is None else tuple(_texts(partners))
        self._by_label: dict[object, tuple[str, ...]] = {None: given}
        self._labels: dict[str, object] = {}

    def fit(self, texts: Iterable[str], labels: Iterable[object]) -> Self:
        """Remember texts by their labels; a text's partners are those with equal labels."""
        groups: dict[object, list[str]] = {}
        self._labels = dict(zip(texts, labels, strict=True))
        for text, label in self._labels.items():
            groups.setdefault(label, []).append(text)
        self._by_label = {label: tuple(group) for label, group in groups.items()}
        return self

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Return a text of two halves; `strength` plays no part."""
        _need(len(self._labels) or len(self._by_label.get(None, ())), "crossover", "partners")
        partners = self._by_label.get(self._labels.get(text), ())
        if not partners:
            return Proposal(text)
        middle, other = _middle(text), rng.choice(partners)
        head, tail, rest = text[:middle], text[middle:], other[_middle(other) :]
        if not head or not rest or other == text or _contradict(head, rest):
            return Proposal(text)
        apart = is_chinese(head) or head[-1].isspace() or rest[0].isspace()
        joint = "" if apart else " "
        made = head + joint + rest
        if tail == joint + rest:
            return Proposal(text)
        return Proposal(made, (Edit(middle, len(text), tail, joint + rest),), reference=made)


def _middle(text: str) -> int:
    """Return the end of the sentence that is nearest to the middle; 0 where there is one only."""
    ends = [at + 1 for at in range(len(text) - 1) if _ends_sentence(text, at)]
    return min(ends, key=lambda end: abs(end - len(text) / 2)) if ends else 0


def _ends_sentence(text: str, at: int) -> bool:
    if text[at] in "。！？!?\n":
        return True
    return text[at] == "." and text[at + 1].isspace()


_SEXES = ({"男", "男性", "male", "man"}, {"女", "女性", "female", "woman"})


def _contradict(first: str, second: str) -> bool:
    """Whether two halves cannot be of one patient."""
    one, two = (
        {(fact.text.lower(), fact.negated) for fact in facts(half) if fact.kind == "term"}
        for half in (first, second)
    )
    if any((term, not negated) in two for term, negated in one):
        return True
    sexes = [[bool(names & {term for term, _ in half}) for names in _SEXES] for half in (one, two)]
    return (sexes[0][0] and sexes[1][1]) or (sexes[0][1] and sexes[1][0])


def _words(text: str) -> list[str]:
    return [word.lower() for word in cut_words(text) if word[0].isalnum()]


def _replaces(word: str) -> bool:
    """Whether a word may be put into a text: it carries no fact of its own."""
    return not facts(word)


def _texts(corpus: str | Path | Iterable[str]) -> list[str]:
    if not isinstance(corpus, str | Path):
        return list(corpus)
    path = Path(corpus)
    if not path.is_file():
        raise DataError(f"There is no corpus {path}. Give a UTF-8 file with one text a line.")
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}. Save it as UTF-8.") from error
    return [line for line in lines if line.strip()]


def _need(learned: int, kind: str, option: str = "corpus") -> None:
    if not learned:
        raise RecipeError(
            f"'{kind}' has learned from nothing yet: give {option}= (texts, or a file with one "
            "text a line), or call fit."
        )
