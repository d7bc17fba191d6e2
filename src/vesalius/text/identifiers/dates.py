"""Dates in the forms of Chinese and English notes: found and read.

A year alone stays: it names nobody, and "2015 年行阑尾切除术" is history. So do durations (3 天,
5 月余), times of day, weekdays and ages. Day-first and month-first dates look alike where both are
at most 12; then month first is read.
"""

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass

from vesalius.text.identifiers.spans import Found

MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_SHORT = {name[:3].lower(): number for number, name in enumerate(MONTHS, 1)}
# "may" and "mar" in small letters are rather words than months.
_MONTH = (
    r"(?:(?-i:May|MAY|Mar(?:ch)?|MAR(?:CH)?)|"
    + "|".join(f"{m[:3]}(?:{m[3:]})?" for m in MONTHS if m[:3] not in ("May", "Mar"))
    + r"|Sept)\.?"
)
_YEAR = r"(?:18|19|20|21)\d{2}"
_MM, _DD = r"(?:1[0-2]|0?[1-9])", r"(?:3[01]|[12]\d|0?[1-9])"
_HAN_MONTH, _HAN_DAY = (
    r"(?:十[一二]?|[一二三四五六七八九元正])",
    r"(?:三十一?|二?十[一二三四五六七八九]?|[一二三四五六七八九])",
)
ZERO = "零〇○OoＯ0"

_FORMS: tuple[tuple[str, str], ...] = (
    # The names of the groups say what stands there; the text between them is kept.
    (
        "chinese",
        rf"(?<!\d)(?P<y>{_YEAR}|\d{{2}})\s?年\s?(?P<m>{_MM})\s?月\s?(?:份\s?)?(?P<d>{_DD})(?!\d)\s?"
        rf"(?=[日号]|[^\d天个]|$)(?:[日号](?!龄))?",
    ),
    ("chinese", rf"(?<!\d)(?P<y>{_YEAR}|\d{{2}})\s?年\s?(?P<m>{_MM})\s?月(?!\d)(?:份)?"),
    ("chinese", rf"(?<![\d.年])(?P<m>{_MM})\s?月\s?(?:份\s?)?(?P<d>{_DD})\s?[日号](?!龄|大|余)"),
    (
        "chinese",
        rf"(?<![\d.年])(?P<m>{_MM})\s?月(?P<d>{_DD})"
        rf"(?![\d日号天个余月岁周次支针片粒疗回瓶剂盒期多、/%.~-])",
    ),
    (
        "han",
        rf"(?P<y>[一二三四五六七八九{ZERO}]{{4}})年(?P<m>{_HAN_MONTH})月(?:(?P<d>{_HAN_DAY})"
        rf"[日号])?",
    ),
    (
        "han",
        rf"(?<![年一二三四五六七八九十])(?P<m>{_HAN_MONTH})月(?:份)?(?P<d>{_HAN_DAY})[日号](?!龄)",
    ),
    (
        "digits",
        rf"(?<![\d./-])(?P<y>{_YEAR})\s?(?P<s>[-./])\s?(?P<m>{_MM})\s?(?P=s)\s?(?P<d>{_DD})(?!\d|"
        rf"[./-]\d)",
    ),
    (
        "digits",
        rf"(?<![\d.])(?P<y>{_YEAR})(?P<m>0[1-9]|1[0-2])(?P<d>0[1-9]|[12]\d|3[01])(?=$|\D|(?:[01]\d|"
        rf"2[0-3])(?:[0-5]\d){{1,2}}(?!\d))(?!\.\d)",
    ),
    (
        "american",
        rf"(?<![\d./-])(?P<m>{_MM})(?P<s>[-./])(?P<d>{_DD})(?P=s)(?P<y>{_YEAR})(?![\d]|[./-]\d)",
    ),
    (
        "european",
        rf"(?<![\d./-])(?P<d>{_DD})(?P<s>[-./])(?P<m>{_MM})(?P=s)(?P<y>{_YEAR})(?![\d]|[./-]\d)",
    ),
    ("american", rf"(?<![\d./-])(?P<m>{_MM})/(?P<d>{_DD})/(?P<y>\d{{2}})(?![\d/]|\.\d)"),
    ("european", rf"(?<![\d./-])(?P<d>{_DD})/(?P<m>{_MM})/(?P<y>\d{{2}})(?![\d/]|\.\d)"),
    (
        "digits",
        r"(?<![\d./-])(?P<y>\d{2})(?P<s>[-./])(?P<m>0[1-9]|1[0-2])(?P=s)(?P<d>0[1-9]|[12]\d|3[01])"
        r"(?![\d./%分秒级-]|\s?[a-zA-Z×])",
    ),
    (
        "digits",
        r"(?<![\d./-])(?P<y>(?:19|20)\d\d)(?P<s>[-./])(?P<m>0[1-9]|1[0-2])(?![\d./%~-]|\s?"
        r"(?:[A-Za-zμ×%]|mm))",
    ),
    ("american", rf"(?<![\d./-])(?P<m>{_MM})/(?P<y>(?:19|20)\d\d)(?![\d./])"),
    ("digits", rf"(?<=[于自从至在])(?P<y>{_YEAR})(?P<s>[./])(?P<m>{_MM})(?![\d./])"),
    ("short", rf"(?<![\d./-])(?P<m>{_MM})(?P<s>[/-])(?P<d>{_DD})(?=\s+\d{{1,2}}:\d\d)"),
    (
        "english",
        rf"\b(?P<m>{_MONTH})\s?(?P<d>{_DD})\s?(?:-|to)\s?(?P<e>{_DD})(?!\d)(?:,?\s+(?P<y>{_YEAR})"
        rf"\b)?",
    ),
    (
        "english",
        rf"\b(?P<m>{_MONTH})\s?(?P<d>{_DD})(?:st|nd|rd|th)?(?!\d)(?:,?\s+(?P<y>{_YEAR})\b(?!/))?"
        rf"(?!\s?(?:mg|ml|%))",
    ),
    (
        "english",
        rf"(?<![\d.])(?P<d>{_DD})(?:st|nd|rd|th)?(?:\s+of)?[ -](?P<m>{_MONTH})(?:,?[ -]"
        rf"(?P<y>{_YEAR}|\d{{2}}(?=\b)(?! ?[a-z%]))(?!\d))?(?![a-z])",
    ),
    ("english", rf"\b(?P<m>{_MONTH})(?:,?\s+(?:of\s+)?|-)(?P<y>{_YEAR})\b"),
    (
        "short",
        rf"(?:(?<=\bon )|(?<=\bdated )|(?<=\bsince )|(?<=\bDate: )|(?<=日期:)|(?<=时间:))"
        rf"(?P<m>{_MM})(?P<s>[/-])(?P<d>{_DD})(?![\d/%.]|\s?(?:mm|kg|mg|points?|strength|of\b))",
    ),
)
_PATTERNS = tuple((form, re.compile(pattern, re.IGNORECASE)) for form, pattern in _FORMS)
_RANGE = re.compile(rf"\s?(?:[-~至到]|to|through)\s?(?P<d>{_DD})\s?(?P<unit>[日号])(?!龄|内)")
_RANK = {
    "chinese": 72,
    "han": 72,
    "digits": 70,
    "american": 69,
    "european": 68,
    "english": 71,
    "short": 60,
}
_HAN = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | dict.fromkeys(ZERO, 0)


