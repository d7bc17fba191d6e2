"""Ensembles over the contract: stored predictions, runs, learned weights that do not flatter."""

import json

import numpy as np
import pytest
import torch

from tests.engine.toy import ToyRecipe, ToyTask
from tests.study.small import LABELS, LabelTask, answers, labelled
from vesalius import study
from vesalius.engine import run
from vesalius.engine.task import Case, Prediction, Scores
from vesalius.errors import DataError, RecipeError
from vesalius.study.combining import HOWS
from vesalius.study.ensemble import ensemble
from vesalius.study.members import Member
from vesalius.study.weights import parts

NOISES = (1.5, 1.0, 0.7)


def stored(cases, noises=NOISES, labels=LABELS):
    return [
        Member.of(f"m{k}", answers(cases, noise, seed=k, labels=labels), labels)
        for k, noise in enumerate(noises)
    ]


@pytest.fixture(scope="module")
def cases():
    return labelled(80)


def test_the_function_is_reached_from_the_room():
    assert study.ensemble is ensemble


def test_the_mean_is_the_mean_and_is_scored_by_the_task(cases):
    members, task = stored(cases), LabelTask()
    found = ensemble(members, cases, task=task, weights=[3, 2, 1])
    row = np.average([m.answers["c7"] for m in members], axis=0, weights=[3, 2, 1])
    np.testing.assert_allclose(found.answers["c7"], row)
    again = task.score(cases, found.predictions)
    assert again.best == found.scores.best
    assert [s.best for s in found.members] == [
        task.score(cases, [Prediction(i, m.answers[i]) for i in found.ids]).best for m in members
    ]
    np.testing.assert_allclose(found.weights, [3 / 6, 2 / 6, 1 / 6])
    assert found.gains[0].over == "best member"


@pytest.mark.parametrize("how", sorted({*HOWS} - {"staple", "product"}))
def test_every_combination_of_good_members_is_good(cases, how):
    found = ensemble(stored(cases), cases, task=LabelTask(), how=how, resamples=50)
    assert found.scores.best > 0.8
    assert all(((p.probabilities >= 0) & (p.probabilities <= 1)).all() for p in found.predictions)
    json.dumps(found.to_dict()["weights"])


def test_labels_are_aligned_by_name_and_lacking_ones_are_left_to_the_others(cases):
    members = stored(cases)
    turned = [Prediction(i, np.asarray(members[1].answers[i])[[2, 0]]) for i in members[1].answers]
    mixed = [members[0], Member.of("short", turned, ("c", "a")), members[2]]
    found = ensemble(mixed, cases, task=LabelTask(), resamples=0)
    rows = [np.asarray(m.answers["c3"]) for m in members]
    both = (rows[0] + rows[1] + rows[2]) / 3
    np.testing.assert_allclose(found.answers["c3"][[0, 2]], both[[0, 2]])
    assert found.answers["c3"][1] == pytest.approx((rows[0][1] + rows[2][1]) / 2)
    assert any("short lacks 1" in note for note in found.notes)
    with pytest.raises(DataError, match="knows none"):
        ensemble([members[0], Member.of("x", turned, ("u", "v"))], cases, task=LabelTask())


@pytest.mark.parametrize("weights", ["by-rank", "learned", "log-loss"])
@pytest.mark.parametrize("kind", ["cases", "pooled", "error"])
def test_learned_weights_prefer_good_members(cases, weights, kind):
    found = ensemble(
        stored(cases, (4.0, 0.7)), cases, task=LabelTask(kind=kind), weights=weights, resamples=0
    )
    assert found.weights[1] > found.weights[0]
    assert sum(found.weights) == pytest.approx(1)
    assert len(found.part_weights) == 5
    assert any("cross-fitted" in note for note in found.notes)


def test_every_case_is_combined_with_weights_of_the_other_parts(cases):
    members = stored(cases)
    found = ensemble(members, cases, task=LabelTask(), weights="log-loss", seed=4, resamples=0)
    numbers = parts(len(cases), 5, seed=4)
    row = np.average(
        [m.answers["c9"] for m in members], axis=0, weights=found.part_weights[numbers[9]]
    )
    np.testing.assert_allclose(found.answers["c9"], row)


