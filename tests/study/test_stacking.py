"""Stacking and blending, against scikit-learn and by hand."""

import numpy as np
import pytest
from scipy.special import logit
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import LinearSVC

from vesalius.errors import DataError, RecipeError
from vesalius.study.stacking import blend, blending_rows, fit_stacker, stack
from vesalius.study.weights import parts


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    truth = rng.random((120, 3)) < [0.5, 0.3, 0.2]
    signal = truth * 2.0 - 1.0
    table = 1 / (1 + np.exp(-(signal + rng.normal(0, 1.5, (2, 120, 3)))))
    return table, truth


def test_a_label_is_answered_as_scikit_learn_answers_it(problem):
    table, truth = problem
    found = fit_stacker(table, truth).predict(table)
    theirs = LogisticRegression(max_iter=1000).fit(logit(table[:, :, 1]).T, truth[:, 1])
    wanted = theirs.predict_proba(logit(table[:, :, 1]).T)[:, 1]
    np.testing.assert_allclose(found[:, 1], wanted, rtol=1e-6)


def test_every_case_is_answered_by_learners_that_did_not_see_it(problem):
    table, truth = problem
    groups = [row // 2 for row in range(120)]
    found = stack(table, truth, folds=4, groups=groups, seed=3)
    numbers = parts(120, 4, groups=groups, seed=3)
    rows = np.flatnonzero(numbers == 2)
    others = np.flatnonzero(numbers != 2)
    by_hand = fit_stacker(table[:, others], truth[others]).predict(table[:, rows])
    np.testing.assert_array_equal(found.out_of_fold[rows], by_hand)


def test_noise_earns_nothing_out_of_fold():
    rng = np.random.default_rng(1)
    truth, table = rng.random((60, 1)) < 0.5, rng.random((30, 60, 1))
    found = stack(table, truth, learner=LogisticRegression(C=100, max_iter=5000))
    inside = ((found.fitted.predict(table) > 0.5) == truth).mean()
    outside = ((found.out_of_fold > 0.5) == truth).mean()
    assert inside > 0.8
    assert outside < 0.65


@pytest.mark.parametrize("learner", [Ridge(), LinearSVC(), LogisticRegression()])
@pytest.mark.parametrize("features", ["label", "all"])
def test_any_learner_answers_with_probabilities(problem, learner, features):
    table, truth = problem
    found = fit_stacker(table, truth, learner=learner, features=features).predict(table)
    assert ((found >= 0) & (found <= 1)).all()
    assert ((found > 0.5) == truth).mean() > 0.75


def test_labels_that_one_member_lacks_are_learned_from_the_others(problem):
    table, truth = problem
    table[1, :, 2] = np.nan
    found = fit_stacker(table, truth).predict(table)
    alone = fit_stacker(table[:1], truth).predict(table[:1])
    np.testing.assert_allclose(found[:, 2], alone[:, 2])
    table[0, :, 2] = np.nan
    with pytest.raises(DataError, match="No member"):
        fit_stacker(table, truth)


def test_a_label_with_one_class_gets_its_rate_and_classes_sum_to_one(problem):
    table, truth = problem
    truth = truth.copy()
    truth[:, 0] = False
    assert fit_stacker(table, truth).predict(table)[0, 0] == pytest.approx(1 / 122)
    sums = fit_stacker(table, truth, classes=True).predict(table).sum(1)
    np.testing.assert_allclose(sums, 1)


def test_blending_fits_to_seventy_of_a_hundred_and_keeps_patients_whole(problem):
    table, truth = problem
    groups = [row // 3 for row in range(120)]
    found = blend(table, truth, groups=groups)
    assert len(found.fitted_on) == 84
    assert not {groups[i] for i in found.fitted_on} & {groups[i] for i in found.held_out}
    by_hand = fit_stacker(table[:, found.fitted_on], truth[found.fitted_on])
    np.testing.assert_array_equal(found.probabilities, by_hand.predict(table[:, found.held_out]))


def test_impossible_wishes_are_refused(problem):
    table, truth = problem
    with pytest.raises(RecipeError, match="no scikit-learn estimator"):
        fit_stacker(table, truth, learner=object())
    with pytest.raises(RecipeError, match="features"):
        fit_stacker(table, truth, features="some")
    with pytest.raises(RecipeError, match="share"):
        blending_rows(10, 1.0)
    with pytest.raises(DataError, match="needs"):
        fit_stacker(table, truth).predict(table[:, :, :2])
