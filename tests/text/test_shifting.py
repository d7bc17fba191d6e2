"""Dates found, moved and written again."""

import re
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.text.identifiers import dates
from vesalius.text.identifiers.shifting import Shifter
from vesalius.text.identifiers.spans import fold, settle


def found(text: str) -> list[str]:
    return [span.text for span in settle(dates.find(fold(text)), text)]


@pytest.mark.parametrize(
    ("written", "days", "expected"),
    [
        ("2023年5月3日", 40, "2023年6月12日"),
        ("2023年05月03日", 40, "2023年06月12日"),
        ("5月30日", 40, "7月9日"),
        ("98年3月2号", 40, "98年4月11号"),
        ("二〇二三年五月三日", 40, "二〇二三年六月十二日"),
        ("十二月二十五日", 7, "一月一日"),
        ("2023-05-03", -3, "2023-04-30"),
        ("2023/5/3", -3, "2023/4/30"),
        ("2023.12.1", 1, "2023.12.2"),
        ("20230503", 40, "20230612"),
        ("05/03/2023", 40, "06/12/2023"),
        ("25/12/2022", 40, "03/02/2023"),
        ("May 3, 2023", 1, "May 4, 2023"),
        ("3rd of May 2023", 40, "12th of Jun 2023"),
        ("3-May-2023", 40, "12-Jun-2023"),
        ("March 2020", 30, "April 2020"),
        ("May 30-31, 2023", 1, "May 31-Jun 1, 2023"),
        ("2024年2月28日", 1, "2024年2月29日"),
    ],
)
def test_a_date_keeps_its_form(written, days, expected):
    assert found(written) == [written]
    assert Shifter(days).shift(written) == expected


def test_the_end_of_a_range_crosses_the_month_with_its_name():
    shifter = Shifter(1)
    assert [shifter.shift(part) for part in found("5月30日至31日")] == ["5月31日", "6月1日"]


def test_a_day_without_a_year_belongs_to_the_date_before_it():
    # 2024 has a 29th of February, so the 28th plus two days is the 1st of March.
    shifter = Shifter(2)
    assert [shifter.shift(part) for part in found("2024年1月5日入院，2月28日出院")][1] == "3月1日"


@pytest.mark.parametrize(
    "text",
    [
        "3月余",
        "5月前",
        "10-12月",
        "3-5日",
        "2月21天",
        "生后2月21日龄",
        "3/6级",
        "120/80mmHg",
        "2.5-3.5",
        "BNP 2012.05 pg/ml",
        "2015年",
        "may 3 tablets",
        "10-10-10分",
        "2023年13月40日",
        "12.11",
    ],
)
def test_durations_values_and_years_are_no_dates(text):
    assert found(text) == []


def bare(written: str) -> str:
    """Return a date without zeros in front and with short months: the forms may differ there."""
    written = re.sub(r"([A-Z][a-z]{2})[a-z]*", r"\1", written)
    return re.sub(r"(?<!\d)0", "", written)


FORMS = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y年%m月%d日", "%Y%m%d", "%B %d, %Y", "%d %b %Y")


@given(
    st.dates(date(1930, 1, 1), date(2090, 12, 31)),
    st.sampled_from(FORMS),
    st.integers(-400, 400),
)
def test_moving_is_what_the_calendar_says(day, form, days):
    written = day.strftime(form)
    assert found(written) == [written]
    moved = Shifter(days).shift(written)
    expected = (day + timedelta(days=days)).strftime(form)
    assert bare(moved) == bare(expected)


@given(st.dates(date(1930, 1, 1), date(2090, 12, 31)), st.integers(-400, 400))
def test_moving_back_gives_the_date_itself(day, days):
    assert Shifter(-days).shift(Shifter(days).shift(day.isoformat())) == day.isoformat()


@given(st.dates(date(1950, 1, 1), date(2050, 1, 1)), st.integers(0, 300), st.integers(-365, 365))
def test_intervals_stay(day, interval, days):
    shifter = Shifter(days)
    first, second = (shifter.shift((day + timedelta(days=n)).isoformat()) for n in (0, interval))
    assert (date.fromisoformat(second) - date.fromisoformat(first)).days == interval