def test_choosing_among_useless_members_gains_nothing():
    """In sample the best of 15 coins looks good; cross-fitted it is a coin."""
    cases = labelled(60, seed=1)
    rng = np.random.default_rng(0)
    coins = [
        Member.of(f"{k}", [Prediction(c.id, rng.random(3)) for c in cases], LABELS)
        for k in range(15)
    ]
    task = LabelTask()
    found = ensemble(coins, cases, task=task, weights="learned", rounds=3, resamples=0)
    flattering = ensemble(coins, cases, task=task, weights=found.weights, resamples=0)
    assert flattering.scores.best > 0.57
    assert found.scores.best < flattering.scores.best - 0.04


def test_what_is_learned_elsewhere_is_applied_here(cases):
    here, there = labelled(40, seed=5), cases
    both = [
        Member.of(f"m{k}", [*answers(there, n, seed=k), *own], LABELS)
        for k, (n, own) in enumerate(
            (n, [Prediction(f"n{p.id}", p.probabilities) for p in answers(here, n, seed=9 + k)])
            for k, n in enumerate((4.0, 0.7))
        )
    ]
    here = [Case(f"n{case.id}", None, case.target) for case in here]
    for how, weights in (("mean", "log-loss"), ("stacking", None)):
        found = ensemble(
            both, here, how=how, weights=weights, fit_on=there, task=LabelTask(), resamples=0
        )
        assert found.ids == tuple(case.id for case in here)
        assert found.scores.best > 0.85
        assert not found.part_weights
        assert not any("others" in note for note in found.notes)


def test_blending_scores_members_and_ensemble_on_the_cases_it_was_not_fitted_to(cases):
    found = ensemble(stored(cases), cases, task=LabelTask(), how="blending", resamples=0)
    assert len(found.ids) == 24
    assert all(len(scores.cases) == 24 for scores in (*found.members, found.scores))


class Masks:
    """Scores class maps by the share of right pixels."""

    label_names = ("background", "organ", "lesion")

    def score(self, cases, predictions):
        truth = {case.id: case.target for case in cases}
        rows = {
            p.id: {"right": float((p.probabilities.argmax(0) == truth[p.id]).mean())}
            for p in predictions
        }
        mean = float(np.mean([row["right"] for row in rows.values()]))
        return Scores("right", {"right": mean}, cases=rows)


@pytest.fixture(scope="module")
def masks():
    rng = np.random.default_rng(0)
    cases = [Case(f"i{k}", None, rng.integers(0, 3, (12, 10 + k))) for k in range(4)]
    members = []
    for number in range(3):
        made = []
        for case in cases:
            hot = np.stack([case.target == k for k in range(3)]) * 1.5
            raw = np.exp(hot + rng.normal(0, 1, hot.shape))
            made.append(Prediction(case.id, raw / raw.sum(0)))
        members.append(Member.of(f"m{number}", made, Masks.label_names))
    return cases, members


@pytest.mark.parametrize(
    "how", ["mean", "geometric", "log", "vote", "majority", "plurality", "staple"]
)
def test_masks_of_several_sizes_are_combined_and_better_for_it(masks, how):
    cases, members = masks
    found = ensemble(members, cases, task=Masks(), how=how, resamples=200)
    assert found.gains[1].value > 0
    for case in cases:
        np.testing.assert_allclose(found.answers[case.id].sum(0), 1, atol=1e-5)


def test_masks_learn_weights_by_the_score_alone(masks, tmp_path):
    cases, members = masks
    found = ensemble(
        members, cases, task=Masks(), weights="learned", folds=2, rounds=3, resamples=0,
        out=tmp_path / "o",
    )  # fmt: skip
    assert sum(found.weights) == pytest.approx(1)
    back = Member.read(tmp_path / "o" / "predictions.npz")
    np.testing.assert_allclose(back.answers["i2"], found.answers["i2"], atol=1e-3)
    for how in ("rank-mean", "stacking"):
        with pytest.raises(RecipeError, match="one number per label"):
            ensemble(members, cases, task=Masks(), how=how)
    flat = [Case("x", None, np.zeros(2))]
    own = Member.of("a", [Prediction("x", np.array([0.2, 0.3, 0.4]))], Masks.label_names)
    with pytest.raises(RecipeError, match="names of each case's true labels"):
        ensemble([own, own], flat, task=Masks(), weights="log-loss")


def test_a_product_of_experts_multiplies_over_letters():
    rng = np.random.default_rng(0)
    letters = rng.dirichlet(np.ones(20), (2, 9))
    members = [Member.of(f"{k}", [Prediction("s", row)]) for k, row in enumerate(letters)]
    found = ensemble(members, how="product")
    product = letters.prod(0)
    np.testing.assert_allclose(
        found.answers["s"], product / product.sum(1, keepdims=True), atol=1e-5
    )
    assert found.scores is None


