import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tests.study.toys import toy, trick
from vesalius.errors import InterruptedRun, RecipeError, StudyError
from vesalius.study import cross_validate, dissect, jobs, workers
from vesalius.study.dissect import label_metric
from vesalius.study.variants import ALL, BASELINE, WITHOUT, variants

HARMFUL = trick("blind", optimizer__learning_rate=1e-9)
NEUTRAL = trick("wider", width=17)


def study(out, tricks=(HARMFUL, NEUTRAL), n=90, **options):
    task = toy()
    named = {one.name: one for one in tricks}
    return dissect(task, task.cases(n), named, out=out, folds=3, **options)


# --- cross-validation ---------------------------------------------------------------------------


def test_each_case_is_scored_by_the_run_that_did_not_train_on_it(tmp_path):
    task = toy()
    cases = task.cases(60)
    found = cross_validate(task, cases, out=tmp_path / "cv", folds=3, keep="weights")
    assert sorted(found.results) == [(0, 0), (0, 1), (0, 2)]
    for split in found.plan.splits():
        folder = tmp_path / "cv" / "jobs" / "baseline" / f"r0-f{split.fold}"
        config = json.loads((folder / "run" / "config.json").read_text())
        assert set(config["split"]["train"]) | set(split.valid_ids) == {c.id for c in cases}
        assert not set(config["split"]["train"]) & set(split.valid_ids)
    sizes = [len(split.valid_ids) for split in found.plan.splits()]
    by_hand = np.average([r.scores.best for r in found.results.values()], weights=sizes)
    assert found.pooled[0].best == pytest.approx(by_hand)


def test_the_same_call_goes_on_and_trains_nothing_twice(tmp_path, monkeypatch):
    task = toy()
    cases = task.cases(60)
    first = cross_validate(task, cases, out=tmp_path / "cv", folds=3)
    monkeypatch.setattr(jobs, "again", lambda *_: pytest.fail("trained again"))
    again = cross_validate(task, cases, out=tmp_path / "cv", folds=3)
    assert again.results == first.results


def test_another_question_in_the_same_folder_is_refused_by_name(tmp_path):
    task = toy()
    cross_validate(task, task.cases(60), out=tmp_path / "cv", folds=3)
    with pytest.raises(RecipeError, match="asked something else") as caught:
        cross_validate(task, task.cases(60), out=tmp_path / "cv", folds=4)
    assert any(line.startswith("folds:") for line in caught.value.problems)


def test_the_held_out_fold_does_not_choose_the_weights(tmp_path):
    task = toy("keep=best", "evaluate_every=1")
    found = cross_validate(task, task.cases(60), out=tmp_path / "cv", folds=2, keep="weights")
    for fold in range(2):
        history = tmp_path / "cv" / "jobs" / "baseline" / f"r0-f{fold}" / "run" / "history.jsonl"
        rows = [json.loads(line) for line in history.read_text().splitlines()]
        assert sum(row["kind"] == "valid" for row in rows) == 1
    assert len(found.results) == 2


def test_repeats_cut_anew_and_train_with_another_seed(tmp_path):
    task = toy()
    found = cross_validate(task, task.cases(40), out=tmp_path / "cv", folds=2, repeats=2)
    assert len(found.results) == 4
    assert len(found.pooled) == 2
    first, second = found.plan.assignments
    assert first != second


# --- dissection ---------------------------------------------------------------------------------


def test_a_trick_that_blinds_the_model_hurts_and_one_that_does_nothing_has_no_evidence(tmp_path):
    found = study(tmp_path / "s", n=150, together=False)
    verdicts = {row.name: row.verdict for row in found.rows}
    assert verdicts == {"blind": "hurts", "wider": "no evidence"}
    by_hand = [
        found.results["blind"][k].scores.best - found.results[BASELINE][k].scores.best
        for k in found.results[BASELINE]
    ]
    row = next(row for row in found.rows if row.name == "blind")
    assert row.effect.mean == pytest.approx(np.mean(by_hand))
    assert (tmp_path / "s" / "study.html").read_text().count("<circle") >= 2
    stored = json.loads((tmp_path / "s" / "effects.json").read_text())
    assert [one["verdict"] for one in stored["tricks"]] == ["hurts", "no evidence"]


def test_all_variants_train_on_the_same_cases_with_the_same_seed(tmp_path):
    study(tmp_path / "s", keep="weights")
    for fold in range(3):
        seen = set()
        for variant in ("baseline", "blind", "wider", "all"):
            run = tmp_path / "s" / "jobs" / variant / f"r0-f{fold}" / "run"
            split = json.loads((run / "config.json").read_text())["split"]
            seed = [k for k in (run / "recipe.yaml").read_text().splitlines() if k[:5] == "seed:"]
            seen.add((tuple(split["train"]), *seed))
        assert len(seen) == 1


