"""Dates moved by a number of days and written again in their own form."""

import calendar
import re
from datetime import date, timedelta

from vesalius.text.identifiers.dates import MONTHS, ZERO, Day, matched, read


class Shifter:
    """Move the dates of one text by a number of days, in the order in which they stand.

    A date without a year belongs to the year of the date before it (else `year`), so that intervals
    stay. Where only the month is written its middle moves. The form of writing stays.
    """

    def __init__(self, days: int, *, year: int = 2023):
        self.days = days
        self.year = year
        self._last: tuple[Day, date] | None = None

    def shift(self, written: str) -> str:
        """Return the date, moved and written as it was.

        Raises:
            ValueError: it is no date that `find` finds.
        """
        bare = re.fullmatch(r"(\d{1,2})(\s?[日号])", written)
        if bare:
            return self._end_of_range(int(bare[1]), bare[2])
        found = matched(written)
        if found is None:
            raise ValueError(f"{written!r} is not a date")
        form, match = found
        day = read(match, form)
        self.year = day.year or self.year
        moved = self._moved(day)
        self._last = (Day(self.year, day.month, day.day), moved)
        return _written(match, form, moved)

    def _start(self) -> tuple[Day, date]:
        first = Day(self.year, 1, 1)
        return first, self._moved(first)

    def _moved(self, day: Day) -> date:
        year = day.year or self.year
        number = min(day.day or 15, calendar.monthrange(year, day.month)[1])
        return date(year, day.month, number) + timedelta(days=self.days)

    def _end_of_range(self, day: int, unit: str) -> str:
        first, first_moved = self._last or self._start()
        moved = self._moved(Day(first.year, first.month, day))
        month = "" if moved.month == first_moved.month else f"{moved.month}月"
        return f"{month}{moved.day}{unit}"


def _written(match: re.Match, form: str, moved: date) -> str:
    """Return the matched text with its year, month and day replaced."""
    pieces, position = [], match.start()
    groups = [name for name in ("y", "m", "d", "e") if match.groupdict().get(name)]
    padded = _padded(match)
    for name in sorted(groups, key=match.start):
        new = _last_day(match, moved) if name == "e" else _part(match[name], name, form, moved)
        pieces += [match.string[position : match.start(name)], new.zfill(2 if padded else 1)]
        position = match.end(name)
    return _ordinal("".join(pieces) + match.string[position : match.end()])


def _padded(match: re.Match) -> bool:
    """Whether one-digit days and months are written with a zero in front."""
    parts = [match[name] for name in ("m", "d") if match.groupdict().get(name)]
    if any(part[0] == "0" for part in parts):
        return True
    separators = "s" in match.groupdict() or match[0].isdigit()
    return separators and all(len(part) == 2 for part in parts)


def _last_day(match: re.Match, moved: date) -> str:
    """Return the second day of "May 3-5", with its month where that is another one."""
    last = moved + timedelta(days=int(match["e"]) - int(match["d"]))
    return (
        str(last.day) if last.month == moved.month else f"{MONTHS[last.month - 1][:3]} {last.day}"
    )


def _part(old: str, name: str, form: str, moved: date) -> str:
    value = {"y": moved.year, "m": moved.month, "d": moved.day}[name]
    if form == "han":
        return _han_year(value, old) if name == "y" else _han(value)
    if form == "english" and name == "m":
        full = MONTHS[value - 1]
        new = full if len(old.rstrip(".")) > 4 or old.lower() in ("june", "july") else full[:3]
        new = new.upper() if old.isupper() else new.lower() if old.islower() else new
        return new + ("." if old.endswith(".") else "")
    if name == "y":
        return f"{value % 100:02d}" if len(old) == 2 else f"{value:04d}"
    return str(value)


def _han(value: int) -> str:
    digits = "零一二三四五六七八九"
    tens, ones = divmod(value, 10)
    return ("" if tens == 0 else "十" if tens == 1 else digits[tens] + "十") + (
        digits[ones] if ones or not tens else ""
    )


def _han_year(value: int, old: str) -> str:
    zero = next((character for character in old if character in ZERO), "〇")
    return "".join(
        zero if digit == "0" else "零一二三四五六七八九"[int(digit)] for digit in f"{value:04d}"
    )


def _ordinal(written: str) -> str:
    def right(match: re.Match) -> str:
        day = int(match[1])
        suffix = "th" if 10 < day < 14 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
        return match[1] + suffix

    return re.sub(r"(?<!\d)(\d{1,2})(?:st|nd|rd|th)\b", right, written)
