"""What all finders share: the span, the folded text, and who wins where two overlap."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

KINDS = (
    "name",
    "date",
    "age",
    "identity_card",
    "record_number",
    "bank_card",
    "other_number",
    "telephone",
    "email",
    "url",
    "address",
    "hospital",
    "ward",
    "organisation",
)
"""All kinds of personal data that the finders tell apart."""


@dataclass(frozen=True, order=True)
class Span:
    """A piece of personal data: `text[start:end]`, offsets in characters."""

    start: int
    end: int
    kind: str
    text: str


@dataclass(frozen=True)
class Found:
    """A candidate before overlaps are settled; a higher `rank` wins."""

    start: int
    end: int
    kind: str
    rank: int = 0


_FOLD = {0xFF01 + offset: 0x21 + offset for offset in range(94)}
_FOLD |= {0x3000: " ", 0xA0: " ", 0x2009: " ", 0x202F: " "}
_FOLD |= dict.fromkeys(map(ord, "‐‑‒–—―－−"), "-")
_FOLD |= dict.fromkeys(map(ord, "•・‧∙"), "·")


def fold(text: str) -> str:
    """Return the text with half-width digits, letters and signs, every character at its place."""
    return text.translate(_FOLD)


def settle(candidates: Iterable[Found], text: str) -> tuple[Span, ...]:
    """Return the winners without overlaps, in order: by rank, then the longer, then the earlier."""
    taken = bytearray(len(text))
    winners = []
    for found in sorted(candidates, key=lambda one: (-one.rank, one.start - one.end, one.start)):
        if found.start < found.end and not any(taken[found.start : found.end]):
            taken[found.start : found.end] = b"\1" * (found.end - found.start)
            winners.append(Span(found.start, found.end, found.kind, text[found.start : found.end]))
    return tuple(sorted(winners))


@cache
def words(name: str) -> frozenset[str]:
    """Return a list of `words.yaml` as a set of words."""
    return frozenset(_lists()[name].split())


@cache
def characters(name: str) -> frozenset[str]:
    """Return a list of `words.yaml` as a set of its characters."""
    return frozenset(_lists()[name]) - {" "}


@cache
def in_order(name: str) -> tuple[str, ...]:
    """Return a list of `words.yaml` in its order, without repeats."""
    return tuple(dict.fromkeys(_lists()[name].split()))


@cache
def _lists() -> dict[str, str]:
    import yaml

    return yaml.safe_load(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8"))


def alternatives(options: Sequence[str] | frozenset[str]) -> str:
    """Return a regular expression that matches any of the words, the longest first."""
    import re

    return "|".join(re.escape(word) for word in sorted(options, key=lambda w: (-len(w), w)))