def test_one_that_fails_does_not_lose_the_others(tmp_path):
    found = study(tmp_path / "s", (trick("poisoned", poison="p5"), NEUTRAL), together=False)
    assert len(found.results["wider"]) == 3
    assert len(found.results["poisoned"]) < 3
    assert all("not finite" in why for why in found.failures["poisoned"].values())
    row = next(row for row in found.rows if row.name == "poisoned")
    assert row.verdict == "no evidence"


def test_a_baseline_that_fails_everywhere_is_an_error_with_the_reasons(tmp_path):
    task = toy("optimizer.name=sgd", "optimizer.learning_rate=1e30", "batch_norm=false")
    with pytest.raises(StudyError, match="no run of the baseline") as caught:
        dissect(task, task.cases(40), {"wider": NEUTRAL}, out=tmp_path / "s", folds=2)
    assert len(caught.value.problems) == 2


@pytest.mark.slow
def test_processes_give_the_results_of_one_and_survive_one_that_dies(tmp_path):
    tricks = (NEUTRAL, trick("deadly", poison="die"))
    beside = study(tmp_path / "two", tricks, n=40, together=False, processes=2)
    assert len(beside.failures["deadly"]) == 3
    assert all("exit status 7" in why for why in beside.failures["deadly"].values())
    alone = study(tmp_path / "one", (NEUTRAL,), n=40, together=False)
    for variant in (BASELINE, "wider"):
        for place, result in alone.results[variant].items():
            assert beside.results[variant][place].scores == result.scores


def test_a_study_that_is_stopped_goes_on_where_it_was(tmp_path, monkeypatch):
    whole = study(tmp_path / "whole", (NEUTRAL,), together=False)
    done, carry_out = [], workers.work.__kwdefaults__["act"]

    def stopping(bench, job):
        if len(done) == 3:
            raise InterruptedRun(job.folder, 1, 2)
        done.append(job)
        return carry_out(bench, job)

    monkeypatch.setitem(workers.work.__kwdefaults__, "act", stopping)
    with pytest.raises(InterruptedRun):
        study(tmp_path / "halves", (NEUTRAL,), together=False)
    monkeypatch.undo()
    halves = study(tmp_path / "halves", (NEUTRAL,), together=False)
    for variant, places in whole.results.items():
        for place, result in places.items():
            assert halves.results[variant][place].scores == result.scores


def test_the_race_gives_up_what_cannot_help_and_says_so(tmp_path):
    task = toy()
    found = dissect(
        task, task.cases(120), {"blind": HARMFUL}, out=tmp_path / "s", folds=6, race=True
    )
    assert 3 <= found.dropped["blind"] < 6
    assert len(found.results["blind"]) == found.dropped["blind"]
    assert found.rows[0].dropped
    assert found.rows[0].verdict == "no evidence"


def test_a_budget_that_is_used_up_ends_the_study_and_says_so(tmp_path, monkeypatch):
    clock = [0.0]
    module = sys.modules["vesalius.study.dissect"]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def told(job, result, problem):
        clock[0] += 15

    ended = study(tmp_path / "s", (NEUTRAL,), together=False, minutes=1, told=told)
    assert ended.out_of_time
    assert [len(ended.results[name]) for name in (BASELINE, "wider")] == [2, 2]
    assert not study(tmp_path / "s", (NEUTRAL,), together=False).out_of_time


# --- variants -----------------------------------------------------------------------------------


def test_tricks_that_set_the_same_key_are_not_on_together():
    base = toy().recipe
    tricks = {
        "a": trick("a", optimizer__name="sgd"),
        "b": trick("b", optimizer__learning_rate=0.5),
        "c": trick("c", width=3),
        "d": trick("d", pieces=[{"name": "ema", "decay": 0.5}]),
        "e": trick("e", pieces=[{"name": "swa", "start": 0.5}]),
    }
    made = variants(base, tricks, but_one=True)
    assert made.together == ("a", "c", "d", "e")
    assert dict(made.left_out) == {"b": "a"}
    assert [piece.name for piece in made.recipes[ALL].pieces] == ["ema", "swa"]
    assert made.recipes[WITHOUT + "c"].width == base.width
    assert made.recipes[WITHOUT + "d"].pieces[0].name == "swa"


def test_tricks_that_do_not_fit_or_change_nothing_are_listed():
    base = toy().recipe
    tricks = {"same": trick("same", width=base.width), "wrong": trick("wrong", depth=3)}
    with pytest.raises(RecipeError) as caught:
        variants(base, tricks)
    assert [line.split(":")[0] for line in caught.value.problems] == ["same", "wrong"]


def test_the_metric_of_labels_is_that_of_the_headline(tmp_path):
    found = study(tmp_path / "s", (NEUTRAL,), together=False)
    assert label_metric(next(iter(found.results[BASELINE].values()))) is None
    assert found.labels("wider") == {}
