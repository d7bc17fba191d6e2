"""Cutting texts into words, with several cutters behind one name.

Chinese has no spaces: rjieba (a port of jieba, the default) or jieba cut it by dictionary and
hidden Markov model. Their dictionaries split 慢性阻塞性肺疾病 and 2型糖尿病, so the terms of a
medical lexicon are added. Some terms cannot be left to their dictionaries and are cut out by an
expression first: those with signs that they take for borders (Ⅱ型糖尿病), those that end with a
letter or digit (头颅CT, which is not in 头颅CTA), and those with several letters, whose case
varies (IgA肾病).
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from vesalius.errors import MissingDependencyError, RecipeError

if TYPE_CHECKING:
    from vesalius.text.lexicons import LexiconLike

Cut = Callable[[str], list[str]]
Name = Literal["rjieba", "jieba", "characters", "whitespace", "regex"]
Language = Literal["auto", "zh", "en"]

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_PLAIN = re.compile("(?:[\u3400-\u9fff0-9-]|[a-z](?![a-z]))*[\u3400-\u9fff]")
_SPACES = [space for space in map(chr, range(0x3001)) if space.isspace()]
_PIECES = re.compile(
    r"(?:[A-Za-z]\.){2,}"  # e.g., b.i.d.
    r"|\d+(?:[.,]\d+)*[^\W\d_]*%?"  # 12, 1,200, 37.5, 5mg, 50%
    r"|[^\W_]+(?:['’-][^\W_]+)*"  # patient, don't, x-ray, COVID-19
    r"|\S"
)


def words(
    text: str,
    *,
    cutter: Name | Cut = "rjieba",
    language: Language = "auto",
    lexicon: "LexiconLike" = None,
    spaces: bool = False,
) -> list[str]:
    """Cut a text into words and punctuation marks.

    Args:
        text: any length.
        cutter: "rjieba" or "jieba" (extra `words`) for Chinese; "characters"; "whitespace";
            "regex" for English; or any function from a text to a list of words.
        language: with rjieba and jieba: "zh" cuts everything with them, "en" nothing (it is
            "regex"); "auto" is "zh" for texts with a Chinese character.
        lexicon: terms that rjieba and jieba keep whole. None: this package's own list (whatever
            else is installed, so results are the same everywhere); a file or terms: those as
            well (read at every call: make a `Cutter` for many texts); a `Lexicon`: that one
            alone, `Lexicon([])` for none.
        spaces: keep white space, so that the words joined are the text (of "regex" and
            "whitespace" as well).

    Returns:
        The words in order, none empty.

    Raises:
        RecipeError: unknown cutter or language.
        MissingDependencyError: jieba is asked for and not installed.
        DataError: the lexicon cannot be read.

    Examples:
        >>> words("慢性阻塞性肺疾病10年，2型糖尿病")
        ['慢性阻塞性肺疾病', '10', '年', '，', '2型糖尿病']
        >>> words("Patient denies X-ray, 5mg b.i.d.")
        ['Patient', 'denies', 'X-ray', ',', '5mg', 'b.i.d.']
    """
    if lexicon is None and not callable(cutter):
        return _own(cutter, language, spaces)(text)
    return Cutter(cutter, language=language, lexicon=lexicon, spaces=spaces)(text)


class Cutter:
    """A cutter with its choices made: `Cutter("jieba")(text)`. For loops, and for other processes.

    The arguments are those of `words`.
    """

    def __init__(
        self,
        cutter: Name | Cut = "rjieba",
        *,
        language: Language = "auto",
        lexicon: "LexiconLike" = None,
        spaces: bool = False,
    ):
        if not callable(cutter) and cutter not in get_args(Name):
            known = ", ".join(get_args(Name))
            raise RecipeError(f"cutter '{cutter}': choose one of {known}, or give a function.")
        if language not in get_args(Language):
            raise RecipeError(f"language '{language}': choose auto, zh or en.")
        self._choices = (cutter, language, lexicon, spaces)
        cut = _chosen(cutter, language, lexicon)
        self.cut: Cut = _keeping_spaces(cut) if spaces else cut

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, self._choices

    def __call__(self, text: str) -> list[str]:
        """Return the words of a text."""
        return self.cut(text)


def _again(cutter: Any, language: Any, lexicon: Any, spaces: bool) -> Cutter:
    return Cutter(cutter, language=language, lexicon=lexicon, spaces=spaces)


@lru_cache(maxsize=16)
def _own(cutter: Name, language: Language, spaces: bool) -> Cut:
    return Cutter(cutter, language=language, spaces=spaces).cut


def has_chinese(text: str) -> bool:
    """Whether a Chinese character occurs in `text`."""
    return not text.isascii() and _HAN.search(text) is not None


def _chosen(cutter: Name | Cut, language: Language, lexicon: "LexiconLike") -> Cut:
    if callable(cutter):
        return lambda text: [word for word in cutter(text) if word.strip()]
    simple: dict[str, Cut] = {
        "characters": lambda text: list("".join(text.split())),
        "whitespace": str.split,
        "regex": _PIECES.findall,
    }
    if cutter in simple:
        return simple[cutter]
    if language == "en":
        return _PIECES.findall
    return by_dictionary(cutter, terms_of(lexicon), only=language == "zh")


def _keeping_spaces(cut: Cut) -> Cut:
    return lambda text: _with_spaces(text, cut(text))


def _with_spaces(text: str, cut: Sequence[str]) -> list[str]:
    """Put back the white space between words that a cutter left out."""
    whole, place = [], 0
    for word in cut:
        start = text.find(word, place)
        if start < 0 or (start > place and not text[place:start].isspace()):
            raise RecipeError(f"the cutter's word '{word}' is not in the text where it should be.")
        whole += [text[place:start], word] if start > place else [word]
        place = start + len(word)
    return [*whole, text[place:]] if place < len(text) else whole


def terms_of(lexicon: "LexiconLike") -> frozenset[str]:
    """Return the terms to keep whole, in lower case; for `lexicon` see `words`."""
    from vesalius.text import lexicons

    if lexicon is None:
        return _own_terms()
    if isinstance(lexicon, lexicons.Lexicon):
        return lexicon.terms
    given = lexicons.read(lexicon) if not _is_terms(lexicon) else lexicon
    return _own_terms() | lexicons.Lexicon(given).terms


def _is_terms(lexicon: object) -> bool:
    return isinstance(lexicon, Iterable) and not isinstance(lexicon, str)


@lru_cache(maxsize=1)
def _own_terms() -> frozenset[str]:
    from vesalius.text import lexicons

    return lexicons.Lexicon(lexicons.own()).terms


@lru_cache(maxsize=8)
def by_dictionary(cutter: str, terms: frozenset[str], *, only: bool = False) -> Cut:
    """Return the cut function of "rjieba" or "jieba" with medical terms added.

    Their shared dictionaries stay as they are: the terms go into an instance of our own. Texts
    without a Chinese character are cut by expression, unless `only`.
    """
    plain, special = divided(terms)
    native = load(cutter, plain)

    def cut(text: str) -> list[str]:
        # One search decides for most texts that nothing has to be done beside the native cut.
        if special(text) is None and "\u3400" <= text < "\ua000":  # by the first character
            return native(text)
        return slowly(text) if only or has_chinese(text) else _PIECES.findall(text)

    def slowly(text: str) -> list[str]:
        place, parts = 0, []
        while found := special(text, place):
            parts += native(text[place : found.start()])
            parts.append(found.group())
            place = found.end()
        return [part for part in parts + native(text[place:]) if not part.isspace()]

    return cut


def divided(terms: frozenset[str]) -> tuple[list[str], Callable[..., re.Match[str] | None]]:
    """Return the terms for a dictionary, in either case, and a search for the others.

    The search finds white space as well. Terms without a Chinese character are left out: English
    is cut into words, not into names.
    """
    plain = sorted(term for term in terms if _PLAIN.fullmatch(term))
    others = (term for term in terms.difference(plain) if _HAN.search(term))
    return [form for term in plain for form in {term: 0, term.upper(): 0}], _search(others)


def load(cutter: str, terms: Sequence[str], *, tags: bool = False) -> Callable[[str], list]:
    """Return the `cut` of a new rjieba or jieba with `terms`; with `tags`, of (word, tag) pairs."""
    if cutter == "rjieba":
        import rjieba

        ours = rjieba.Jieba()
        for term in terms:
            ours.add_word(term, None, "n")
        return ours.tag if tags else ours.cut
    tokenizer = _jieba(tuple(terms))
    if not tags:
        return tokenizer.lcut
    import jieba.posseg

    return jieba.posseg.POSTokenizer(tokenizer).lcut


@lru_cache(maxsize=4)
def _jieba(terms: tuple[str, ...]) -> Any:
    try:
        import jieba
    except ImportError:
        install = 'pip install "vesalius[words]"'
        raise MissingDependencyError("jieba", "the cutter 'jieba'", install) from None
    import logging

    jieba.setLogLevel(logging.WARNING)  # it reports the loading of its dictionary as an error
    tokenizer = jieba.Tokenizer()
    for term in terms:
        tokenizer.add_word(term, tag="n")
    return tokenizer


def _search(terms: Iterable[str]) -> Callable[..., re.Match[str] | None]:
    """Return the search for white space or any of the terms, the longest first, in either case.

    All alternatives begin with different plain characters, which lets `re` jump to the next one of
    these; a boundary is therefore looked for behind the first character.
    """
    by_first: dict[str, list[str]] = defaultdict(list)
    for term in sorted(terms, key=lambda term: (-len(term), term)):
        for first in sorted({term[0].lower(), term[0].upper()}):
            by_first[first].append("".join(map(_either_case, term[1:])) + _right_boundary(term))
    alternatives = [
        f"{re.escape(first)}{_left_boundary(first)}(?:{'|'.join(rests)})"
        for first, rests in sorted(by_first.items())
    ]
    return re.compile("|".join([*map(re.escape, _SPACES), *alternatives])).search


def _either_case(character: str) -> str:
    lower, upper = character.lower(), character.upper()
    return f"[{lower}{upper}]" if lower != upper and len(upper) == 1 else re.escape(character)


def _left_boundary(first: str) -> str:
    return "(?<![0-9A-Za-z].)" if first.isascii() and first.isalnum() else ""


def _right_boundary(term: str) -> str:
    return "(?![0-9A-Za-z])" if term[-1].isascii() and term[-1].isalnum() else ""
