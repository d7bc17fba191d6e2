"""English surface changes: contractions and common misspellings (Coulombe 2018).

Contractions are expanded where they have one reading: 's (is, has, or a genitive) and 'd (had,
would) are skipped. The other direction is taken only where it is certain that the words belong
together: "he is tired" becomes "he's tired", but not "I know where he is", and "have" is
contracted before a participle only ("they've been", never "they've a cough").
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from random import Random
from typing import Literal

from vesalius.errors import DataError, RecipeError
from vesalius.text.augmenters.base import Edit, Piece, Proposal, free, how_many, merge, proposal
from vesalius.text.augmenters.base import replace as replaced
from vesalius.text.augmenters.inflection import like

_APOSTROPHE = "['’]"
# The negated auxiliaries, and what they contract to.
_NEGATED = {
    "are not": "aren't",
    "cannot": "can't",
    "could not": "couldn't",
    "did not": "didn't",
    "do not": "don't",
    "does not": "doesn't",
    "had not": "hadn't",
    "has not": "hasn't",
    "have not": "haven't",
    "is not": "isn't",
    "might not": "mightn't",
    "must not": "mustn't",
    "need not": "needn't",
    "should not": "shouldn't",
    "was not": "wasn't",
    "were not": "weren't",
    "will not": "won't",
    "would not": "wouldn't",
}
_EXPANDED = {short: long for long, short in _NEGATED.items()} | {"let's": "let us"}
_ENDINGS = {"re": "are", "ve": "have", "ll": "will", "m": "am"}
_WITH_ENDING = re.compile(
    rf"\b(?P<head>I|you|he|she|it|we|they|there|that|who|should|could|would|must|might)"
    rf"{_APOSTROPHE}(?P<ending>re|ve|ll|m)\b",
    re.I,
)
# Not before its subject: "Can't you" is no "Cannot you".
_SHORT = re.compile(
    r"\b(?:"
    + "|".join(word.replace("'", _APOSTROPHE) for word in _EXPANDED)
    + r")\b(?!\s+(?:I|you|he|she|it|we|they|there)\b)",
    re.I,
)
_LONG = re.compile(r"\b(?:" + "|".join(_NEGATED) + r")\b(?!\s+only\b)", re.I)
# Something must follow: "Yes, he is." keeps its verb. In a question about where or how somebody
# is, the verb is stressed too, so a question word earlier in the clause declines.
_PAIR = re.compile(
    r"\b(?P<head>I|you|he|she|it|we|they)(?P<space> )(?P<verb>am|is|are|will|have)"
    r"(?=\s+(?P<next>[a-z]+))",
    re.I,
)
_ENDING_OF = {"am": "'m", "is": "'s", "are": "'re", "will": "'ll", "have": "'ve"}
_FITS = {"am": {"i"}, "is": {"he", "she", "it"}, "are": {"you", "we", "they"}}
_QUESTION = re.compile(r"\b(?:wh\w+|how|than|as|if|so|nor|neither)\b[^,.;:!?]*$", re.I)
_PARTICIPLE = re.compile(
    r"been|had|not|never|\w{2,}ed|taken|seen|given|done|become|begun|gone", re.I
)


class Contraction:
    """Expand or contract auxiliaries.

    Args:
        direction: "expand", "contract" or "both".

    Raises:
        RecipeError: the direction has another name.
    """

    def __init__(self, *, direction: Literal["expand", "contract", "both"] = "both"):
        if direction not in ("expand", "contract", "both"):
            raise RecipeError(f"direction is 'expand', 'contract' or 'both', not '{direction}'")
        self._finders: list[Callable[[str], Iterator[Edit]]] = []
        if direction != "contract":
            self._finders.append(expansions)
        if direction != "expand":
            self._finders.append(contractions)

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Change `strength` of the auxiliaries that can be changed."""
        found = [edit for finder in self._finders for edit in finder(text)]
        return _some(text, pieces, found, rng, strength)


class Spelling:
    """Replace words by common misspellings of them.

    Args:
        path: a YAML file of your own, `correct: wrong wrong ...`, instead of the one here.

    Raises:
        DataError: the file is not such a mapping.
    """

    def __init__(self, *, path: str | None = None):
        self._wrong = _misspellings() if path is None else _read(path)

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Misspell `strength` of the words of which a misspelling is known."""
        places = [pieces[i] for i in free(pieces) if pieces[i].text.lower() in self._wrong]
        if not places:
            return Proposal(text)
        chosen = rng.sample(places, how_many(len(places), strength))
        return proposal(
            text,
            [
                replaced(piece, like(piece.text, rng.choice(self._wrong[piece.text.lower()])))
                for piece in chosen
            ],
        )


def expansions(text: str) -> Iterator[Edit]:
    """Yield an edit for every contraction with one reading.

    >>> [edit.new for edit in expansions("He's fine, but they're not and it won't help.")]
    ['will not', 'they are']
    """
    for match in _SHORT.finditer(text):
        short = match.group()
        yield Edit(*match.span(), short, like(short, _EXPANDED[short.lower().replace("’", "'")]))
    for match in _WITH_ENDING.finditer(text):
        head, ending = match["head"], match["ending"].lower()
        if ending == "m" and head.lower() != "i":
            continue
        yield Edit(*match.span(), match.group(), f"{head} {_ENDINGS[ending]}")


def contractions(text: str) -> Iterator[Edit]:
    """Yield an edit for every auxiliary that can surely be contracted.

    >>> [edit.new for edit in contractions("He is tired and does not eat. Yes, he is.")]
    ["doesn't", "He's"]
    """
    for match in _LONG.finditer(text):
        long = match.group()
        yield Edit(*match.span(), long, like(long, _NEGATED[long.lower()]))
    for match in _PAIR.finditer(text):
        head, verb = match["head"].lower(), match["verb"].lower()
        if head not in _FITS.get(verb, {head}) or _QUESTION.search(text, 0, match.start()):
            continue
        if verb == "have" and (
            head in ("he", "she", "it") or not _PARTICIPLE.fullmatch(match["next"])
        ):
            continue
        yield Edit(*match.span(), match.group(), match["head"] + _ENDING_OF[verb])


def _some(
    text: str, pieces: Sequence[Piece], found: list[Edit], rng: Random, strength: float
) -> Proposal:
    locked = [piece for piece in pieces if piece.locked]
    open_ = [
        edit
        for edit in found
        if not any(piece.start < edit.end and edit.start < piece.end for piece in locked)
    ]
    if not open_:
        return Proposal(text)
    chosen = rng.sample(open_, how_many(len(open_), strength))
    return proposal(text, merge(chosen))


@cache
def _misspellings() -> dict[str, list[str]]:
    return _read(str(files(__package__) / "misspellings.yaml"))


def _read(path: str) -> dict[str, list[str]]:
    import yaml

    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"cannot read the misspellings of {path}: {error}") from error
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path} must map correct words to wrong ones: `receive: recieve receeve`")
    problems = [
        f"{word!r}: {wrong!r} is not a list of wrong spellings"
        for word, wrong in content.items()
        if not (isinstance(word, str) and isinstance(wrong, str) and wrong.split())
    ]
    if problems:
        raise DataError(f"{path} must map correct words to wrong ones", problems)
    return {word.lower(): wrong.split() for word, wrong in content.items()}
