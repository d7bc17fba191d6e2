import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.isotonic import IsotonicRegression

from vesalius.engine.task import Case
from vesalius.errors import DataError, RecipeError
from vesalius.study import confidence
from vesalius.study.calibrating import fit_calibration

COARSE = st.integers(0, 8).map(lambda k: k / 8)  # ties are the interesting case
ANSWERS = st.lists(st.tuples(COARSE, st.booleans()), min_size=1, max_size=80)


def columns(pairs):
    confident, right = zip(*pairs, strict=True)
    return np.array(confident), np.array(right)


# --- bounds and thresholds ----------------------------------------------------------------------


@pytest.mark.parametrize(("right", "total"), [(0, 10), (7, 10), (25, 25), (190, 200), (1, 1)])
def test_the_lower_bound_is_wilsons_as_scipy_has_it(right, total):
    test = stats.binomtest(right, total, alternative="greater")
    expected = test.proportion_ci(0.95, method="wilson").low
    assert confidence.wilson_lower(right, total) == pytest.approx(expected)


def test_nothing_at_all_has_the_bound_0():
    assert confidence.wilson_lower(0, 0) == 0


@given(st.floats(0.5, 0.98))
def test_one_flawless_answer_less_than_the_fewest_does_not_pass(precision):
    n = confidence.fewest(precision)
    assert confidence.wilson_lower(n, n) >= precision - 1e-9
    assert confidence.wilson_lower(n - 1, n - 1) < precision


@settings(max_examples=40)
@given(ANSWERS, st.sampled_from([0.3, 0.5, 0.7]))
def test_the_threshold_is_the_smallest_of_all_that_pass(pairs, precision):
    sureness, right = columns(pairs)
    passing = [
        t
        for t in np.unique(sureness)
        if confidence.wilson_lower(right[sureness >= t].sum(), (sureness >= t).sum()) >= precision
    ]
    expected = min(passing, default=np.inf)
    assert confidence.precision_threshold(sureness, right, precision=precision) == expected


def test_what_passes_is_seldom_less_precise_than_was_asked_for():
    rng, share, apart, worse = np.random.default_rng(0), 0.3, 2.0, 0
    for _ in range(400):
        truth = rng.random(300) < share
        found = rng.normal(size=300) + apart * truth
        threshold = confidence.precision_threshold(found, truth, precision=0.9)
        if np.isfinite(threshold):
            hits = share * stats.norm.sf(threshold - apart)
            worse += hits / (hits + (1 - share) * stats.norm.sf(threshold)) < 0.9
    assert worse / 400 < 0.08  # 5 %, and what chance adds in 400 draws


@settings(max_examples=40)
@given(ANSWERS, st.sampled_from([0.5, 0.8, 0.9]))
def test_at_most_the_allowed_share_of_positives_lies_below_the_negative_threshold(pairs, precision):
    table, truth = columns(pairs)
    low = confidence.negative_threshold(table, truth, precision=precision)
    if not truth.any():
        assert low == -np.inf
        return
    allowed = (1 - precision) * truth.sum() + 1e-9
    assert (truth & (table < low)).sum() <= allowed
    assert (truth & (table <= low)).sum() > allowed


@settings(max_examples=40)
@given(st.lists(st.tuples(COARSE, st.floats(0, 1)), min_size=1, max_size=30))
def test_the_score_threshold_is_the_smallest_whose_t_interval_passes(pairs):
    sureness, scores = columns(pairs)
    wanted, passing = 0.4, []
    for t in np.unique(sureness):
        own = scores[sureness >= t]
        if len(own) >= 5:
            low = own.mean() - stats.t.ppf(0.95, len(own) - 1) * stats.sem(own)
            assert_near = abs(low - wanted) < 1e-9  # rounding may decide either way
            if low >= wanted and not assert_near:
                passing.append(t)
            elif assert_near:
                return
    found = confidence.score_threshold(sureness, scores, wanted=wanted)
    assert found == min(passing, default=np.inf)


