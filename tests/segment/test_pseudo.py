"""Pseudo-labels of images: the predicted mask, written as `cases` reads masks."""

import shutil

import numpy as np
import pytest
from PIL import Image
from tests.segment.discs import write_pictures, write_volumes

from vesalius.engine.loop import fit
from vesalius.engine.run import Run
from vesalius.engine.task import Prediction
from vesalius.errors import DataError, RecipeError
from vesalius.images.read import read_channels, read_mask
from vesalius.segment.recipe import SegmentRecipe
from vesalius.segment.task import SegmentTask
from vesalius.study.pseudo_label import pseudo_label

SMALL = {
    "model": {"name": "unet", "widths": [6, 12], "normalisation": "instance"},
    "batch_size": 4,
    "epochs": 6,
    "batches_per_epoch": 5,
    "workers": 0,
    "keep": "last",
    "evaluate_every": 6,
    "optimizer": {"learning_rate": 0.01},
    "loss": {"name": "dice_cross_entropy"},
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), 24, size=(24, 24))


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    task, cases = task_for(pictures)
    split = {"train": [c.id for c in cases[:6]], "valid": [c.id for c in cases[6:]]}
    extra = {"split": split}
    return fit(task, cases[:6], cases[6:], task.recipe, out, quiet=True, extra=extra)


def renamed(folder, source):
    """Return a copy of a folder whose cases have other names."""
    shutil.copytree(source, folder)
    for path in sorted(folder.rglob("*.png")):
        path.rename(path.with_name(f"new-{path.name}"))
    return folder


def task_for(source, *overrides):
    task = SegmentTask(SegmentRecipe.load(SMALL, overrides))
    return task, task.cases(source)


def certain(task, classes):
    """Return a prediction that is certain of classes (*size)."""
    table = np.stack([classes == k for k in range(len(task.facts.labels))])
    return Prediction("", table.astype(np.float32))


@pytest.mark.parametrize("kind", ["pictures", "volumes"])
def test_the_predicted_mask_is_read_back_as_the_truth(kind, pictures, tmp_path):
    source = pictures if kind == "pictures" else write_volumes(tmp_path / "volumes", 3)
    task, cases = task_for(source)
    truth = task._ready().truth(cases[0])
    made = task.labelled(cases[0], certain(task, truth), None, tmp_path / "masks")
    assert made.target.parent == tmp_path / "masks"
    np.testing.assert_array_equal(task._ready().truth(made), truth)
    assert made.input == cases[0].input
    mask, image = read_mask(made.target), read_channels(made.input)
    np.testing.assert_allclose(mask.spacing, image.spacing)


def test_classes_are_written_even_where_predictions_end_as_objects(pictures, tmp_path):
    task, cases = task_for(pictures, "data.target=foreground", "predict.instances=true")
    truth = task._ready().truth(cases[0])
    made = task.labelled(cases[0], certain(task, truth), None, tmp_path)
    np.testing.assert_array_equal(task._ready().truth(made), truth)


def test_objects_do_not_get_the_number_that_counts_for_nothing(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    objects = np.zeros((24, 24), np.uint8)
    objects[2:9, 2:9], objects[12:20, 12:20] = 1, 2
    for k in range(2):
        Image.fromarray(objects * 90).save(tmp_path / "images" / f"c{k}.png")
        Image.fromarray(np.where(objects == 0, 0, objects + 5)).save(
            tmp_path / "masks" / f"c{k}.png"
        )
    task, cases = task_for(tmp_path, "data.target=instances", "data.ignore=2")
    classes = task._ready().truth(cases[0])
    made = task.labelled(cases[0], certain(task, classes), None, tmp_path / "out")
    assert np.unique(read_mask(made.target).array).tolist() == [0, 1, 3]
    np.testing.assert_array_equal(task._ready().truth(made), classes)


def test_soft_masks_and_masks_without_a_place_are_refused(pictures, tmp_path):
    task, cases = task_for(pictures)
    item = certain(task, task._ready().truth(cases[0]))
    with pytest.raises(RecipeError, match="folder"):
        task.labelled(cases[0], item)
    with pytest.raises(RecipeError, match="not soft"):
        task.labelled(cases[0], item, None, tmp_path, soft=np.ones(3))


def test_a_round_with_masks_trains_and_scores(run, pictures, tmp_path):
    other = write_pictures(tmp_path / "other", 8, size=(24, 24), seed=5)
    unlabelled = renamed(tmp_path / "new", other)
    wanted = 0.7 * run.scores.values["dice"]
    options = {"precision": wanted, "most": 5}
    found = pseudo_label(run, pictures, unlabelled, out=tmp_path / "s", **options)
    (one,) = found.rounds
    assert one.accepted == 5
    assert one.right["cases"] == 5
    assert one.right["dice"] > wanted - 0.1
    assert one.scores.headline == "dice"
    masks = sorted((one.folder / "masks").glob("*.png"))
    assert len(masks) == 5
    assert not np.isnan(one.gain.low)
    split = Run(one.folder / "run").config["split"]
    assert {path.stem for path in masks} <= set(split["train"])
    again = pseudo_label(run, pictures, unlabelled, out=tmp_path / "s", **options)
    assert again.to_dict() == found.to_dict()
    with pytest.raises(RecipeError, match="soft"):
        pseudo_label(run, pictures, unlabelled, out=tmp_path / "soft", soft=True)


def test_copies_of_labelled_images_are_refused_under_other_names(run, pictures, tmp_path):
    with pytest.raises(DataError, match="labelled ones") as caught:
        pseudo_label(run, pictures, renamed(tmp_path / "copy", pictures), out=tmp_path / "s")
    assert len(caught.value.problems) == 24
