"""`vesalius text clean`."""

import gzip
import json

import pytest

from vesalius.cli.text import app
from vesalius.errors import DataError, RecipeError


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes.csv"
    path.write_text(
        "id,主诉,备注\n1,头痛３天,,\n2,頭暈,ＡＢ\n3,发热<br>１天,x\n", encoding="gb18030"
    )
    return path


def test_a_table_is_cleaned_and_the_rest_kept(notes, tmp_path, capsys):
    out = tmp_path / "clean.csv"
    app(["clean", str(notes), "--out", str(out), "--fields", "主诉"], result_action="return_value")
    rejected = json.loads((tmp_path / "clean.rejects.jsonl").read_text(encoding="utf-8"))
    assert rejected["reason"] == "4 cells, but 3 columns"
    assert out.read_text(encoding="utf-8") == 'id,主诉,备注\n2,头晕,ＡＢ\n3,"发热\n1天",x\n'
    shown = capsys.readouterr().out
    assert "頭暈" in shown
    assert "gb18030" in shown
    assert "clean.rejects.jsonl" in shown


def test_json_is_one_document_with_steps_and_examples(notes, tmp_path, capsys):
    arguments = [
        "clean",
        str(notes),
        "--out",
        str(tmp_path / "o.csv"),
        "--fields",
        "主诉",
        "--json",
    ]
    app([*arguments, "html=false"], result_action="return_value")
    found = json.loads(capsys.readouterr().out)
    assert (found["read"], found["written"], found["rejected"], found["changed"]) == (3, 2, 1, 2)
    assert found["steps"]["simplified"]["examples"] == [{"before": "頭暈", "after": "头晕"}]
    assert set(found["steps"]) == {"simplified", "width"}


def test_lines_of_a_txt_stay_lines(tmp_path):
    with gzip.open(tmp_path / "a.txt.gz", "wt", encoding="utf-8") as file:
        file.write("<p>甲</p><p>乙</p>\n１\n")
    app(["clean", str(tmp_path / "a.txt.gz"), "--out", str(tmp_path / "b.txt")],
        result_action="return_value")  # fmt: skip
    assert (tmp_path / "b.txt").read_text(encoding="utf-8").split("\n") == ["甲 乙", "1", ""]


def test_options_and_rules_are_checked(notes, tmp_path):
    arguments = ["clean", str(notes), "--out", str(tmp_path / "o.csv"), "--fields", "主诉"]
    with pytest.raises(RecipeError, match="simplified"):
        app([*arguments, "simplifed=false"], result_action="return_value", exit_on_error=False)
    with pytest.raises(DataError, match="no such rule file"):
        app([*arguments, "--rules", "none.yaml"], result_action="return_value", exit_on_error=False)
    assert not (tmp_path / "o.csv").exists()