def test_scores_that_are_not_numbers_are_left_out_of_the_threshold():
    sureness = np.linspace(0, 1, 12)
    scores = np.where(np.arange(12) % 2, np.nan, 0.9)
    assert confidence.score_threshold(sureness, scores, wanted=0.8) == sureness[0]
    assert confidence.score_threshold(sureness[:8], scores[:8], wanted=0.8) == np.inf  # four


# --- calibration --------------------------------------------------------------------------------


def test_a_planted_temperature_is_found_again():
    rng = np.random.default_rng(1)
    honest = rng.normal(0, 1.5, (4000, 3))
    truth = rng.random(honest.shape) < 1 / (1 + np.exp(-honest))
    boasting = 1 / (1 + np.exp(-2.5 * honest))
    found = fit_calibration(boasting, truth)
    assert found.fitted.slope == pytest.approx(1 / 2.5, rel=0.05)
    np.testing.assert_allclose(found.apply(boasting), 1 / (1 + np.exp(-honest)), atol=0.03)


def test_a_planted_temperature_of_classes_is_found_again_and_they_sum_to_1():
    rng = np.random.default_rng(2)
    honest = stats.dirichlet.rvs([1.0, 2.0, 1.0], 4000, random_state=rng)
    truth = np.array([rng.multinomial(1, row) for row in honest], bool)
    boasting = honest**2 / (honest**2).sum(1, keepdims=True)
    found = fit_calibration(boasting, truth, exclusive=True)
    assert found.slope == pytest.approx(0.5, rel=0.08)
    np.testing.assert_allclose(found.apply(boasting).sum(1), 1)


def test_flawless_answers_keep_a_finite_temperature():
    truth = np.eye(4, dtype=bool)
    table = np.where(truth, 0.9, 0.1)
    assert np.isfinite(fit_calibration(table, truth).fitted.slope).all()
    assert np.isfinite(fit_calibration(table, truth, exclusive=True).slope)


def test_staircases_are_scikit_learns_and_rare_labels_share_that_of_all():
    rng = np.random.default_rng(3)
    table = rng.random((400, 2))
    truth = rng.random((400, 2)) < table * [1.0, 0.05]
    found = fit_calibration(table, truth, how="isotonic").apply(table)
    own = IsotonicRegression(y_min=0, y_max=1).fit(table[:, 0], truth[:, 0])
    whole = IsotonicRegression(y_min=0, y_max=1).fit(table.ravel(), truth.ravel())
    np.testing.assert_allclose(found[:, 0], own.predict(table[:, 0]))
    np.testing.assert_allclose(found[:, 1], whole.predict(table[:, 1]))


def test_an_unknown_calibration_is_refused_with_the_known_ones():
    with pytest.raises(RecipeError, match="temperature, isotonic, none"):
        fit_calibration(np.ones((1, 1)), np.ones((1, 1), bool), how="platt")


# --- labels -------------------------------------------------------------------------------------


