"""Pseudo-labels of a toy department: points in a plane and on which sides of its axes they lie."""

import json
import sys
from dataclasses import replace
from math import inf
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from vesalius.cli.pseudo_label import pseudo_label as command
from vesalius.engine.data import Batch, Loader
from vesalius.engine.loop import fit
from vesalius.engine.recipe import Recipe
from vesalius.engine.run import Run
from vesalius.engine.task import Case, Prediction, Scores
from vesalius.errors import DataError, InterruptedRun, RecipeError
from vesalius.study import jobs, pseudo_rounds
from vesalius.study.gains import Gain
from vesalius.study.pseudo_label import pseudo_label
from vesalius.study.pseudo_rounds import Halves, Round

NAMES = ("right", "up", "far")


class Plane:
    """Several labels per point; a point may be hard to tell."""

    department = "pseudo_plane"

    def __init__(self, recipe):
        self.recipe, self.decider = recipe, None

    @property
    def label_names(self):
        return list(NAMES)

    def cases(self, source):
        if isinstance(source, Path):
            source = json.loads(source.read_text())
        return points(**source)

    def config(self):
        return {}

    def loader(self, cases, *, training):
        def fetch(index, rng):
            case = cases[index]
            given = case.target or ()
            row = [float(name in given) for name in NAMES]
            row = [case.extra["soft"][name] for name in NAMES] if "soft" in case.extra else row
            return case.id, torch.tensor(case.input), torch.tensor(row)

        size = min(self.recipe.batch_size, len(cases)) if training else 500
        seed = self.recipe.seed
        return Loader(fetch, len(cases), collate=collate, batch_size=size, seed=seed, workers=0)

    def build(self):
        return nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 3))

    def loss(self, model, batch):
        return {"bce": nn.functional.binary_cross_entropy_with_logits(*self._pair(model, batch))}

    def _pair(self, model, batch):
        return model(batch.inputs), batch.targets

    def predict(self, model, batch):
        found = model(batch.inputs).sigmoid().numpy()
        return [Prediction(name, row) for name, row in zip(batch.ids, found, strict=True)]

    def score(self, cases, predictions):
        truth = {case.id: [name in case.target for name in NAMES] for case in cases}
        right = {p.id: float(np.mean((p.probabilities > 0.5) == truth[p.id])) for p in predictions}
        return Scores(
            "accuracy",
            {"accuracy": float(np.mean(list(right.values())))},
            cases={name: {"accuracy": value} for name, value in right.items()},
        )

    def labelled(self, case, prediction, decided, folder=None, *, soft=None):
        target = tuple(name for name, yes in zip(NAMES, decided, strict=True) if yes)
        if soft is None:
            return replace(case, target=target)
        values = dict(zip(NAMES, soft.tolist(), strict=True))
        return replace(case, target=target, extra={**case.extra, "soft": values})


def collate(items):
    ids, inputs, targets = zip(*items, strict=True)
    return Batch(list(ids), torch.stack(inputs), torch.stack(targets))


def points(n, seed=0, prefix="p", patients=False, corner=False):
    """Return points; `up` is a matter of chance near its axis, but not in the corner."""
    rng = np.random.default_rng((seed, len(prefix)))
    found = []
    for k, (x, y) in enumerate(rng.normal(size=(n, 2)).astype(np.float32)):
        x, y = (abs(x) + 2, abs(y) + 2) if corner else (x, y)
        truth = (x > 0, y + 0.2 * rng.normal() > 0, x * x + y * y > 2)
        target = tuple(name for name, yes in zip(NAMES, truth, strict=True) if yes)
        group = f"{prefix}{k // 2}" if patients else None
        found.append(Case(f"{prefix}{k}", np.array([x, y], np.float32), target, group))
    return found


class PlaneRecipe(Recipe):
    """Nothing of its own."""


ROOM = SimpleNamespace(
    RECIPE=PlaneRecipe, TASK=Plane, load_task=lambda recipe, config, assets=None: Plane(recipe)
)
for _name in ("", ".recipe", ".task"):
    sys.modules[f"vesalius.pseudo_plane{_name}"] = ROOM


