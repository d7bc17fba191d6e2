"""`vesalius detect convert`."""

import json

import pytest
from cyclopts import App

from tests.detect.formats_kit import picture
from vesalius.cli.detect_convert import convert
from vesalius.errors import DataError


@pytest.fixture
def run():
    app = App()
    app.command(convert)
    return lambda *words: app(
        ["convert", *map(str, words)], result_action="return_value", exit_on_error=False
    )


@pytest.fixture
def table(tmp_path):
    picture(tmp_path / "a.png")
    path = tmp_path / "boxes.csv"
    path.write_text("image,x1,y1,x2,y2,label,difficult\na.png,1,2,3,4,RBC,1\n")
    return path


def test_a_table_says_what_was_written_and_what_is_lost(run, table, tmp_path, capsys):
    assert run(table, "--to", "yolo", "--out", tmp_path / "yolo", "--images", "copy") == 0
    shown = capsys.readouterr().out
    assert "yolo cannot express:" in shown
    assert "1 difficult flags" in shown
    assert "RBC" in shown
    assert (tmp_path / "yolo" / "labels" / "a.txt").exists()
    assert (tmp_path / "yolo" / "images" / "a.png").exists()


def test_json_is_one_document(run, table, tmp_path, capsys):
    run(table, "--to", "voc", "--out", tmp_path / "voc", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["from"], found["to"]) == ("csv", "voc")
    assert (found["images"], found["objects"], found["classes"]) == (1, 1, {"RBC": 1})
    assert (found["losses"], found["repairs"]) == ({}, {})


def test_wrong_boxes_stop_it_unless_they_are_to_be_repaired(run, table, tmp_path, capsys):
    table.write_text("image,x1,y1,x2,y2,label\na.png,1,2,30,4,RBC\n")
    with pytest.raises(DataError, match="line 2"):
        run(table, "--to", "coco", "--out", tmp_path / "coco")
    run(table, "--to", "coco", "--out", tmp_path / "coco", "--boxes", "repair")
    assert "1 boxes clipped to the image" in capsys.readouterr().out


def test_it_speaks_chinese(run, table, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("VESALIUS_LANG", "zh")
    run(table, "--to", "yolo", "--out", tmp_path / "yolo", "--classes", "WBC，RBC")
    assert "格式无法表达" in capsys.readouterr().out