def rule_data(n=400, *, share=(0.5, 0.5), seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random((n, len(share))) < share
    table = 1 / (1 + np.exp(-(1.2 * rng.normal(size=truth.shape) + 3 * truth - 1.5)))
    return table, truth


def test_a_label_is_decided_above_and_below_its_thresholds_and_not_between():
    table, truth = rule_data()
    rule = confidence.fit_label_rule(table, truth, names=["a", "b"], calibration="none")
    high, low = rule.positive[0], rule.negative[0]
    for k in range(2):
        assert rule.positive[k] == confidence.precision_threshold(
            table[:, k], truth[:, k], precision=0.9
        )
    found = rule.decide([[high, 0.0], [np.nextafter(low, 0), 0.0], [(low + high) / 2, 0.0]])
    assert found.answers[:, 0].tolist() == [True, False, False]
    assert low < high
    assert found.sure.tolist() == [True, True, False]
    np.testing.assert_allclose(found.confidence, [high, 1 - low, 1 - (low + high) / 2])


def test_where_both_thresholds_hold_a_label_is_taken_for_true():
    table, truth = rule_data()
    clear = np.where(truth, 0.45 + table / 2, table / 2)
    rule = confidence.fit_label_rule(clear, truth, names=["a", "b"])
    assert (rule.negative <= rule.positive).all()
    found = rule.decide(clear)
    assert found.sure.mean() > 0.85
    assert (found.answers == truth)[found.sure].mean() > 0.95


def test_labels_with_too_few_positives_share_a_rule_and_others_do_not():
    table, truth = rule_data(share=(0.5, 0.04, 0.04), seed=4)
    rule = confidence.fit_label_rule(table, truth, names=list("abc"), calibration="none")
    assert rule.shared.tolist() == [False, True, True]
    assert rule.positive[1] == rule.positive[2] != rule.positive[0]
    together = confidence.precision_threshold(
        table[:, 1:].ravel(), truth[:, 1:].ravel(), precision=0.9
    )
    assert rule.positive[1] == together


def test_a_label_that_nobody_has_is_never_taken_for_true_alone():
    table, truth = rule_data(share=(0.5, 0.0))
    rule = confidence.fit_label_rule(table, truth, names=["a", "b"])
    assert rule.positive[1] == np.inf
    assert not rule.decide(table).answers[:, 1].any()
    assert not rule.decide(table).sure.any()  # nor for absent: how low it could lie is not known


def test_classes_are_accepted_by_the_threshold_of_the_class_that_is_answered():
    rng = np.random.default_rng(5)
    kind = rng.integers(0, 2, 600)
    # Class 0 is answered at random, class 1 always right.
    table = np.stack([np.full(600, 0.8), np.full(600, 0.2)], 1)
    table[kind == 1] = [0.1, 0.9]
    truth = np.eye(2, dtype=bool)[np.where(kind == 1, 1, rng.integers(0, 2, 600))]
    rule = confidence.fit_label_rule(table, truth, names=["a", "b"], exclusive=True)
    found = rule.decide(table)
    np.testing.assert_array_equal(found.sure, kind == 1)
    np.testing.assert_array_equal(found.answers.sum(1), 1)
    assert rule.positive[0] == np.inf


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(["temperature", "isotonic", "none"]))
def test_sure_cases_have_no_undecided_label_whatever_the_calibration(seed, how):
    table, truth = rule_data(120, share=(0.5, 0.3, 0.1), seed=seed)
    rule = confidence.fit_label_rule(table, truth, names=list("abc"), calibration=how)
    found = rule.decide(table)
    undecided = (found.probabilities < rule.positive) & (found.probabilities >= rule.negative)
    np.testing.assert_array_equal(found.sure, ~undecided.any(1))


@pytest.mark.parametrize("precision", [0, 1, 1.5])
def test_a_precision_that_cannot_be_is_refused(precision):
    with pytest.raises(RecipeError, match="precision"):
        confidence.fit_label_rule([[0.5]], [[True]], names=["a"], precision=precision)


def test_shapes_that_differ_are_refused():
    with pytest.raises(DataError, match="shapes"):
        confidence.fit_label_rule([[0.5]], [[True, False]], names=["a", "b"])


def test_truth_is_read_from_names_and_from_classes():
    many = [Case("1", None, ("b", "strange")), Case("2", None, ())]
    table, classes = confidence.truth_table(many, ["a", "b"], 2)
    assert table.tolist() == [[False, True], [False, False]]
    assert not classes
    one = [Case("1", None, "b"), Case("2", None, 0)]
    table, classes = confidence.truth_table(one, ["a", "b"], 2)
    assert table.tolist() == [[False, True], [True, False]]
    assert classes


@pytest.mark.parametrize("target", ["strange", 5, 0.5])
def test_truth_that_is_no_label_is_refused_by_the_case(target):
    with pytest.raises(DataError, match="c7"):
        confidence.truth_table([Case("c7", None, target)], ["a", "b"], 2)


# --- whom to accept -----------------------------------------------------------------------------


