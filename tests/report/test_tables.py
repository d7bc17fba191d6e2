import csv
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.report.tables import format_value, to_csv, to_latex, to_markdown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (0.0, "0"),
        (0.91236, "0.9124"),
        (0.99999, "1.0000"),
        (1.41421, "1.414"),
        (123.456, "123.5"),
        (-2.5, "−2.500"),
        (26971234, "26,971,234"),
        (3e-4, "3e-4"),
        (1.2345e9, "1.234e9"),
        (True, "True"),
        ("a-b", "a-b"),
    ],
)
def test_values_are_written_with_four_digits(value, text):
    assert format_value(value) == text


@given(st.floats(min_value=1e-3, max_value=1e6))
def test_a_written_number_is_within_half_of_its_last_digit(value):
    written = float(format_value(value).replace(",", ""))
    assert written == pytest.approx(value, rel=5e-4, abs=5.1e-5)


cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)


@given(st.lists(st.tuples(cells, cells), min_size=1))
def test_csv_is_read_back_by_the_standard_library(rows):
    text = to_csv(rows, ["a", "b"])
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert read == [["a", "b"], *(list(row) for row in rows)]


def test_csv_keeps_full_precision_and_leaves_gaps_empty():
    text = to_csv([{"x": 1 / 3, "y": math.nan}, {"x": None}], ["x", "y"])
    assert text == f"x,y\r\n{1 / 3},\r\n,\r\n"


def test_markdown_aligns_numbers_and_escapes_bars():
    text = to_markdown([["a|b", 0.5], ["c\nd", math.nan]], ["name", "dice"])
    assert text.splitlines() == [
        "| name | dice |",
        "| --- | ---: |",
        "| a\\|b | 0.5000 |",
        "| c d | – |",
    ]


def test_latex_escapes_every_special_character():
    text = to_latex([["50% of A_B & C#", -math.inf]], ["name", "hd95"])
    assert r"50\% of A\_B \& C\# & $-$$\infty$ \\" in text
    assert r"\begin{tabular}{lr}" in text


def test_a_row_of_the_wrong_length_is_named():
    with pytest.raises(ValueError, match="row 1 has 1 cells for 2 columns"):
        to_markdown([[1, 2], [3]], ["a", "b"])
