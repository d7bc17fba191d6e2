import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tests import processes
from tests.engine.toy import ToyRecipe, ToyTask
from vesalius.engine import checkpoint
from vesalius.engine.loop import fit
from vesalius.engine.run import Run, read_history
from vesalius.errors import RecipeError, TrainingError


def toy(*overrides):
    recipe = ToyRecipe.load({"epochs": 4, "batch_size": 8, "checkpoint_minutes": 0}, overrides)
    return ToyTask(recipe), recipe


def train(out, *overrides, resume=False, n=48):
    task, recipe = toy(*overrides)
    cases = task.cases(n)
    return fit(
        task, cases[: n // 3 * 2], cases[n // 3 * 2 :], recipe, out, resume=resume, quiet=True
    )


def weights(out, file="model.safetensors"):
    return load_file(out / file)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


class StoppedError(Exception):
    pass


def stop_at(monkeypatch, step):
    """Let the run die right after the checkpoint of `step`."""
    save = checkpoint.save

    def stopping(folder, **state):
        save(folder, **state)
        if state["step"] == step:
            raise StoppedError

    monkeypatch.setattr(checkpoint, "save", stopping)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("optimizer.name=sgd", "pieces=[{name: ema}, {name: mixup}]", "accumulate=2"),
        ("step.name=fgm", "clip=1.0", "pieces=[{name: swa, start: 0.25}]", "keep=last"),
        ("workers=2",),
    ],
    ids=["adamw", "sgd-ema-mixup-accumulate", "fgm-swa", "workers"],
)
@pytest.mark.parametrize("stop", [3, 8])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    tmp_path, monkeypatch, overrides, stop
):
    train(tmp_path / "whole", *overrides)
    with monkeypatch.context() as patch:
        stop_at(patch, stop)
        with pytest.raises(StoppedError):
            train(tmp_path / "halves", *overrides)
    torch.manual_seed(999)  # whatever the second process's random state is
    train(tmp_path / "halves", *overrides, resume=True)

    assert same(weights(tmp_path / "whole"), weights(tmp_path / "halves"))
    keep = ("kind", "step", "loss", "terms", "gradient_norm", "scores", "learning_rate")
    rows = [
        [{key: row.get(key) for key in keep} for row in Run(tmp_path / name).history]
        for name in ("whole", "halves")
    ]
    assert rows[0] == rows[1]
    states = [_checkpointed(tmp_path / name) for name in ("whole", "halves")]
    assert same(*states)


def _checkpointed(out):
    """Everything in the last checkpoint, flat: weights, moments, averages, random state."""
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    place = checkpoint.latest(out / "checkpoint")
    dcp_to_torch_save(place, out / "flat.pt")
    flat = {}

    def walk(value, path):
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{path}/{key}")
        elif isinstance(value, torch.Tensor):
            flat[path] = value

    walk(torch.load(out / "flat.pt", weights_only=False), "")
    random = torch.load(place / "random-0.pt", weights_only=True)
    return flat | {"random": random["torch"]}


def test_micro_steps_change_memory_not_the_gradient(tmp_path):
    plain = ("dropout=0", "batch_norm=false")
    train(tmp_path / "one", *plain)
    train(tmp_path / "four", *plain, "accumulate=4")
    one, four = weights(tmp_path / "one"), weights(tmp_path / "four")
    for key in one:
        torch.testing.assert_close(one[key], four[key], rtol=1e-4, atol=1e-6)


def test_loading_processes_change_nothing(tmp_path):
    train(tmp_path / "none")
    train(tmp_path / "two", "workers=2")
    assert same(weights(tmp_path / "none"), weights(tmp_path / "two"))


def test_the_stored_recipe_reproduces_the_run(tmp_path):
    train(tmp_path / "first", "width=7", "optimizer.learning_rate=3e-3")
    recipe = ToyRecipe.load(tmp_path / "first" / "recipe.yaml")
    task = ToyTask(recipe)
    cases = task.cases(48)
    fit(task, cases[:32], cases[32:], recipe, tmp_path / "second", quiet=True)
    assert same(weights(tmp_path / "first"), weights(tmp_path / "second"))


