"""What a step of the engine costs over a bare PyTorch loop with the same model and data.

    python benchmarks/engine_step.py [--steps 200] [--threads 2]

Both sides draw the same batches from a loader of their own and minimise the same loss with the
same optimiser. The bare loop is forward, backward, step, and reads the loss once per step; the
engine adds its schedule, gradient norm, finiteness check, history and progress.

The two take turns step by step in one process: after each step of the engine the bare loop makes
one. So both meet the same state of the machine, however its speed drifts, and the ratio is taken
pair by pair. CPU seconds of the process are compared beside wall seconds, because other programs
on the machine disturb them less.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vesalius.engine import loop
from vesalius.engine.loop import fit
from vesalius.segment.recipe import SegmentRecipe
from vesalius.segment.task import SegmentTask

WARM_UP = 5


def data(folder: Path) -> Path:
    """Write sixteen pictures of noise with a square in each."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for index in range(16):
        mask = np.zeros((128, 128), np.uint8)
        mask[30:80, 40 + index : 90 + index] = 1
        image = rng.integers(0, 100, (128, 128)) + 100 * mask
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{index}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{index}.png")
    return folder


def clocks() -> np.ndarray:
    """Return wall and CPU seconds."""
    return np.array([time.perf_counter(), time.process_time()])


class Bare:
    """A plain loop that makes one step at a time."""

    def __init__(self, task: SegmentTask, cases):
        torch.manual_seed(0)
        self.task = task
        self.model = task.build().train()
        self.optimizer = task.recipe.optimizer.build(self.model)
        self.stream = task.loader(cases, training=True).steps(0)

    def step(self) -> None:
        """Forward, backward, step."""
        (batch,) = next(self.stream)
        self.optimizer.zero_grad(set_to_none=True)
        loss = sum(self.task.loss(self.model, batch).values())
        loss.backward()
        self.optimizer.step()
        loss.item()


def take_turns(task: SegmentTask, cases, out: Path) -> tuple[np.ndarray, np.ndarray]:
    """Train with the engine, a bare step after each of its steps; return (wall, CPU) of both."""
    bare = Bare(task, cases)
    engine_seconds, bare_seconds = [], []
    state = {"mark": clocks()}
    log = loop._Fit._log

    def noting(self, *arguments):
        log(self, *arguments)
        middle = clocks()
        bare.step()
        end = clocks()
        engine_seconds.append(middle - state["mark"])
        bare_seconds.append(end - middle)
        state["mark"] = end

    loop._Fit._log = noting
    try:
        fit(task, cases, [], task.recipe, out, quiet=True)
    finally:
        loop._Fit._log = log
    return np.array(engine_seconds)[WARM_UP:], np.array(bare_seconds)[WARM_UP:]


def main() -> None:
    """Take turns and print the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = SegmentRecipe.load(
        {
            "model": {"name": "unet", "widths": [16, 32, 64]},
            "loss": {"name": "dice_cross_entropy"},
            "batch_size": 4,
            "epochs": 1,
            "batches_per_epoch": options.steps,
            "augment": [],
            "data": {"valid_share": 0},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        task = SegmentTask(recipe)
        cases = task.cases(data(Path(folder) / "data"))
        engine, bare = take_turns(task, cases, Path(folder) / "run")
    for index, clock in enumerate(("wall", "CPU")):
        ratios = engine[:, index] / bare[:, index]
        low, middle, high = np.percentile(ratios, (25, 50, 75))
        print(
            f"{clock}: engine {1e3 * np.median(engine[:, index]):.1f} ms, bare "
            f"{1e3 * np.median(bare[:, index]):.1f} ms per step (medians of {len(ratios)}); ratio "
            f"pair by pair: median {middle:.3f}, quartiles {low:.3f} to {high:.3f}; ratio of sums "
            f"{engine[:, index].sum() / bare[:, index].sum():.3f}"
        )


if __name__ == "__main__":
    main()
