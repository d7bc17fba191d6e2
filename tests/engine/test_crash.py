"""A run that is killed, or whose disk fills up, leaves a folder that opens and goes on."""

import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.engine.toy import ToyRecipe, ToyTask
from vesalius import files
from vesalius.engine.loop import fit
from vesalius.engine.run import Run
from vesalius.errors import DataError, StorageError

ROOT = Path(__file__).parents[2]
CHILD = """
import sys
from tests.engine.toy_main import main
print("ready", flush=True)
import json, os
# One import of torch serves many runs: each run is forked, and the child is the one to be killed.
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os._exit(main(json.loads(line)))
    print(child, flush=True)
    status = os.waitpid(child, 0)[1]
    print(status, flush=True)
"""


class Forge:
    """A process with torch loaded that forks toy runs on demand."""

    def __init__(self):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def start(self, *arguments) -> int:
        self.process.stdin.write(json.dumps([str(item) for item in arguments]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(int(self.process.stdout.readline()))


@pytest.fixture(scope="module")
def forge():
    made = Forge()
    yield made
    made.process.stdin.close()
    made.process.wait()


def test_a_run_killed_at_any_moment_opens_and_its_sequel_equals_an_unbroken_run(tmp_path, forge):
    overrides = ("epochs=12", "pieces=[{name: ema}]")
    forge.start(tmp_path / "whole", *overrides)
    began = time.monotonic()
    assert forge.wait() == 0
    length = time.monotonic() - began
    draw = random.Random(0)
    kills = 0
    out = tmp_path / "killed"
    for _ in range(25):
        child = forge.start(out, *overrides, "--resume")
        time.sleep(draw.uniform(0.0, 0.5) * length)
        with contextlib.suppress(ProcessLookupError):  # it had ended by itself
            os.kill(child, signal.SIGKILL)
        status = forge.wait()
        kills += status == -signal.SIGKILL
        if out.exists():  # before its first weights are written there is no folder at all
            run = Run(out)
            run.model()
            assert run.recipe.epochs == 12
            assert all("step" in row for row in run.history)
        if status == 0:
            break
    forge.start(out, *overrides, "--resume")
    assert forge.wait() == 0
    assert kills >= 3
    whole, killed = (load_file(p / "model.safetensors") for p in (tmp_path / "whole", out))
    assert all(torch.equal(whole[key], killed[key]) for key in whole)
    assert not list(out.glob("~*"))


def train(out, **options):
    recipe = ToyRecipe.load({"epochs": 3, "batch_size": 8, "checkpoint_minutes": 0, "width": 400})
    task = ToyTask(recipe)
    cases = task.cases(24)
    return fit(task, cases[:16], cases[16:], recipe, out, quiet=True, **options)


@pytest.fixture
def small_files():
    """No file may grow beyond 3 kB: every write fails as it does on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size=3000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
    signal.signal(signal.SIGXFSZ, previous)


def test_a_full_disk_at_the_start_leaves_no_run_folder(tmp_path, small_files):
    small_files()
    with pytest.raises(StorageError, match=r"no space left to write .* Free some space"):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_full_disk_later_keeps_the_last_good_state(tmp_path, small_files, monkeypatch):
    import vesalius.engine.checkpoint as checkpoint

    save = checkpoint.save

    def filling(folder, **state):
        save(folder, **state)
        if state["step"] == 2:
            small_files()

    monkeypatch.setattr(checkpoint, "save", filling)
    with pytest.raises(StorageError, match="no space left"):
        train(tmp_path / "run")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    monkeypatch.setattr(checkpoint, "save", save)
    assert checkpoint.latest(tmp_path / "run" / "checkpoint").name == "step-00000002"
    assert Run(tmp_path / "run").model()
    train(tmp_path / "run", resume=True)
    assert Run(tmp_path / "run").finished


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        train(tmp_path / "file" / "run")


def test_replacing_leaves_the_old_content_when_the_body_fails(tmp_path):
    path = tmp_path / "scores.json"
    files.write_text(path, "old")

    def fail_halfway():
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["scores.json"]


def test_a_damaged_weight_file_is_named(tmp_path):
    train(tmp_path / "run")
    path = tmp_path / "run" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"model\.safetensors cannot be read"):
        Run(tmp_path / "run").model()


def test_a_history_cut_short_by_a_crash_is_read_up_to_the_cut(tmp_path):
    train(tmp_path / "run")
    path = tmp_path / "run" / "history.jsonl"
    rows = len(Run(tmp_path / "run").history)
    path.write_text(path.read_text()[:-10])
    assert len(Run(tmp_path / "run").history) == rows - 1


def test_a_folder_that_is_no_run_says_so(tmp_path):
    with pytest.raises(DataError, match="is not a run folder"):
        Run(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_saves_its_state_first(tmp_path, forge, number):
    out, overrides = tmp_path / "run", ("epochs=400", "checkpoint_minutes=60")
    child = forge.start(out, *overrides)
    history = out / "history.jsonl"
    while not (history.exists() and history.read_text().count("\n") > 3):
        time.sleep(0.01)
    os.kill(child, number)
    assert forge.wait() == 130
    from vesalius.engine import checkpoint

    steps = [row["step"] for row in Run(out).history]
    assert checkpoint.latest(out / "checkpoint").name == f"step-{max(steps):08d}"
