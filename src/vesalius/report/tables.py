"""Tables of results as CSV, Markdown and LaTeX, and the way numbers are written in all reports."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

DASH, INFINITY = "–", "∞"

Row = Mapping[str, Any] | Sequence[Any]

_LATEX = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    DASH: "--",
    "−": "$-$",
    INFINITY: r"$\infty$",
}


def format_value(value: Any) -> str:
    """Write a value for a reader: four digits, "–" for None and NaN, "∞" for infinity.

    >>> [format_value(v) for v in (0.91234, 0.9, 12.3456, 1234.5, 12345, 3e-4, float("nan"))]
    ['0.9123', '0.9000', '12.35', '1,234', '12,345', '3e-4', '–']
    """
    if value is None:
        return DASH
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    if isinstance(value, Integral):
        return _minus(f"{int(value):,}")
    return _format_float(float(value))


def _format_float(value: float) -> str:
    if math.isnan(value):
        return DASH
    if math.isinf(value):
        return _minus(INFINITY if value > 0 else f"-{INFINITY}")
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-3 or size >= 1e7:
        return _minus(_scientific(value))
    whole_digits = len(str(int(size)))
    return _minus(f"{value:,.{4 - min(whole_digits, 4) if size >= 1 else 4}f}")


def _scientific(value: float) -> str:
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _minus(text: str) -> str:
    # the typographic minus is as wide as a digit, so columns of numbers stay aligned
    return text.replace("-", "−", 1) if text.startswith("-") else text


def to_csv(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Return RFC 4180 CSV with a header, numbers in full precision, None and NaN empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    for cells in _cells(rows, columns):
        writer.writerow(["" if _is_missing(cell) else cell for cell in cells])
    return out.getvalue()


def to_markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """Return a GitHub-flavoured Markdown table; columns of numbers are aligned to the right."""
    table = _cells(rows, columns)
    rule = ["---:" if is_numeric([cells[i] for cells in table]) else "---" for i in _each(columns)]
    lines = [list(columns), rule, *([format_value(cell) for cell in cells] for cells in table)]
    return "\n".join(f"| {' | '.join(map(_escape_markdown, line))} |" for line in lines) + "\n"


def to_latex(rows: Sequence[Row], columns: Sequence[str]) -> str:
    r"""Return a LaTeX `tabular` in the booktabs style; needs `\usepackage{booktabs}`."""
    table = _cells(rows, columns)
    align = "".join(
        "r" if is_numeric([cells[i] for cells in table]) else "l" for i in _each(columns)
    )
    body = [_latex_line(cells) for cells in table]
    head = [rf"\begin{{tabular}}{{{align}}}", r"\toprule", _latex_line(columns), r"\midrule"]
    return "\n".join([*head, *body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def is_numeric(cells: Sequence[Any]) -> bool:
    """Tell whether a column holds numbers (and possibly gaps), at least one of them."""
    present = [cell for cell in cells if cell is not None]
    return bool(present) and all(
        isinstance(cell, Real) and not isinstance(cell, bool) for cell in present
    )


def _cells(rows: Sequence[Row], columns: Sequence[str]) -> list[list[Any]]:
    table = []
    for number, row in enumerate(rows):
        if isinstance(row, Mapping):
            table.append([row.get(column) for column in columns])
        elif len(row) == len(columns):
            table.append(list(row))
        else:
            raise ValueError(f"row {number} has {len(row)} cells for {len(columns)} columns: {row}")
    return table


def _each(columns: Sequence[str]) -> range:
    return range(len(columns))


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _escape_markdown(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _latex_line(cells: Sequence[Any]) -> str:
    return " & ".join(_escape_latex(format_value(cell)) for cell in cells) + r" \\"


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def with_interval(value: Any, interval: Sequence[float | None] | None) -> Any:
    """Return a value with its interval as text, "0.87 [0.86, 0.88]"; without one the value."""
    if interval is None or any(end is None or math.isnan(end) for end in interval):
        return value
    low, high = interval
    return f"{format_value(value)} [{format_value(low)}, {format_value(high)}]"
