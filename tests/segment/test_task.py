"""Segmentation through the task contract: data in, run folder out, masks back."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from tests.segment.discs import write_pictures, write_volumes

from vesalius import segment
from vesalius.engine.run import Run
from vesalius.engine.task import Prediction
from vesalius.errors import DataError, RecipeError
from vesalius.segment.data import IGNORED, Prepared, split_cases
from vesalius.segment.recipe import SegmentRecipe
from vesalius.segment.scores import score_cases
from vesalius.segment.task import SegmentTask

SMALL = {
    "model": {"name": "unet", "widths": [6, 12, 24]},
    "batch_size": 4,
    "epochs": 2,
    "workers": 0,
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    return write_volumes(tmp_path_factory.mktemp("volumes"))


def task_for(source, *overrides):
    task = SegmentTask(SegmentRecipe.load(SMALL, overrides))
    return task, task.cases(source)


@pytest.mark.parametrize("kind", ["pictures", "volumes"])
def test_training_learns_discs_and_predicts_on_the_original_grid(kind, request, tmp_path):
    source = request.getfixturevalue(kind)
    run = segment.train(
        source,
        recipe=SMALL,
        out=tmp_path / "run",
        quiet=True,
        epochs=20,
        batches_per_epoch=4,
        evaluate_every=5,
        **{"optimizer.learning_rate": 5e-3, "model.normalisation": "instance"},
        **{"loss.name": "dice_cross_entropy"},
    )
    assert run.scores.values["dice"] > 0.7
    assert {"dice", "iou", "mean_iou", "pixel_accuracy", "recall", "fwiou"} <= set(
        run.scores.values
    )
    for name in ("recipe.yaml", "config.json", "report.html", "README.md", "scores.json"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    # what was kept reproduces the scores that it claims, after reopening
    held = set(run.config["split"]["valid"])
    task = Run(tmp_path / "run").task
    cases = [case for case in task.cases(source) if case.id in held]
    again = task.score(cases, Run(tmp_path / "run").predictions(cases))
    assert again.values == pytest.approx(run.scores.values, abs=1e-9)


@pytest.fixture(scope="module")
def trained(pictures, volumes, tmp_path_factory):
    """Runs that know nothing (their weights are random) but write and read like any other."""
    folder = tmp_path_factory.mktemp("runs")
    options = {"recipe": SMALL, "quiet": True, "epochs": 1, "batches_per_epoch": 1}
    return {
        "pictures": segment.train(pictures, out=folder / "p", **options),
        "volumes": segment.train(volumes, out=folder / "v", **options),
    }


def test_masks_of_volumes_keep_affine_and_format(trained, volumes, tmp_path):
    written = segment.predict(trained["volumes"], volumes / "imagesTr", out=tmp_path)
    assert [path.name for path in written] == [f"c{i}.nii.gz" for i in range(6)]
    source = nib.load(volumes / "imagesTr" / "c0_0000.nii.gz")
    mask = nib.load(written[0])
    np.testing.assert_allclose(mask.affine, source.affine, atol=1e-6)
    assert mask.shape == source.shape
    assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1, 2}


def test_masks_of_pictures_and_probabilities(trained, pictures, tmp_path):
    written = segment.predict(
        trained["pictures"], pictures / "images" / "case3.png", out=tmp_path, probabilities=True
    )
    assert [path.name for path in written] == ["case3.png"]
    assert Image.open(written[0]).size == Image.open(pictures / "images" / "case3.png").size
    from vesalius.images.read import read_image

    probabilities = read_image(tmp_path / "case3_probabilities.tif").array
    assert probabilities.shape == (3, 40, 48)
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(0), np.asarray(Image.open(written[0])))


def test_resampling_and_cropping_are_undone(volumes, tmp_path):
    run = segment.train(
        volumes,
        recipe=SMALL,
        out=tmp_path / "run",
        quiet=True,
        epochs=1,
        batches_per_epoch=1,
        **{"data.spacing": [1.5, 1.5, 1.5], "data.crop_foreground": True},
    )
    assert run.task.facts.spacing == (1.5, 1.5, 1.5)
    found = run.predict(volumes / "imagesTr")
    assert {item.probabilities.shape for item in found} == {(3, 20, 24, 18)}
    for item in found:
        np.testing.assert_allclose(item.probabilities.sum(0), 1, atol=1e-4)


def test_two_labels_are_trained_with_one_logit_and_predicted_as_two_probabilities(tmp_path):
    source = write_pictures(tmp_path / "data")
    task, cases = task_for(source, "data.target=foreground")
    assert task.label_names == ["background", "foreground"]
    model = task.build()
    assert model(torch.zeros(1, 1, 48, 48)).shape[1] == 1
    batch = next(iter(task.loader(cases, training=False)))
    assert task.predict(model.eval(), batch)[0].probabilities.shape == (2, 40, 48)


def test_an_ignored_value_counts_for_nothing_in_loss_and_scores(tmp_path):
    source = write_pictures(tmp_path / "data")
    task, cases = task_for(source, "data.ignore=2")
    assert task.label_names == ["background", "foreground"]
    truth = Prepared(task.recipe, task.facts).truth(cases[0])
    raw = np.asarray(Image.open(cases[0].target))
    np.testing.assert_array_equal(truth == IGNORED, raw == 2)


def test_labels_keep_their_file_values(tmp_path):
    source = write_pictures(tmp_path / "data")
    for path in (source / "masks").iterdir():
        values = np.asarray(Image.open(path)).copy()
        Image.fromarray((values * 100).astype(np.uint8)).save(path)
    run = segment.train(source, recipe=SMALL, out=tmp_path / "run", quiet=True, epochs=1)
    assert dict(run.task.facts.labels) == {"background": 0, "label 100": 100, "label 200": 200}
    written = segment.predict(run, source / "images", out=tmp_path / "masks")
    seen = {value for path in written for value in np.unique(np.asarray(Image.open(path)))}
    assert seen <= {0, 100, 200}


@pytest.mark.parametrize(
    "options",
    [
        {"model.name": "unet_3_plus", "model.widths": [4, 8, 16], "model.skip_width": 4}
        | {"model.deep_supervision": True, "model.classification_guided": True},
        {"step": {"name": "fgm", "on": "inputs"}, "pieces": [{"name": "ema"}]},
        {"step": {"name": "vat", "on": "inputs", "outputs": "categorical"}},
        {"step": {"name": "awp"}, "pieces": [{"name": "swa"}, {"name": "mixup"}]},
        {"augment": [{"name": "elastic", "probability": 1.0}], "head_weights": "halving"},
    ],
    ids=["unet-3-plus-guided", "fgm-ema", "vat", "awp-swa-mixup", "elastic"],
)
def test_every_kind_of_step_trains(options, volumes, tmp_path):
    small = {"epochs": 1, "batches_per_epoch": 2, "quiet": True, "out": tmp_path / "run"}
    run = segment.train(volumes, recipe=SMALL, **small, **options)
    assert np.isfinite(run.scores.values["dice"])


def test_the_same_seed_gives_the_same_run(pictures, tmp_path):
    runs = [segment.train(pictures, recipe=SMALL, out=tmp_path / name, quiet=True) for name in "ab"]
    assert runs[0].scores == runs[1].scores


def test_a_resumed_training_needs_the_folder_alone(pictures, tmp_path):
    run = segment.train(pictures, recipe=SMALL, out=tmp_path / "run", quiet=True)
    again = segment.train(pictures, out=tmp_path / "run", resume=True, quiet=True)
    assert again.scores == run.scores


def test_every_unreadable_file_is_listed_at_once(tmp_path):
    source = write_pictures(tmp_path / "data")
    for name in ("case1", "case4"):
        path = source / "images" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError) as caught:
        segment.train(source, recipe=SMALL, out=tmp_path / "run", quiet=True)
    assert len(caught.value.problems) == 2
    assert "case1.png" in str(caught.value)
    assert "case4.png" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_mask_of_another_size_is_named_with_both_sizes(tmp_path):
    source = write_pictures(tmp_path / "data")
    Image.new("L", (10, 11)).save(source / "masks" / "case2.png")
    with pytest.raises(DataError, match=r"case2\.png has shape \(11, 10\).*has \(40, 48\)"):
        task_for(source)


def test_instance_numbers_are_recognised_and_the_remedy_named(tmp_path):
    source = write_pictures(tmp_path / "data")
    for path in (source / "masks").iterdir():
        Image.fromarray(np.arange(40 * 48).reshape(40, 48).astype(np.uint16)).save(path)
    with pytest.raises(DataError, match=r"data\.target=foreground"):
        task_for(source)


def test_the_background_is_first_whatever_its_value(tmp_path):
    write_pictures(tmp_path, count=2)
    for mask in (tmp_path / "masks").iterdir():
        values = np.asarray(Image.open(mask))
        Image.fromarray(np.where(values == 0, 9, 0).astype(np.uint8)).save(mask)
    task, _ = task_for(tmp_path, "data.labels={disc: 0, background: 9}")
    assert dict(task.facts.labels) == {"background": 9, "disc": 0}


@pytest.mark.parametrize("value", [-4, 70_000])
def test_labels_that_no_mask_can_be_written_with_are_refused(value, tmp_path):
    write_volumes(tmp_path, count=2)
    (tmp_path / "dataset.json").unlink()
    for path in (tmp_path / "labelsTr").iterdir():
        mask = nib.load(path)
        values = np.where(np.asarray(mask.dataobj) == 2, value, 0).astype(np.int32)
        nib.save(nib.Nifti1Image(values, mask.affine), path)
    with pytest.raises(DataError, match="from 0 to 65535"):
        task_for(tmp_path)
    task, _ = task_for(tmp_path, "data.target=foreground")
    assert list(task.facts.labels.values()) == [0, 1]


def test_more_labels_than_a_byte_holds_keep_their_values(tmp_path):
    write_pictures(tmp_path, count=2)
    for mask in (tmp_path / "masks").iterdir():
        values = np.arange(40 * 48, dtype=np.uint16).reshape(40, 48) % 300
        Image.fromarray(values).save(mask)
    names = ", ".join(f"c{value}: {value}" for value in range(300))
    task, (case, _) = task_for(tmp_path, f"data.labels={{{names}}}")
    truth = task._ready().truth(case)
    perfect = Prediction(case.id, np.eye(300, dtype=np.float32)[truth].transpose(2, 0, 1))
    assert (task.label_map(perfect) == np.asarray(Image.open(case.target))).all()
    assert task.score([case], [perfect]).values["dice"] == 1.0


def test_a_map_too_small_for_batch_normalisation_is_said_with_the_remedy(pictures, tmp_path):
    with pytest.raises(RecipeError, match="Enlarge batch_size or"):
        segment.train(
            pictures,
            recipe=SMALL,
            out=tmp_path / "r",
            quiet=True,
            batch_size=1,
            **{"data.patch": [4, 4]},
        )


def test_an_undeclared_mask_value_is_named(volumes, tmp_path):
    with pytest.raises(DataError, match=r"c0\.nii\.gz holds \[2\]"):
        task_for(volumes, "data.labels={background: 0, disc: 1}")


def test_images_without_masks_cannot_be_trained_on(pictures):
    with pytest.raises(DataError, match="no case has a mask"):
        task_for(pictures / "images")


def test_other_channels_than_in_training_are_refused(trained, tmp_path):
    Image.new("RGB", (40, 40)).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match="trained on 2 and 1"):
        trained["pictures"].predict(tmp_path / "colour.png")


def test_grey_and_coloured_pictures_train_together(tmp_path):
    source = write_pictures(tmp_path / "data")
    path = source / "images" / "case1.png"
    Image.open(path).convert("RGB").save(path)
    task, cases = task_for(source)
    assert task.facts.channels == 3
    samples = [Prepared(task.recipe, task.facts).sample(case)["image"] for case in cases]
    assert {tuple(sample.shape) for sample in samples} == {(3, 40, 48)}
    task, cases = task_for(source, "data.colour=grey")
    assert task.facts.channels == 1
    grey = [Prepared(task.recipe, task.facts).sample(case)["image"] for case in cases]
    torch.testing.assert_close(grey[1][0], samples[1][0], atol=1e-4, rtol=1e-4)


def test_splits_keep_patients_together(tmp_path):
    write_pictures(tmp_path, count=9)
    rows = [
        {"image": f"images/case{i}.png", "mask": f"masks/case{i}.png", "patient": f"p{i // 3}"}
        for i in range(9)
    ]
    (tmp_path / "table.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    _task, cases = task_for(tmp_path / "table.jsonl")
    train, valid, how = split_cases(cases, 0.3, seed=0)
    assert {case.group for case in train} & {case.group for case in valid} == set()
    assert len(valid) == 3
    assert "patients" in how


def test_combining_averages_probabilities(trained, pictures):
    task = trained["pictures"].task
    one = trained["pictures"].predict(pictures / "images")
    same = task.combine([one, one], "mean")
    np.testing.assert_allclose(same[0].probabilities, one[0].probabilities, atol=1e-7)
    with pytest.raises(RecipeError, match="none of mean"):
        task.combine([one], "best")


def test_scores_by_hand():
    truth = np.array([[0, 0, 1, 1], [2, 2, 0, 0]])
    found = np.array([[0, 1, 1, 1], [2, 0, 0, 0]])
    nothing = np.zeros((2, 4), int)
    pairs = [("a", truth, found), ("b", nothing, nothing), ("missed", truth, nothing)]
    scores = score_cases(pairs, ["background", "one", "two"])
    assert scores.cases["a"]["dice one"] == pytest.approx(2 * 2 / 5)
    assert scores.cases["a"]["dice two"] == pytest.approx(2 * 1 / 3)
    assert np.isnan(scores.cases["b"]["dice"])  # nothing to find, nothing found
    assert scores.cases["missed"]["dice"] == 0  # a miss is never left out
    assert scores.labels["one"]["dice"] == pytest.approx((0.8 + 0) / 2)
    assert scores.labels["one"]["absent"] == 1
    assert scores.values["pixel_accuracy"] == pytest.approx((6 + 8 + 4) / 24)
    assert scores.values["global_dice"] == pytest.approx((4 / 7 + 2 / 5) / 2)
