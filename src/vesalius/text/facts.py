"""What a clinical sentence states and may not lose: numbers, negations with their scope, terms.

Negation follows the idea of NegEx (Chapman et al. 2001: a cue, a scope that ends at a clause
boundary or at a terminating word, and phrases that only look like cues), with rules for Chinese:
an enumeration with 、 belongs to the scope, 无明显诱因 negates the cause alone, and a cue at the
end of its clause (病理征未引出, HBsAg阴性) looks back. Terms come from lexicons; names of diseases
and drugs that no lexicon has are recognised by their endings (…炎, …霉素, …itis, …pril) and by
what stands around them (诊断为…, 因…入院).
"""

import re
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import NamedTuple, TypeVar

from vesalius.text.fact_patterns import (
    BACKWARD_STOP,
    CONTEXT,
    CUE,
    ENGLISH_CLAUSE,
    ENGLISH_TERM_ENDINGS,
    NUMBER,
    POSTPOSED,
    PSEUDO,
    SUFFIX,
    TERM_BOUNDARY,
    ZH_CLAUSE,
)
from vesalius.text.lexicons import Lexicon, LexiconLike, Span, lower, resolve

_ASCII_WORD = re.compile(r"[A-Za-z]{5,}")
_LATIN = re.compile(r"[A-Za-z]")
_CLAUSE = re.compile(
    r"(?:[^，。；！？;!?\n.]|\.(?!\s))*+[，。；！？;!?\n.]|(?:[^，。；！？;!?\n.]|\.(?!\s))+"
)
T = TypeVar("T")
_LONGEST_KEPT = 120
"""Characters of the longest clause that is remembered."""
_MAX_PREFIX = 8
"""Characters before an ending that can belong to the name of a disease or drug."""


Stated = tuple[int, int, str, str, str]


class Fact(NamedTuple):
    """One stated fact; `text[start:end]` of the source is its `text`.

    Attributes:
        kind: "number" (with its sign, range, unit and relation: "约3天前", "180/110mmHg", "Ⅱ级",
            "左侧", "↑"), "negation" (cue and scope together) or "term".
        start: first character.
        end: one past the last character.
        text: the characters.
        cue: of a negation its cue; of a term the cue that governs it, "" where none does.
    """

    kind: str
    start: int
    end: int
    text: str
    cue: str = ""

    @property
    def negated(self) -> bool:
        """Whether a negation governs the term."""
        return bool(self.cue)


def facts(text: str, *, lexicon: LexiconLike = None) -> tuple[Fact, ...]:
    """Return the facts of a clinical text in order of their start.

    Facts can overlap: a number within a negation is a fact of its own.

    Args:
        text: any length, Chinese, English or both.
        lexicon: None for the default one, a `Lexicon`, a file, or more terms (see
            `vesalius.text.lexicons.resolve`).

    Raises:
        DataError: the lexicon cannot be read.

    >>> [(fact.kind, fact.text) for fact in facts("否认糖尿病，发热3天")]
    [('negation', '否认糖尿病'), ('term', '糖尿病'), ('term', '发热'), ('number', '3天')]
    """
    lexicon, found, offset = resolve(lexicon), [], 0
    for clause in clauses(text):
        known = of_clause(clause, lexicon)
        found += [_moved(fact, offset) for fact in known] if offset else known
        offset += len(clause)
    return tuple(found)


@lru_cache(maxsize=64)
def clauses(text: str) -> tuple[str, ...]:
    """Cut a text behind 。，；！？, their ASCII forms and line ends; joined, they are the text.

    No fact crosses such a mark. An ASCII comma separates nothing, since English enumerations
    under one negation have it, nor does the point of a decimal number.
    """
    return tuple(_CLAUSE.findall(text))


def of_clause(clause: str, lexicon: Lexicon) -> tuple[Fact, ...]:
    """Return the facts of one clause."""
    return tuple(
        Fact(kind, start, -end, text, cue)
        for start, end, kind, text, cue in stated(clause, lexicon)
    )


def remembered(function: Callable[[str, Lexicon], T]) -> Callable[[str, Lexicon], T]:
    """Remember what a function of a clause returned: records repeat clauses.

    An edit, too, leaves most clauses as they were. Long ones are not kept: they rarely come again
    and would fill the memory.
    """
    cached = lru_cache(maxsize=1 << 13)(function)

    @wraps(function)
    def recall(clause: str, lexicon: Lexicon) -> T:
        return (cached if len(clause) <= _LONGEST_KEPT else function)(clause, lexicon)

    return recall


