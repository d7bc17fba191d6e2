"""Stop words of Chinese and English, and their removal.

The list is the package's own (`stopwords.yaml`); it holds no negation, number or word of time.
"""

import functools
import re
from collections.abc import Iterable
from importlib import resources

import yaml

from vesalius.text.normalise import HANZI

_TOKEN = re.compile(rf"[{HANZI}]+|[A-Za-z]+(?:['’-][A-Za-z]+)*")
_HANZI = re.compile(f"[{HANZI}]")


@functools.cache
def stop_words(language: str | None = None) -> frozenset[str]:
    """Return the stop words of "zh" or "en", or of both."""
    place = resources.files("vesalius.text").joinpath("stopwords.yaml")
    lists = yaml.safe_load(place.read_text(encoding="utf-8"))
    names = lists if language is None else [language]
    return frozenset(word for name in names for word in lists[name].split())


def remove_stop_words(text: str, words: Iterable[str] | None = None) -> str:
    """Remove stop words. Chinese is cut with rjieba, so that 的 goes and 目的 stays.

    Args:
        text: any text; English words match in any case.
        words: the words to remove; default: `stop_words()`.
    """
    chosen = stop_words() if words is None else frozenset(words)
    lowered = frozenset(word.lower() for word in chosen)
    pieces, last = [], 0
    for match in _TOKEN.finditer(text):
        pieces.append(text[last : match.start()])
        last = match.end()
        if _HANZI.match(match[0]):
            pieces.append(_chinese(match[0], chosen))
        elif match[0].lower() in lowered and not _in_value(text, match):
            last += text[last : last + 1] == " "
        else:
            pieces.append(match[0])
    return "".join([*pieces, text[last:]])


def _chinese(text: str, words: frozenset[str]) -> str:
    import rjieba

    return "".join(word for word in rjieba.cut(text) if word not in words)


def _in_value(text: str, match: re.Match) -> bool:
    """Tell whether letters touch a digit or a slash, as the "a" of "5/a": then they are a unit."""
    around = text[max(match.start() - 1, 0) : match.start()] + text[match.end() : match.end() + 1]
    return any(character.isdigit() or character in "/^°%" for character in around)
