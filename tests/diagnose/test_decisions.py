import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import expit

from vesalius.diagnose.co_occurrence import CoOccurrenceBlock, pair_weights
from vesalius.diagnose.crossfitting import cross_fitted_score
from vesalius.diagnose.decisions import Decision, FittedDecision
from vesalius.diagnose.thresholds import FixedThreshold, PerLabelThreshold
from vesalius.engine.calibration import TemperatureBlock
from vesalius.errors import DataError

LABELS = ["前列腺增生", "卵巢囊肿", "新生儿黄疸", "高血压"]
PLAIN = {"calibration": None, "thresholds": FixedThreshold(), "never_empty": False}


def example(seed=0, records=300, labels=4):
    rng = np.random.default_rng(seed)
    probabilities = expit(rng.normal(-1, 2, (records, labels)))
    return probabilities, rng.random(probabilities.shape) < probabilities


def decide(table, *, labels=None, truth=None, **options):
    """Decide a small table with fixed thresholds of one half."""
    table = np.asarray(table, float)
    truth = np.zeros(table.shape, bool) if truth is None else truth
    fitted = Decision(**(PLAIN | options)).fit(table, truth, labels=labels)
    return fitted, table


@pytest.fixture
def rules_file(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(
        "labels:\n"
        '  "*前列腺*": {sexes: [male], minimum_age: 18}\n'
        "  卵巢囊肿: {sexes: [female]}\n"
        "  新生儿黄疸: {maximum_age: 0.1}\n"
        "excludes:\n"
        "  - [卵巢囊肿, 高血压]\n",
        encoding="utf-8",
    )
    return str(path)


# Limits


def test_no_record_is_empty_where_the_recipe_forbids_it():
    table = [[0.1, 0.4, 0.2], [0.9, 0.1, 0.1]]
    fitted, table = decide(table, never_empty=True)
    assert fitted.apply(table).tolist() == [[False, True, False], [True, False, False]]
    fitted, table = decide(table)
    assert fitted.apply(table)[0].tolist() == [False, False, False]


def test_at_most_so_many_labels_stay_the_most_probable():
    fitted, table = decide([[0.9, 0.6, 0.8], [0.1, 0.7, 0.2]], max_labels=2)
    assert fitted.apply(table).tolist() == [[True, False, True], [False, True, False]]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), most=st.integers(1, 3))
def test_every_record_has_one_to_most_labels(seed, most):
    probabilities, truth = example(seed, records=40)
    fitted = Decision(max_labels=most).fit(probabilities, truth)
    numbers = fitted.apply(probabilities).sum(1)
    assert numbers.min() >= 1
    assert numbers.max() <= most


# Rules


def test_rules_forbid_what_age_and_sex_rule_out(rules_file):
    probabilities = np.full((4, 4), 0.8)
    fitted, _ = decide(probabilities, labels=LABELS, rules=rules_file)
    ages, sexes = [40.0, 40.0, 0.01, None], ["male", "female", "male", None]
    decided = fitted.apply(probabilities, ages=ages, sexes=sexes)
    named = [[LABELS[j] for j in np.flatnonzero(row)] for row in decided]
    assert named == [
        ["前列腺增生", "高血压"],
        ["卵巢囊肿"],  # it excludes 高血压 and is as probable; the first named stays
        ["新生儿黄疸", "高血压"],
        ["前列腺增生", "卵巢囊肿", "新生儿黄疸"],
    ]
    seen = fitted.probabilities(probabilities, ages=ages, sexes=sexes)
    assert seen[0].tolist() == [0.8, 0.0, 0.0, 0.8]


def test_of_labels_that_exclude_each_other_the_more_probable_stays(rules_file):
    table = [[0.1, 0.7, 0.1, 0.8], [0.1, 0.8, 0.1, 0.7], [0.1, 0.7, 0.1, 0.2]]
    fitted, table = decide(table, labels=LABELS, rules=rules_file)
    assert fitted.apply(table)[:, [1, 3]].tolist() == [[False, True], [True, False], [True, False]]


