"""Gains and their intervals: by hand, both ways, and how often they hold the truth."""

import numpy as np
import pytest

from tests.study.small import LabelTask, answers, labelled
from vesalius.engine.task import Case, Scores
from vesalius.errors import DataError
from vesalius.study.combining import scored
from vesalius.study.gains import gains, is_mean_of_cases


def _asked(kind, *, groups=False, number=80):
    cases = labelled(number, groups=groups)
    task = LabelTask(kind=kind)
    noisy = [
        {p.id: p.probabilities for p in answers(cases, noise, seed=seed)}
        for seed, noise in enumerate((1.5, 1.0, 0.7))
    ]
    return task, cases, [scored(task, cases, own) for own in noisy], noisy


@pytest.mark.parametrize("kind", ["cases", "error", "pooled"])
def test_the_gain_is_the_difference_of_headlines_and_positive_where_it_is_better(kind):
    task, cases, scores, own = _asked(kind)
    best, mean = gains(task, cases, scores[:2], scores[2], own, resamples=60)
    sign = -1 if kind == "error" else 1
    assert best.value == pytest.approx(sign * (scores[2].best - scores[1].best))
    middle = (scores[0].best + scores[1].best) / 2
    assert mean.value == pytest.approx(sign * (scores[2].best - middle))
    assert mean.low <= mean.value <= mean.high
    assert mean.low > 0
    assert mean.method == ("rescored" if kind == "pooled" else "cases")


def test_both_ways_to_resample_agree_where_the_headline_is_a_mean():
    task, cases, scores, own = _asked("cases", groups=True)
    quick = gains(task, cases, scores[:2], scores[2], own, resamples=2000)
    slow = gains(task, cases, scores[:2], scores[2], own, resamples=400, interval="rescored")
    for one, other in zip(quick, slow, strict=True):
        assert other.low == pytest.approx(one.low, abs=0.25 * (one.high - one.low))
        assert other.high == pytest.approx(one.high, abs=0.25 * (one.high - one.low))


def test_the_standard_deviation_is_that_of_paired_differences():
    task, cases, scores, own = _asked("cases")
    pairs = [
        scores[2].cases[case.id]["right"] - scores[1].cases[case.id]["right"] for case in cases
    ]
    found = gains(task, cases, scores[:2], scores[2], own, resamples=4000)[0]
    half = 1.96 * np.std(pairs) / np.sqrt(len(pairs))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)


def test_a_headline_that_pools_is_told_from_its_mean_over_cases():
    rows = {"x": {"f": 0.5}, "y": {"f": 1.0}}
    pooled, lower = Scores("f", {"f": 0.6}, cases=rows), Scores("f", {"f": 0.5}, cases=rows)
    assert not is_mean_of_cases(pooled, [0.5, 1.0])
    assert is_mean_of_cases(Scores("f", {"f": 0.75}), [0.5, 1.0, np.nan])
    cases = [Case("x", None, ()), Case("y", None, ())]
    found = gains(None, cases, [lower], pooled, [], resamples=50)[0]
    assert found.value == pytest.approx(0.1)
    assert found.mean_of_cases == 0


def test_copies_of_a_case_stay_one_patient_with_ids_of_their_own():
    seen = []

    class Task:
        def score(self, cases, predictions):
            found = list(predictions)
            assert [item.id for item in found] == [case.id for case in cases]
            assert len({case.id for case in cases}) == len(cases)
            seen.append([(case.id.split("#")[0], case.group) for case in cases])
            return Scores("s", {"s": 1.0})

    cases = labelled(6)
    own = {case.id: np.zeros(3) for case in cases}
    one = Scores("s", {"s": 1.0})
    gains(Task(), cases, [one], one, [own, own], resamples=3)
    assert all(name == group for rows in seen for name, group in rows)
    grouped = labelled(6, groups=True)
    gains(Task(), grouped, [one], one, [own, own], resamples=3)
    assert {group for rows in seen[6:] for _, group in rows} <= {"g0", "g1", "g2"}
    assert all(len(rows) == 6 for rows in seen)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng, hits, studies = np.random.default_rng(0), 0, 200
    cases = [Case(f"c{k}", None, ()) for k in range(40)]
    for _ in range(studies):
        values = rng.normal([0.5, 0.6], 0.2, (40, 2)) + rng.normal(0, 0.2, (40, 1))
        made = [
            Scores(
                "s",
                {"s": float(column.mean())},
                cases={c.id: {"s": v} for c, v in zip(cases, column.tolist(), strict=True)},
            )
            for column in values.T
        ]
        found = gains(None, cases, made[:1], made[1], [], resamples=300)[0]
        hits += found.low <= 0.1 <= found.high
    assert 0.88 <= hits / studies <= 0.99


def test_without_resamples_or_with_one_case_there_is_no_interval():
    task, cases, scores, own = _asked("cases")
    assert gains(task, cases, scores[:2], scores[2], own, resamples=0)[0].method == "none"
    assert np.isnan(gains(task, cases[:1], scores[:2], scores[2], own)[0].low)
    task, cases, scores, own = _asked("pooled")
    with pytest.raises(DataError, match="no values per case"):
        gains(task, cases, scores[:2], scores[2], own, interval="cases")