def test_training_learns_and_keeps_the_best_weights(tmp_path):
    task, recipe = toy("epochs=30", "checkpoint_minutes=5", "optimizer.learning_rate=0.02")
    cases = task.cases(300)
    fit(task, cases[:200], cases[200:], recipe, tmp_path / "run", quiet=True)
    rows = read_history(tmp_path / "run" / "history.jsonl")
    scores = [row["scores"]["accuracy"] for row in rows if row["kind"] == "valid"]
    assert len(scores) == 30
    assert max(scores) > 0.85
    stored = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert stored["values"]["accuracy"] == max(scores)
    assert stored["step"] == 25 * (scores.index(max(scores)) + 1)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_cases(tmp_path):
    with pytest.raises(TrainingError, match="the loss is not finite") as caught:
        train(tmp_path / "run", "poison=p5")
    assert "p5" in caught.value.problems
    assert len(caught.value.problems) == 8


def test_an_existing_folder_is_not_overwritten(tmp_path):
    train(tmp_path / "run", "epochs=1")
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    with pytest.raises(RecipeError, match="exists already"):
        train(tmp_path / "run", "epochs=2")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


def test_resuming_with_another_recipe_is_refused(tmp_path):
    train(tmp_path / "run", "epochs=1")
    with pytest.raises(RecipeError, match="another recipe"):
        train(tmp_path / "run", "epochs=2", resume=True)


def test_a_batch_that_cannot_be_cut_is_refused_before_training(tmp_path):
    with pytest.raises(RecipeError, match="cannot be cut"):
        train(tmp_path / "run", "batch_size=9", "accumulate=2")
    assert not (tmp_path / "run").exists()


def test_more_processes_than_the_batch_can_serve_are_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr("vesalius.engine.distributed.world_size", lambda: 3)
    with pytest.raises(RecipeError, match=r"batch_size 8 cannot be cut into 3 process"):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def torchrun(out, *overrides, world):
    """Train the toy in `world` gloo processes."""
    processes.torchrun("tests.engine.toy_main", str(out), *overrides, world=world)


def test_leaving_a_process_group_never_waits_for_a_thread_that_waits_for_the_interpreter():
    command = [sys.executable, "-m", "tests.engine.endings", "40"]
    environment = {**os.environ, "PYTHONPATH": str(processes.ROOT)}
    done = subprocess.run(
        command, cwd=processes.ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "ended\n", done.stderr[-2000:]


@pytest.mark.parametrize("sharding", ["replicate", "fsdp"])
def test_two_processes_give_the_weights_of_one_with_the_same_global_batch(tmp_path, sharding):
    # Dropout draws differ between processes by design, so it is off; BatchNorm is on. Not Adam:
    # a bias before a BatchNorm has gradient zero, and Adam makes full steps of its rounding.
    overrides = ("dropout=0", "keep=last", "epochs=3", "pieces=[{name: ema, decay: 0.9}]")
    overrides += ("optimizer.name=sgd", "optimizer.momentum=0.9")
    train(tmp_path / "one", *overrides)
    torchrun(tmp_path / "two", *overrides, f"sharding={sharding}", world=2)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=1e-4, atol=1e-6)
    assert Run(tmp_path / "one").scores.values == Run(tmp_path / "two").scores.values


def test_two_processes_equal_two_micro_steps_bit_for_bit(tmp_path):
    overrides = ("dropout=0", "keep=last", "epochs=3", "batch_norm=false")
    torch.set_num_threads(1)
    train(tmp_path / "one", *overrides, "accumulate=2")
    torchrun(tmp_path / "two", *overrides, world=2)
    assert same(weights(tmp_path / "one"), weights(tmp_path / "two"))


@pytest.mark.parametrize("sharding", ["replicate", "fsdp"])
def test_two_processes_resume_bit_for_bit(tmp_path, sharding):
    overrides = ("keep=last", "epochs=3", f"sharding={sharding}")
    torchrun(tmp_path / "whole", *overrides, world=2)
    torchrun(tmp_path / "halves", *overrides, "--stop-at=5", world=2)
    torchrun(tmp_path / "halves", *overrides, "--resume", world=2)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "halves"))
