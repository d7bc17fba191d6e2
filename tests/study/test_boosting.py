"""Boosting against scikit-learn's AdaBoost and gradient boosting."""

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import AdaBoostClassifier, GradientBoostingRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from vesalius.errors import DataError, RecipeError
from vesalius.study.boosting import adaboost, adaboost_labels, gradient_boost, of_estimator


@pytest.mark.parametrize(("classes", "rate"), [(2, 1.0), (3, 0.5)])
def test_adaboost_equals_scikit_learns(classes, rate):
    inputs, truth = make_classification(
        200, n_classes=classes, n_informative=5, flip_y=0.1, random_state=1
    )
    stump = DecisionTreeClassifier(max_depth=2, max_features=None, random_state=0)
    found = adaboost(of_estimator(stump), inputs, truth, rounds=12, rate=rate)
    theirs = AdaBoostClassifier(stump, n_estimators=12, learning_rate=rate, random_state=0)
    theirs.fit(inputs, truth)
    np.testing.assert_allclose(found.errors[:4], theirs.estimator_errors_[:4], rtol=1e-6)
    np.testing.assert_allclose(found.weights[:4], theirs.estimator_weights_[:4], rtol=1e-6)
    assert (found.predict(inputs) == theirs.predict(inputs)).mean() > 0.97
    np.testing.assert_allclose(found.votes(inputs).sum(1), 1)


def test_the_first_step_by_hand():
    truth = np.array([0, 0, 1, 1])

    def learner(inputs, targets, weights):
        seen.append(weights)
        return lambda new: np.array([0, 1, 1, 1])

    seen = []
    found = adaboost(learner, None, truth, rounds=2)
    assert found.weights[0] == pytest.approx(np.log(3))
    np.testing.assert_allclose(seen[1], [1 / 6, 1 / 2, 1 / 6, 1 / 6])


def test_a_perfect_member_ends_it_and_a_useless_one_is_refused():
    truth = np.array([0, 1, 0, 1])
    found = adaboost(lambda *_: lambda new: truth, None, truth)
    assert len(found.members) == 1
    with pytest.raises(DataError, match="guessing"):
        adaboost(lambda *_: lambda new: 1 - truth, None, truth)
    with pytest.raises(DataError, match="two classes"):
        adaboost(lambda *_: None, None, np.zeros(3))


def test_labels_are_boosted_one_by_one():
    inputs, truth = make_classification(120, random_state=0)
    table = np.stack([truth, 1 - truth], axis=1)
    learner = of_estimator(DecisionTreeClassifier(max_depth=1))
    shares = adaboost_labels(learner, inputs, table, rounds=5)(inputs)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-9)
    with pytest.raises(DataError, match="column 1"):
        adaboost_labels(learner, inputs, np.stack([truth, truth * 0], axis=1))


def test_gradient_boosting_of_squares_equals_scikit_learns():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(150, 3))
    targets = inputs[:, 0] ** 2 + rng.normal(0, 0.1, 150)
    learner = of_estimator(DecisionTreeRegressor(max_depth=2, random_state=0))
    found = gradient_boost(learner, inputs, targets, rounds=10, rate=0.3, loss="squared")
    theirs = GradientBoostingRegressor(
        n_estimators=10, learning_rate=0.3, max_depth=2, random_state=0
    ).fit(inputs, targets)
    np.testing.assert_allclose(found.predict(inputs), theirs.predict(inputs), rtol=1e-6)


def test_a_newton_step_of_the_logistic_loss_by_hand():
    truth = np.array([0, 1, 1, 1])

    def learner(inputs, targets, weights):
        np.testing.assert_allclose(targets, [-4, 4 / 3, 4 / 3, 4 / 3])
        np.testing.assert_allclose(weights, 0.1875)
        return lambda new: targets

    found = gradient_boost(learner, None, truth, rounds=1, rate=0.5)
    assert found.start == pytest.approx(np.log(3))
    np.testing.assert_allclose(found.raw(None)[0], np.log(3) - 2)
    assert found.losses[1] < found.losses[0]


def test_the_training_loss_falls():
    inputs, truth = make_classification(200, flip_y=0.1, random_state=0)
    learner = of_estimator(DecisionTreeRegressor(max_depth=2, random_state=0))
    found = gradient_boost(learner, inputs, truth, rounds=15)
    assert (np.diff(found.losses) < 0).all()
    assert ((found.predict(inputs) > 0.5) == truth).mean() > 0.85
    with pytest.raises(DataError, match="0 and 1"):
        gradient_boost(learner, inputs, truth * 2)
    with pytest.raises(RecipeError, match="rounds"):
        gradient_boost(learner, inputs, truth, rounds=0)
