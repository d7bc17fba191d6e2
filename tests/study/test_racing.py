import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import DataError
from vesalius.study.effects import effect, table
from vesalius.study.racing import Race, chance
from vesalius.study.simulation import Design, exchangeable_study, raced

SIZES = {"train": 80, "valid": 20}
DESIGN = Design(100, 5, 2)


def predicted(differences, runs, *, draws=40_000):
    """The chance by simulation: shared mean and variance drawn from their posterior, then runs."""
    rng = np.random.default_rng(0)
    done, mean, sd = len(differences), np.mean(differences), np.std(differences, ddof=1)
    spread = sd * np.sqrt((done - 1) / rng.chisquare(done - 1, draws))
    centre = mean + spread / np.sqrt(done) * rng.standard_normal(draws)
    coming = centre[:, None] + spread[:, None] * rng.standard_normal((draws, runs - done))
    total = (done * mean + coming.sum(1)) / runs
    # "The finished study has the standard deviation seen so far": the approximation under test
    # is Student's distribution of the mean, the bar is the documented one.
    bar = effect([*differences], **SIZES).sd * np.sqrt(1 / runs + 0.25) * CRITICAL[runs]
    return float((total > bar).mean())


CRITICAL = {10: 2.2621571628, 25: 2.0638985616}
"""Two-sided 5 % points of Student's t with 9 and 24 degrees of freedom, from a printed table."""


@pytest.mark.parametrize("runs", [10, 25])
@pytest.mark.parametrize("differences", [[0.01, -0.02, 0.03], [0.02, 0.05, 0.03, 0.04, 0.01]])
def test_chance_is_the_posterior_predictive_probability(differences, runs):
    assert chance(differences, runs=runs, **SIZES) == pytest.approx(
        predicted(differences, runs), abs=0.01
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=3, max_size=12), st.floats(0.01, 0.5))
def test_at_the_last_run_chance_is_the_verdict(values, level):
    found = effect(values, **SIZES)
    if found.reason or abs(found.p - level) < 1e-9:
        return
    significant = found.p < level and found.mean > 0
    assert chance(values, runs=len(values), **SIZES, level=level) == significant


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(-50, 50), min_size=2, max_size=9),
    st.integers(1, 30),
    st.floats(0.1, 100),
)
def test_chance_rises_with_the_mean_and_does_not_depend_on_the_unit(values, shift, unit):
    values = np.array(values) / 7
    one = chance(values, runs=10, **SIZES)
    assert 0 <= one <= 1
    assert chance(values + shift, runs=10, **SIZES) >= one
    if np.ptp(values) > 0:
        assert chance(values * unit, runs=10, **SIZES) == pytest.approx(one, abs=1e-9)


def test_chance_of_equal_differences_and_of_few():
    assert chance([0.1, 0.1, 0.1], runs=10, **SIZES) == 1
    assert chance([0.0, 0.0, 0.0], runs=10, **SIZES) == 0
    assert np.isnan(chance([0.1, np.nan], runs=10, **SIZES))


def test_runs_that_failed_do_not_come_back():
    failed = chance([0.1, np.nan, 0.02, -0.01], runs=10, **SIZES)
    assert failed == chance([0.1, 0.02, -0.01], runs=9, **SIZES)


def test_a_race_drops_the_hopeless_and_keeps_the_others():
    race = Race(["good", "bad", "unclear"], runs=10, **SIZES)
    blocks = [
        {"good": 0.03, "bad": -0.03, "unclear": 0.02},
        {"good": 0.02, "bad": -0.01, "unclear": -0.01},
        {"good": 0.04, "bad": -0.02, "unclear": 0.03},
    ]
    assert race.replay(blocks) == ["bad"]
    assert race.dropped == {"bad": 3}
    assert race.running == ["good", "unclear"]
    assert list(race.chances()) == ["good", "unclear"]
    assert race.tell({"good": 0.03, "unclear": 0.01, "bad": 9.0}) == []  # too late for "bad"
    assert race.dropped == {"bad": 3}


def test_nothing_is_dropped_before_the_least_number_of_values_or_after_the_last_block():
    race = Race(["bad"], runs=6, **SIZES, least=4)
    told = [-1.0, np.nan, -1.1, -0.9]
    assert race.replay([{"bad": value} for value in told]) == []
    assert race.tell({"bad": -1.0}) == ["bad"]
    whole = Race(["bad"], runs=3, **SIZES)
    assert whole.replay([{"bad": value} for value in (-1.0, -1.1, -0.9)]) == []


def test_without_futility_nothing_is_dropped():
    race = Race(["bad"], runs=10, **SIZES, futility=0.0)
    assert race.replay([{"bad": -1.0 - 0.1 * index} for index in range(10)]) == []


def test_telling_again_drops_the_same():
    rng = np.random.default_rng(0)
    names = [f"t{index}" for index in range(8)]
    blocks = [dict(zip(names, rng.standard_normal(8), strict=True)) for _ in range(6)]
    one, other = Race(names, runs=10, **SIZES), Race(names, runs=10, **SIZES)
    one.replay(blocks)
    for block in blocks:
        other.tell({name: block[name] for name in other.running})
    assert one.dropped == other.dropped


def test_a_block_that_does_not_fit_is_refused_whole():
    race = Race(["a", "b"], runs=2, **SIZES)
    with pytest.raises(DataError) as caught:
        race.tell({"a": np.inf, "baseline": 0.0})
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["a", "b", "baseline"]
    race.replay([{"a": 0.1, "b": 0.2}, {"a": 0.1, "b": 0.3}])
    with pytest.raises(DataError, match="all 2 blocks"):
        race.tell({"a": 0.1, "b": 0.2})


def test_a_race_lists_what_is_wrong_with_it():
    with pytest.raises(DataError) as caught:
        Race(["a", "a"], runs=1, **SIZES, least=1, futility=1.0)
    assert len(caught.value.problems) == 4


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(st.floats(-1, 3), min_size=1, max_size=6),
    st.floats(0, 0.9),
)
def test_racing_never_adds_a_trick_that_helps(seed, effects, futility):
    """Even where it drops nearly all: what was dropped still counts in the correction."""
    study = exchangeable_study(DESIGN, effects, np.random.default_rng(seed))
    race = raced(study, DESIGN, futility=futility)
    with_race, without = (
        {
            row.name
            for row in table(one.baseline, one.tricks, **DESIGN.sizes, dropped=one.dropped)
            if row.verdict == "helps"
        }
        for one in (race, study)
    )
    assert with_race <= without


def test_racing_saves_runs_and_keeps_what_is_found():
    rng, runs, found, kept = np.random.default_rng(0), [], 0, 0
    for _ in range(60):
        study = exchangeable_study(DESIGN, [3.0] + [0.0] * 9, rng)
        race = raced(study, DESIGN)
        runs.append(race.made / study.made)
        found += table(study.baseline, study.tricks, **DESIGN.sizes)[0].verdict == "helps"
        rows = table(race.baseline, race.tricks, **DESIGN.sizes, dropped=race.dropped)
        kept += rows[0].verdict == "helps"
    assert np.mean(runs) < 0.65
    assert found >= 40
    assert kept >= 0.95 * found