def test_the_surest_come_first_and_never_one_that_is_not_sure():
    rows = confidence.pick(np.zeros((4, 0)), [0.5, 0.9, 0.7, 0.99], [True, True, True, False])
    assert rows.tolist() == [1, 2, 0]
    assert confidence.pick(
        np.zeros((4, 0)), [0.5, 0.9, 0.7, 0.99], [True, True, True, False], most=1
    ).tolist() == [1]


def test_no_label_gets_more_than_its_share_of_the_places():
    answers = np.array([[1, 0]] * 8 + [[0, 1]] * 2, bool)
    sureness = np.linspace(0.99, 0.5, 10)
    rows = confidence.pick(answers, sureness, np.ones(10, bool), shares=[0.5, 0.5])
    assert rows.tolist() == [0, 1, 2, 3, 4, 8, 9]


@given(
    st.integers(0, 10_000),
    st.integers(1, 30) | st.none(),
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
)
def test_quotas_and_places_are_never_exceeded(seed, most, shares):
    rng = np.random.default_rng(seed)
    answers, sure = rng.random((40, 3)) < 0.4, rng.random(40) < 0.7
    rows = confidence.pick(answers, rng.random(40), sure, shares=shares, most=most)
    places = min(sure.sum(), 40 if most is None else most)
    assert len(set(rows.tolist())) == len(rows) <= places
    assert sure[rows].all()
    assert (answers[rows].sum(0) <= np.ceil(np.round(np.array(shares) * places, 9))).all()


# --- masks --------------------------------------------------------------------------------------


def test_the_confidence_of_a_mask_is_the_soft_dice_of_each_decided_class():
    # Class 1 decided on one pixel (0.8), with 0.8 + 0.2 + 0.1 of its mass in all.
    table = np.array([[[0.1, 0.7, 0.9]], [[0.8, 0.2, 0.1]], [[0.1, 0.1, 0.0]]])
    assert confidence.mask_confidence(table) == pytest.approx(2 * 0.8 / (1.1 + 1))


def test_the_confidence_of_a_mask_is_the_dice_that_independent_pixels_would_get():
    rng = np.random.default_rng(6)
    foreground = np.clip(rng.beta(0.4, 0.4, (40, 40)), 0.001, 0.999)
    decided = foreground > 0.5
    drawn = rng.random((400, 40, 40)) < foreground
    dice = 2 * (drawn & decided).sum((1, 2)) / (drawn.sum((1, 2)) + decided.sum())
    found = confidence.mask_confidence(np.stack([1 - foreground, foreground]))
    assert found == pytest.approx(dice.mean(), abs=0.003)


def test_certain_masks_have_confidence_1_and_doubtful_emptiness_little():
    certain = np.zeros((2, 4, 4))
    certain[0], certain[0, 1, 1], certain[1, 1, 1] = 1, 0, 1
    assert confidence.mask_confidence(certain) == pytest.approx(1)
    empty = np.stack([np.full((4, 4), 0.99), np.full((4, 4), 0.01)])
    assert confidence.mask_confidence(empty) == pytest.approx(0.99)
    empty[:, 2, 2] = [0.6, 0.4]
    assert confidence.mask_confidence(empty) == pytest.approx(0.6)


@pytest.mark.parametrize("higher", [True, False])
def test_masks_are_accepted_where_the_mean_score_is_good_enough(higher):
    sureness = {f"c{k}": k / 20 for k in range(20)}
    good = {name: {"own": 0.5 + value / 2} for name, value in sureness.items()}
    bad = {name: {"own": 1 - row["own"]} for name, row in good.items()}
    options = {"headline": "own", "higher_is_better": higher, "wanted": 0.8 if higher else 0.2}
    rule = confidence.fit_mask_rule(sureness, good if higher else bad, **options)
    own = [0.5 + value / 2 for value in sureness.values() if value >= rule.threshold]
    assert np.mean(own) > 0.8
    assert 0.4 < rule.threshold < 0.9


def test_a_score_without_values_per_case_cannot_fit_a_rule():
    with pytest.raises(DataError, match="dice"):
        confidence.fit_mask_rule({"a": 0.5}, {}, headline="dice", wanted=0.9)
