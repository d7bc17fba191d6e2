"""Pseudo-labels of records: names or probabilities as truth, and a whole round of it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.diagnose.small import SIGNS, TINY, rows, write
from vesalius.diagnose.recipe import DiagnoseRecipe
from vesalius.diagnose.task import DiagnoseTask
from vesalius.engine.loop import fit
from vesalius.engine.run import Run
from vesalius.engine.splits import split_cases
from vesalius.engine.task import Prediction
from vesalius.errors import DataError, RecipeError
from vesalius.study.pseudo_label import pseudo_label

TFIDF = {"model": {"name": "tfidf", "least": 1}, "epochs": 0}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("records") / "records.jsonl", rows(160))


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    made = [row | {"id": f"NEW{k}"} for k, row in enumerate(rows(80, seed=9))]
    return write(tmp_path_factory.mktemp("more") / "more.jsonl", made)


@pytest.fixture(scope="module")
def run(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    task = DiagnoseTask(DiagnoseRecipe.load(TFIDF))
    train, held, _ = split_cases(task.cases(source), 0.6, 0)
    split = {"train": [c.id for c in train], "valid": [c.id for c in held]}
    return fit(task, train, held, task.recipe, out, quiet=True, extra={"split": split})


def network(source):
    task = DiagnoseTask(DiagnoseRecipe.load(None, ["model.name=transformer", *TINY]))
    cases = task.cases(source)
    task.learn(cases)
    return task, cases


def test_accepted_names_become_the_truth_of_a_record(run, source):
    task = run.task
    case = replace(task.cases(source)[0], target=None)
    made = task.labelled(case, Prediction(case.id, None), np.array([True, False, True]))
    assert made.target == (task.label_names[0], task.label_names[2])
    assert (made.id, made.input, made.extra) == (case.id, case.input, case.extra)


def test_soft_targets_reach_the_batch_by_name(source):
    task, cases = network(source)
    soft = dict(zip(SIGNS, (0.25, 0.5, 0.125), strict=True))
    decided = np.array([soft[name] > 0.4 for name in task.label_names])
    values = np.array([soft[name] for name in task.label_names])
    made = task.labelled(cases[0], Prediction("", None), decided, soft=values)
    assert made.target == (list(SIGNS)[1],)
    batch = next(iter(task.loader([made, *cases[1:8]], training=True)))
    row = batch.targets[list(batch.ids).index(made.id)]
    np.testing.assert_allclose(row, values)
    others = [i for i, name in enumerate(batch.ids) if name != made.id]
    assert set(batch.targets[others].unique().tolist()) <= {0.0, 1.0}
    loss = task.loss(task.build(), batch)["labels"]
    assert np.isfinite(loss.item())


def test_truth_without_soft_targets_is_as_it_was(source):
    task, cases = network(source)
    assert task.known.targets(cases).dtype == bool
    np.testing.assert_array_equal(task.known.targets(cases), task.known.encode(cases))


def test_a_model_that_is_solved_cannot_learn_from_soft_labels(run, source):
    case = run.task.cases(source)[0]
    with pytest.raises(RecipeError, match="TF-IDF"):
        run.task.labelled(case, Prediction("", None), np.ones(3, bool), soft=np.full(3, 0.5))


@pytest.fixture(scope="module")
def done(run, source, unlabelled, tmp_path_factory):
    out = tmp_path_factory.mktemp("studies") / "s"
    return pseudo_label(run, source, unlabelled, out=out, precision=0.8, resamples=4)


def test_a_round_with_records_labels_trains_and_scores(done, run, source):
    (one,) = done.rounds
    assert done.base_run == run.folder  # solved: no held-out record chose its weights
    assert one.accepted >= 10
    assert one.right["precision"] > 0.7
    assert one.scores.headline == done.base.headline == "macro_f1"
    assert one.gain.method == "rescored"
    made = Run(one.folder / "run")
    split = made.config["split"]
    assert set(split["valid"]) == {*done.halves.rule, *done.halves.score}
    assert sum(name.startswith("NEW") for name in split["train"]) == one.accepted


def test_a_rounds_model_answers_by_thresholds_of_its_own(done, unlabelled):
    (one,) = done.rounds
    task = Run(one.folder / "run").task
    assert task.decider.thresholds.values.shape == (3,)
    # ... which were fitted after it was scored, so that the scores stay cross-fitted.
    stored = json.loads((one.folder / "result.json").read_text())
    assert stored["scores"]["headline"] == "macro_f1"


def test_records_whose_text_is_labelled_are_refused(run, source, tmp_path):
    copied = write(tmp_path / "copies.jsonl", [row | {"id": f"C{row['id']}"} for row in rows(3)])
    with pytest.raises(DataError, match="labelled ones") as caught:
        pseudo_label(run, source, copied, out=tmp_path / "s")
    assert len(caught.value.problems) == 3