def plane(*overrides):
    settings = ("epochs=5", "batch_size=16", "optimizer.learning_rate=0.08", "keep=last")
    return Plane(PlaneRecipe.load(None, [*settings, "evaluate_every=5", *overrides]))


LABELLED = points(200)
UNLABELLED = points(120, prefix="un")
OPTIONS = {"precision": 0.8, "valid_share": 0.6}


def study(out, labelled=LABELLED, unlabelled=UNLABELLED, task=None, **options):
    return pseudo_label(task or plane(), labelled, unlabelled, out=out, **(OPTIONS | options))


def accepted(out, number=1):
    return json.loads((out / f"round-{number}" / "accepted.json").read_text())


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("studies") / "whole"
    return study(out, rounds=2)


# --- what is done -------------------------------------------------------------------------------


def test_each_round_trains_on_the_labelled_and_all_accepted_cases(done):
    train = {c.id for c in LABELLED} - set(done.halves.rule) - set(done.halves.score)
    known: set[str] = set()
    for one in done.rounds:
        known |= set(accepted(done.folder, one.number)["cases"])
        split = json.loads((one.folder / "run" / "config.json").read_text())["split"]
        assert set(split["train"]) == train | known
        assert one.total == len(known)
    assert done.rounds[0].accepted > 5


def test_an_accepted_case_keeps_its_labels_and_is_not_asked_about_again(done):
    first, second = done.rounds
    assert second.asked == first.asked - first.accepted
    assert not set(accepted(done.folder, 1)["cases"]) & set(accepted(done.folder, 2)["cases"])


def test_the_number_of_right_pseudo_labels_is_counted_by_hand(done):
    stored = accepted(done.folder)["cases"]
    truth = {case.id: case.target for case in UNLABELLED}
    given = {name: row["target"] for name, row in stored.items()}
    right = done.rounds[0].right
    assert right["positives"] == sum(map(len, given.values()))
    assert right["right"] == sum(len(set(v) & set(truth[k])) for k, v in given.items())
    wholly = np.mean([set(v) == set(truth[k]) for k, v in given.items()])
    assert right["wholly_right"] == pytest.approx(wholly)
    up = done.rounds[0].labels["up"]
    assert up["accepted"] == sum("up" in v for v in given.values())
    hits = sum("up" in v and "up" in truth[k] for k, v in given.items())
    assert up["precision"] == pytest.approx(hits / up["accepted"])
    assert up["recall"] == pytest.approx(hits / sum("up" in truth[k] for k in given))


def test_scores_are_of_the_score_half_alone_and_the_gain_is_their_difference(done):
    rule, score = set(done.halves.rule), set(done.halves.score)
    assert not rule & score
    assert abs(len(rule) - len(score)) <= 1
    for one in done.rounds:
        assert set(one.scores.cases) == score
        assert one.gain.value == pytest.approx(one.scores.best - done.base.best)
        assert one.gain.low <= one.gain.value <= one.gain.high
        assert one.gain.over == "base"


def test_truth_of_unlabelled_cases_is_never_used_but_to_count(done, tmp_path):
    lying = [replace(case, target=("far",)) for case in UNLABELLED]
    blind = [replace(case, target=None) for case in UNLABELLED]
    for name, cases in {"lying": lying, "blind": blind}.items():
        found = study(tmp_path / name, unlabelled=cases)
        assert accepted(tmp_path / name)["cases"] == accepted(done.folder)["cases"]
        assert found.rounds[0].scores == done.rounds[0].scores
    assert found.rounds[0].right == {}


def test_the_score_half_chooses_nothing(tmp_path):
    run = finished_run(tmp_path / "run")
    one = pseudo_label(run, LABELLED, UNLABELLED, out=tmp_path / "one", precision=0.8)
    score = set(one.halves.score)
    wrong = [replace(c, target=("far", "up")) if c.id in score else c for c in LABELLED]
    other = pseudo_label(run, wrong, UNLABELLED, out=tmp_path / "other", precision=0.8)
    assert other.halves == one.halves
    assert accepted(tmp_path / "other") == accepted(tmp_path / "one")
    assert other.base.best != one.base.best


