"""One self-contained HTML page from a list of sections: no script, no other file, no network.

Sections are small frozen records; the Jinja template draws each by its class name. Everything that
is not `markupsafe.Markup` is escaped.
"""

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup

from vesalius import __version__, files
from vesalius.errors import DataError
from vesalius.language import language, say
from vesalius.report.curves import COLOURS, Point, draw_curves
from vesalius.report.forest import Bar, draw_forest
from vesalius.report.tables import format_value, is_numeric

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEMPLATES = Path(__file__).parent / "templates"


class Section:
    """Base of everything that `write_page` can put on a page."""

    title: str

    @property
    def kind(self) -> str:
        """The macro of the template that draws this section."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Text(Section):
    """Paragraphs. A string is plain text; pass `markupsafe.Markup` for HTML of your own."""

    paragraphs: str | Sequence[str]
    title: str = ""

    @property
    def lines(self) -> Sequence[str]:
        """The paragraphs as a list."""
        return [self.paragraphs] if isinstance(self.paragraphs, str) else self.paragraphs


@dataclass(frozen=True)
class Facts(Section):
    """Headline numbers, large. A value may be a pair (value, note)."""

    title: str
    mapping: Mapping[str, Any]

    @property
    def items(self) -> list[tuple[str, Any, str]]:
        """Name, value and note of each fact."""
        pairs = ((k, v if isinstance(v, tuple) else (v, "")) for k, v in self.mapping.items())
        return [(name, value, note) for name, (value, note) in pairs]


@dataclass(frozen=True)
class Curves(Section):
    """A line chart: name -> points (x, y). Neighbouring charts share a row where there is room.

    `mark_x` draws a dashed vertical line; `note` stands below the chart.
    """

    title: str
    series: Mapping[str, Sequence[Point]]
    x_label: str = ""
    y_label: str = ""
    log: bool = False
    mark_x: float | None = None
    note: str = ""

    @property
    def svg(self) -> Markup:
        """The drawing; empty when there is no finite point."""
        return draw_curves(
            self.series,
            label=self.title,
            x_label=self.x_label,
            y_label=self.y_label,
            log=self.log,
            mark_x=self.mark_x,
        )

    @property
    def legend(self) -> list[tuple[int, str]]:
        """Colour number and name of each series."""
        return [(number % COLOURS, name) for number, name in enumerate(self.series)]


@dataclass(frozen=True)
class Table(Section):
    """Rows of cells; the first cell names its row.

    `highlight` maps a column to "max" or "min": its best finite values are set in bold.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    highlight: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        wrong = [row for row in self.rows if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(f"{len(self.columns)} columns, but a row is {list(wrong[0])}")
        unknown = set(self.highlight) - set(self.columns)
        if unknown:
            raise ValueError(f"highlight names no column: {sorted(unknown)}")

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers."""
        return [is_numeric([row[i] for row in self.rows]) for i in range(len(self.columns))]

    @property
    def best(self) -> list[Any]:
        """The highlighted value of each column, or None."""
        return [self._best_of(i, self.highlight.get(c)) for i, c in enumerate(self.columns)]

    def _best_of(self, column: int, how: str | None) -> float | None:
        cells = [row[column] for row in self.rows]
        finite = [c for c in cells if isinstance(c, int | float) and math.isfinite(c)]
        # where all are equal nothing is best
        if how is None or len(set(finite)) < 2:
            return None
        return {"max": max, "min": min}[how](finite)


@dataclass(frozen=True)
class Forest(Section):
    """Effects with their intervals, one row each; see `report.forest.draw_forest`."""

    title: str
    bars: Sequence[Bar]
    x_label: str = ""
    note: str = ""

    @property
    def svg(self) -> Markup:
        """The drawing; empty when no effect is finite."""
        return draw_forest(self.bars, label=self.title, x_label=self.x_label)


@dataclass(frozen=True)
class Picture:
    """One PNG with its caption and the text that is read where it cannot be seen."""

    png: bytes
    caption: str = ""
    alt: str = ""

    def __post_init__(self):
        if not self.png.startswith(PNG_SIGNATURE):
            raise DataError(f"The picture '{self.caption or self.alt}' is no PNG; encode it first.")

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return f"data:image/png;base64,{b64encode(self.png).decode()}"


@dataclass(frozen=True)
class Gallery(Section):
    """Pictures in a grid of at most `columns` columns; fewer on a narrow screen."""

    title: str
    pictures: Sequence[Picture]
    columns: int = 3


@dataclass(frozen=True)
class Code(Section):
    """Text in a fixed-width font: a recipe, a command."""

    title: str
    text: str


@dataclass(frozen=True)
class Details(Section):
    """Sections folded behind their title until the reader opens them; open in print."""

    title: str
    sections: Sequence[Section]
    open: bool = False


def write_page(
    path: str | Path, *, title: str, subtitle: str = "", sections: Sequence[Section]
) -> Path:
    """Write a self-contained HTML page and return its path.

    Raises:
        StorageError: it cannot be written; a page that was there before is untouched.
    """
    path = Path(path)
    files.write_text(path, render_page(title=title, subtitle=subtitle, sections=sections))
    return path


def render_page(*, title: str, subtitle: str = "", sections: Sequence[Section]) -> str:
    """Return the page as a string."""
    contents = [(number, s.title) for number, s in enumerate(sections) if s.title]
    return _template().render(
        title=title,
        subtitle=subtitle,
        sections=list(sections),
        plates=_plates(sections),
        contents=[entry for entry in contents if not isinstance(sections[entry[0]], Curves)],
        style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        lang="zh-Hans" if language() == "zh" else "en",
        version=__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        say=say,
    )


def _plates(sections: Sequence[Section]) -> list[tuple[str, list[tuple[int, Section]]]]:
    """Group neighbouring charts into one plate; everything else stands alone."""
    numbered = list(enumerate(sections))
    plates = []
    for charts, group in groupby(numbered, key=lambda item: isinstance(item[1], Curves)):
        if charts:
            plates.append(("charts", list(group)))
        else:
            plates += [("single", [item]) for item in group]
    return plates


@cache
def _template():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["value"] = format_value
    environment.globals["plates_of"] = _plates
    return environment.get_template("page.html")
