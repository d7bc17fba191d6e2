"""Objects to classes and back; cleaning of masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label
from tests.segment.discs import write_pictures

from vesalius import segment
from vesalius.segment.data import split_cases
from vesalius.segment.instances import (
    BACKGROUND,
    CORE,
    RIM,
    drop_small,
    largest_components,
    rim_and_core,
    split_cores,
    split_foreground,
)
from vesalius.segment.recipe import SegmentRecipe
from vesalius.segment.scores import score_cases, score_objects
from vesalius.segment.task import SegmentTask


def touching_discs(radius=9, gap=15, size=(32, 48)):
    """Return two discs that touch, numbered 1 and 2."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    first = (rows - 15) ** 2 + (columns - 14) ** 2
    second = (rows - 15) ** 2 + (columns - 14 - gap) ** 2
    instances = np.zeros(size, np.uint16)
    instances[(first <= radius**2) & (first <= second)] = 1
    instances[(second <= radius**2) & (second < first)] = 2
    return instances


def certain(classes):
    return np.stack([classes == index for index in range(3)]).astype(np.float32)


def test_an_object_is_a_rim_of_the_asked_width_around_a_core():
    square = np.zeros((20, 20), np.uint8)
    square[4:16, 4:16] = 7
    classes = rim_and_core(square, width=2)
    assert (classes[6:14, 6:14] == CORE).all()
    assert (classes == CORE).sum() == 64
    assert ((classes == RIM) | (classes == CORE)).sum() == 144
    assert (classes[square == 0] == BACKGROUND).all()


def test_the_border_of_the_image_is_no_rim():
    whole = np.ones((8, 8), np.uint8)
    assert (rim_and_core(whole) == CORE).all()


def test_neighbours_that_touch_get_separate_cores():
    classes = rim_and_core(touching_discs(), width=2)
    assert label(classes == CORE)[1] == 2


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), dims=st.sampled_from([2, 3]))
def test_every_object_has_a_core_however_small(seed, dims):
    rng = np.random.default_rng(seed)
    instances = rng.integers(0, 6, (12,) * dims)
    classes = rim_and_core(instances, width=3)
    assert ((classes > 0) == (instances > 0)).all()
    for number in np.unique(instances[instances > 0]):
        assert (classes[instances == number] == CORE).any()


def test_cores_grow_back_to_the_objects_they_came_from():
    truth = touching_discs()
    found = split_cores(certain(rim_and_core(truth, width=2)))
    assert sorted(np.unique(found)) == [0, 1, 2]
    assert ((found > 0) == (truth > 0)).all()
    assert (found[truth > 0] == truth[truth > 0]).mean() > 0.98


def test_foreground_without_a_core_is_an_object_and_small_ones_are_dropped():
    classes = np.zeros((20, 20), np.int16)
    classes[2:8, 2:8] = RIM
    classes[3:7, 3:7] = CORE
    classes[12:16, 12:16] = RIM
    assert split_cores(certain(classes)).max() == 2
    assert split_cores(certain(classes), smallest=17).max() == 1
    assert split_cores(certain(np.zeros((9, 9), int))).max() == 0


def test_a_foreground_is_cut_at_its_waist_alone():
    truth = touching_discs()
    found = split_foreground(truth > 0)
    assert found.max() == 2
    assert (found[truth > 0] == truth[truth > 0]).mean() > 0.95
    assert split_foreground(truth == 1).max() == 1
    assert split_foreground(np.zeros((8, 8), bool)).max() == 0
    assert split_foreground(np.ones((8, 8), bool)).max() == 1


def test_the_largest_piece_of_every_label_is_kept():
    classes = np.zeros((10, 12), np.int64)
    classes[0:4, 0:4] = 1
    classes[6:8, 6:8] = 1
    classes[4:6, 4:6] = 2  # touches both by a corner, but is another label
    classes[9, 11] = 2
    kept = largest_components(classes)
    assert (kept == 1).sum() == 16
    assert (kept == 2).sum() == 4
    assert drop_small(classes, smallest=4).sum() == 16 + 4 + 8
    assert (drop_small(classes, smallest=5) == 2).sum() == 0


