import json

import pytest
import yaml
from huggingface_hub import ModelCard

from tests.report.folders import make_run
from vesalius.report import model_card


def _header(text: str) -> dict:
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


def test_the_hub_library_reads_the_card_and_its_results(tmp_path):
    card = ModelCard(
        model_card(make_run(tmp_path / "run"), licence="cc-by-4.0", data_name="brains")
    )
    assert card.data.library_name == "vesalius"
    assert card.data.pipeline_tag == "image-segmentation"
    assert card.data.license == "cc-by-4.0"
    (result,) = card.data.eval_results
    assert (result.metric_name, result.metric_value) == ("dice", 0.9)
    assert result.dataset_name == "brains"
    assert result.dataset_split == "valid"


def test_values_that_are_not_finite_stay_out_of_the_header(tmp_path):
    assert _header(model_card(make_run(tmp_path / "run")))["metrics"] == ["dice"]


def test_what_the_run_knows_is_filled_in_and_the_rest_left_to_the_author(tmp_path):
    text = model_card(make_run(tmp_path / "run"), citations=("Someone 2011",))
    assert "| Labels | background, grey, white & grey |" in text
    assert "| Training, seed | recipe.yaml, seed 7 |" in text
    assert "| External validation | *author to complete* |" in text
    assert "vesalius segment train DATA" in text
    assert "- Someone 2011" in text
    assert "CLAIM" in text


@pytest.mark.parametrize("department", ["design", "diagnose"])
def test_other_departments_have_their_own_tag_or_none(tmp_path, department):
    run = make_run(tmp_path / "run")
    config = json.loads((run / "config.json").read_text()) | {"department": department}
    (run / "config.json").write_text(json.dumps(config))
    text = model_card(run)
    expected = {"diagnose": "text-classification"}.get(department)
    assert _header(text).get("pipeline_tag") == expected
    assert "CLAIM" not in text


def test_a_run_without_scores_has_a_card(tmp_path):
    run = make_run(tmp_path / "run")
    for name in ("scores.json", "history.jsonl"):
        (run / name).unlink()
    text = model_card(run)
    assert "No evaluation was recorded." in text
    assert "metrics" not in _header(text)


def test_the_card_speaks_chinese(tmp_path, monkeypatch):
    monkeypatch.setenv("VESALIUS_LANG", "zh")
    text = model_card(make_run(tmp_path / "run"))
    assert "由作者补充" in text
    assert "不是医疗器械" in text


def test_the_card_of_last_weights_does_not_say_that_they_were_chosen(tmp_path):
    folder = make_run(tmp_path / "run")
    chosen = model_card(folder)
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text() + "\nkeep: last\n")
    last = model_card(folder)
    assert "chosen by the validation score" in chosen
    assert "chosen by the validation score" not in last
    assert "none: the last weights" in last
