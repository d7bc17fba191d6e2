"""Changes of voice: English active and passive, Chinese 把, 被 and plain sentences.

Surface changes by syntax (Coulombe 2018). Only sentences whose structure is certain change; see
`passive_english` and `passive_chinese` for what is declined.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from random import Random
from typing import Literal

from vesalius.errors import DataError, MissingDependencyError, RecipeError
from vesalius.text.augmenters.base import Edit, Piece, Proposal, how_many, proposal
from vesalius.text.augmenters.passive_chinese import rewordings
from vesalius.text.augmenters.passive_english import Tagger, to_active, to_passive

# A stop ends a sentence where a capital follows; "Dr." and "5.2" do not.
_ENGLISH = re.compile(r"(?:\b(?:Dr|Mr|Mrs|Ms|Prof)\.|[^.!?。！？；;\n]|[.](?=\S))+[.!?]?")
_CHINESE = re.compile(r"[^\s，,。.；;！!？?：:]+")


class Passive:
    """Turn English sentences from active to passive, or back.

    Args:
        direction: "passive", "active", or "both" (whichever the sentence is not).
        tagger: a part-of-speech tagger that may veto a reading: a function from words to Penn
            Treebank tags, "nltk", or "spacy:NAME" for an installed pipeline. None: the rules
            alone, so that the result does not depend on what is installed.

    Raises:
        RecipeError: the direction or the tagger has another name.
        MissingDependencyError: the tagger's package is not installed.
    """

    allows = ("order",)

    def __init__(
        self,
        *,
        direction: Literal["passive", "active", "both"] = "both",
        tagger: Tagger | str | None = None,
    ):
        if direction not in ("passive", "active", "both"):
            raise RecipeError(f"direction is 'passive', 'active' or 'both', not '{direction}'")
        self._voices: list[Callable[..., str | None]] = []
        if direction != "active":
            self._voices.append(to_passive)
        if direction != "passive":
            self._voices.append(to_active)
        # A named tagger is opened where it is used: a pipeline does not travel between processes.
        self._tagger = tagger
        if isinstance(tagger, str):
            _named_tagger(tagger)

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Change the voice of `strength` of the text's sentences that have another one."""
        return _some(text, list(self._edits(text)), rng, strength)

    def _edits(self, text: str) -> Iterator[list[Edit]]:
        tagger = _named_tagger(self._tagger) if isinstance(self._tagger, str) else self._tagger
        for start, end, sentence in _spans(_ENGLISH, text):
            others = [voice(sentence, tagger=tagger) for voice in self._voices]
            edits = [Edit(start, end, sentence, other) for other in others if other is not None]
            if edits:
                yield edits


class BaBei:
    """Turn Chinese clauses into their 把, 被 and plain forms.

    Args:
        voices: which forms may come out, of "active", "ba", "bei".
    """

    allows = ("order",)

    def __init__(self, *, voices: Sequence[str] = ("active", "ba", "bei")):
        unknown = set(voices) - {"active", "ba", "bei"}
        if unknown or not voices:
            raise RecipeError(
                f"voices are some of 'active', 'ba' and 'bei'; got {', '.join(voices) or 'none'}"
            )
        self._voices = tuple(voices)

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Change the voice of `strength` of the text's clauses that have another one."""
        found = (
            [Edit(start, end, clause, new) for new in rewordings(clause, self._voices)]
            for start, end, clause in _spans(_CHINESE, text)
        )
        return _some(text, [edits for edits in found if edits], rng, strength)


def _spans(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int, str]]:
    for match in pattern.finditer(text):
        found = match.group()
        start = match.start() + len(found) - len(found.lstrip())
        sentence = found.strip()
        if sentence:
            yield start, start + len(sentence), sentence


def _some(text: str, choices: list[list[Edit]], rng: Random, strength: float) -> Proposal:
    if not choices:
        return Proposal(text)
    chosen = rng.sample(choices, min(len(choices), how_many(len(choices), strength)))
    return proposal(text, [rng.choice(edits) for edits in chosen])


@cache
def _named_tagger(name: str) -> Tagger:
    if name == "nltk":
        return _nltk_tagger()
    if name.startswith("spacy:"):
        return _spacy_tagger(name.removeprefix("spacy:"))
    raise RecipeError(f"tagger '{name}' is not known; take 'nltk', 'spacy:NAME' or a function")


def _nltk_tagger() -> Tagger:
    try:
        import nltk
    except ImportError as error:
        raise MissingDependencyError("nltk", "the tagger 'nltk'", "pip install nltk") from error
    try:
        nltk.pos_tag(["test"])
    except LookupError as error:
        raise DataError(
            "nltk has no tagger data. Get it with: "
            "python -m nltk.downloader averaged_perceptron_tagger_eng"
        ) from error
    return lambda words: [tag for _, tag in nltk.pos_tag(words)]


def _spacy_tagger(name: str) -> Tagger:
    try:
        import spacy
    except ImportError as error:
        raise MissingDependencyError(
            "spacy", f"the tagger '{name}'", "pip install spacy"
        ) from error
    try:
        pipeline = spacy.load(name)
    except OSError as error:
        raise DataError(
            f"spacy has no pipeline '{name}'. Get it with: python -m spacy download {name}"
        ) from error
    return lambda words: [token.tag_ for token in pipeline(spacy.tokens.Doc(pipeline.vocab, words))]