def test_object_scores_by_hand():
    truth = np.zeros((10, 10), int)
    truth[0:4, 0:4], truth[6:10, 6:10] = 1, 2
    prediction = np.zeros((10, 10), int)
    prediction[0:4, 0:3] = 5  # IoU 12 / 16
    prediction[0:2, 8:10] = 9  # invented
    scores = score_objects([("a", truth, prediction), ("b", truth, truth)])
    assert scores.headline == "instance_f1"
    assert scores.values["instance_f1"] == pytest.approx(3 / (3 + (1 + 1) / 2))
    assert scores.values["mean_instance_f1"] == pytest.approx((0.5 + 1) / 2)
    assert scores.values["sq"] == pytest.approx((0.75 + 1 + 1) / 3)
    assert scores.values["pq"] == pytest.approx(0.75 * (0.75 + 1 + 1) / 3)
    assert scores.cases["a"]["predicted_objects"] == 2
    assert scores.cases["a"]["dice"] == pytest.approx(2 * 12 / (32 + 16))
    assert list(scores.labels) == ["background", "foreground"]


def test_intervals_resample_patients_where_cases_share_them():
    rng = np.random.default_rng(0)
    truth = [rng.integers(0, 2, (12, 12)) for _ in range(2)] * 3
    # Two cases of a patient are alike, so six cases hold no more than three tell.
    found = [
        np.where(rng.random((12, 12)) < share, mask, 0)
        for share, mask in zip((0.3, 0.3, 0.6, 0.6, 0.9, 0.9), truth, strict=True)
    ]
    pairs = [(f"c{i}", t, p) for i, (t, p) in enumerate(zip(truth, found, strict=True))]
    patients = {f"c{i}": f"p{i // 2}" for i in range(6)}
    names = ["background", "foreground"]
    alone = score_cases(pairs, names).intervals["dice"]
    together = score_cases(pairs, names, groups=patients).intervals["dice"]
    assert together[1] - together[0] > alone[1] - alone[0]


def test_ignored_pixels_are_no_objects():
    truth = np.zeros((8, 8), int)
    truth[:4] = 1
    truth[4:] = 255
    prediction = np.zeros((8, 8), int)
    prediction[:4], prediction[6:] = 3, 4
    scores = score_objects([("a", truth, prediction)], ignore=255)
    assert scores.values["instance_f1"] == 1.0
    assert scores.cases["a"]["objects"] == scores.cases["a"]["predicted_objects"] == 1


OBJECTS = {
    "model": {"name": "unet", "widths": [4, 8]},
    "data": {"target": "instances"},
    "batch_size": 2,
    "workers": 0,
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), count=5)


def test_a_task_learns_rim_and_core_and_writes_numbered_objects(pictures, tmp_path):
    run = segment.train(
        pictures, recipe=OBJECTS, out=tmp_path / "r", quiet=True, epochs=1, batches_per_epoch=1
    )
    assert run.task.label_names == ["background", "rim", "core"]
    assert {"instance_f1", "pq", "dice"} <= set(run.scores.values)
    (mask, *_) = segment.predict(run, pictures, out=tmp_path / "masks")
    from PIL import Image

    assert np.asarray(Image.open(mask)).dtype == np.uint16


def test_a_perfect_prediction_of_objects_scores_one(pictures):
    task = SegmentTask(SegmentRecipe.load(OBJECTS))
    cases = task.cases(pictures)
    from vesalius.engine.task import Prediction

    perfect = [Prediction(case.id, certain(task._ready().truth(case))) for case in cases]
    scores = task.score(cases, perfect)
    assert scores.values["dice"] == 1.0
    assert scores.values["instance_f1"] == 1.0


def test_folds_cover_every_case_once(pictures):
    cases = SegmentTask(SegmentRecipe.load(OBJECTS)).cases(pictures)
    held = [split_cases(cases, 0.2, 0, folds=3, fold=fold)[1] for fold in range(3)]
    ids = [case.id for part in held for case in part]
    assert sorted(ids) == sorted(case.id for case in cases)
    assert {len(part) for part in held} == {1, 2}
    train, valid, how = split_cases(cases, 0.2, 0, folds=3, fold=1)
    assert not {case.id for case in train} & {case.id for case in valid}
    assert "fold 1 of 0 to 2" in how