@remembered
def stated(clause: str, lexicon: Lexicon) -> tuple[Stated, ...]:
    """Return the facts of one clause as plain tuples (start, -end, kind, text, cue).

    With the end negated the longer of two facts with one start sorts first, so that a negation
    stands before its term.
    """
    terms = _terms(clause, lexicon)
    negations = _negations(clause, terms)
    found: list[Stated] = [
        (match.start(), -match.end(), "number", match.group(), "")
        for match in NUMBER.finditer(clause)
    ]
    found += [(start, -end, "negation", clause[start:end], cue) for start, end, cue in negations]
    found += [
        (
            start,
            -end,
            "term",
            clause[start:end],
            _cue_of(start, end, negations) if negations else "",
        )
        for start, end in terms
    ]
    found.sort()
    return tuple(found)


def _moved(fact: Fact, offset: int) -> Fact:
    kind, start, end, text, cue = fact
    return Fact(kind, start + offset, end + offset, text, cue)


def _terms(text: str, lexicon: Lexicon) -> list[Span]:
    """Return the spans of lexicon terms and of words with a medical ending."""
    lowered = lower(text)
    spans = lexicon.scan(lowered)
    # A short term at the end, as 异常, may be a part of an unknown name: 产力异常.
    ends = {end for start, end in spans if end - start > 2}
    more = _by_ending(lowered, ends)
    more += [match.span(match.lastindex) for match in CONTEXT.finditer(text) if match.lastindex]
    if _LATIN.search(text):
        more += [
            match.span()
            for match in _ASCII_WORD.finditer(lowered)
            if match.group().endswith(ENGLISH_TERM_ENDINGS) and match.end() not in ends
        ]
    return sorted({*spans, *more}) if more else spans


def _by_ending(text: str, ends: set[int]) -> list[Span]:
    """Return Chinese names that no lexicon has, as 皮肤炭疽病, by their last characters."""
    found: list[Span] = []
    for match in SUFFIX.finditer(text):
        end = match.end()
        if end in ends:
            continue
        first = max(0, match.start() - _MAX_PREFIX)
        boundary = TERM_BOUNDARY.match(text, first, match.start())
        start = boundary.end() if boundary else first
        if start < match.start():  # an ending alone is no name
            found.append((start, end))
    return found


def _negations(text: str, terms: list[Span]) -> list[tuple[int, int, str]]:
    """Return (start, end, cue) of every negation; the span covers the cue and its scope."""
    cues = list(CUE.finditer(text))
    if not cues:
        return []
    cues = [
        match
        for match in cues
        if match.lastgroup != PSEUDO and not _inside(match.start(), match.end(), terms)
    ]
    found: list[tuple[int, int, str]] = []
    last = 0
    for index, match in enumerate(cues):
        if match.start() < last:
            continue
        following = cues[index + 1].start() if index + 1 < len(cues) else len(text)
        start, end = _scope(text, match, following, last)
        found.append((start, end, match.group().strip()))
        last = end
    return found


def _inside(start: int, end: int, terms: list[Span]) -> bool:
    """Whether a cue is a part of a term, as 不 in 心功能不全."""
    return any(first <= start and end <= last for first, last in terms)


def _scope(text: str, cue: re.Match[str], following: int, last: int) -> Span:
    """Return the span of a cue with its scope: ahead of it, or before it at a clause's end."""
    if cue.lastgroup != POSTPOSED:
        clause = ENGLISH_CLAUSE if _LATIN.match(cue.group()) else ZH_CLAUSE
        ahead = clause.match(text, cue.end(), following)
        end = ahead.end() if ahead else cue.end()
        if text[cue.end() : end].strip():
            return cue.start(), cue.end() + len(text[cue.end() : end].rstrip())
    stop = BACKWARD_STOP.match(text, last, cue.start())
    start = stop.end() if stop else last
    start += len(text[start : cue.start()]) - len(text[start : cue.start()].lstrip())
    return start, cue.end()


def _cue_of(start: int, end: int, negations: list[tuple[int, int, str]]) -> str:
    for first, last, cue in negations:
        if first <= start and end <= last:
            return cue
    return ""
