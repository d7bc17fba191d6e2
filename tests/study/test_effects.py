import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from vesalius.errors import DataError
from vesalius.study.effects import (
    bayesian,
    detectable,
    effect,
    holm,
    mean_interval,
    power,
    table,
    verdict,
)
from vesalius.study.simulation import Design, exchangeable_study

SIZES = {"train": 80, "valid": 20}
differences = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=2, max_size=12)
p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def published():
    """AUC of an SVM with rbf minus linear kernel, 10 x 10 folds, of scikit-learn's example.

    "Statistical comparison of models using grid search"; with 25 pairs in a fold the differences
    take seven values, so their counts are all there is to know.
    """
    steps = [-0.12, -0.08, -0.04, 0.0, 0.04, 0.08, 0.2]
    return np.repeat(steps, [1, 2, 10, 53, 29, 4, 1])


def test_effect_agrees_with_the_corrected_test_in_scikit_learns_documentation():
    found = effect(published(), train=90, valid=10, alternative="greater")
    assert found.mean / found.error == pytest.approx(0.750, abs=5e-4)
    assert found.p == pytest.approx(0.227, abs=5e-4)


def test_bayesian_agrees_with_the_probabilities_in_scikit_learns_documentation():
    assert bayesian(published(), correlation=0.1)[2] == pytest.approx(0.773, abs=5e-4)
    assert bayesian(published(), correlation=0.1, rope=0.01)[1] == pytest.approx(0.432, abs=5e-4)


def test_effect_by_hand():
    # mean 2, s^2 = 1, variance (1/3 + 1/4) * 1, two degrees of freedom
    found = effect([1.0, 2.0, 3.0], **SIZES)
    t = 2 / np.sqrt(7 / 12)
    assert (found.mean, found.sd, found.runs, found.reason) == (2.0, 1.0, 3, "")
    assert found.error == pytest.approx(np.sqrt(7 / 12))
    # with two degrees of freedom Student's distribution has a closed form
    assert found.p == pytest.approx(1 - t / np.sqrt(2 + t**2))
    assert found.high - 2 == pytest.approx(4.302652729911275 * np.sqrt(7 / 12))