def test_labels_that_are_never_taken_for_true_are_named():
    rules = [{"labels": {"a": {"positive": a}, "b": {"positive": inf}}} for a in (inf, 0.9)]
    made = [Round(k, 9, 5, 5, 5, rule, {}, {}, Path()) for k, rule in enumerate(rules)]
    module = sys.modules["vesalius.study.pseudo_label"]
    notes = list(module._notes(Halves(("1",), ("2",)), made))
    assert any("precise enough: b. Cases" in note for note in notes)
    assert any("precise enough: a, b. Cases" in n for n in module._notes(Halves((), ()), made[:1]))


def test_patients_lie_in_one_half_and_those_held_out_are_not_labelled(tmp_path):
    labelled = points(200, patients=True)
    unlabelled = [replace(c, group=f"p{k}") for k, c in enumerate(UNLABELLED)]
    found = study(tmp_path / "s", labelled=labelled, unlabelled=unlabelled)
    groups = {case.id: case.group for case in labelled}
    rule, score = (
        {groups[name] for name in half} for half in (found.halves.rule, found.halves.score)
    )
    assert not rule & score
    left_out = sum(case.group in rule | score for case in unlabelled)
    assert found.rounds[0].asked == len(unlabelled) - left_out
    assert any(f"{left_out} unlabelled case(s) are left out" in note for note in found.notes)


def test_soft_labels_are_the_calibrated_probabilities(done, tmp_path):
    study(tmp_path / "s", soft=True)
    hard, soft = accepted(done.folder), accepted(tmp_path / "s")
    assert hard["cases"].keys() == soft["cases"].keys()
    for name, row in soft["cases"].items():
        assert row["target"] == hard["cases"][name]["target"]
        values = row["extra"]["soft"]
        sure = min(values[n] if n in row["target"] else 1 - values[n] for n in NAMES)
        assert sure == pytest.approx(row["confidence"])


def test_at_most_so_many_are_accepted_and_no_label_above_its_share(done, tmp_path):
    found = study(tmp_path / "s", most=10)
    assert found.rounds[0].accepted <= 10
    assert found.rounds[0].sure == done.rounds[0].sure
    train = [c for c in LABELLED if c.id not in {*done.halves.rule, *done.halves.score}]
    for name in NAMES:
        share = np.mean([name in case.target for case in train])
        assert found.rounds[0].labels[name]["accepted"] <= np.ceil(share * 10)
    free = study(tmp_path / "free", most=10, balanced=False)
    assert free.rounds[0].accepted == 10


def test_classes_that_exclude_each_other_are_labelled_too(tmp_path, monkeypatch):
    def one(case):
        return replace(case, target="right" if "right" in case.target else "up")

    monkeypatch.setattr(
        Plane, "_pair", lambda self, model, batch: (model(batch.inputs) * 2, batch.targets)
    )
    monkeypatch.setattr(Plane, "loader", _with_classes(Plane.loader))
    found = study(
        tmp_path / "s", [one(c) for c in LABELLED], [one(c) for c in UNLABELLED], precision=0.7
    )
    right = found.rounds[0].right
    assert found.rounds[0].accepted > 5
    assert right["right"] / right["positives"] == right["wholly_right"] > 0.8


def _with_classes(loader):
    def changed(self, cases, *, training):
        given = [replace(c, target=(c.target,)) if isinstance(c.target, str) else c for c in cases]
        return loader(self, given, training=training)

    return changed


# --- from a run ---------------------------------------------------------------------------------


def finished_run(out, *overrides):
    task = plane(*overrides)
    ids = [case.id for case in LABELLED]
    extra = {"split": {"train": ids[:80], "valid": ids[80:]}}
    return fit(task, LABELLED[:80], LABELLED[80:], task.recipe, out, quiet=True, extra=extra)


