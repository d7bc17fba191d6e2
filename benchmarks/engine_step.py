"""What a step of the engine costs over a bare PyTorch loop with the same model and data.

    python benchmarks/engine_step.py [--pairs 6] [--steps 40] [--threads 1]

Both sides draw the same batches from the same loader and minimise the same loss with the same
optimiser. The bare loop is forward, backward, step, and reads the loss once per step; the engine
adds its schedule, gradient norm, finiteness check, history and progress. Pairs are run in turn
(bare, engine, engine, bare, ...), each on a fresh model; the first two steps of each are left out.
CPU seconds of the process are compared beside wall seconds, because other programs on the machine
disturb them less.
"""

import argparse
import statistics
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

WARM_UP = 2


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


def bare(task: SegmentTask, cases, steps: int) -> np.ndarray:
    """Return seconds per step of a plain loop."""
    torch.manual_seed(0)
    model = task.build().train()
    optimizer = task.recipe.optimizer.build(model)
    stream = task.loader(cases, training=True).steps(0)
    marks = []
    for _ in range(steps):
        (batch,) = next(stream)
        optimizer.zero_grad(set_to_none=True)
        loss = sum(task.loss(model, batch).values())
        loss.backward()
        optimizer.step()
        loss.item()
        marks.append(clocks())
    return per_step(marks)


def engine(task: SegmentTask, cases, steps: int, out: Path) -> np.ndarray:
    """Return seconds per step of `fit`, between the ends of its steps."""
    marks = []
    log = loop._Fit._log

    def noting(self, *arguments):
        log(self, *arguments)
        marks.append(clocks())

    loop._Fit._log = noting
    try:
        fit(task, cases, [], task.recipe, out, quiet=True)
    finally:
        loop._Fit._log = log
    return per_step(marks[:steps])


def per_step(marks) -> np.ndarray:
    """Return the median over steps of (wall, CPU) seconds."""
    return np.median(np.diff(np.array(marks)[WARM_UP:], axis=0), axis=0)


def main() -> None:
    """Run the pairs and print the ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
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
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        task = SegmentTask(recipe)
        cases = task.cases(data(Path(folder) / "data"))
        bare(task, cases, 5)
        for pair in range(options.pairs):
            sides = {"bare": None, "engine": None}
            for side in sides if pair % 2 == 0 else reversed(sides):
                out = Path(folder) / f"run{pair}"
                sides[side] = (
                    bare(task, cases, options.steps)
                    if side == "bare"
                    else engine(task, cases, options.steps, out)
                )
            ratio = sides["engine"] / sides["bare"]
            rows.append(ratio)
            print(
                f"pair {pair}: bare {1e3 * sides['bare'][0]:.1f} ms, engine "
                f"{1e3 * sides['engine'][0]:.1f} ms; ratio wall {ratio[0]:.3f}, CPU {ratio[1]:.3f}"
            )
    wall, cpu = (statistics.median(row[i] for row in rows) for i in (0, 1))
    print(f"median ratio engine / bare: wall {wall:.3f}, CPU {cpu:.3f}")


if __name__ == "__main__":
    main()
