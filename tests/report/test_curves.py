import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.report.curves import HEIGHT, MAX_POINTS, WIDTH, draw_curves

numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)
points = st.lists(st.tuples(st.integers(0, 10**6), numbers), max_size=30).map(sorted)


def _coordinates(svg: str) -> list[tuple[float, float]]:
    pairs = re.findall(r'points="([^"]*)"', svg)
    return [tuple(map(float, p.split(","))) for line in pairs for p in line.split()]


@given(st.dictionaries(st.text(max_size=5), points, max_size=3), st.booleans())
def test_any_series_gives_well_formed_svg_inside_its_frame(series, log):
    svg = draw_curves(series, label="x < y & z", log=log)
    if not svg:
        return
    names = "".join(series)
    if all(character.isprintable() for character in names):
        ElementTree.fromstring(svg)
    for x, y in _coordinates(svg):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT


def test_nothing_finite_draws_nothing():
    assert draw_curves({"a": [(0, math.nan)], "b": []}, label="x") == ""
    assert draw_curves({"a": [(0, 0.0), (1, -1.0)]}, label="x", log=True) == ""


def test_a_gap_interrupts_the_line_and_a_lone_point_is_a_dot():
    svg = draw_curves({"a": [(0, 1), (1, 2), (2, math.nan), (3, 4)]}, label="x")
    assert svg.count("<polyline") == 1
    assert svg.count("<circle") == 1


def test_long_series_are_averaged_and_keep_their_mean():
    values = [(float(i), float(i % 2)) for i in range(10 * MAX_POINTS)]
    svg = draw_curves({"a": values}, label="x")
    assert len(_coordinates(svg)) == MAX_POINTS
    assert len({y for _, y in _coordinates(svg)}) == 1


def test_a_higher_value_stands_higher():
    (_, low), (_, high) = _coordinates(draw_curves({"a": [(0, 1.0), (1, 2.0)]}, label="x"))
    assert high < low


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([(0, 0.0), (10, 1.0)], ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([(0, 3e-4), (10, 1e-6)], ["0.0001", "0.0002", "0.0003"]),
    ],
)
def test_ticks_are_round_numbers(values, expected):
    svg = draw_curves({"a": values}, label="x")
    ticks = re.findall(r'text-anchor="end">([^<]+)</text>', svg)
    assert set(expected) <= set(ticks)


def test_the_kept_step_is_marked_only_inside_the_axis():
    series = {"a": [(0, 1.0), (10, 2.0)]}
    assert 'class="mark"' in draw_curves(series, label="x", mark_x=5)
    assert 'class="mark"' not in draw_curves(series, label="x", mark_x=50)