def test_a_run_is_the_base_and_its_held_out_cases_are_used(tmp_path):
    run = finished_run(tmp_path / "run")
    found = pseudo_label(run, LABELLED, UNLABELLED, out=tmp_path / "s", precision=0.8)
    assert {*found.halves.rule, *found.halves.score} == {case.id for case in LABELLED[80:]}
    assert found.base_run == run.folder
    assert not (tmp_path / "s" / "round-0" / "run").exists()
    by_hand = run.task.score(
        [c for c in LABELLED if c.id in found.halves.score],
        run.predictions([c for c in LABELLED if c.id in found.halves.score]),
    )
    assert found.base.best == pytest.approx(by_hand.best)


def test_a_run_whose_weights_the_held_out_cases_chose_is_trained_anew(tmp_path):
    run = finished_run(tmp_path / "run", "keep=best", "evaluate_every=3")
    found = pseudo_label(run, LABELLED, UNLABELLED, out=tmp_path / "s", precision=0.8)
    assert found.base_run == tmp_path / "s" / "round-0" / "run"
    assert Run(found.base_run).recipe.keep == "last"
    assert any("trained anew" in note for note in found.notes)


def test_thresholds_of_a_rounds_model_are_fitted_to_the_rule_half(tmp_path, monkeypatch):
    seen = []

    def fit_decision(self, cases, predictions):
        seen.append(({c.id for c in cases}, {p.id for p in predictions}))

    monkeypatch.setattr(Plane, "fit_decision", fit_decision, raising=False)
    monkeypatch.setattr(Plane, "assets", dict, raising=False)
    found = study(tmp_path / "s")
    assert len(seen) == 2
    assert all(one == two == set(found.halves.rule) for one, two in seen)


# --- going on -----------------------------------------------------------------------------------


def test_the_same_call_goes_on_and_more_rounds_are_added(done, tmp_path, monkeypatch):
    study(tmp_path / "s")
    longer = study(tmp_path / "s", rounds=2)
    assert [r.scores for r in longer.rounds] == [r.scores for r in done.rounds]
    monkeypatch.setattr(jobs, "again", lambda *_: pytest.fail("trained again"))
    again = study(tmp_path / "s", rounds=2)
    assert again.to_dict() == longer.to_dict()


@pytest.mark.parametrize("stop", [1, 2])
def test_a_study_that_is_stopped_anywhere_ends_as_one_that_was_not(
    done, tmp_path, monkeypatch, stop
):
    steps = []

    def stopping(act):
        def step(*arguments, **options):
            if len(steps) == stop:
                raise InterruptedRun(tmp_path, 1, 2)
            steps.append(act)
            return act(*arguments, **options)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(pseudo_rounds, "carry_out", stopping(pseudo_rounds.carry_out))
        patch.setattr(pseudo_rounds.Rounds, "_accept", stopping(pseudo_rounds.Rounds._accept))
        with pytest.raises(InterruptedRun):
            study(tmp_path / "s", rounds=2)
    assert not (tmp_path / "s" / "pseudo-labels.json").exists()
    found = study(tmp_path / "s", rounds=2)
    assert [r.scores for r in found.rounds] == [r.scores for r in done.rounds]


def test_another_question_in_the_same_folder_is_refused(done):
    with pytest.raises(RecipeError, match="asked something else"):
        study(done.folder, precision=0.85)


def test_a_case_that_is_gone_from_the_data_is_named(tmp_path):
    study(tmp_path / "s")
    name = next(iter(accepted(tmp_path / "s")["cases"]))
    fewer = [replace(c, id="new") if c.id == name else c for c in UNLABELLED]
    with pytest.raises(DataError, match=name):
        study(tmp_path / "s", unlabelled=fewer)


# --- what is refused, and honest ends -----------------------------------------------------------


def test_where_nothing_is_sure_nothing_is_trained_and_it_says_so(tmp_path):
    corner = points(40, prefix="far", corner=True)
    found = study(tmp_path / "s", unlabelled=corner, precision=0.999, rounds=3)
    assert [one.accepted for one in found.rounds] == [0]
    assert found.rounds[0].verdict == "nothing accepted"
    assert not (tmp_path / "s" / "round-1" / "run").exists()
    assert any("accepted none" in note for note in found.notes)


