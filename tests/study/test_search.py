import json
import sys

import pytest
import yaml

from tests.study.toys import toy
from vesalius.errors import MissingDependencyError, RecipeError
from vesalius.study import jobs, search
from vesalius.study.search import rounds, summary

OVER = {"optimizer.learning_rate": [1e-9, 0.02, 0.05], "width": "4..32"}


def run(out, n=90, *overrides, over=OVER, **options):
    task = toy("optimizer.learning_rate=1e-9", *overrides)
    options = {"candidates": 6, "folds": 3, "eta": 3, **options}
    return search(task, task.cases(n), over, out=out, **options)


def test_rounds_drop_candidates_and_give_the_others_more():
    assert rounds(27, 3, 5) == [(27, 1), (9, 3), (3, 5)]
    assert rounds(27, 3, 60) == [(27, 3), (9, 9), (3, 27), (1, 60)]
    assert rounds(4, 2, 8) == [(4, 2), (2, 4), (1, 8)]
    assert rounds(1, 3, 5) == [(1, 5)]
    assert rounds(6, 3, 1) == [(6, 1)]


def test_a_recipe_that_cannot_learn_is_left_for_one_that_can(tmp_path):
    found = run(tmp_path / "s")
    assert found.best.patch["optimizer.learning_rate"] > 1e-3
    assert found.gain.mean > 0
    assert found.final["best"].headline > found.final["baseline"].headline
    counts = {one.name: len(one.results) for one in found.candidates}
    assert counts.pop("baseline") == 3
    assert sorted(counts.values()) == [1, 1, 1, 1, 3, 3]
    stored = yaml.safe_load((tmp_path / "s" / "best.yaml").read_text())
    assert stored["optimizer"]["learning_rate"] == found.best.patch["optimizer.learning_rate"]
    assert "held-out" in (tmp_path / "s" / "study.html").read_text().lower()


def test_no_candidate_sees_the_held_out_cases(tmp_path):
    found = run(tmp_path / "s", held_out=0.3)
    assert len(found.held_out) == pytest.approx(27, abs=2)
    inside = set(found.plan.assignments[0])
    assert not inside & set(found.held_out)
    assert len(inside) + len(found.held_out) == 90


def test_a_search_that_finds_nothing_better_keeps_the_recipe(tmp_path):
    task = toy()
    over = {"optimizer.learning_rate": [1e-9, 1e-8]}
    found = search(task, task.cases(60), over, out=tmp_path / "s", candidates=2, folds=3)
    assert found.best.name == "baseline"
    assert list(found.final) == ["baseline"]
    assert found.best_recipe == task.recipe


def test_a_stopped_search_goes_on_and_trains_nothing_twice(tmp_path, monkeypatch):
    first = run(tmp_path / "s")
    monkeypatch.setattr(jobs, "again", lambda *_: pytest.fail("trained again"))
    assert summary(run(tmp_path / "s")) == summary(first)


def test_candidates_that_fail_are_named_and_lose(tmp_path, monkeypatch):
    real = jobs.again

    def sometimes(task, recipe):
        if recipe.width > 16:
            raise RuntimeError("too wide")
        return real(task, recipe)

    monkeypatch.setattr(jobs, "again", sometimes)
    told = []
    found = run(tmp_path / "s", told=lambda job, result, problem: told.append(problem))
    failed = [one for one in found.candidates if one.failures]
    assert failed
    assert all(one.patch["width"] > 16 for one in failed)
    assert found.best.patch["width"] <= 16
    assert any("too wide" in problem for problem in told)


def test_epochs_as_budget_train_shorter_first(tmp_path):
    out = tmp_path / "s"
    found = run(out, 60, "epochs=9", budget="epochs", folds=2, candidates=3, held_out=0)
    names = {path.name for path in (out / "jobs").iterdir()}
    assert {"baseline", "baseline-epochs3", "c01-epochs3"} <= names
    assert found.final == {}
    assert len(found.candidates[0].results) == 2


def test_random_search_runs_every_candidate_on_every_fold(tmp_path):
    found = run(tmp_path / "s", 60, method="random", candidates=3, folds=2, held_out=0)
    assert [len(one.results) for one in found.candidates] == [2, 2, 2, 2]


def test_tpe_learns_where_the_good_values_are_and_replays_after_a_stop(tmp_path, monkeypatch):
    pytest.importorskip("optuna", reason="the extra `search` is not installed")
    over = {"optimizer.learning_rate": "1e-9..0.05 log"}
    options = {"over": over, "method": "tpe", "candidates": 8, "folds": 2, "held_out": 0}
    first = run(tmp_path / "s", 60, **options)
    assert first.best.patch["optimizer.learning_rate"] > 1e-4
    monkeypatch.setattr(jobs, "again", lambda *_: pytest.fail("trained again"))
    assert summary(run(tmp_path / "s", 60, **options)) == summary(first)


def test_tpe_without_optuna_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"vesalius\[search\]"):
        run(tmp_path / "s", method="tpe")


@pytest.mark.parametrize(
    "options",
    [{"method": "grid"}, {"eta": 1}, {"budget": "money"}, {"budget": "epochs", "method": "random"}],
)
def test_searches_that_cannot_be_made_are_refused(tmp_path, options):
    with pytest.raises(RecipeError, match="cannot be made"):
        run(tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


def test_the_summary_is_json(tmp_path):
    found = run(tmp_path / "s", 60, candidates=2, folds=2)
    stored = json.loads((tmp_path / "s" / "search.json").read_text())
    assert stored["best"]["name"] == found.best.name
    assert len(stored["candidates"]) == 3
