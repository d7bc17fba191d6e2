import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tests.detect.squares import TINY, dataset, scenes, volume_dataset
from vesalius import detect
from vesalius.detect.data import cropped, scaled_size
from vesalius.detect.formats import find_scenes
from vesalius.detect.recipe import DetectRecipe
from vesalius.engine.run import Run
from vesalius.errors import DataError, RecipeError

WITHOUT_ANCHORS = [item for item in TINY[:10] if "anchor" not in item]


def train(source, out, *overrides, **options):
    return detect.train(source, out=out, overrides=[*TINY, *overrides], quiet=True, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A Faster R-CNN that has learned its training images by heart."""
    folder = tmp_path_factory.mktemp("squares")
    source = dataset(folder, count=5)
    run = train(
        source, folder / "run", "epochs=1", "batches_per_epoch=90", "keep=last",
        "optimizer.learning_rate=0.004", valid=None,
    )  # fmt: skip
    return source, run


def test_a_faster_rcnn_learns_squares_and_rods(trained):
    source, run = trained
    scores = run.evaluate(source)
    assert scores.headline == "AP50"
    assert scores.values["AP50"] > 0.6
    assert set(scores.labels) == {"rod", "square"}


def test_a_run_folder_has_what_every_run_folder_has(trained):
    _, run = trained
    for name in ("recipe.yaml", "config.json", "model.safetensors", "scores.json", "report.html"):
        assert (run.folder / name).exists(), name
    assert "missed" in (run.folder / "report.html").read_text(encoding="utf-8")


def test_a_run_that_is_opened_again_predicts_the_same(trained):
    source, run = trained
    cases = run.task.cases(source)[:2]
    first = [item.probabilities for item in run.predictions(cases)]
    again = [item.probabilities for item in Run(run.folder).predictions(cases)]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)


def test_predictions_are_written_in_the_format_that_is_asked_for(trained, tmp_path):
    source, run = trained
    for kind in ("coco", "csv"):
        found = detect.predict(run, source / "images", out=tmp_path / kind, format=kind)
        assert len(found.scenes) == 5
        back = find_scenes(tmp_path / kind, images=source / "images")
        known = {scene.id: scene for scene in back}
        for scene in found.scenes:
            if scene.count:
                np.testing.assert_allclose(known[scene.id].boxes, scene.boxes, atol=0.01)


def test_pictures_are_drawn_and_a_folder_is_not_replaced(trained, tmp_path):
    source, run = trained
    detect.predict(run, source / "images", out=tmp_path / "p", draw=True)
    assert len(list((tmp_path / "p" / "pictures").glob("*.png"))) == 5
    with pytest.raises(RecipeError, match="exists already"):
        detect.predict(run, source / "images", out=tmp_path / "p")


def test_mirrored_prediction_scores_at_least_nearly_as_well(trained):
    source, run = trained
    plain = detect.evaluate(run, source).values["AP50"]
    both = detect.evaluate(run, source, overrides=["predict.mirror=true"]).values["AP50"]
    assert both > plain - 0.2


def test_two_members_are_fused(trained):
    source, run = trained
    cases = run.task.cases(source)
    found = list(run.predictions(cases))
    for how in ("mean", "nms"):
        joined = run.task.combine([found, found], how)
        assert run.task.score(cases, joined).best == pytest.approx(
            run.task.score(cases, found).best, abs=0.05
        )
    with pytest.raises(RecipeError, match="mean, nms"):
        run.task.combine([found], "median")


def test_only_prediction_and_scoring_can_be_changed_afterwards(trained):
    source, run = trained
    scores = detect.evaluate(run, source, overrides=["score.headline=FROC"])
    assert scores.headline == "FROC"
    with pytest.raises(RecipeError, match="cannot be changed"):
        detect.evaluate(run, source, overrides=["model.nms_threshold=0.9"])


@pytest.mark.slow
def test_a_mask_rcnn_learns_masks(tmp_path):
    source = dataset(tmp_path, "masks", count=4)
    run = train(
        source, tmp_path / "run", "model.name=mask_rcnn", "model.mask_width=16", *TINY[:10],
        "model.mask_pooled_size=7", "epochs=1", "batches_per_epoch=80", "keep=last",
        "optimizer.learning_rate=0.004",
    )  # fmt: skip
    assert run.task.scores_masks
    assert detect.evaluate(run, source).values["AP50"] > 0.4


def test_a_fast_rcnn_learns_from_selective_search(tmp_path):
    source = dataset(tmp_path, count=4)
    run = train(
        source, tmp_path / "run", "model.name=fast_rcnn", *WITHOUT_ANCHORS,
        f"data.proposals.folder={tmp_path / 'kept'}", "data.proposals.min_size=4",
        "epochs=1", "batches_per_epoch=60", "keep=last", "optimizer.learning_rate=0.004",
    )  # fmt: skip
    assert len(list((tmp_path / "kept").glob("*.npy"))) == 4
    assert detect.evaluate(run, source).values["AP50"] > 0.5


def test_an_rcnn_solves_svms_and_box_regressions_on_its_features(tmp_path):
    source = dataset(tmp_path, count=4)
    run = train_rcnn(source, tmp_path / "run")
    assert detect.evaluate(run, source).values["AP50"] > 0.5
    state = load_file(run.folder / "model.safetensors")
    assert state["solved"]
    assert np.abs(state["svm_weights"]).max() > 0
    assert np.abs(state["box_weights"]).max() > 0


def train_rcnn(source, out):
    options = (
        *("model.name=rcnn", "model.encoder=null", "model.widths=[8,16,24]", "model.norm=group"),
        *("model.crop_size=32", "keep=last", "epochs=1", "batches_per_epoch=20", "batch_size=4"),
        *(f"data.proposals.folder={out.parent / 'kept'}", "data.proposals.min_size=4"),
        *("optimizer.learning_rate=0.004", "augment=[{name: flip}]"),
    )
    return detect.train(source, out=out, overrides=options, quiet=True)


def test_volumes_are_learned_from_and_detected_in(tmp_path):
    source = volume_dataset(tmp_path / "v")
    run = train(
        source, tmp_path / "run", "batch_size=1", "epochs=1", "batches_per_epoch=14",
        "keep=last", "optimizer.learning_rate=0.004", "data.crop=[20,20,20]", "data.valid_share=0",
    )  # fmt: skip
    assert run.task.facts.dims == 3
    rows = [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    cases = run.task.cases(source)
    scores = run.task.score(cases, run.predictions(cases))
    assert sum(row["objects"] for row in scores.labels.values()) == 6


def test_resumed_training_ends_with_the_same_weights(tmp_path, monkeypatch):
    from vesalius.engine import loop
    from vesalius.errors import InterruptedRun

    source = dataset(tmp_path, count=4)
    options = ("epochs=2", "batches_per_epoch=3", "checkpoint_minutes=0")
    whole = train(source, tmp_path / "whole", *options)
    real, counted = loop._Fit._log, []

    def stop(self, done, *rest):
        real(self, done, *rest)
        if done == 4:
            counted.append(done)
            raise InterruptedRun(self.out, done, self.total)

    monkeypatch.setattr(loop._Fit, "_log", stop)
    with pytest.raises(InterruptedRun):
        train(source, tmp_path / "parts", *options)
    monkeypatch.setattr(loop._Fit, "_log", real)
    resumed = train(source, tmp_path / "parts", *options, resume=True)
    one, two = (load_file(run.folder / "model.safetensors") for run in (whole, resumed))
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


# --- data ---------------------------------------------------------------------------------------


def test_images_are_scaled_by_their_shortest_side_unless_the_longest_would_be_too_long():
    assert scaled_size((480, 640), shortest=240, longest=None) == (240, 320)
    assert scaled_size((100, 1000), shortest=200, longest=1000) == (100, 1000)
    assert scaled_size((100, 1000), shortest=None, longest=500) == (50, 500)
    assert scaled_size((7, 9), shortest=None, longest=None) == (7, 9)


def test_a_crop_holds_the_centre_of_an_object():
    sample = {
        "image": torch.zeros(1, 100, 120),
        "boxes": torch.tensor([[90.0, 80, 100, 90]]),
        "labels": torch.tensor([0]),
        "masks": None,
        "proposals": None,
    }
    for seed in range(20):
        made = cropped(sample, (32, 32), np.random.default_rng(seed))
        assert made["image"].shape == (1, 32, 32)
        box = made["boxes"][0] if len(made["boxes"]) else None
        assert box is not None
        assert 0 <= box[0] < box[2] <= 32


def test_difficult_objects_and_crowds_are_no_targets(tmp_path):
    from dataclasses import replace

    from vesalius.detect.task import DetectTask

    made = [s for s in scenes(tmp_path / "p", 4) if s.count == 2]
    flags = np.array([True, False])
    cases = [replace(s, difficult=flags).to_case() for s in made]
    task = DetectTask(DetectRecipe.load(None, TINY))
    from vesalius.detect.facts import learn

    task._facts = learn(cases, ("rod", "square"), "auto")
    batch = next(iter(task.loader(cases, training=False)))
    assert len(batch.targets[0]["boxes"]) == 1


def test_masks_are_asked_for_where_the_network_needs_them(tmp_path):
    source = dataset(tmp_path, "voc", count=3)
    with pytest.raises(DataError, match="no masks"):
        train(source, tmp_path / "run", "model.name=mask_rcnn", *TINY, "epochs=1")


def test_a_data_set_without_objects_is_refused(tmp_path):
    (tmp_path / "labels.json").write_text(
        json.dumps({"images": [], "annotations": [], "categories": []})
    )
    with pytest.raises(DataError):
        train(tmp_path / "labels.json", tmp_path / "run")


# --- recipe -------------------------------------------------------------------------------------


def test_every_preset_is_a_valid_recipe():
    for name in DetectRecipe.presets():
        assert DetectRecipe.load(name).model.name in (
            "rcnn", "fast_rcnn", "faster_rcnn", "mask_rcnn"
        )  # fmt: skip


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("augment=[{name: elastic}]", "boxes cannot follow"),
        ("score.kind=segm", "needs a network with masks"),
        ("model.encoder=null", "widths"),
        ("model.name=rcnn", "keep=last"),
        ("model.anchor_size=[3]", "anchor_sizes"),
    ],
)
def test_recipes_that_cannot_work_are_refused(override, words):
    with pytest.raises(RecipeError) as caught:
        DetectRecipe.load(None, [override])
    assert words in f"{caught.value}" + "".join(caught.value.problems)