@settings(max_examples=50, deadline=None)
@given(differences)
def test_without_shared_training_cases_it_is_the_paired_t_test(values):
    found = effect(values, train=1e12, valid=1e-3)
    if not found.reason:
        oracle = stats.ttest_1samp(values, 0)
        assert found.p == pytest.approx(oracle.pvalue, abs=1e-9)
        assert found.low == pytest.approx(oracle.confidence_interval().low, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(differences, st.floats(1e-3, 1e3))
def test_effect_turns_with_the_sign_and_does_not_depend_on_the_unit(values, unit):
    one, other = effect(values, **SIZES), effect(-unit * np.array(values), **SIZES)
    assert other.reason == one.reason
    assert other.p == pytest.approx(one.p, nan_ok=True, rel=1e-6)
    assert other.low == pytest.approx(-unit * one.high, nan_ok=True, rel=1e-6, abs=1e-9 * unit)


@settings(max_examples=50, deadline=None)
@given(differences, st.floats(0.5, 0.99))
def test_interval_excludes_zero_exactly_where_p_is_below_its_level(values, confidence):
    found = effect(values, **SIZES, confidence=confidence)
    if not found.reason and abs(found.p - (1 - confidence)) > 1e-6:
        assert (found.low > 0 or found.high < 0) == (found.p < 1 - confidence)


@settings(max_examples=30, deadline=None)
@given(differences)
def test_one_sided_p_values_are_complements_and_halves(values):
    both, up, down = (
        effect(values, **SIZES, alternative=kind).p for kind in ("two-sided", "greater", "less")
    )
    if not np.isnan(both) and np.any(values):
        assert up + down == pytest.approx(1)
        assert both == pytest.approx(2 * min(up, down))


def test_equal_differences_show_no_variance_to_test_against():
    for values in ([0.1] * 3, [0.1 + 0.2, 0.3], [0.90001 - 0.9, 0.80001 - 0.8]):
        found = effect(values, **SIZES)
        assert "no variance" in found.reason
        assert np.isnan([found.low, found.high, found.p]).all()
        assert np.isnan(bayesian(values, correlation=0.2)).all()


def test_a_trick_that_changes_nothing_has_p_one_and_a_point_for_an_interval():
    found = effect([0.0, 0.0, 0.0], **SIZES)
    assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert found.reason == "the trick changed no score"
    assert bayesian([0.0, 0.0], correlation=0.2) == (0, 1, 0)


@pytest.mark.parametrize("values", [[], [np.nan], [0.2], [0.0, np.nan]])
def test_fewer_than_two_runs_give_no_interval_but_a_reason(values):
    found = effect(values, **SIZES)
    assert np.isnan([found.low, found.high, found.p, found.sd]).all()
    assert found.reason
    assert found.runs == np.isfinite(values).sum()


def test_runs_that_failed_are_left_out():
    gap = effect([[0.1, np.nan, 0.3], [np.nan, 0.2, 0.4]], **SIZES)
    assert gap == effect([0.1, 0.3, 0.2, 0.4], **SIZES)


@pytest.mark.parametrize(
    "wrong",
    [
        {"differences": [0.1, np.inf]},
        {"train": 0},
        {"valid": -1},
        {"confidence": 1.0},
        {"alternative": "both"},
    ],
)
def test_effect_refuses_arguments_out_of_range(wrong):
    good = {"differences": [0.1, 0.2], **SIZES}
    with pytest.raises(DataError):
        effect(**good | wrong)


@settings(max_examples=50, deadline=None)
@given(differences, st.sampled_from([2, 5, 10]), st.floats(0, 0.5))
def test_bayesian_probabilities_are_areas_under_students_posterior(values, folds, rope):
    hurts, same, helps = bayesian(values, correlation=1 / folds, rope=rope)
    if np.isnan(hurts) or not np.any(values):
        return
    scale = np.std(values, ddof=1) * np.sqrt(1 / len(values) + 1 / (folds - 1))
    posterior = stats.t(len(values) - 1, np.mean(values), scale)
    assert hurts == pytest.approx(posterior.cdf(-rope), abs=1e-9)
    assert helps == pytest.approx(posterior.sf(rope), abs=1e-9)
    assert hurts + same + helps == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(differences)
def test_without_a_rope_the_posterior_repeats_the_one_sided_p(values):
    helps = bayesian(values, correlation=0.2)[2]
    p = effect(values, **SIZES, alternative="less").p
    if np.any(values):
        assert helps == pytest.approx(p, nan_ok=True, abs=1e-9)


def test_bayesian_refuses_a_correlation_of_one_and_a_negative_rope():
    for wrong in ({"correlation": 1.0}, {"correlation": 0.2, "rope": -1}):
        with pytest.raises(DataError):
            bayesian([0.1, 0.2], **wrong)


def test_holm_by_hand_with_nan_kept_out():
    found = holm([0.01, np.nan, 0.04, 0.03])
    assert found == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)
    assert holm([0.01, np.nan], tests=5) == pytest.approx([0.05, np.nan], nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(p_lists, st.floats(0.001, 0.5))
def test_holm_rejects_what_the_step_down_procedure_rejects(values, level):
    adjusted = holm(values)
    if np.abs(adjusted - level).min() < 1e-12:
        return  # equal but for rounding
    rejected = set()
    for step, index in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        if values[index] * (len(values) - step) > level:
            break
        rejected.add(index)
    assert set(np.flatnonzero(adjusted <= level)) == rejected


@settings(max_examples=60, deadline=None)
@given(p_lists, st.data())
def test_raising_one_p_value_lowers_no_adjusted_one(values, data):
    index = data.draw(st.integers(0, len(values) - 1))
    raised = list(values)
    raised[index] = data.draw(st.floats(values[index], 1))
    assert (holm(raised) >= holm(values) - 1e-12).all()


def test_holm_refuses_what_is_no_p_value():
    for wrong in ([1.2], [-0.1]):
        with pytest.raises(DataError):
            holm(wrong)
    with pytest.raises(DataError, match="there are 2"):
        holm([0.1, 0.2], tests=1)


def test_verdicts():
    good, bad = effect([0.1, 0.2, 0.3], **SIZES), effect([-0.1, -0.2, -0.3], **SIZES)
    assert verdict(good, 0.049) == "helps"
    assert verdict(bad, 0.049) == "hurts"
    assert [verdict(good, p) for p in (0.05, 0.9, np.nan)] == ["no evidence"] * 3


@pytest.mark.parametrize(("runs", "tests"), [(2, 1), (5, 10), (10, 20), (50, 1)])
def test_power_is_the_integral_over_the_chi_distribution(runs, tests):
    sd, true = 0.02, 0.05
    shift = true / (sd * np.sqrt(1 / runs + 0.25))
    bar = stats.t.isf(0.025 / tests, runs - 1)

    def given_spread(u):
        density = stats.chi.pdf(u * np.sqrt(runs - 1), runs - 1) * np.sqrt(runs - 1)
        return density * stats.norm.sf(bar * u - shift)

    oracle = integrate.quad(given_spread, 0, 8, points=[min(shift / bar, 7)], limit=200)[0]
    assert power(true, sd, runs, **SIZES, tests=tests) == pytest.approx(oracle, abs=1e-6)
    assert power(-true, sd, runs, **SIZES, tests=tests) == pytest.approx(oracle, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    st.floats(1e-4, 10),
    st.integers(2, 60),
    st.integers(1, 40),
    st.floats(0.1, 0.99),
)
def test_detectable_inverts_power(sd, runs, tests, wanted):
    smallest = detectable(sd, runs, **SIZES, tests=tests, power=wanted)
    assert power(smallest, sd, runs, **SIZES, tests=tests) == pytest.approx(wanted, abs=1e-5)
    assert detectable(2 * sd, runs, **SIZES, tests=tests, power=wanted) > smallest
    assert detectable(sd, runs + 1, **SIZES, tests=tests, power=wanted) < smallest


def test_power_of_no_effect_is_half_the_level_of_one_test():
    assert power(0.0, 1.0, 10, **SIZES, tests=5) == pytest.approx(0.05 / 5 / 2)


def test_power_is_unknown_where_nothing_can_be_tested():
    for sd, runs in ((0.1, 1), (0.1, 0), (0.0, 5), (np.nan, 5)):
        assert np.isnan(power(0.1, sd, runs, **SIZES))
        assert np.isnan(detectable(sd, runs, **SIZES))
    for wrong in ({"power": 1.0}, {"tests": 0}, {"level": 0.0}):
        with pytest.raises(DataError):
            detectable(0.1, 5, **SIZES, **wrong)


def test_mean_interval_has_the_same_corrected_variance():
    values = [0.81, 0.79, 0.86, 0.8]
    found, same = mean_interval(values, **SIZES), effect(values, **SIZES)
    assert (found.low, found.mean, found.high) == (same.low, same.mean, same.high)
    assert found.to_dict()["runs"] == 4


def small_study():
    rng = np.random.default_rng(0)
    baseline = 0.8 + 0.01 * rng.standard_normal((2, 5))
    tricks = {
        "better": baseline + 0.05 + 0.01 * rng.standard_normal((2, 5)),
        "worse": baseline - 0.05 + 0.01 * rng.standard_normal((2, 5)),
        "other seed": baseline + 0.01 * rng.standard_normal((2, 5)),
        # the same sum in another order
        "nothing": (baseline + 0.1) - 0.1,
        "once": np.where(np.arange(10).reshape(2, 5) == 0, baseline + 0.3, np.nan),
    }
    return baseline, tricks


def test_table_gives_every_trick_its_verdict():
    baseline, tricks = small_study()
    rows = {row.name: row for row in table(baseline, tricks, **SIZES, folds=5)}
    assert list(rows) == list(tricks)
    verdicts = {name: row.verdict for name, row in rows.items()}
    assert verdicts.pop("better") == "helps"
    assert verdicts.pop("worse") == "hurts"
    assert set(verdicts.values()) == {"no evidence"}
    assert rows["nothing"].effect.p == 1
    assert rows["once"].effect.runs == 1
    assert np.isnan([rows["once"].adjusted_p, rows["once"].detectable]).all()


def test_table_is_made_of_the_functions():
    baseline, tricks = small_study()
    row = table(baseline, tricks, **SIZES, folds=5, rope=0.02)[0]
    values = tricks["better"] - baseline
    assert row.effect == effect(values, **SIZES)
    # the second smallest of five, one of which has no p and counts nonetheless
    assert row.adjusted_p == pytest.approx(4 * row.effect.p)
    assert (row.p_hurts, row.p_equivalent, row.p_helps) == bayesian(
        values, correlation=0.2, rope=0.02
    )
    assert row.detectable == detectable(row.effect.sd, 10, **SIZES, tests=5)
    assert row.to_dict()["verdict"] == "helps"
    assert row.to_dict()["mean"] == row.effect.mean


def test_a_dropped_trick_is_no_evidence_and_still_counts():
    baseline, tricks = small_study()
    rows = table(baseline, tricks, **SIZES, dropped=["worse"])
    assert rows[1].verdict == "no evidence"
    assert (rows[1].adjusted_p, rows[1].dropped) == (1, True)
    assert rows[0].adjusted_p == pytest.approx(5 * rows[0].effect.p)


def test_table_lists_all_that_is_wrong():
    with pytest.raises(DataError) as caught:
        table(
            np.zeros((2, 5)),
            {"a": np.zeros((5, 2)), "b": np.full((2, 5), np.inf)},
            **SIZES,
            dropped=["c"],
        )
    assert [problem[0] for problem in caught.value.problems] == ["a", "b", "c"]
    with pytest.raises(DataError, match="no trick"):
        table([0.1, 0.2], {}, **SIZES)
    with pytest.raises(DataError, match="folds"):
        table([0.1, 0.2], {"a": [0.1, 0.2]}, **SIZES, folds=1)


def test_the_corrected_test_is_exact_where_all_runs_correlate_by_one_in_k():
    design, rng = Design(100, 5, 2), np.random.default_rng(0)
    study = exchangeable_study(design, [0.0] * 3000, rng)
    p_values = [effect(values, **design.sizes).p for values in study.differences]
    # 3,000 independent p-values: a wrong variance (1/J alone) fails with certainty
    assert stats.kstest(p_values, "uniform").pvalue > 0.001
