import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import DataError
from vesalius.study.effects import detectable, table
from vesalius.study.racing import Race
from vesalius.study.simulation import (
    Design,
    Learning,
    Noise,
    exchangeable_study,
    learning_study,
    overlap_study,
    raced,
    ridge,
)

DESIGN = Design(100, 5, 2)
NOTHING = [0.0] * 10


def helped(study, design=DESIGN):
    rows = table(study.baseline, study.tricks, **design.sizes, dropped=study.dropped)
    return {row.name for row in rows if row.verdict == "helps"}


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 8), st.integers(0, 30), st.integers(1, 3), st.integers(0, 99))
def test_every_case_validates_once_in_each_repeat(folds, more, repeats, seed):
    design = Design(folds + more, folds, repeats)
    valid = design.validation(np.random.default_rng(seed))
    assert (valid.reshape(repeats, folds, -1).sum(1) == 1).all()
    assert np.ptp(valid.sum(1)) <= 1
    assert valid.sum(1).mean() == pytest.approx(design.sizes["valid"])


def test_designs_that_cannot_be_are_refused():
    for wrong in ((3, 5, 1), (10, 1, 1), (10, 5, 0)):
        with pytest.raises(DataError, match="folds"):
            Design(*wrong)


def correlations(studies):
    """Mean products of two differences within and across repeats, in units of the variance."""
    values = np.concatenate([study.differences for study in studies]).reshape(-1, 2, 5)
    products = np.einsum("srf,stg->rftg", values, values) / len(values)
    other_fold = ~np.eye(5, dtype=bool)
    variance = np.mean([products[r, f, r, f] for r in range(2) for f in range(5)])
    within = np.mean([products[r, :, r, :][other_fold].mean() for r in range(2)])
    return within / variance, products[0, :, 1, :].mean() / variance


@pytest.mark.parametrize(
    ("noise", "within", "across"),
    [
        (Noise(training=1, validation=0), 3 / 4, 4 / 5),
        (Noise(validation=1), 0, 1 / 5),
        (Noise(validation=0, seed=1), 0, 0),
    ],
)
def test_runs_correlate_by_the_overlap_of_their_cases(noise, within, across):
    rng = np.random.default_rng(0)
    found = correlations([overlap_study(DESIGN, [0.0] * 20, rng, noise) for _ in range(400)])
    assert found == pytest.approx((within, across), abs=0.05)


def test_all_runs_of_an_exchangeable_study_correlate_alike():
    rng = np.random.default_rng(0)
    found = correlations([exchangeable_study(DESIGN, [0.0] * 6000, rng)])
    assert found == pytest.approx((0.2, 0.2), abs=0.03)
    with pytest.raises(DataError, match="correlation"):
        exchangeable_study(DESIGN, [0.0], rng, correlation=1.0)


def test_the_spread_within_an_exchangeable_study_is_as_asked():
    study = exchangeable_study(DESIGN, [0.5] * 4000, np.random.default_rng(0), sd=0.03)
    assert study.differences.var(1, ddof=1).mean() == pytest.approx(0.03**2, rel=0.03)
    assert study.helpful == set(study.tricks)
    assert study.made == 4001 * 10


def test_ridge_agrees_with_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 6)) + 2, rng.standard_normal(30)
    weights, intercept = ridge(x, y, 0.7)
    oracle = linear.Ridge(alpha=0.7).fit(x, y)
    assert weights == pytest.approx(oracle.coef_)
    assert intercept == pytest.approx(oracle.intercept_)


def test_tricks_of_a_learning_study_do_what_they_say():
    rng = np.random.default_rng(0)
    names = ["hint", "seed-0", "seed-1", "irrelevant", "order"]
    study = learning_study(DESIGN, names, rng, Learning(hint=2.0))
    gain = dict(zip(names, study.differences.mean(1), strict=True))
    assert gain["hint"] > 0.3
    assert np.abs(study.differences[-1]).max() < 1e-9
    assert all(study.differences[index].any() for index in (1, 2, 3))
    assert not np.array_equal(*study.differences[1:3])
    assert study.helpful == {"hint"}
    assert (study.baseline < 1).all()


def test_accuracies_come_in_steps_of_one_validation_case():
    study = learning_study(DESIGN, ["seed"], np.random.default_rng(0), Learning(score="accuracy"))
    assert (study.baseline * 20) == pytest.approx(np.round(study.baseline * 20))
    assert study.baseline.mean() > 0.5


def test_unknown_tricks_are_refused():
    with pytest.raises(DataError, match="seed, irrelevant, order, hint"):
        learning_study(DESIGN, ["magic"], np.random.default_rng(0), Learning())


def test_a_raced_study_has_the_runs_that_the_race_left():
    study = exchangeable_study(DESIGN, [0.0, -9.0], np.random.default_rng(1))
    race = Race(study.tricks, runs=10, **DESIGN.sizes)
    race.replay([dict(zip(study.tricks, column, strict=True)) for column in study.differences.T])
    left = raced(study, DESIGN)
    assert left.dropped == tuple(race.dropped)
    for name, scores in left.tricks.items():
        ran = race.dropped.get(name, 10)
        assert np.isfinite(scores.ravel()).tolist() == [True] * ran + [False] * (10 - ran)
    assert left.made == 10 + sum(np.isfinite(one).sum() for one in left.tricks.values())


# The aim is 5 %. With 150 studies and a true 5 %, 16 or more false ones have a chance of 0.3 %;
# the seeds are fixed, so these tests fail only where the code changes.
MANY, LIMIT = 150, 15


@pytest.mark.parametrize(
    "noise",
    [Noise(0, 1, 0), Noise(0, 1, 1), Noise(0.5, 1, 1)],
    ids=["validation", "validation and seed", "all three"],
)
def test_where_nothing_helps_little_is_called_so(noise):
    rng = np.random.default_rng(0)
    studies = [overlap_study(DESIGN, NOTHING, rng, noise) for _ in range(MANY)]
    assert sum(bool(helped(study)) for study in studies) <= LIMIT


def test_the_plain_t_test_is_fooled_where_the_corrected_one_is_not():
    from scipy.stats import ttest_1samp

    rng = np.random.default_rng(0)
    studies = [exchangeable_study(DESIGN, NOTHING, rng) for _ in range(MANY)]
    fooled = 0
    for study in studies:
        test = ttest_1samp(study.differences, 0, axis=1)
        fooled += bool(((test.pvalue < 0.05) & (test.statistic > 0)).any())
    assert fooled > MANY / 3
    assert sum(bool(helped(study)) for study in studies) <= LIMIT


@pytest.mark.parametrize("score", ["r2", "accuracy"])
def test_learners_with_tricks_that_do_nothing_are_seldom_said_to_improve(score):
    rng = np.random.default_rng(0)
    names = [*(f"seed-{index}" for index in range(3)), "irrelevant-0", "irrelevant-1", "order"]
    studies = [learning_study(DESIGN, names, rng, Learning(score=score)) for _ in range(30)]
    assert sum(bool(helped(study)) for study in studies) <= 5


def test_a_planted_effect_is_found_at_the_power_promised():
    rng, found = np.random.default_rng(0), 0
    effect = detectable(1.0, DESIGN.runs, **DESIGN.sizes, tests=10, power=0.8)
    for _ in range(MANY):
        study = exchangeable_study(DESIGN, [effect, *NOTHING[1:]], rng)
        found += "trick-0" in helped(study)
    # binomial(150, 0.8): three standard errors are 0.098
    assert found / MANY == pytest.approx(0.8, abs=0.1)
