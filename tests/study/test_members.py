"""Members: labels in one order, answers kept, what does not fit refused."""

import numpy as np
import pytest

from tests.study.small import LABELS
from vesalius.engine.task import Prediction
from vesalius.errors import DataError
from vesalius.study import predictions
from vesalius.study.members import Answers, Member, aligned, are_classes, distinct

ONE = [Prediction("x", np.array([0.1, 0.2, 0.3])), Prediction("y", np.array([0.4, 0.5, 0.6]))]


def test_labels_are_put_in_one_order_by_name():
    turned = [Prediction(item.id, item.probabilities[::-1]) for item in ONE]
    made, notes = aligned(
        [Member.of("a", ONE, LABELS), Member.of("b", turned, LABELS[::-1])], LABELS, ["x", "y"]
    )
    assert notes == []
    np.testing.assert_array_equal(made[0].answers["y"], made[1].answers["y"])


def test_labels_that_a_member_lacks_are_unknown_and_others_are_dropped():
    other = [Prediction(item.id, item.probabilities) for item in ONE]
    made, notes = aligned(
        [Member.of("a", ONE, LABELS), Member.of("b", other, ("c", "z", "a"))], LABELS, ["x", "y"]
    )
    np.testing.assert_array_equal(made[1].answers["x"], [0.3, np.nan, 0.1])
    assert len(notes) == 2
    assert "b lacks 1 label(s) (b)" in notes[0]
    assert "(z)" in notes[1]


def test_members_of_another_question_are_refused():
    with pytest.raises(DataError, match="knows none of the labels"):
        aligned([Member.of("a", ONE, LABELS), Member.of("b", ONE, "uvw")], LABELS, ["x"])
    with pytest.raises(DataError, match="has no prediction of 1"):
        aligned([Member.of("a", ONE, LABELS), Member.of("b", ONE[:1], LABELS)], LABELS, ["x", "y"])
    short = [Prediction("x", np.zeros(2))]
    with pytest.raises(DataError, match="other shapes"):
        aligned([Member.of("a", ONE), Member.of("b", short)], None, ["x"])
    wide = Member.of("b", [Prediction("x", np.zeros(4))], LABELS)
    with pytest.raises(DataError, match="3 labels"):
        aligned([wide, wide], LABELS[:2], ["x"])


def test_maps_of_pixels_are_kept_on_disk_and_come_back():
    image = np.random.default_rng(0).random((2, 5, 4)).astype(np.float32)
    kept = Answers([Prediction("m", image), Prediction("v", np.array([0.5]))])
    np.testing.assert_array_equal(kept["m"], image)
    assert list(kept) == ["m", "v"]
    with pytest.raises(DataError, match="twice"):
        kept.add("m", image)


def test_stored_predictions_and_folds_of_a_cross_validation_are_read(tmp_path):
    predictions.write(tmp_path / "one" / "predictions.npz", ONE, LABELS)
    found = Member.read(tmp_path / "one" / "predictions.npz")
    assert (found.name, found.labels) == ("one", LABELS)
    np.testing.assert_allclose(found.answers["y"], ONE[1].probabilities, rtol=1e-6)
    folder = tmp_path / "jobs" / "base"
    predictions.write(folder / "r0-f0" / "predictions.npz", ONE[:1], LABELS)
    predictions.write(
        folder / "r0-f1" / "predictions.npz", [Prediction("y", np.array([0.6, 0.4]))], ("c", "a")
    )
    whole = Member.out_of_fold(folder)
    assert whole.trained_on == frozenset()
    np.testing.assert_allclose(whole.answers["y"], [0.4, 0, 0.6], rtol=1e-6)
    with pytest.raises(DataError, match="repeat 1"):
        Member.out_of_fold(folder, repeat=1)


def test_classes_are_told_from_labels_by_their_sums():
    rows = [Prediction("x", np.array([0.2, 0.8])), Prediction("y", np.array([0.5, 0.5]))]
    classes = Member.of("a", rows)
    assert are_classes([classes, classes], ["x", "y"])
    labels = Member.of("b", [*rows[:1], Prediction("y", np.array([0.5, 0.6]))])
    assert not are_classes([classes, labels], ["x", "y"])


def test_equal_names_are_told_apart():
    assert distinct(["run", "run", "a", "run"]) == ["run", "run (2)", "a", "run (3)"]
