"""What a user meets: data and wishes that are unusual, files that must not be lost, clear words."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tests.segment.discs import write_pictures, write_volumes

from vesalius import segment
from vesalius.cli import main
from vesalius.errors import DataError, RecipeError
from vesalius.segment.recipe import SegmentRecipe
from vesalius.segment.task import SegmentTask, load_task

TINY = ("epochs=1", "batches_per_epoch=1", "batch_size=2", "model.name=unet", "model.widths=[4,8]")


def change_masks(folder, change):
    """Rewrite every mask of a folder: `change(labels, index)`."""
    for index, path in enumerate(sorted((folder / "masks").iterdir())):
        labels = np.array(Image.open(path))
        Image.fromarray(change(labels, index).astype(np.uint8)).save(path)
    return folder


def task_for(folder, *overrides):
    task = SegmentTask(SegmentRecipe.load(None, [*TINY, *overrides]))
    task.cases(folder)
    return task


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("data") / "discs", 5)


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return segment.train(pictures, out=out, quiet=True, overrides=TINY)


def test_masks_of_one_value_are_called_foreground(tmp_path):
    folder = change_masks(write_pictures(tmp_path, 3), lambda labels, _: (labels > 0) * 255)
    assert dict(task_for(folder).facts.labels) == {"background": 0, "foreground": 255}


def test_masks_that_hold_nothing_are_refused(tmp_path):
    folder = change_masks(write_pictures(tmp_path, 3), lambda labels, _: labels * 0)
    with pytest.raises(DataError, match="nothing to learn"):
        task_for(folder)


def _rare(labels, index):
    """A label in the first case alone, and nothing at all in the last."""
    labels = np.where(labels == 2, 7 * (index == 0), labels)
    return labels * (index < 2)


def test_a_label_that_no_validation_case_has_is_shown_as_undefined(tmp_path, capsys):
    folder = change_masks(write_pictures(tmp_path / "d", 3), _rare)
    rows = [
        {"image": f"images/case{i}.png", "mask": f"masks/case{i}.png", "split": split}
        for i, split in enumerate(("train", "train", "valid"))
    ]
    table = folder / "cases.jsonl"
    table.write_text("\n".join(json.dumps(row) for row in rows))
    assert main(["segment", "train", str(table), *TINY, "--out", str(tmp_path / "run")]) == 0
    assert "label 7" in capsys.readouterr().out
    assert "case2: Dice" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "override",
    [
        "data.patch=[8, 8, 8]",
        "data.spacing=[1, 1, 1]",
        "predict.window=[8, 8, 8]",
        "loss={name: dice, class_weights: [1, 2]}",
        "loss={name: focal, alpha: [1, 2]}",
        "data.labels={background: 0, a: 1, b: 1, c: 2}",
    ],
)
def test_a_wish_that_does_not_fit_the_data_is_refused_before_a_run_begins(
    pictures, tmp_path, override
):
    with pytest.raises(RecipeError):
        segment.train(pictures, out=tmp_path / "run", quiet=True, overrides=[*TINY, override])
    assert not (tmp_path / "run").exists()


def test_masks_with_values_that_the_model_does_not_know_are_not_scored_in_silence(run, tmp_path):
    other = change_masks(write_pictures(tmp_path, 2), lambda labels, _: labels * 9)
    with pytest.raises(DataError, match="holds") as caught:
        segment.evaluate(run, other)
    assert len(caught.value.problems) == 2


def test_validation_cases_of_another_kind_are_refused_before_a_run_begins(pictures, tmp_path):
    volumes = write_volumes(tmp_path / "volumes", 2)
    with pytest.raises(DataError, match="3 dimensions"):
        segment.train(
            pictures, valid=volumes, out=tmp_path / "run", quiet=True, overrides=list(TINY)
        )
    assert not (tmp_path / "run").exists()


def test_validation_cases_that_are_trained_on_are_refused(pictures, tmp_path):
    (tmp_path / "again").symlink_to(pictures)
    with pytest.raises(DataError, match="5 validation case"):
        segment.train(
            pictures, valid=tmp_path / "again", out=tmp_path / "run", quiet=True, overrides=TINY
        )


def test_cases_kept_for_a_test_never_train(tmp_path):
    folder = write_volumes(tmp_path / "d", 3)
    for old, new in (("imagesTr", "imagesTs"), ("labelsTr", "labelsTs")):
        shutil.copytree(write_volumes(tmp_path / "other", 2) / old, folder / new)
    for path in [*folder.glob("*Ts/*")]:
        path.rename(path.with_name(f"test{path.name}"))
    other = write_volumes(tmp_path / "valid", 1, seed=9)
    run = segment.train(
        folder, valid=other, out=tmp_path / "run", quiet=True, overrides=[*TINY, "augment=[]"]
    )
    assert run.config["split"]["train"] == ["c0", "c1", "c2"]
    assert run.config["split"]["valid"] == ["c0"]


def test_a_prediction_needs_no_masks_and_minds_no_wrong_ones(run, tmp_path):
    folder = change_masks(write_pictures(tmp_path / "d", 2), lambda labels, _: labels + 100)
    assert len(segment.predict(run, folder, out=tmp_path / "masks")) == 2


def test_a_prediction_replaces_neither_images_nor_masks(run, tmp_path):
    folder = write_pictures(tmp_path, 2)
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    for place in ("images", "masks"):
        with pytest.raises(DataError, match="choose another folder"):
            segment.predict(run, folder / "images", out=folder / place)
    with pytest.raises(DataError, match="replace the images"):
        segment.predict(run, folder / "images", out=folder / "images", overwrite=True)
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == before
    assert segment.predict(run, folder / "images", out=folder / "masks", overwrite=True)


def test_a_damaged_task_in_a_run_is_a_clear_error(run):
    config = {key: value for key, value in run.config["task"].items() if key != "labels"}
    with pytest.raises(DataError, match="labels"):
        load_task(run.recipe, config)


def test_the_model_card_counts_cases_and_names_none(run):
    card = (run.folder / "README.md").read_text(encoding="utf-8")
    assert "4 for training, 1 for validation" in card
    assert "case0" not in card
    assert "case1" not in card


def test_the_report_names_the_cases_of_both_sides(run):
    report = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "Training cases (4)" in report
    assert "Validation cases (1)" in report


def test_segments_keep_their_names_and_must_agree_on_their_numbers(pictures):
    from vesalius.segment.facts import Inspected, _segment_names

    cases = SegmentTask(SegmentRecipe()).cases(pictures)[:2]
    first = Inspected(names={"liver": 1, "tumour": 2})
    assert _segment_names(cases, [first, first]) == {"background": 0, "liver": 1, "tumour": 2}
    assert _segment_names(cases, [Inspected(), Inspected()]) is None
    alone = dataclasses.replace(first, names={"tumour": 1})
    with pytest.raises(DataError, match="number their segments differently") as caught:
        _segment_names(cases, [first, alone])
    assert any("'tumour' in" in problem for problem in caught.value.problems)


def test_folds_and_validation_cases_exclude_each_other(pictures, tmp_path):
    with pytest.raises(RecipeError, match=r"data\.folds"):
        segment.train(pictures, valid=pictures, out=tmp_path / "r", quiet=True, **{"data.folds": 3})
    assert not (tmp_path / "r").exists()