def test_options_that_do_not_fit_are_refused(cases, tmp_path):
    members, task = stored(cases), LabelTask()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    for options, words in (
        ({"how": "harmonic"}, "rank-mean"),
        ({"weights": "good"}, "by-rank"),
        ({"how": "stacking", "weights": [1, 1, 1]}, "takes no weights"),
        ({"fit_on": cases}, "fit_on is for"),
        ({"how": "blending", "fit_on": cases}, "stacking"),
        ({"how": "staple"}, "staple needs classes"),
        ({"threshold": {"a": 0.5}}, "no number for b, c"),
        ({"out": tmp_path / "full"}, "exists already"),
    ):
        with pytest.raises(RecipeError, match=words):
            ensemble(members, cases, task=task, **options)
    with pytest.raises(DataError, match="two members"):
        ensemble(members[:1], cases, task=task)
    with pytest.raises(DataError, match="3 members"):
        ensemble(members, cases, task=task, weights=[1, 2])
    blind = [Case(case.id, None) for case in cases]
    with pytest.raises(DataError, match="no truth to learn from"):
        ensemble(members, blind, task=task, weights="learned")


# --- runs -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three toy runs, briefly trained, each on cases of its own."""
    folder, made = tmp_path_factory.mktemp("runs"), []
    recipe = ToyRecipe()
    for number in range(3):
        torch.manual_seed(number)
        task = ToyTask(recipe)
        model = task.build()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        points = torch.randn(64, 2)
        truth = (points[:, 0] > 0).long() + 2 * (points[:, 1] > 0).long()
        for _ in range(15 + 10 * number):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(points), truth).backward()
            optimizer.step()
        split = {"train": [f"p{number}"], "valid": ["p9"]}
        run.create(folder / f"run{number}", task, recipe, model, {"split": split})
        made.append(folder / f"run{number}")
    return made


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.json"
    path.write_text('{"n": 60}')
    return path


def test_runs_are_asked_and_the_mean_equals_that_by_hand(runs, data):
    found = ensemble(runs, data, device="cpu", resamples=30)
    by_hand = np.mean(
        [r.predict(data, device="cpu")[5].probabilities for r in map(run.Run, runs)], 0
    )
    np.testing.assert_allclose(found.answers["p5"], by_hand, rtol=1e-5)
    assert found.scores.headline == "accuracy"
    assert found.gains[0].method == "rescored"
    assert any("run0 1, run1 1, run2 1" in note for note in found.notes)


def test_nothing_is_learned_from_cases_that_trained_a_member(runs, data):
    for options in ({"weights": "learned"}, {"how": "stacking"}, {"how": "blending"}):
        with pytest.raises(DataError, match="trained no member"):
            ensemble(runs, data, device="cpu", **options)
    found = ensemble(runs, data, device="cpu", weights="learned", held_out=True, resamples=0)
    assert len(found.ids) == 57
    stacked = ensemble(runs, data, device="cpu", how="stacking", held_out=True, resamples=0)
    assert stacked.scores.best > 0.5
    np.testing.assert_allclose([p.probabilities.sum() for p in stacked.predictions], 1)


def test_the_results_are_written_and_serve_as_a_member(runs, data, tmp_path):
    found = ensemble(runs, data, device="cpu", resamples=0, out=tmp_path / "both")
    stored_file = tmp_path / "both" / "predictions.npz"
    again = ensemble([stored_file, runs[0]], data, device="cpu", resamples=0)
    assert again.names == ("both", "run0")
    assert again.members[0].best == found.scores.best
    written = json.loads((tmp_path / "both" / "ensemble.json").read_text())
    assert written["ensemble"]["values"]["accuracy"] == found.scores.best
    assert set(written["members"]) == {"run0", "run1", "run2"}


def test_fitted_thresholds_of_one_member_do_not_decide_for_all(runs, data, monkeypatch):
    monkeypatch.setattr(ToyTask, "decider", "fitted to run0", raising=False)
    found = ensemble(runs, data, device="cpu", resamples=0)
    assert "put aside" in found.notes[0]


def test_steps_are_counted(runs, data):
    begun, done = [], []
    ensemble(runs, data, device="cpu", resamples=20, started=begun.append, progress=done.append)
    assert sum(done) <= begun[-1]
    assert sum(done) == 60 * 3 + 20
