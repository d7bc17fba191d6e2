"""Start a module in several gloo processes, and say where they stand if they hang."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 200


def torchrun(module: str, *arguments: str, world: int = 2) -> None:
    """Run `python -m module arguments` in `world` processes, which must succeed.

    Processes that hang are ended, and the test fails with the stacks of all their threads.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(world), "-m", module, *arguments]
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        written, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        pytest.fail(f"{module} hung for {SECONDS} s:\n{_ended(process)}")
    assert process.returncode == 0, written[-3000:]


def _ended(process: subprocess.Popen) -> str:
    """Abort the workers, so that faulthandler writes their stacks, then everything."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True
    )
    for pid in listed.stdout.split():
        os.kill(int(pid), signal.SIGABRT)
    time.sleep(2)
    os.killpg(process.pid, signal.SIGKILL)
    written, _ = process.communicate()
    return written[-8000:]
