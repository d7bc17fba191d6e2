import json
import math
import re

import pytest

from tests.report.folders import make_run, picture
from vesalius.errors import DataError
from vesalius.report import model_card, report_run
from vesalius.report.folder import read_run_folder
from vesalius.report.run import duration


def _words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.S))


def test_a_report_shows_scores_curves_cases_pictures_and_the_recipe(tmp_path):
    run = make_run(tmp_path / "my-run")
    path = report_run(run, pictures=[picture("worst: bad")])
    assert path == run / "report.html"
    html = path.read_text(encoding="utf-8")
    words = _words(html)
    for expected in ("segment: my-run", "dice 0.9000", "hd95 ∞", "Training loss", "1,234,567",
                     "worst: bad", "white &amp; grey", "vesalius segment train DATA",
                     "not a medical device", "Validation: dice", "10.0 s"):  # fmt: skip
        assert expected in words
    assert "&lt;script&gt;alert(1)" in html
    assert "<script" not in html
    assert "Remarks" not in words


def test_cases_stand_worst_first_and_undefined_ones_last(tmp_path):
    html = report_run(make_run(tmp_path / "run")).read_text(encoding="utf-8")
    found = re.findall(r'<th scope="row">(good|bad|undefined)</th>', html)
    assert found == ["bad", "good", "undefined"]


def test_where_lower_is_better_the_highest_case_stands_first(tmp_path):
    run = make_run(tmp_path / "run")
    scores = json.loads((run / "scores.json").read_text())
    scores |= {"headline": "hd95", "higher_is_better": False}
    (run / "scores.json").write_text(json.dumps(scores))
    html = report_run(run).read_text(encoding="utf-8")
    assert re.findall(r'<th scope="row">(good|bad|undefined)</th>', html)[0] == "undefined"


def test_a_long_table_of_cases_is_folded(tmp_path):
    run = make_run(tmp_path / "run")
    scores = json.loads((run / "scores.json").read_text())
    scores["cases"] = {f"case_{i:03d}": {"dice": i / 100} for i in range(40)}
    (run / "scores.json").write_text(json.dumps(scores))
    html = report_run(run).read_text(encoding="utf-8")
    assert "All 40 cases" in html
    assert html.index("case_014") < html.index("<details") < html.index("case_015")


def test_a_line_cut_short_by_a_crash_is_left_out_and_said(tmp_path):
    run = make_run(tmp_path / "run", ended=False)
    with (run / "history.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    assert "Line 23 of history.jsonl" in _words(report_run(run).read_text(encoding="utf-8"))


def test_a_broken_line_in_the_middle_is_an_error(tmp_path):
    run = make_run(tmp_path / "run")
    lines = (run / "history.jsonl").read_text().splitlines()
    lines[4] = "{oops"
    (run / "history.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"history\.jsonl, line 5"):
        report_run(run)


def test_an_unfinished_run_without_scores_still_has_a_report(tmp_path):
    run = make_run(tmp_path / "run", ended=False)
    (run / "scores.json").unlink()
    words = _words(report_run(run).read_text(encoding="utf-8"))
    assert "has not come to its end" in words
    assert "scores.json is not there" in words
    assert "last evaluation" in words


def test_a_run_that_has_logged_nothing_yet_has_a_report(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "history.jsonl").write_text("")
    (run / "scores.json").unlink()
    assert "Learning curves" not in report_run(run).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["config.json", "scores.json"])
@pytest.mark.parametrize("content", ["{", "[1, 2]"])
def test_a_broken_file_is_named(tmp_path, name, content):
    run = make_run(tmp_path / "run")
    (run / name).write_text(content)
    with pytest.raises(DataError, match=name):
        report_run(run)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match="no run folder"):
        report_run(tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        report_run(tmp_path / "nowhere")


def test_null_and_infinity_are_read_as_the_engine_wrote_them(tmp_path):
    run = read_run_folder(make_run(tmp_path / "run"))
    assert run.values["hd95"] == math.inf
    assert math.isnan(run.scores["labels"]["white & grey"]["dice"])
    assert run.train[2]["gradient_norm"] == math.inf


def test_time_is_read_from_the_running_clock(tmp_path):
    run = read_run_folder(make_run(tmp_path / "run", steps=20))
    assert run.seconds == 10.0
    assert run.seconds_per_step == pytest.approx(0.5)


def test_direction_of_common_metrics_is_known(tmp_path):
    run = read_run_folder(make_run(tmp_path / "run"))
    assert run.higher_is_better("dice")
    assert run.higher_is_better("nsd")
    assert not run.higher_is_better("hd95")
    assert not run.higher_is_better("mean_assd")


def test_the_report_speaks_chinese(tmp_path, monkeypatch):
    monkeypatch.setenv("VESALIUS_LANG", "zh")
    words = _words(report_run(make_run(tmp_path / "run")).read_text(encoding="utf-8"))
    for expected in ("学习曲线", "各标签", "各病例", "局限", "验证: dice"):
        assert expected in words


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.2, "4.2 s"), (75, "1 min 15 s"), (7325, "2 h 02 min")]
)
def test_durations_are_readable(seconds, text):
    assert duration(seconds) == text


def test_a_run_of_the_engine_itself_has_a_report_and_a_card(tmp_path):
    from tests.engine.toy import ToyRecipe, ToyTask
    from vesalius.engine.loop import fit

    recipe = ToyRecipe.load({"epochs": 2, "batch_size": 8})
    task = ToyTask(recipe)
    cases = task.cases(24)
    extra = {"command": "vesalius toy train", "parameters": 64}
    fit(task, cases[:16], cases[16:], recipe, tmp_path / "toy", quiet=True, extra=extra)
    words = _words(report_run(tmp_path / "toy").read_text(encoding="utf-8"))
    for expected in ("toy: toy", "accuracy", "Validation: accuracy", "vesalius toy train"):
        assert expected in words
    assert "Remarks" not in words
    assert "| accuracy |" in model_card(tmp_path / "toy")