def test_unlabelled_cases_that_are_labelled_ones_are_listed(tmp_path):
    both = [*UNLABELLED, LABELLED[3], LABELLED[5]]
    with pytest.raises(DataError, match="are labelled ones") as caught:
        study(tmp_path / "s", unlabelled=both)
    assert [line.split(":")[0] for line in caught.value.problems] == ["p3", "p5"]


def test_texts_and_copied_files_are_known_again(tmp_path):
    for name, content in {"a": b"one", "b": b"one", "c": b"two", "d": b"four"}.items():
        (tmp_path / name).write_bytes(content)
    labelled = [Case("1", {"note": "some  text"}), Case("2", (tmp_path / "a",))]
    fresh = [Case("3", {"note": "other text"}), Case("4", (tmp_path / "c",))]
    fresh += [Case("7", (tmp_path / "d",)), Case("8", {"note": " "})]
    known = [Case("5", {"note": "some text"}), Case("6", (tmp_path / "b",))]
    module = sys.modules["vesalius.study.pseudo_label"]
    module._refuse_known(labelled, fresh)
    with pytest.raises(DataError) as caught:
        module._refuse_known(labelled, [*fresh, *known])
    assert [line.split(":")[0] for line in caught.value.problems] == ["5", "6"]


def test_a_department_without_pseudo_labels_is_refused(tmp_path, monkeypatch):
    monkeypatch.delattr(Plane, "labelled")
    with pytest.raises(RecipeError, match="labelled"):
        study(tmp_path / "s")


def test_a_single_held_out_patient_is_too_few(tmp_path):
    one = [replace(c, group="a" if k < 100 else "b") for k, c in enumerate(LABELLED)]
    with pytest.raises(DataError, match="too few"):
        study(tmp_path / "s", labelled=one)


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    run = finished_run(tmp_path / "run")
    rows = (run.folder / "history.jsonl").read_text().splitlines()
    (run.folder / "history.jsonl").write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(DataError, match="--resume"):
        pseudo_label(run, LABELLED, UNLABELLED, out=tmp_path / "s")


@pytest.mark.parametrize("options", [{"rounds": 0}, {"most": 0}, {"calibration": "none at all"}])
def test_options_out_of_range_are_refused_before_anything_is_written(tmp_path, options):
    with pytest.raises(RecipeError):
        study(tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.2, "helps"), (-0.2, -0.1, "hurts"), (-0.1, 0.1, "no evidence")],
)
def test_the_verdict_is_that_of_the_interval(low, high, verdict):
    plain = Round(1, 1, 1, 1, 1, {}, {}, {}, Path())
    assert plain.verdict == "nothing accepted"
    assert replace(plain, gain=Gain("base", 0.0, low, high)).verdict == verdict
    assert replace(plain, gain=Gain("base", 0.0)).verdict == "no evidence"  # no interval


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def sources(tmp_path):
    for name, what in {
        "labelled": {"n": 200},
        "unlabelled": {"n": 120, "prefix": "un"},
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(what))
    return tmp_path / "labelled.json", tmp_path / "unlabelled.json"


def test_the_command_prints_one_json_document(sources, tmp_path, capsys):
    run = finished_run(tmp_path / "run")
    data, unlabelled = sources
    options = {"data": data, "out": tmp_path / "s", "precision": 0.8}
    assert command(run.folder, unlabelled, **options, as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rounds"][0]["accepted"] > 5
    assert found["rounds"][0]["right"]["precision"] > 0.7
    assert found["rounds"][0]["verdict"] in ("helps", "hurts", "no evidence")


def test_the_command_says_what_pseudo_labels_did(sources, tmp_path, capsys, monkeypatch):
    run = finished_run(tmp_path / "run")
    data, unlabelled = sources
    corner = tmp_path / "corner.json"
    corner.write_text(json.dumps({"n": 20, "prefix": "far", "corner": True}))
    command(run.folder, corner, data=data, out=tmp_path / "s", precision=0.999)
    assert "pseudo-labels did nothing" in capsys.readouterr().out
    monkeypatch.setenv("VESALIUS_LANG", "zh")
    command(run.folder, unlabelled, data=data, out=tmp_path / "zh", precision=0.8)
    printed = capsys.readouterr().out
    assert "伪标签" in printed
    assert "结论" in printed
