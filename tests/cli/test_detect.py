"""`vesalius detect`, as a user types it."""

import json

import pytest

from tests.detect.squares import TINY, dataset
from vesalius.__main__ import main


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network that was trained for three steps, through the command line."""
    folder = tmp_path_factory.mktemp("detect")
    source = dataset(folder, "voc", count=5)
    out = folder / "run"
    steps = ("epochs=1", "batches_per_epoch=3")
    assert main(["detect", "train", str(source), *TINY, *steps, "--out", str(out)]) == 0
    return source, out


def test_train_leaves_a_run_with_a_report(run):
    _, out = run
    assert (out / "report.html").exists()
    assert json.loads((out / "scores.json").read_text())["headline"] == "AP50"


def test_evaluate_prints_one_json_document(run, capsys):
    source, out = run
    assert main(["detect", "evaluate", str(out), str(source), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert {"AP", "AP50", "AP75", "AR"} <= set(scores["values"])


def test_predict_writes_boxes_and_names_what_a_format_loses(run, tmp_path, capsys):
    source, out = run
    images = next(path for path in source.rglob("*.png")).parent
    command = ["detect", "predict", str(out), str(images), "--out", str(tmp_path / "found")]
    assert main([*command, "--to", "yolo"]) == 0
    assert "5 images" in capsys.readouterr().out
    assert len(list((tmp_path / "found").rglob("*.txt"))) >= 5


def test_predict_refuses_a_folder_that_is_there(run, tmp_path, capsys):
    source, out = run
    images = next(path for path in source.rglob("*.png")).parent
    assert main(["detect", "predict", str(out), str(images), "--out", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_convert_is_there(run, tmp_path):
    source, _ = run
    out = tmp_path / "coco"
    assert main(["detect", "convert", str(source), "--to", "coco", "--out", str(out)]) == 0
    assert list(out.glob("*.json"))


def test_a_run_is_passed_on_without_names_of_cases(run, tmp_path):
    source, out = run
    made = tmp_path / "passed-on"
    assert main(["detect", "export", str(out), "--out", str(made), "--half"]) == 0
    assert main(["detect", "evaluate", str(made), str(source)]) == 0
    assert "image0" not in (made / "config.json").read_text()


def test_recipes_are_listed_and_printed(capsys):
    assert main(["detect", "recipe"]) == 0
    assert "faster-rcnn" in capsys.readouterr().out
    assert main(["detect", "recipe", "rcnn", "model.crop_size=64"]) == 0
    assert "crop_size: 64" in capsys.readouterr().out
