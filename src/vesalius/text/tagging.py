"""Parts of speech in clinical texts, Chinese and English.

Tags are those of Universal Dependencies (Nivre et al. 2020: NOUN, VERB, NUM ...), so that Chinese
and English taggers can be read alike; the tagger's own tag is kept beside them.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from vesalius.errors import MissingDependencyError, RecipeError
from vesalius.text import wording

if TYPE_CHECKING:
    from vesalius.text.lexicons import LexiconLike

Chinese = Literal["rjieba", "jieba"]
English = Literal["rules", "nltk", "spacy"]


class Tagged(NamedTuple):
    """A word with its part of speech; `text[start:end]` is the word.

    Attributes:
        tag: of Universal Dependencies.
        own: the tagger's own: of jieba (n, v, m ...), of the Penn treebank (NN, VBD ...), or "".
    """

    word: str
    tag: str
    own: str
    start: int
    end: int


def tag(
    text: str,
    *,
    chinese: Chinese = "rjieba",
    english: English = "rules",
    language: wording.Language = "auto",
    lexicon: "LexiconLike" = None,
) -> list[Tagged]:
    """Return the words of a text with their parts of speech.

    Args:
        text: any length.
        chinese: the tagger of Chinese texts, "rjieba" or "jieba" (extra).
        english: "rules", a small list with rules on endings and neighbours that needs nothing and
            is rough; "nltk" (averaged perceptron; its data must be there); "spacy" (the model
            en_core_web_sm must be installed).
        language, lexicon: as in `vesalius.text.words`.

    Raises:
        RecipeError: unknown tagger or language.
        MissingDependencyError: the tagger or its data is not installed.

    Examples:
        >>> [(word, tag) for word, tag, *_ in tag("否认2型糖尿病")]
        [('否认', 'VERB'), ('2型糖尿病', 'NOUN')]
    """
    if chinese not in get_args(Chinese) or english not in get_args(English):
        raise RecipeError(
            f"taggers '{chinese}', '{english}': choose {' or '.join(get_args(Chinese))} for "
            f"Chinese, and {', '.join(get_args(English))} for English."
        )
    if language == "zh" or (language == "auto" and wording.has_chinese(text)):
        pairs = _in_chinese(text, chinese, lexicon)
    else:
        pairs = _ENGLISH[english](wording.words(text, language="en"))
    return list(_placed(text, pairs))


def _placed(text: str, pairs: list[tuple[str, str, str]]) -> Iterator[Tagged]:
    place = 0
    for word, universal, own in pairs:
        start = text.index(word, place)
        place = start + len(word)
        yield Tagged(word, universal, own, start, place)


_OF_JIEBA = {
    **{"n": "NOUN", "t": "NOUN", "s": "NOUN", "f": "NOUN", "q": "NOUN", "i": "NOUN", "l": "NOUN"},
    **{"nr": "PROPN", "ns": "PROPN", "nt": "PROPN", "nz": "PROPN", "nrt": "PROPN", "j": "NOUN"},
    **{"v": "VERB", "vn": "NOUN", "vd": "ADV", "a": "ADJ", "an": "NOUN", "ad": "ADV", "b": "ADJ"},
    **{"z": "ADJ", "d": "ADV", "m": "NUM", "r": "PRON", "p": "ADP", "c": "CCONJ", "u": "PART"},
    **{"y": "PART", "e": "INTJ", "o": "INTJ", "h": "PART", "k": "PART", "g": "NOUN", "eng": "X"},
}


def _in_chinese(text: str, name: str, lexicon: "LexiconLike") -> list[tuple[str, str, str]]:
    native, special = _tagger(name, wording.terms_of(lexicon))
    pairs, place = [], 0
    while found := special(text, place):
        pairs += [*map(tuple, native(text[place : found.start()])), (found.group(), "n")]
        place = found.end()
    pairs += map(tuple, native(text[place:]))
    return [(word, _universal(word, own), own) for word, own in pairs if not word.isspace()]


@lru_cache(maxsize=8)
def _tagger(name: str, terms: frozenset[str]) -> tuple[Callable[[str], list], Any]:
    plain, special = wording.divided(terms)
    return wording.load(name, plain, tags=True), special


def _universal(word: str, own: str) -> str:
    if own in ("x", "w"):
        return _mark(word)
    if re.fullmatch(r"\d[\d.,]*%?", word):
        return "NUM"
    return _OF_JIEBA.get(own) or _OF_JIEBA.get(own[:1]) or "X"


def _mark(word: str) -> str:
    """Return the tag of what is no word: a sign that stands for something, or punctuation."""
    return "SYM" if re.fullmatch(r"[+±×÷=<>≤≥~～^%‰℃°/↑↓→$#&-]+", word) else "PUNCT"


def _by_rules(words: list[str]) -> list[tuple[str, str, str]]:
    """Closed classes by list; open ones by their ending and the tag before."""
    known, tags = _closed_classes(), list[str]()
    for word in words:
        before = tags[-1] if tags else ""
        tags.append(known.get(word.lower()) or _open_class(word, before))
    return [(word, found, "") for word, found in zip(words, tags, strict=True)]


@lru_cache(maxsize=1)
def _closed_classes() -> dict[str, str]:
    import yaml

    path = Path(__file__).with_name("tagging.yaml")
    table: dict[str, str] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {word: name for name, words in table.items() for word in words.split()}


_ENDINGS = (
    (r"ly", "ADV"),
    (r"(?:ous|ful|less|able|ible|ical|ic|ive|ary|oid|eal|ial|nal|ral|tal|lar)", "ADJ"),
    (r"(?:tion|sion|ment|ness|ity|ism|itis|osis|oma|ectomy|scopy|graphy|emia|pathy|ure)s?", "NOUN"),
    (r"(?:ed|ize|ise|ify)", "VERB"),
)


def _open_class(word: str, before: str) -> str:
    if re.fullmatch(r"\d[\d.,]*[^\W\d_]*%?", word):
        return "NUM"
    if not word[0].isalnum():
        return _mark(word)
    lower = word.lower()
    for ending, found in _ENDINGS:
        if re.fullmatch(rf"\w{{2,}}{ending}", lower):
            # "the resected lung": a participle between a determiner and a noun is an adjective.
            return "ADJ" if found == "VERB" and before in ("DET", "ADJ") else found
    if lower.endswith("ing") and len(lower) > 4:
        return "NOUN" if before in ("DET", "ADJ", "ADP") else "VERB"
    if before in ("PART", "AUX"):
        return "VERB"
    return "PROPN" if word[0].isupper() and before not in ("", "PUNCT") else "NOUN"


_OF_PENN = {
    **{"NN": "NOUN", "NP": "PROPN", "JJ": "ADJ", "RB": "ADV", "VB": "VERB", "MD": "AUX"},
    **{"CD": "NUM", "DT": "DET", "PD": "DET", "WD": "DET", "PR": "PRON", "WP": "PRON"},
    "EX": "PRON",
    **{"IN": "ADP", "TO": "PART", "RP": "ADP", "CC": "CCONJ", "UH": "INTJ", "PO": "PART"},
    **{"FW": "X", "SY": "SYM", "WR": "ADV", "LS": "X"},
}


def _by_nltk(words: list[str]) -> list[tuple[str, str, str]]:
    purpose = "the tagger 'nltk'"
    try:
        import nltk
    except ImportError:
        raise MissingDependencyError("nltk", purpose, 'pip install "vesalius[words]"') from None
    try:
        tagged = nltk.pos_tag(words)
    except LookupError:
        install = "python -m nltk.downloader averaged_perceptron_tagger_eng"
        name = "averaged_perceptron_tagger_eng (data of nltk)"
        raise MissingDependencyError(name, purpose, install) from None
    return [
        (word, "PROPN" if own.startswith("NNP") else _OF_PENN.get(own[:2]) or _mark(word), own)
        for word, own in tagged
    ]


def _by_spacy(words: list[str]) -> list[tuple[str, str, str]]:
    model = _spacy_model()
    import spacy

    done = model(spacy.tokens.Doc(model.vocab, words=words))
    return [(token.text, token.pos_, token.tag_) for token in done]


@lru_cache(maxsize=1)
def _spacy_model() -> Any:
    install = "pip install spacy && python -m spacy download en_core_web_sm"
    try:
        import spacy

        return spacy.load("en_core_web_sm")
    except (ImportError, OSError):
        name = "spacy with en_core_web_sm"
        raise MissingDependencyError(name, "the tagger 'spacy'", install) from None


_ENGLISH = {"rules": _by_rules, "nltk": _by_nltk, "spacy": _by_spacy}
