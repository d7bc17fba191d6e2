import re

import pytest

from tests.report.folders import make_run, picture
from vesalius.errors import DataError
from vesalius.report import report_comparison


def test_runs_stand_side_by_side_with_the_better_one_in_bold(tmp_path):
    runs = [
        ("U-Net", make_run(tmp_path / "a", dice=0.80)),
        ("U-Net 3+", make_run(tmp_path / "b", dice=0.85)),
    ]
    path = report_comparison(
        tmp_path / "page.html",
        title="Two networks",
        runs=runs,
        pictures=[picture("both")],
        introduction=["One brain only."],
    )
    html = path.read_text(encoding="utf-8")
    assert "<strong>0.8500</strong>" in html
    assert "<strong>0.8000</strong>" not in html
    assert html.count("Complete recipe: U-Net") >= 2
    for name in ("Training loss", "Validation: dice"):
        chart = html[html.index(name) :]
        legend = chart[: chart.index("</ul>")]
        assert re.findall(r"</i>([^<]+)</li>", legend) == ["U-Net", "U-Net 3+"]
    assert "One brain only." in html


def test_names_must_differ(tmp_path):
    run = make_run(tmp_path / "a")
    with pytest.raises(DataError, match="different names"):
        report_comparison(tmp_path / "p.html", title="t", runs=[("x", run), ("x", run)])
    with pytest.raises(DataError, match="at least one run"):
        report_comparison(tmp_path / "p.html", title="t", runs=[])
