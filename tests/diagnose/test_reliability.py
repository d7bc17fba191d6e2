import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from vesalius.diagnose.reliability import (
    Reliability,
    calibration_errors,
    draw_reliability,
    reliability,
)
from vesalius.errors import DataError


def example(seed=0, records=4000, labels=4, *, slope=1.0, shift=0.0):
    """Probabilities whose log-odds are slope * right + shift, and a truth drawn from the right."""
    rng = np.random.default_rng(seed)
    right = np.clip(rng.normal(-1.5, 2.0, (records, labels)), -9, 9)
    truth = rng.random(right.shape) < expit(right)
    return expit(slope * right + shift), truth, expit(right)


def test_reliability_counts_by_hand():
    probabilities = np.array([0.1, 0.1, 0.3, 0.9])
    truth = np.array([False, True, False, True])
    table = reliability(probabilities, truth, bins=2, spacing="width")
    assert table.number.tolist() == [3, 1]
    assert table.predicted == pytest.approx([0.5 / 3, 0.9])
    assert table.observed == pytest.approx([1 / 3, 1.0])
    assert table.error == pytest.approx((3 * abs(0.5 / 3 - 1 / 3) + 0.1) / 4)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    bins=st.integers(1, 20),
    spacing=st.sampled_from(["width", "mass"]),
    ties=st.booleans(),
)
def test_every_answer_is_in_one_bin(seed, bins, spacing, ties):
    rng = np.random.default_rng(seed)
    probabilities = rng.random((13, 3)) ** 3
    probabilities = probabilities.round(1) if ties else probabilities
    truth = rng.random((13, 3)) < 0.5
    table = reliability(probabilities, truth, bins=bins, spacing=spacing)
    assert table.number.sum() == 39
    assert (table.predicted * table.number).sum() == pytest.approx(probabilities.sum())
    assert (table.observed * table.number).sum() == pytest.approx(truth.sum())
    assert len(table.number) <= bins
    assert (np.diff(table.predicted) > 0).all()


def test_errors_of_every_label_and_of_all():
    metrics = pytest.importorskip("sklearn.metrics")
    probabilities, truth, _ = example(records=500)
    found = calibration_errors(probabilities, truth, labels=["a", "b", "c", "d"])
    assert list(found["labels"]) == ["a", "b", "c", "d"]
    assert found["macro_ece"] == pytest.approx(np.mean(list(found["labels"].values())))
    assert found["log_loss"] == pytest.approx(
        metrics.log_loss(truth.ravel(), probabilities.ravel())
    )
    expected = metrics.brier_score_loss(truth.ravel(), probabilities.ravel())
    assert found["brier"] == pytest.approx(expected)


def test_a_figure_shows_every_table(tmp_path):
    pytest.importorskip("matplotlib")
    probabilities, truth, right = example(records=300, slope=2)
    tables = {"before": reliability(probabilities, truth), "之后": reliability(right, truth)}
    figure = draw_reliability(tables, title="高血压")
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert [label.split(" (")[0] for label in labels] == ["before", "之后"]
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert np.isnan(Reliability(*(np.zeros(0),) * 3).error)


def test_wrong_inputs_are_named():
    with pytest.raises(DataError, match="bins"):
        reliability([0.5], [True], bins=0)
    with pytest.raises(DataError, match="shape"):
        calibration_errors(np.full((3, 2), 0.5), np.zeros((3, 1), bool))