def test_an_empty_answer_is_filled_by_what_is_possible(rules_file):
    table = [[0.4, 0.3, 0.2, 0.1]]
    fitted, table = decide(table, labels=LABELS, rules=rules_file, never_empty=True)
    decided = fitted.apply(table, ages=[30.0], sexes=["female"])
    assert [LABELS[j] for j in np.flatnonzero(decided[0])] == ["卵巢囊肿"]


def test_a_rule_that_fits_no_label_is_told(rules_file):
    fitted, _ = decide(np.full((2, 1), 0.5), labels=["卵巢囊腫"], rules=rules_file)
    assert any("'卵巢囊肿' matches no label" in note for note in fitted.notes)
    assert not any("前列腺" in note for note in fitted.notes)  # a pattern may fit nothing


# All of it


def test_a_decision_survives_json(rules_file):
    probabilities, truth = example()
    recipe = Decision(
        calibration=TemperatureBlock(),
        co_occurrence=CoOccurrenceBlock(),
        thresholds=PerLabelThreshold(),
        rules=rules_file,
        max_labels=3,
    )
    ages, sexes = [30.0] * 300, ["male", "female", None] * 100
    fitted = recipe.fit(probabilities, truth, labels=LABELS, ages=ages, sexes=sexes)
    again = FittedDecision.from_dict(json.loads(json.dumps(fitted.to_dict())))
    known = {"ages": ages, "sexes": sexes}
    np.testing.assert_array_equal(
        again.apply(probabilities, **known), fitted.apply(probabilities, **known)
    )
    plain = Decision(calibration=None, thresholds=FixedThreshold()).fit(probabilities, truth)
    assert FittedDecision.from_dict(plain.to_dict()).to_dict() == plain.to_dict()


def test_thresholds_are_fitted_to_what_they_will_see():
    """Halved log-odds: without calibration the plug-in would answer far too much."""
    probabilities, truth = example(records=4000)
    flat = expit(0.5 * np.log(probabilities / (1 - probabilities)) + 1)
    options = {"never_empty": False}
    right = Decision(calibration=None, **options).fit(probabilities, truth)
    mended = Decision(**options).fit(flat, truth)
    same = mended.apply(flat) == right.apply(probabilities)
    assert same.mean() > 0.97


def test_the_cross_fitted_score_is_that_of_the_thresholds_alone_without_rules():
    probabilities, truth = example()
    recipe = Decision(**(PLAIN | {"thresholds": PerLabelThreshold()}))
    found = recipe.cross_fitted_score(probabilities, truth, seed=2)
    assert (
        found.score == cross_fitted_score(PerLabelThreshold(), probabilities, truth, seed=2).score
    )
    assert found.in_sample >= found.score


def test_the_cross_fitted_score_knows_ages_and_sexes(rules_file):
    probabilities, truth = example()
    sexes = ["male", "female"] * 150
    found = Decision(rules=rules_file).cross_fitted_score(
        probabilities, truth, labels=LABELS, ages=[50.0] * 300, sexes=sexes
    )
    assert not found.decisions[1::2, 0].any()
    assert not found.decisions[0::2, 1].any()


def test_wrong_inputs_are_named():
    probabilities, truth = example()
    with pytest.raises(DataError, match="label names"):
        Decision().fit(probabilities, truth, labels=["a"])
    with pytest.raises(DataError, match="shape"):
        Decision().fit(probabilities[:9], truth)
    fitted = Decision(rules="age-sex").fit(probabilities, truth, labels=LABELS)
    with pytest.raises(DataError, match="1 ages for 300"):
        fitted.apply(probabilities, ages=[3.0])
    with pytest.raises(ValidationError):
        Decision(max_labels=0)
    with pytest.raises(ValidationError):
        Decision(thresholds={"name": "best"})


def test_rules_need_the_names_of_the_labels():
    with pytest.raises(DataError, match="names of the labels"):
        Decision(rules="age-sex").fit(*example())


def test_pairs_can_come_from_the_training_labels():
    probabilities, truth = example()
    _, training = example(1)
    options = {"co_occurrence": CoOccurrenceBlock(), "calibration": None}
    fitted = Decision(**options).fit(probabilities, truth, training=training)
    np.testing.assert_array_equal(fitted.co_occurrence.weights, pair_weights(training))
