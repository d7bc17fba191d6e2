"""Which steps cleaning has, in which order, and by what characters their work is recognised."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from vesalius.text import markup, normalise, punctuation, stopwords

if TYPE_CHECKING:
    from vesalius.text.cleaning import CleanOptions


@dataclass(frozen=True)
class Step:
    """A step is applied to texts that hold one of its `characters`, or that pass its `test`."""

    name: str
    apply: Callable[[str], str]
    characters: frozenset[str] = frozenset()
    test: Callable[[str], object] | None = None


def steps(options: "CleanOptions") -> list[Step]:
    """Return the steps that the options ask for, in order."""
    wanted = {
        "mojibake": options.mojibake,
        "control": options.control,
        "html": options.html,
        "urls": options.urls,
        "width": options.width,
        "simplified": options.simplified,
        "repeats": options.repeats is not None,
        "punctuation": options.punctuation != "keep",
        "case": options.case == "lower",
        "stop_words": options.stop_words or bool(options.extra_stop_words),
        "whitespace": options.whitespace,
    }
    return [_MAKERS[name](options) for name, asked in wanted.items() if asked]


def search(chosen: list[Step]) -> Callable[[str], int]:
    """Return a function that tells which steps a text concerns: bit i for step i.

    It looks for the characters alone, not for what the steps' tests look for.
    """
    bits: dict[str, int] = {}
    for number, step in enumerate(chosen):
        for character in step.characters:
            bits[character] = bits.get(character, 0) | 1 << number
    if not bits:
        return lambda text: 0
    # Python compiles a class to a table only for characters below 0x10000 and looks the others up
    # one by one, so the rare ones are found as a range.
    common = sorted(character for character in bits if ord(character) < 0x10000)
    rare = "\U00020000-\U0002ffff" if len(common) < len(bits) else ""
    find = re.compile(f"[{re.escape(''.join(common))}{rare}]").findall

    def concerned(text: str) -> int:
        found = 0
        for character in find(text):
            found |= bits.get(character, 0)
        return found

    return concerned


def _repeats(options: "CleanOptions") -> Step:
    assert options.repeats is not None
    apply = partial(normalise.repeats, longest=options.repeats)
    return Step("repeats", apply, test=normalise.has_repeats)


def _punctuation(options: "CleanOptions") -> Step:
    if options.punctuation == "ascii":
        return Step("punctuation", punctuation.to_ascii, frozenset(punctuation.CHINESE_MARKS))
    characters = frozenset(punctuation.ASCII_MARKS)
    return Step("punctuation", punctuation.to_chinese, characters, punctuation.ends_with_dot)


def _stop_words(options: "CleanOptions") -> Step:
    words = frozenset(options.extra_stop_words)
    if options.stop_words:
        words |= stopwords.stop_words()
    return Step("stop_words", partial(stopwords.remove_stop_words, words=words), test=bool)


def _fixed(name: str, *arguments: object) -> Callable[["CleanOptions"], Step]:
    return lambda options: Step(name, *arguments)  # type: ignore[arg-type]


def _simplified(options: "CleanOptions") -> Step:
    # Not built before it is asked for: it loads OpenCC.
    characters = frozenset(normalise.traditional_characters())
    return Step("simplified", normalise.simplified, characters)


_MAKERS: dict[str, Callable[["CleanOptions"], Step]] = {
    "mojibake": _fixed("mojibake", normalise.mojibake, normalise.MOJIBAKE_CHARACTERS),
    "control": _fixed("control", normalise.control, normalise.CONTROL_CHARACTERS),
    "html": _fixed("html", markup.markup, frozenset("<&")),
    "urls": _fixed("urls", markup.urls, frozenset(), markup.has_address),
    "width": _fixed("width", normalise.width, normalise.WIDE_CHARACTERS),
    "simplified": _simplified,
    "repeats": _repeats,
    "punctuation": _punctuation,
    "case": _fixed("case", punctuation.lower, punctuation.CAPITALS),
    "stop_words": _stop_words,
    "whitespace": _fixed(
        "whitespace", normalise.whitespace, normalise.SPACE_CHARACTERS, normalise.is_loose
    ),
}