@pytest.mark.parametrize(
    ("overrides", "remedy"),
    [
        (["data.folds=3", "data.fold=3"], "the folds are 0 to 2"),
        (["predict.instances=true", "data.target=labels"], "data.target=foreground"),
    ],
)
def test_wishes_that_contradict_each_other_are_refused(overrides, remedy):
    from vesalius.errors import RecipeError

    with pytest.raises(RecipeError, match=remedy):
        SegmentRecipe.load(OBJECTS, overrides)


def test_the_cut_of_an_object_does_not_depend_on_what_else_is_in_the_image():
    rows, columns = np.mgrid[:120, :140]
    touching = np.zeros((120, 140), bool)
    for column in (12, 21):
        touching |= (rows - 12) ** 2 + (columns - column) ** 2 <= 36
    beside_a_large_one = touching | ((rows - 70) ** 2 + (columns - 85) ** 2 <= 45**2)
    assert split_foreground(touching).max() == 2
    assert split_foreground(beside_a_large_one).max() == 3


def test_objects_of_one_pixel_and_volumes_are_objects():
    dot = np.zeros((6, 6), bool)
    dot[2, 3] = True
    assert split_foreground(dot).sum() == 1
    assert (rim_and_core(dot.astype(np.uint16)) == np.where(dot, CORE, BACKGROUND)).all()
    cubes = np.zeros((9, 9, 20), np.uint16)
    cubes[1:8, 1:8, 1:10], cubes[1:8, 1:8, 10:19] = 4, 9
    found = split_cores(certain(rim_and_core(cubes)))
    assert found.max() == 2
    assert (found[cubes > 0] > 0).all()
    assert split_foreground(cubes == 4).max() == 1


def test_zero_is_the_background_beside_negative_numbers():
    numbers = np.array([[-1, -1, 0, 3, 3]])
    assert ((rim_and_core(numbers) > 0) == (numbers != 0)).all()


def test_no_case_has_no_score():
    scores = score_objects([])
    assert np.isnan(scores.values["instance_f1"])
    assert np.isnan(scores.values["dice"])
    assert scores.cases == {}


@pytest.mark.parametrize(
    ("overrides", "remedy"),
    [
        (["data.fold=1"], "needs data.folds"),
        (["data.rim=0.5"], "greater than or equal to 1"),
        (["predict.mirror=0"], "valid boolean"),
    ],
)
def test_wishes_without_an_effect_are_refused(overrides, remedy):
    from vesalius.errors import RecipeError

    with pytest.raises(RecipeError) as error:
        SegmentRecipe.load(OBJECTS, overrides)
    assert remedy in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "remedy"),
    [
        (["predict.largest_component=true"], r"Leave it out; predict\.smallest"),
        (["data.ignore=0"], "which is the background"),
    ],
)
def test_wishes_that_make_no_sense_of_objects_are_refused(overrides, remedy, pictures):
    from vesalius.errors import RecipeError

    with pytest.raises(RecipeError, match=remedy):
        SegmentTask(SegmentRecipe.load(OBJECTS, overrides)).cases(pictures)


@pytest.mark.parametrize("target", ["foreground", "instances"])
def test_masks_without_any_object_are_refused(target, tmp_path):
    from PIL import Image

    from vesalius.errors import DataError

    write_pictures(tmp_path, count=2)
    for mask in (tmp_path / "masks").iterdir():
        Image.fromarray(np.zeros((40, 48), np.uint8)).save(mask)
    task = SegmentTask(SegmentRecipe.load(OBJECTS, [f"data.target={target}"]))
    with pytest.raises(DataError, match="all masks are empty"):
        task.cases(tmp_path)


def test_images_without_objects_and_ignored_masks_train_and_score(tmp_path):
    from PIL import Image

    write_pictures(tmp_path, count=4)
    for name, value in (("case0", 0), ("case1", 9)):
        Image.fromarray(np.full((40, 48), value, np.uint8)).save(tmp_path / f"masks/{name}.png")
    run = segment.train(
        tmp_path,
        recipe=OBJECTS,
        out=tmp_path / "r",
        quiet=True,
        epochs=1,
        batches_per_epoch=3,
        **{"data.ignore": 9, "data.patch": [64, 64], "predict.mirror": [1]},
    )
    scores = run.evaluate(tmp_path)
    assert scores.cases["case1"]["objects"] == scores.cases["case1"]["predicted_objects"] == 0
    assert np.isnan(scores.cases["case1"]["pq"])
    assert scores.cases["case0"]["objects"] == 0
