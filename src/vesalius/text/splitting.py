"""Sentences of Chinese and English notes.

Chinese marks (。！？；……) and line ends always close a sentence; English ones only where a new
sentence can begin, which leaves decimals, Dr., b.i.d. and list numbers alone. Both kinds of rules
hold in the same text, since notes mix the languages.
"""

import re
from typing import Literal

from vesalius.errors import RecipeError
from vesalius.text.normalise import HANZI

_CLOSERS = "”’」』）】》\"')\\]"
# Possessive (*+): what was taken is not given back, so 。”， as a whole does not end a sentence.
_CHINESE = rf"(?:[。！？；｡]|…)[。！？；｡…!?;]*+[{_CLOSERS}]*+(?![，、,：])"
_MIXED = rf"(?:(?<=[{HANZI}])[!?;]|[!?;](?=\s*[{HANZI}]))[!?;]*[{_CLOSERS}]*"
_AFTER_HANZI = rf"(?<=[{HANZI}])(?<![一二三四五六七八九十])\.[{_CLOSERS}]*(?=[\s{HANZI}]|$)"
_BEFORE_HANZI = rf"(?<=[A-Za-z][A-Za-z])(?<!Dr)\.(?=[{HANZI}])"
_MIXED_DOT = f"{_AFTER_HANZI}|{_BEFORE_HANZI}"
_ENGLISH = r"(?P<english>[.!?]+[\"')\]”’]*)(?=\s|$)"
_LINE = r"\n"
_PATTERNS = {
    "auto": re.compile(f"(?:{_CHINESE}|{_MIXED}|{_MIXED_DOT}|{_ENGLISH}|{_LINE})\\s*"),
    "zh": re.compile(f"(?:{_CHINESE}|{_MIXED}|{_MIXED_DOT}|{_LINE})\\s*"),
    "en": re.compile(f"(?:{_ENGLISH}|{_LINE})\\s*"),
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TITLES = _words("dr mr mrs ms prof st sr jr mt rev hon drs messrs capt sgt lt col gen")
_NEVER_LAST = _words(
    "vs eg e.g ie i.e cf approx ca viz incl esp resp dept assoc est avg max min temp wt ht"
)
_BEFORE_NUMBER = _words("no nos fig figs vol p pp art sec ch tab ref refs eq gr")
_STARTERS = _words(
    "the he she it they we i this that these those his her its their our patient patients there no "
    "on in at after before a an then but however physical history past medical vital exam"
)
_WORD_BEFORE = re.compile(r"[^\s(\[“\"'（，。；：]*$")
_DOTTED = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]")
_LIST_START = re.compile(r"\s*(\d{1,2})[.)]\s")


def sentences(text: str, *, language: Literal["auto", "zh", "en"] = "auto") -> list[str]:
    """Split a text into sentences; joined, they are the text again.

    Every sentence keeps its marks, the closing quotes and brackets, and the white space behind.

    >>> sentences("T 36.5℃。“头痛。”伴恶心；Seen by Dr. Wang. No fever.")
    ['T 36.5℃。', '“头痛。”', '伴恶心；', 'Seen by Dr. Wang. ', 'No fever.']

    Args:
        text: any text.
        language: which marks count; "auto": those of both languages.

    Raises:
        RecipeError: the language is unknown.
    """
    if language not in _PATTERNS:
        raise RecipeError(f"language '{language}': choose one of {', '.join(_PATTERNS)}")
    found, start = [], 0
    for match in _PATTERNS[language].finditer(text):
        if _is_english(match) and not _ends(text, start, match):
            continue
        found.append(text[start : match.end()])
        start = match.end()
    if start < len(text):
        found.append(text[start:])
    return _joined(found)


def _is_english(match: re.Match) -> bool:
    # A mark with a line end behind it closes the sentence whatever stands before.
    return bool(match.groupdict().get("english")) and "\n" not in match[0]


def _ends(text: str, start: int, match: re.Match) -> bool:
    """Tell whether an English mark between `start` and the next word closes a sentence."""
    following = text[match.end() :]
    if not following:
        return True
    if following[0].islower():
        return False
    if not match["english"].startswith(".") or match["english"].startswith(".."):
        return True
    before = text[start : match.start()]
    word = _WORD_BEFORE.search(before)
    assert word is not None  # the pattern also matches nothing
    return not _goes_on(word[0], before[: word.start()], following)


def _goes_on(word: str, before: str, following: str) -> bool:
    """Tell whether the full stop behind `word` belongs to it."""
    low = word.lower()
    if low in _TITLES or low in _NEVER_LAST:
        return True
    if low in _BEFORE_NUMBER:
        return following[0].isdigit()
    if word.isdecimal() and len(word) <= 2:
        return _is_list_number(int(word), before)
    next_word = re.split(r"[^A-Za-z]", following, maxsplit=1)[0].lower()
    if next_word in _STARTERS:
        return False
    if len(word) == 1 and word.isupper():  # an initial: the name goes on before and behind it
        previous = before.split()[-1:] or ["A"]
        return previous[0][:1].isupper()
    return bool(_DOTTED.fullmatch(word)) and following[0].isdigit()


def _is_list_number(number: int, before: str) -> bool:
    """Tell whether "2." continues the list that the sentence began with, or begins one."""
    first = _LIST_START.match(before)
    return not before.strip() or (first is not None and number > int(first[1]))


def _joined(found: list[str]) -> list[str]:
    """Add leading white space to the sentence behind it: a sentence is never white space alone."""
    if len(found) > 1 and not found[0].strip():
        found[:2] = ["".join(found[:2])]
    return found
