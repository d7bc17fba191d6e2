"""Start a module in several gloo processes, and say where they stand if they hang."""

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 120


def torchrun(module: str, *arguments: str, out: Path, world: int = 2) -> None:
    """Run `python -m module arguments`, which writes `out`, in `world` processes that succeed.

    Processes that hang (once in some hundred starts, on a busy machine, two did) are ended and
    started once more; the stacks of all their threads become a warning of the test.
    """
    fresh = not out.exists()
    for last in (False, True):
        stacks = _attempt(module, arguments, world)
        if stacks is None:
            return
        assert not last, f"{module} hung twice:\n{stacks}"
        warnings.warn(f"{module} hung for {SECONDS} s:\n{stacks}", stacklevel=2)
        if fresh:
            shutil.rmtree(out, ignore_errors=True)


def _attempt(module: str, arguments: tuple[str, ...], world: int) -> str | None:
    """Return None after success, and after a hang what the processes wrote, with their stacks."""
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
        return _ended(process)
    assert process.returncode == 0, written[-3000:]
    return None


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
