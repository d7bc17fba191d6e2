"""`vesalius ensemble`: what it prints and writes."""

import json

import pytest

from tests.study.test_ensemble import data, runs  # noqa: F401 - fixtures
from vesalius.cli.ensemble import ensemble
from vesalius.errors import RecipeError


def test_members_ensemble_and_gains_are_printed(runs, data, capsys, tmp_path):  # noqa: F811
    status = ensemble(
        *runs, data=data, weights="3,2,1", resamples=20, device="cpu", out=tmp_path / "out"
    )
    text = capsys.readouterr().out
    assert status == 0
    for words in ("run0", "run2", "0.5000", "accuracy", "over the best member", "60 cases"):
        assert words in text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "ensemble.json",
        "predictions.npz",
    ]


def test_json_is_one_document(runs, data, capsys):  # noqa: F811
    ensemble(*runs, data=data, resamples=0, device="cpu", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["headline"] == "accuracy"
    assert [gain["over"] for gain in found["gains"]] == ["best member", "mean member"]
    assert found["gains"][0]["low"] is None


def test_chinese_is_spoken(runs, data, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setenv("VESALIUS_LANG", "zh")
    ensemble(*runs, data=data, resamples=20, device="cpu")
    text = capsys.readouterr().out
    assert "比最佳成员" in text
    assert "参与过成员的训练" in text


def test_weights_that_are_none_are_refused(runs, data):  # noqa: F811
    with pytest.raises(RecipeError, match="by-rank"):
        ensemble(*runs, data=data, weights="3;2")
