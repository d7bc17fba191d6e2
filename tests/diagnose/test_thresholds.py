import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy.special import expit

from vesalius.diagnose.curves import ranked
from vesalius.diagnose.thresholds import (
    CrossFittedThreshold,
    FixedThreshold,
    GlobalThreshold,
    PerLabelThreshold,
    PlugInThreshold,
    ShrunkThreshold,
    ThresholdBlock,
    Thresholds,
    TopK,
    best_for_f1,
    most_probable,
)
from vesalius.errors import DataError

METHODS = (
    FixedThreshold(),
    GlobalThreshold(),
    GlobalThreshold(average="micro"),
    PerLabelThreshold(),
    ShrunkThreshold(),
    CrossFittedThreshold(repeats=3),
    PlugInThreshold(),
    TopK(k=2),
)
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)


def example(seed=0, records=300, labels=8, *, spread=3.0):
    """Calibrated probabilities of labels that become rarer, and a truth drawn from them."""
    rng = np.random.default_rng(seed)
    centre = -1.0 - 0.6 * np.arange(labels)
    probabilities = expit(centre + spread * rng.normal(size=(records, labels)))
    return probabilities, rng.random(probabilities.shape) < probabilities


def f1(truth, decided):
    hits = (truth & decided).sum()
    total = truth.sum() + decided.sum()
    return 2 * hits / total if total else 0.0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), records=st.integers(1, 30), ties=st.booleans())
def test_a_labels_threshold_is_the_best_of_all(seed, records, ties):
    rng = np.random.default_rng(seed)
    probabilities, truth = rng.random(records), rng.random(records) < 0.3
    truth[0] = True
    probabilities = probabilities.round(1) if ties else probabilities
    found = f1(truth, probabilities >= best_for_f1(ranked(probabilities, truth)))
    assert found == max(f1(truth, probabilities >= t) for t in probabilities)


def test_a_threshold_lies_halfway_to_the_next_record():
    label = ranked(np.array([0.9, 0.8, 0.4, 0.1]), np.array([True, True, False, False]))
    assert best_for_f1(label) == pytest.approx(0.6)


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_the_global_threshold_is_the_best_of_all(average):
    probabilities, truth = example(records=60, labels=4)
    fitted = GlobalThreshold(average=average).fit(probabilities, truth)
    assert len(set(fitted.values)) == 1

    def score(t):
        decided = probabilities >= t
        if average == "micro":
            return f1(truth, decided)
        return np.mean([f1(truth[:, j], decided[:, j]) for j in range(4)])

    assert score(fitted.values[0]) == max(score(t) for t in probabilities[truth])


def test_labels_without_positives_get_the_global_threshold():
    probabilities, truth = example()
    truth[:, 3] = False
    whole = GlobalThreshold().fit(probabilities, truth).values[3]
    assert PerLabelThreshold().fit(probabilities, truth).values[3] == whole
    assert ShrunkThreshold().fit(probabilities, truth).values[3] == pytest.approx(whole)
    assert GlobalThreshold().fit(probabilities, np.zeros_like(truth)).values[0] == 0.5


def test_shrinking_goes_from_the_global_to_the_labels_own_threshold():
    probabilities, truth = example()
    own = PerLabelThreshold().fit(probabilities, truth).values
    whole = GlobalThreshold().fit(probabilities, truth).values
    np.testing.assert_allclose(
        ShrunkThreshold(strength=1e-9).fit(probabilities, truth).values, own, rtol=1e-5
    )
    np.testing.assert_allclose(
        ShrunkThreshold(strength=1e12).fit(probabilities, truth).values, whole, rtol=1e-5
    )


def test_the_plug_in_threshold_is_half_of_the_best_expected_f1():
    """Lipton et al.: for probabilities that say nothing, F* = 2p / (1 + p), all are taken."""
    flat = PlugInThreshold().fit(np.full((50, 1), 0.2))
    assert flat.values[0] == pytest.approx(0.2 / 1.2)
    assert flat.apply(np.full((3, 1), 0.2)).all()
    sure = PlugInThreshold().fit(np.array([[1.0], [1.0], [0.0]]))
    assert sure.values[0] == pytest.approx(0.5)


def test_the_plug_in_gives_no_label_to_everyone():
    never = PlugInThreshold(minimum=0).fit(np.zeros((4, 1)))
    assert not never.apply(np.zeros((2, 1))).any()
    flat = np.full((50, 1), 0.001)
    assert not PlugInThreshold().fit(flat).apply(flat).any()
    assert PlugInThreshold(minimum=0).fit(flat).apply(flat).all()


def test_the_plug_in_needs_no_truth_and_nears_the_best_threshold():
    probabilities, truth = example(records=50_000, labels=3)
    found = PlugInThreshold().fit(probabilities).values
    own = PerLabelThreshold().fit(probabilities, truth)
    for j in range(3):
        reached = f1(truth[:, j], probabilities[:, j] >= found[j])
        best = f1(truth[:, j], own.apply(probabilities)[:, j])
        assert best - 0.004 < reached <= best


def test_top_k_takes_the_most_probable():
    fitted = TopK(k=2).fit(np.full((1, 4), 0.5))
    decided = fitted.apply(np.array([[0.1, 0.9, 0.3, 0.3]]))
    assert decided.tolist() == [[False, True, True, False]]
    assert most_probable(np.zeros((2, 3)), 9).all()


@every_method
def test_thresholds_survive_json(method):
    probabilities, truth = example()
    fitted = method.fit(probabilities, truth)
    again = Thresholds.from_dict(json.loads(json.dumps(fitted.to_dict())))
    np.testing.assert_array_equal(again.apply(probabilities), fitted.apply(probabilities))
    assert again.method == method.name


@every_method
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), records=st.integers(2, 20), labels=st.integers(1, 4))
def test_small_and_odd_data_give_finite_thresholds(method, seed, records, labels):
    rng = np.random.default_rng(seed)
    probabilities = rng.choice([0.0, 0.3, 0.5, 1.0], (records, labels))
    fitted = method.fit(probabilities, rng.random((records, labels)) < 0.3)
    assert np.isfinite(fitted.values).all()
    assert ((fitted.values >= 0) & (fitted.values <= 1)).all()


@every_method
def test_fitting_twice_gives_the_same(method):
    probabilities, truth = example()
    first, second = (method.fit(probabilities, truth).values for _ in range(2))
    np.testing.assert_array_equal(first, second)


# Errors


def test_wrong_inputs_are_named():
    probabilities, truth = example()
    with pytest.raises(DataError, match="give it too"):
        PerLabelThreshold().fit(probabilities)
    with pytest.raises(DataError, match="shape"):
        PerLabelThreshold().fit(probabilities[:, :2], truth)
    with pytest.raises(DataError, match="sigmoid"):
        FixedThreshold().fit(probabilities * 3, truth)
    with pytest.raises(DataError, match="8 labels"):
        PlugInThreshold().fit(probabilities).apply(probabilities[:, :3])
    with pytest.raises(DataError, match="Nothing"):
        PlugInThreshold().fit(np.zeros((0, 3)))


@pytest.mark.parametrize(
    "values",
    [{"name": "fixed", "value": 1.5}, {"name": "top_k", "k": 0}, {"name": "best"},
     {"name": "shrunk", "strength": 0}],
)  # fmt: skip
def test_bad_blocks_are_refused(values):
    with pytest.raises(ValidationError):
        TypeAdapter(ThresholdBlock).validate_python(values)
