import math
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from tests.report.folders import picture
from vesalius.errors import DataError, StorageError
from vesalius.report import (
    Code,
    Curves,
    Details,
    Facts,
    Gallery,
    Picture,
    Table,
    Text,
    write_page,
)
from vesalius.report.page import render_page

VOID = {"meta", "img", "br", "hr", "link", "input"}


class _Balance(HTMLParser):
    """Collect the text and check that every element is closed where it should be."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.words, self.links = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [v for k, v in attributes if k in ("src", "href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def _parse(html: str) -> _Balance:
    parser = _Balance()
    parser.feed(html)
    assert parser.open == []
    return parser


def _sections(text: str = "x") -> list:
    return [
        Text([text, "second"], title=text),
        Facts(text, {text: 0.5, "pair": (math.nan, text)}),
        Curves(text, {text: [(0, 1.0), (1, 2.0)], "b": [(0, math.inf)]}, text, text, note=text),
        Curves("empty", {"a": []}),
        Table(text, [text, "dice"], [[text, 0.5], ["b", math.nan]], text, {"dice": "max"}),
        Gallery(text, [picture(text)]),
        Code(text, text),
        Details(text, [Code("inner", text), Curves("c", {"a": [(0, 1.0), (1, 2.0)]})]),
    ]


def test_every_section_appears_and_the_html_is_balanced():
    page = _parse(render_page(title="A title", subtitle="below", sections=_sections("words")))
    for tag in ("h1", "h2", "dl", "svg", "table", "img", "pre", "details", "summary", "nav"):
        assert tag in page.tags


@given(st.text(max_size=40))
def test_no_text_can_add_an_element(text):
    plain = _parse(render_page(title="t", subtitle="t", sections=_sections("t")))
    hostile = _parse(render_page(title=text, subtitle="t", sections=_sections(f"x{text}")))
    assert hostile.tags == plain.tags


def test_script_in_names_is_shown_and_not_run():
    hostile = '"><script>alert(1)</script>'
    html = render_page(title=hostile, subtitle=hostile, sections=_sections(hostile))
    page = _parse(html)
    assert "script" not in page.tags
    assert "alert(1)" in "".join(page.words)


def test_markup_is_taken_as_html():
    page = _parse(render_page(title="t", sections=[Text(Markup("see <em>here</em>"))]))
    assert "em" in page.tags


def test_the_page_refers_to_nothing_outside_itself():
    html = render_page(title="t", subtitle="s", sections=_sections())
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in _parse(html).links)
    assert not re.search(r"@import|url\(|https?://", html)


def test_gaps_and_infinities_are_signs_and_not_words():
    table = Table("t", ["a", "b"], [["x", math.nan], ["y", math.inf], ["z", None]])
    html = render_page(title="t", sections=[table])
    cells = re.findall(r'<td class="n">([^<]*)</td>', html)
    assert cells == ["–", "∞", "–"]


def test_the_best_finite_value_is_bold():
    rows = [["a", 0.5, 3.0], ["b", 0.7, math.inf], ["c", math.nan, 2.0]]
    table = Table("t", ["run", "dice", "hd95"], rows, highlight={"dice": "max", "hd95": "min"})
    html = render_page(title="t", sections=[table])
    assert re.findall(r"<strong>([^<]*)</strong>", html) == ["0.7000", "2.000"]


def test_nothing_is_bold_where_all_are_equal():
    table = Table("t", ["run", "dice"], [["a", 0.5], ["b", 0.5]], highlight={"dice": "max"})
    assert "<strong>" not in render_page(title="t", sections=[table])


def test_neighbouring_charts_share_a_row():
    chart = Curves("c", {"a": [(0, 1.0), (1, 2.0)]})
    html = render_page(title="t", sections=[chart, chart, Text("x"), chart])
    assert html.count('<div class="charts">') == 2


def test_language_of_the_page_follows_the_user(monkeypatch):
    monkeypatch.setenv("VESALIUS_LANG", "zh_CN")
    html = render_page(title="t", sections=[])
    assert '<html lang="zh-Hans">' in html
    assert "不是医疗器械" in html
    monkeypatch.setenv("VESALIUS_LANG", "en")
    html = render_page(title="t", sections=[])
    assert '<html lang="en">' in html
    assert "not a medical device" in html


def test_a_picture_that_is_no_png_is_refused():
    with pytest.raises(DataError, match="'brain' is no PNG"):
        Picture(b"GIF89a", "brain")


def test_a_table_with_a_ragged_row_or_unknown_highlight_is_refused():
    with pytest.raises(ValueError, match="2 columns"):
        Table("t", ["a", "b"], [[1]])
    with pytest.raises(ValueError, match="no column"):
        Table("t", ["a"], [[1]], highlight={"c": "max"})


def test_writing_replaces_a_page_and_leaves_no_other_file(tmp_path):
    path = write_page(tmp_path / "page.html", title="first", sections=[])
    write_page(path, title="second", sections=[])
    assert "second" in path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_a_page_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"page\.html"):
        write_page(tmp_path / "file" / "page.html", title="t", sections=[])
