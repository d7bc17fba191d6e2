"""Hide tokens, predict them, and begin a diagnosis from what was learned."""

import numpy as np
import pytest
import torch

from tests.diagnose.small import TINY, rows, write
from vesalius import diagnose
from vesalius.engine.run import Run
from vesalius.errors import RecipeError

SMALL = ("data.length=64", "data.subwords=200", "batch_size=8", "optimizer.learning_rate=1e-2",
         "schedule.warmup=2", "model.hidden=32", "model.layers=1", "model.heads=2")  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    made = [{k: v for k, v in row.items() if k != "labels"} for row in rows(80)]
    return write(tmp_path_factory.mktemp("text") / "text.jsonl", made)


@pytest.fixture(scope="module")
def pretrained(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "mlm"
    return diagnose.pretrain(
        source, out=out, quiet=True, overrides=[*SMALL, "epochs=25", "data.valid_share=0.2"]
    )


def test_hidden_tokens_are_learned_without_labels(pretrained):
    losses = [row["scores"]["loss"] for row in pretrained.history if row["kind"] == "valid"]
    assert losses[-1] < 0.8 * losses[0]
    assert pretrained.scores.headline == "loss"
    assert not pretrained.scores.higher_is_better


def test_what_is_hidden_is_a_function_of_the_batch(pretrained, source):
    task = pretrained.task
    loader = task.loader(task.cases(source), training=True)
    (batch,) = next(loader.steps(3))
    (first, wanted), (second, again) = task.hidden(batch), task.hidden(batch)
    assert torch.equal(first["tokens"], second["tokens"])
    assert torch.equal(wanted, again)
    share = float((wanted != -100).sum() / batch.inputs["mask"].sum())
    assert 0.05 < share < 0.3


def test_a_diagnosis_starts_from_the_pretrained_encoder(pretrained, tmp_path):
    path = write(tmp_path / "r.jsonl", rows(40))
    # A learning rate that moves no float32: what is seen is the start.
    options = [*TINY, "epochs=1", "optimizer.learning_rate=1e-30", f"start={pretrained.folder}"]
    run = diagnose.train(
        path, recipe="transformer", out=tmp_path / "run", quiet=True, overrides=options
    )
    own, given = run.model().state_dict(), pretrained.model().state_dict()
    body = [key for key in own if not key.startswith("head.")]
    assert body
    for key in body:
        np.testing.assert_array_equal(own[key], given[f"model.{key}"])
    assert Run(run.folder).predict(path)


def test_a_start_of_another_shape_is_refused_with_what_does_not_fit(pretrained, tmp_path):
    path = write(tmp_path / "r.jsonl", rows(40))
    options = [*TINY, "model.hidden=64", "epochs=1", f"start={pretrained.folder}"]
    with pytest.raises(RecipeError, match="same model block"):
        diagnose.train(
            path, recipe="transformer", out=tmp_path / "run", quiet=True, overrides=options
        )


def test_features_cannot_be_pretrained(source, tmp_path):
    with pytest.raises(RecipeError, match="tfidf cannot be pre-trained"):
        diagnose.pretrain(source, out=tmp_path / "x", overrides=["model.name=tfidf"])