@dataclass(frozen=True)
class Day:
    """A date that was read; what its writing leaves out is None."""

    year: int | None
    month: int
    day: int | None


def find(text: str) -> Iterator[Found]:
    """Yield dates in folded text."""
    for form, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            if read(match, form) is None:
                continue
            yield Found(
                *match.span(), "date", _RANK[form] + (match.groupdict().get("y") is not None)
            )
            if form == "chinese":
                yield from _range_end(text, match)


def _range_end(text: str, start: re.Match) -> Iterator[Found]:
    """Yield the second day of "5月1日至3日"."""
    match = _RANGE.match(text, start.end())
    if match and start.groupdict().get("d"):
        yield Found(match.start("d"), match.end(), "date", 65)


def matched(text: str) -> tuple[str, re.Match] | None:
    """Return the form and the match of a date that `find` found, or None."""
    for form, pattern in _PATTERNS:
        match = pattern.fullmatch(text)
        if match and read(match, form):
            return form, match
    # Forms that need their surroundings: the finder has checked those.
    match = re.fullmatch(rf"(?P<m>{_MM})(?P<s>[/-])(?P<d>{_DD})", text)
    return ("short", match) if match else None


def read(match: re.Match, form: str) -> Day | None:
    """Return the date, or None where there is no such day."""
    parts = match.groupdict()
    month = _number(parts["m"], form)
    year = None if not parts.get("y") else _year(parts["y"], form)
    day = None if not parts.get("d") else _number(parts["d"], form)
    if month is None or not 1 <= month <= 12:
        return None
    if day is not None and not 1 <= day <= calendar.monthrange(year or 2024, month)[1]:
        return None
    return Day(year, month, day)


def _year(text: str, form: str) -> int:
    if form == "han":
        return int("".join(str(_HAN[digit]) for digit in text))
    year = int(text)
    if len(text) == 4:
        return year
    return year + (2000 if year < 50 else 1900)  # as C and POSIX split it, a little earlier


def _number(text: str, form: str) -> int | None:
    if form == "english" and text[0].isalpha():
        return _SHORT[text[:3].lower()]
    if form != "han":
        return int(text)
    if text in "元正":
        return 1
    tens, ten, ones = text.rpartition("十")
    return (_HAN[tens] if tens else 1 if ten else 0) * 10 + (_HAN[ones] if ones else 0)
