"""The command line: what it prints, where, and its exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.segment.discs import write_pictures, write_volumes
from vesalius import datasets
from vesalius.cli import main

QUICK = ("epochs=1", "batches_per_epoch=1", "model.widths=[4, 8]", "model.skip_width=4")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("data"), count=5)


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    assert main(["segment", "train", str(pictures), *QUICK, "--out", str(out)]) == 0
    return out


def failing(capsys, *arguments):
    """Run a command that fails; return its status and its one message."""
    status = main([str(item) for item in arguments])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return status, shown.err


def test_the_three_commands_in_a_row(run, pictures, tmp_path, capsys):
    images = pictures / "images"
    assert main(["segment", "predict", str(run), str(images), "--out", str(tmp_path)]) == 0
    assert len(list(tmp_path.glob("*.png"))) == 5
    capsys.readouterr()
    assert main(["segment", "evaluate", str(run), str(pictures), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert set(scores["cases"]) == {f"case{i}" for i in range(5)}
    assert main(["segment", "evaluate", str(run), str(pictures)]) == 0
    assert "fwiou" in capsys.readouterr().out


def test_train_prints_one_json_document(pictures, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["segment", "train", str(pictures), *QUICK, "--out", str(out), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert Path(shown["report"]).exists()
    assert shown["scores"]["headline"] == "dice"


def test_the_way_a_run_was_started_is_stored(pictures, tmp_path):
    command = [sys.executable, "-m", "vesalius", "segment", "train", str(pictures), *QUICK]
    done = subprocess.run([*command, "--out", str(tmp_path / "r")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stored = json.loads((tmp_path / "r" / "config.json").read_text())["command"]
    assert stored.startswith("vesalius segment train")
    assert "epochs=1" in stored


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["segment", "trian"], 2, 'Did you mean "train"'),
        (["segment", "train"], 2, "DATA requires an argument"),
        (["segment", "train", "{data}", "epochz=3"], 2, "Did you mean 'epochs'"),
        (["segment", "train", "{data}", "model.name=unett"], 2, "Did you mean 'unet'"),
        (["segment", "train", "{data}", "epochs"], 2, "not of the form key.path=value"),
        (["segment", "train", "{data}", "--recipe", "nothere"], 2, "neither a file nor"),
        (["segment", "train", "{data}", "device=cuda:99"], 2, "device 'cuda"),
        (["segment", "train", "/nowhere"], 1, "does not exist"),
        (["segment", "evaluate", "{data}", "{data}"], 1, "is not a run folder"),
        (["segment", "train", "{data}", "--out", "{run}"], 2, "exists already"),
        (["segment", "train", "{data}", "--out", "/nowhere/x", "--resume"], 2, "existing run"),
        (["datasets", "open", "brain-tisue", "{data}"], 1, "brain-tissue"),
        (["tricks", "segmnt"], 2, "Did you mean 'segment'"),
    ],
)
def test_what_is_wrong_is_said_once_with_its_status(
    arguments, status, message, pictures, run, capsys
):
    filled = [item.format(data=pictures, run=run) for item in arguments]
    found, said = failing(capsys, *filled)
    assert message in said
    assert found == status


def test_an_unreadable_image_is_named_with_status_1(tmp_path, capsys):
    source = write_pictures(tmp_path / "data")
    (source / "images" / "case2.png").write_bytes(b"no picture")
    status, said = failing(capsys, "segment", "train", source, *QUICK)
    assert status == 1
    assert "case2.png" in said


def test_a_loss_that_is_not_finite_ends_with_status_1_and_the_cases(tmp_path, capsys):
    source = write_pictures(tmp_path / "data", count=4)
    wild = ("optimizer.learning_rate=1e30", "epochs=9", "model.widths=[4, 8]", "loss.name=dice")
    status, said = failing(capsys, "segment", "train", source, *wild, "--out", tmp_path / "run")
    assert status == 1
    assert "not finite" in said
    assert "case" in said
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a POSIX system")
def test_a_full_disk_ends_with_status_1_and_says_so(pictures, tmp_path):
    code = (
        "import resource, signal, sys; from vesalius.cli import main;"
        "import torch, vesalius.segment.task;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000));"
        "sys.exit(main(sys.argv[1:]))"
    )
    out = tmp_path / "run"
    command = [sys.executable, "-B", "-c", code, "segment", "train", str(pictures), *QUICK]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "no space left to write" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_errors_are_one_json_document_too(capsys):
    assert main(["segment", "train", "/nowhere", "--json"]) == 1
    assert "does not exist" in json.loads(capsys.readouterr().out)["error"]


def test_chinese_is_spoken_where_asked(monkeypatch, pictures, run, capsys):
    monkeypatch.setenv("VESALIUS_LANG", "zh")
    main(["segment", "evaluate", str(run), str(pictures)])
    assert "全部病例" in capsys.readouterr().out


def test_lists_and_recipes(capsys):
    for arguments, expected in (
        (["segment", "recipe"], "unet-3-plus-paper"),
        (["segment", "recipe", "unet", "epochs=7"], "epochs: 7"),
        (["datasets"], "brain-tissue"),
        (["tricks"], "mixup"),
        (["doctor"], "torch"),
    ):
        assert main(arguments) == 0
        assert expected in capsys.readouterr().out
    assert main(["doctor", "--json"]) == 0
    json.loads(capsys.readouterr().out)
    assert main(["tricks", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert all("patch" in trick for tricks in listed.values() for trick in tricks)
    assert main(["tricks", "segment", "--long"]) == 0
    assert "0.9601" in capsys.readouterr().out


def test_volumes_from_the_command_line(tmp_path):
    source = write_volumes(tmp_path / "data", count=4)
    out, masks = tmp_path / "run", tmp_path / "masks"
    small = [*QUICK, "batch_size=2"]
    assert main(["segment", "train", str(source), *small, "--out", str(out)]) == 0
    one = source / "imagesTr" / "c1_0000.nii.gz"
    assert main(["segment", "predict", str(out), str(one), "--out", str(masks)]) == 0
    mask = nib.load(masks / "c1_0000.nii.gz")
    np.testing.assert_allclose(mask.affine, nib.load(one).affine, atol=1e-6)


def test_the_demo_trains_two_networks_and_writes_one_report(tmp_path, capsys, monkeypatch):
    pytest.importorskip("nilearn", reason="the demo's brain comes with nilearn")
    from vesalius.demo import demo
    from vesalius.detect import demo as coins

    monkeypatch.setattr("vesalius.diagnose.demo.RECORDS", 120)
    faster = {**coins.RECIPES["Faster R-CNN"], "batches_per_epoch": 2}
    monkeypatch.setattr(coins, "RECIPES", {"Faster R-CNN": faster})

    quick = {"epochs": 1, "batches_per_epoch": 1}
    report = demo(tmp_path / "demo", quiet=True, **quick)
    text = report.read_text()
    assert "U-Net 3+" in text
    assert text.count("data:image/png") >= 6
    assert "TF-IDF" in text
    assert text.count("<mark") >= 3
    assert datasets.find("brain-tissue").available
    before = (tmp_path / "demo" / "brain-unet" / "model.safetensors").read_bytes()
    demo(tmp_path / "demo", quiet=True, **quick)  # again: nothing is trained anew
    assert (tmp_path / "demo" / "brain-unet" / "model.safetensors").read_bytes() == before
