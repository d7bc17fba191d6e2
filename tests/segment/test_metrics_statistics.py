"""Intervals and paired tests: scipy as the oracle, coverage by simulation, stated rules."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import DataError
from vesalius.segment.metrics import ConfusionMatrix, bootstrap, bootstrap_counts, compare, holm

DICE = np.random.default_rng(7).beta(9, 2, (30, 3))


@pytest.mark.parametrize(("method", "scipys"), [("percentile", "percentile"), ("bca", "BCa")])
def test_the_textbook_intervals_are_scipys(method, scipys):
    found = bootstrap(DICE[:, 0], method=method, expand=False, resamples=20_000)
    other = scipy.stats.bootstrap(
        (DICE[:, 0],), np.mean, n_resamples=20_000, method=scipys, rng=3
    ).confidence_interval
    width = other.high - other.low
    assert abs(found.low - other.low) < 0.02 * width
    assert abs(found.high - other.high) < 0.02 * width
    assert found.estimate == pytest.approx(DICE[:, 0].mean())


@pytest.mark.parametrize("method", ["bca", "percentile"])
@pytest.mark.parametrize("draw", ["normal", "beta"])
def test_a_95_percent_interval_of_40_cases_covers_the_truth_in_95_of_100_studies(method, draw):
    rng = np.random.default_rng(11)
    truth = 0.0 if draw == "normal" else 12 / 13.5
    studies = rng.normal(size=(40, 1000)) if draw == "normal" else rng.beta(12, 1.5, (40, 1000))
    found = bootstrap(studies, method=method, resamples=1000)
    covered = ((found.low <= truth) & (truth <= found.high)).mean()
    assert 0.93 <= covered <= 0.97


def test_cases_without_a_value_are_left_out_of_their_column_alone():
    values = DICE.copy()
    values[3:9, 1] = np.nan
    found = bootstrap(values)
    assert found.cases.tolist() == [30, 24, 30]
    np.testing.assert_allclose(found.estimate, np.nanmean(values, axis=0))
    alone = bootstrap(np.delete(values[:, 1], range(3, 9)))
    assert abs(found.low[1] - alone.low) < 0.01
    np.testing.assert_allclose(found.low[0], bootstrap(DICE).low[0])


def test_one_column_is_a_scalar_and_indexing_gives_a_column():
    found = bootstrap(DICE)
    single = bootstrap(DICE[:, 0])
    assert np.ndim(single.low) == 0
    assert found[0].low == pytest.approx(float(single.low))
    assert found[:2].estimate.shape == (2,)
    assert single.to_dict()["method"] == "expanded bca"


def test_an_interval_needs_two_units_and_constant_scores_have_no_width():
    one = bootstrap([0.7])
    assert one.estimate == 0.7
    assert np.isnan([one.low, one.high]).all()
    none = bootstrap([np.nan, np.nan])
    assert np.isnan(none.estimate)
    assert none.cases == 0
    same = bootstrap([0.7] * 5)
    assert (same.low, same.high) == pytest.approx((0.7, 0.7))


def test_the_seed_decides_and_more_confidence_is_wider():
    assert bootstrap(DICE, seed=4).low.tolist() == bootstrap(DICE, seed=4).low.tolist()
    assert bootstrap(DICE, seed=4).low.tolist() != bootstrap(DICE, seed=5).low.tolist()
    wide, narrow = bootstrap(DICE, confidence=0.99), bootstrap(DICE, confidence=0.8)
    assert (wide.low < narrow.low).all()
    assert (wide.high > narrow.high).all()


def test_repeated_images_of_a_patient_do_not_make_the_interval_narrower():
    patients = np.repeat(np.arange(15), 8)
    repeated = DICE[:15, 0].repeat(8)
    clustered = bootstrap(repeated, groups=patients)
    alone = bootstrap(DICE[:15, 0])
    assert (clustered.cases, clustered.units) == (120, 15)
    assert (clustered.low, clustered.high) == pytest.approx((alone.low, alone.high))
    naive = bootstrap(repeated)
    assert naive.high - naive.low < 0.6 * (clustered.high - clustered.low)


def counts_of_cases(cases=12, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 40, (cases, classes, classes))
    counts += np.eye(classes, dtype=int) * 200
    return counts


def test_global_scores_are_those_of_the_summed_confusion_matrix():
    counts = counts_of_cases()
    whole = ConfusionMatrix.from_counts(counts.sum(0))
    found = bootstrap_counts(counts)
    for name in ("dice", "iou", "precision", "recall"):
        np.testing.assert_allclose(found[name].estimate, getattr(whole, name)())
    assert found["mean_iou"].estimate == pytest.approx(whole.mean_iou())
    assert found["mean_dice"].estimate == pytest.approx(whole.mean_dice())
    foreground = bootstrap_counts(counts, labels=[1, 2, 3])
    assert foreground["mean_dice"].estimate == pytest.approx(whole.dice()[1:].mean())
    tp, wrong = whole.tp()[1:].sum(), (whole.fp() + whole.fn())[1:].sum()
    assert foreground["micro_dice"].estimate == pytest.approx(2 * tp / (2 * tp + wrong))
    assert foreground["micro_iou"].estimate == pytest.approx(tp / (tp + wrong))


def test_intervals_of_global_scores_are_those_of_resampled_matrices():
    counts = counts_of_cases()
    found = bootstrap_counts(counts, method="percentile", expand=False, resamples=4000)
    rng = np.random.default_rng(1)
    slow = [
        ConfusionMatrix.from_counts(counts[rng.integers(0, 12, 12)].sum(0)).mean_iou()
        for _ in range(4000)
    ]
    low, high = np.quantile(slow, [0.025, 0.975])
    width = high - low
    assert abs(found["mean_iou"].low - low) < 0.08 * width
    assert abs(found["mean_iou"].high - high) < 0.08 * width


def test_counts_as_a_mapping_give_the_same_and_absent_classes_are_nan():
    counts = counts_of_cases()
    counts[:, 3] = counts[:, :, 3] = 0
    tp = np.diagonal(counts, axis1=1, axis2=2)
    parts = {"tp": tp, "fp": counts.sum(1) - tp, "fn": counts.sum(2) - tp}
    one, other = bootstrap_counts(counts), bootstrap_counts(parts)
    for name in one:
        np.testing.assert_array_equal(one[name].low, other[name].low)
    assert np.isnan(one["dice"].estimate[3])
    assert one["dice"].cases.tolist() == [12, 12, 12, 0]
    assert np.isfinite(one["mean_dice"].low)


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: bootstrap([]), r"shape \(0,\)"),
        (lambda: bootstrap([1.0, np.inf]), "1 of the values are infinite"),
        (lambda: bootstrap([1, 2], resamples=3), "resamples is 3"),
        (lambda: bootstrap([1, 2], confidence=95), "confidence is 95"),
        (lambda: bootstrap([1, 2], method="jackknife"), "known are bca"),
        (lambda: bootstrap([1, 2], groups=["a"]), "1 groups for 2 cases"),
        (lambda: bootstrap_counts(np.ones((2, 3))), r"\(cases, classes, classes\)"),
        (lambda: bootstrap_counts(np.ones((2, 3, 3))), "whole numbers"),
        (lambda: compare([1, 2], [1]), r"shapes \(2,\) and \(1,\)"),
    ],
)
def test_what_cannot_be_resampled_is_named(call, part):
    with pytest.raises(DataError, match=part):
        call()


def test_paired_tests_agree_with_scipy():
    a = DICE
    b = a - np.random.default_rng(2).normal([0.0, 0.02, 0.06], 0.05, a.shape)
    found = compare(a, b)
    for column in range(3):
        expected = scipy.stats.wilcoxon(a[:, column] - b[:, column]).pvalue
        assert found.wilcoxon_p[column] == pytest.approx(expected)
        test = scipy.stats.permutation_test(
            (a[:, column], b[:, column]),
            lambda x, y, axis: np.mean(x - y, axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=10_000,
            rng=0,
        )
        assert found.permutation_p[column] == pytest.approx(test.pvalue, abs=0.015)
    few = compare(a[:10], b[:10])
    exact = scipy.stats.permutation_test(
        (a[:10, 1], b[:10, 1]),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
    )
    assert few.permutation_p[1] == pytest.approx(exact.pvalue)
    np.testing.assert_allclose(found.difference.estimate, (a - b).mean(0))
    np.testing.assert_allclose(found.better + found.equal + found.worse, 1)


def test_permutation_p_values_of_normal_differences_are_those_of_the_t_test():
    differences = np.random.default_rng(5).normal(0.3, 1, (25, 200))
    found = compare(differences, np.zeros_like(differences))
    expected = scipy.stats.ttest_1samp(differences, 0).pvalue
    assert np.abs(found.permutation_p - expected).mean() < 0.01
    assert np.abs(found.permutation_p - expected).max() < 0.06


def test_models_that_agree_differ_by_nothing():
    found = compare(DICE, DICE)
    assert (found.wilcoxon_p == 1).all()
    assert (found.permutation_p == 1).all()
    assert (found.equal == 1).all()
    assert (found.difference.high == 0).all()


def test_cases_without_a_value_in_one_model_are_counted_and_take_no_part():
    a, b = DICE[:, 0].copy(), DICE[:, 0] - 0.01
    a[:4] = np.nan
    b[0] = np.nan
    found = compare(a, b)
    assert (found.cases, found.unpaired) == (26, 3)
    assert found.difference.estimate == pytest.approx(0.01)
    assert found.better == 1
    assert np.isnan(compare([np.nan], [np.nan]).wilcoxon_p)


def test_a_missed_organ_counts_as_worse_but_not_in_the_mean():
    a = np.array([2.0, 3.0, 4.0, 5.0, np.inf, 6.0])
    b = np.array([2.5, 3.5, np.inf, 5.5, np.inf, 6.25])
    found = compare(a, b, higher_is_better=False)
    assert (found.cases, found.unbounded) == (6, 2)
    assert found.better == pytest.approx(5 / 6)
    assert found.equal == pytest.approx(1 / 6)
    assert found.mean_a == pytest.approx(4)
    assert found.difference.estimate == pytest.approx(found.mean_a - found.mean_b)
    assert found.wilcoxon_p == pytest.approx(0.0625)  # five differences of one sign, exact


def test_groups_are_the_units_of_the_tests():
    rng = np.random.default_rng(3)
    difference = rng.normal(0.02, 0.05, 6).repeat(10)
    naive = compare(difference, np.zeros(60))
    clustered = compare(difference, np.zeros(60), groups=np.arange(6).repeat(10))
    alone = compare(difference[::10], np.zeros(6))
    assert clustered.wilcoxon_p == pytest.approx(float(alone.wilcoxon_p))
    assert clustered.permutation_p == pytest.approx(float(alone.permutation_p))
    assert naive.wilcoxon_p < clustered.wilcoxon_p
    assert compare(difference, np.zeros(60)).to_dict()["cases"] == 60


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_value_nor_exceeds_bonferroni(p_values):
    found = holm(p_values)
    assert (found >= np.array(p_values)).all()
    assert (found <= np.minimum(1, np.array(p_values) * len(p_values)) + 1e-12).all()
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


def test_holms_example_by_hand_and_a_missing_p_value():
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04, 0.03]), [0.03, np.nan, 0.06, 0.06])
