"""Records in, diseases out: training, prediction, evidence, and what a run keeps."""

import json
import shutil

import numpy as np
import pytest
import torch

from tests.diagnose.small import SIGNS, TINY, rows, write
from vesalius import diagnose
from vesalius.cli import main
from vesalius.diagnose import answers
from vesalius.diagnose.evidence import explain, sentences_of
from vesalius.diagnose.recipe import DiagnoseRecipe
from vesalius.diagnose.task import DiagnoseTask
from vesalius.engine.run import Run
from vesalius.engine.tricks import catalogue
from vesalius.errors import DataError, RecipeError

TFIDF = {"model": {"name": "tfidf", "least": 1}, "epochs": 0}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("records") / "records.jsonl", rows(90))


@pytest.fixture(scope="module")
def solved(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tfidf"
    return diagnose.train(source, recipe=TFIDF, out=out, quiet=True)


@pytest.fixture(scope="module")
def trained(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "net"
    return diagnose.train(
        source, recipe="transformer", out=out, quiet=True, overrides=[*TINY, "epochs=8"]
    )


@pytest.mark.parametrize("name", ["solved", "trained"])
def test_separable_diseases_are_learned(name, request):
    run = request.getfixturevalue(name)
    assert run.scores.headline == "macro_f1"
    assert run.scores.best > 0.8
    low, high = run.scores.intervals["macro_f1"]
    assert low <= run.scores.best <= high
    assert set(run.scores.labels) == set(SIGNS)


@pytest.mark.parametrize("name", ["solved", "trained"])
def test_a_reopened_run_predicts_as_the_run_did(name, request, source):
    run = request.getfixturevalue(name)
    first, second = run.predict(source), Run(run.folder).predict(source)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
    assert Run(run.folder).task.decider.thresholds.values.shape == (3,)


def test_answers_are_written_in_the_contests_form_and_with_probabilities(solved, source, tmp_path):
    path = diagnose.predict(solved, source, out=tmp_path / "a.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    truth = {row["id"]: row["labels"] for row in rows(90)}
    assert found.keys() == truth.keys()
    assert sum(set(found[name]) == set(truth[name]) for name in truth) > 70
    lines = diagnose.predict(solved, source, out=tmp_path / "a.jsonl")
    read = answers.read(lines)
    assert [answer.labels for answer in read] == [tuple(found[a.id]) for a in read]
    assert all(set(answer.probabilities) == set(SIGNS) for answer in read)
    with pytest.raises(RecipeError, match="exists already"):
        diagnose.predict(solved, source, out=path)


def test_a_record_that_no_threshold_answers_still_gets_its_best_disease(solved, source, tmp_path):
    path = diagnose.predict(
        solved, source, out=tmp_path / "b.json", overrides=["decide.max_labels=1"]
    )
    found = json.loads(path.read_text(encoding="utf-8"))
    assert {len(labels) for labels in found.values()} == {1}
    with pytest.raises(RecipeError, match="cannot be changed after training"):
        diagnose.predict(solved, source, out=tmp_path / "c.json", overrides=["epochs=3"])


def test_evidence_is_the_sentence_that_carries_the_disease_and_never_its_denial(solved, source):
    task, model = solved.task, solved.model()
    checked = 0
    for case in task.cases(source)[:30]:
        for label in case.target:
            found, faithful = explain(task, model, case, [label], most=1)
            for item in found:
                assert case.input[item.field][item.start : item.end] == item.text
                assert f"否认{label}" not in item.text
                checked += 1
                assert label in faithful
    assert checked > 20


def test_evidence_points_into_the_text_as_it_was_written(solved, tmp_path):
    made = rows(30)
    for row in made:
        row["现病史"] = "  " + row["现病史"].replace("1", "１").replace("、", "、、")
    source = write(tmp_path / "r.jsonl", made)
    out = diagnose.predict(solved, source, out=tmp_path / "a.jsonl", evidence=True)
    text = {row["id"]: {k: str(v).strip() for k, v in row.items()} for row in made}
    spans = [(answer.id, span) for answer in answers.read(out) for span in answer.evidence]
    assert spans
    for name, span in spans:
        assert text[name][span.field][span.start : span.end] == span.text


def test_sentences_know_where_they_stand():
    fields = {"主诉": "发热3天。咳嗽。", "现病史": " 头晕。\n发热3天。"}
    found = sentences_of(fields)
    assert all(fields[s.field][s.start : s.end] == s.text for s in found)
    assert [s.text for s in found] == ["发热3天。", "咳嗽。", "头晕。", "发热3天。"]


def test_the_report_shows_records_with_their_evidence(solved):
    page = (solved.folder / "report.html").read_text(encoding="utf-8")
    assert page.count("<mark") >= 3
    assert "macro_f1" in page
    assert (solved.folder / "README.md").exists()


def test_training_goes_on_bit_for_bit_where_it_stopped(source, tmp_path, monkeypatch):
    whole = diagnose.train(
        source, recipe="transformer", out=tmp_path / "a", quiet=True, overrides=TINY
    )
    from vesalius.engine import loop

    real, count = loop.Loader.steps, 0

    def interrupted(self, *args, **options):
        nonlocal count
        for batch in real(self, *args, **options):
            count += 1
            if count == 14:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(loop.Loader, "steps", interrupted)
    options = ["checkpoint_minutes=0"]
    with pytest.raises(KeyboardInterrupt):
        diagnose.train(
            source,
            recipe="transformer",
            out=tmp_path / "b",
            quiet=True,
            overrides=[*TINY, *options],
        )
    monkeypatch.undo()
    again = diagnose.train(source, out=tmp_path / "b", quiet=True, resume=True)
    one, other = whole.model().state_dict(), again.model().state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert again.task.decider is not None


def test_a_solved_model_whose_run_was_cut_short_is_solved_again(solved, source, tmp_path):
    folder = shutil.copytree(solved.folder, tmp_path / "cut")
    for name in ("decision.json", "report.html", "scores.json"):
        (folder / name).unlink()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["assets"].remove("decision.json")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    again = diagnose.train(source, out=folder, resume=True, quiet=True)
    assert again.scores.values == solved.scores.values
    for one, other in zip(solved.predict(source), again.predict(source), strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_an_exported_run_names_no_record_and_predicts_alike(trained, source, tmp_path):
    folder = diagnose.export(trained, tmp_path / "model")
    text = (folder / "config.json").read_text() + str(Run(folder).scores)
    assert "ZY00" not in text
    for one, other in zip(trained.predict(source), Run(folder).predict(source), strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)


# --- what is learned, and from whom ---------------------------------------------------------------


def test_patients_stay_on_one_side(tmp_path):
    path = write(tmp_path / "r.jsonl", rows(60, patients=True))
    run = diagnose.train(path, recipe=TFIDF, out=tmp_path / "run", quiet=True)
    group = {row["id"]: row["patient_id"] for row in rows(60, patients=True)}
    split = run.config["split"]
    assert not {group[i] for i in split["train"]} & {group[i] for i in split["valid"]}


def test_the_vocabulary_is_made_of_training_records_alone(source):
    task = DiagnoseTask(DiagnoseRecipe.load(TFIDF))
    cases = task.cases(source)
    task.learn([case for case in cases if "胆囊结石" not in case.target])
    assert set(task.label_names) == {"高血压", "肺炎"}
    assert task.known.counts == tuple(sorted(task.known.counts, reverse=True))
    assert not any("墨菲" in term for term in task.vocabulary.features.names())


def test_rare_labels_are_left_out_and_said_so(tmp_path):
    made = rows(40)
    made[0]["labels"] = [*made[0]["labels"], "罕见病"]
    task = DiagnoseTask(DiagnoseRecipe.load({**TFIDF, "data": {"min_count": 2}}))
    task.learn(task.cases(write(tmp_path / "r.jsonl", made)))
    assert "罕见病" not in task.label_names
    assert task.known.rare == {"罕见病": 1}


def test_rules_for_labels_travel_with_the_run(source, tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text("drop: [肺炎]\nrename: {胆囊结石: 胆石症}\n", encoding="utf-8")
    recipe = {**TFIDF, "data": {"rules": str(rules)}}
    run = diagnose.train(source, recipe=recipe, out=tmp_path / "run", quiet=True)
    rules.unlink()
    assert set(Run(run.folder).task.label_names) == {"高血压", "胆石症"}
    assert "胆石症" in Run(run.folder).evaluate(source).labels


def test_new_records_may_lack_a_field_but_not_all(solved, tmp_path):
    made = [{k: v for k, v in row.items() if k not in ("主诉", "labels")} for row in rows(5)]
    found = solved.predict(write(tmp_path / "r.jsonl", made))
    assert len(found) == 5
    strange = [{"id": "a", "note": "text", "labels": ["肺炎"]}]
    with pytest.raises(DataError, match="none of the fields"):
        solved.predict(write(tmp_path / "s.jsonl", strange))


def test_records_without_labels_are_refused_in_training_with_their_place(tmp_path):
    made = rows(20)
    del made[7]["labels"]
    path = write(tmp_path / "r.jsonl", made)
    with pytest.raises(DataError) as caught:
        diagnose.train(path, recipe=TFIDF, out=tmp_path / "run", quiet=True)
    assert "r.jsonl:8" in str(caught.value) + "".join(caught.value.problems)
    assert not (tmp_path / "run").exists()


def test_validation_records_that_were_trained_on_are_refused(source, tmp_path):
    with pytest.raises(DataError, match="mean nothing"):
        diagnose.train(source, valid=source, recipe=TFIDF, out=tmp_path / "run", quiet=True)


# --- parts that are switched on -------------------------------------------------------------------

PARTS = {
    "fgm": ["step.name=fgm"],
    "freelb": ["step.name=freelb"],
    "vat": ["step.name=vat"],
    "r-drop": ["consistency={weight: 1.0}"],
    "words": ["mixing={of: words}"],
    "sentences": ["mixing={of: sentences}"],
    "soft-f1": ["loss.name=macro_f1"],
    "layers": ["optimizer.layer_decay=0.5", "pieces=[{name: unfreeze}]"],
    "augmented": ["augment=[{kind: sentence-shuffle, probability: 1.0}]"],
    "performer": ["model.attention=performer"],
    "laat": ["model.head.pooling=laat"],
    "names": ["data.field_names=true", "data.field_weights={现病史: 2}"],
}


@pytest.mark.parametrize("name", PARTS)
def test_each_part_trains_and_changes_the_weights(name, source, trained, tmp_path):
    run = diagnose.train(
        source,
        recipe="transformer",
        out=tmp_path / "run",
        quiet=True,
        overrides=[*TINY, "epochs=1", *PARTS[name]],
    )
    assert run.finished
    assert np.isfinite(run.history[0]["loss"])


def test_every_trick_and_preset_of_the_catalogue_is_a_valid_recipe():
    trained, solved = DiagnoseRecipe.load("transformer"), DiagnoseRecipe.load("tfidf")
    for trick in catalogue("diagnose").values():
        base = solved if "TF-IDF" in trick.about else trained
        assert trick.apply(base) != base, trick.name
    for name in DiagnoseRecipe.presets():
        DiagnoseRecipe.load(name)


def test_parts_that_need_a_network_are_refused_for_features():
    with pytest.raises(RecipeError, match="need a network"):
        DiagnoseRecipe.load({**TFIDF, "consistency": {"weight": 1.0}})


def test_zero_epochs_are_refused_where_they_leave_a_network_untrained_or_a_trick_without_effect():
    with pytest.raises(RecipeError, match="leaves text_cnn untrained"):
        DiagnoseRecipe.load(None, ["model.name=text_cnn"])
    for item in ("step.name=fgm", "pieces=[{name: ema}]"):
        with pytest.raises(RecipeError, match="no training steps"):
            DiagnoseRecipe.load("tfidf", [item])


# --- the command line -----------------------------------------------------------------------------


def test_the_commands_work_from_records_to_answers(source, tmp_path, capsys):
    run = str(tmp_path / "run")
    assert main(["diagnose", "train", str(source), "--recipe", "tfidf", "model.least=1",
                 "--out", run, "--json"]) == 0  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert told["scores"]["headline"] == "macro_f1"
    assert main(["diagnose", "evaluate", run, str(source)]) == 0
    assert "macro_f1" in capsys.readouterr().out
    out = tmp_path / "answers.jsonl"
    assert main(["diagnose", "predict", run, str(source), "--out", str(out), "--evidence"]) == 0
    assert any(answer.evidence for answer in answers.read(out))
    assert main(["diagnose", "export", run, "--out", str(tmp_path / "model")]) == 0


def test_the_held_out_records_score_as_they_did_in_training(solved, source, tmp_path):
    scores = diagnose.evaluate(solved, source, held_out=True)
    assert scores.values == solved.scores.values
    passed_on = diagnose.export(solved, tmp_path / "model")
    assert diagnose.evaluate(passed_on, source, held_out=True).values == scores.values
    other = write(tmp_path / "other.jsonl", rows(33, seed=5))
    with pytest.raises(DataError, match="not what the run was trained on"):
        diagnose.evaluate(passed_on, other, held_out=True)


def test_recipes_are_listed_and_printed(capsys):
    assert main(["diagnose", "recipe"]) == 0
    assert "tfidf" in capsys.readouterr().out
    assert main(["diagnose", "recipe", "laat"]) == 0
    assert "pooling: laat" in capsys.readouterr().out
