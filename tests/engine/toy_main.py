"""Train the toy in this process: `python -m tests.engine.toy_main OUT [key=value ...] [--resume]`.

Started by tests, also by torchrun and to be killed. `--stop-at=N` ends it after checkpoint N.
"""

import sys
from pathlib import Path

import torch

from tests.engine.toy import ToyRecipe, ToyTask
from vesalius.engine import checkpoint
from vesalius.engine.loop import fit
from vesalius.errors import VesaliusError


def main(arguments: list[str]) -> int:
    torch.set_num_threads(1)
    options = [item for item in arguments if item.startswith("--")]
    out, *overrides = [item for item in arguments if not item.startswith("--")]
    for option in options:
        if option.startswith("--stop-at="):
            _stop_at(int(option.partition("=")[2]))
    recipe = ToyRecipe.load({"epochs": 4, "batch_size": 8, "checkpoint_minutes": 0}, overrides)
    task = ToyTask(recipe)
    cases = task.cases(48)
    try:
        fit(task, cases[:32], cases[32:], recipe, Path(out), resume="--resume" in options)
    except VesaliusError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except _StopError:
        return 0
    return 0


class _StopError(Exception):
    pass


def _stop_at(step: int) -> None:
    save = checkpoint.save

    def stopping(folder, **state):
        save(folder, **state)
        if state["step"] == step:
            raise _StopError

    checkpoint.save = stopping


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
