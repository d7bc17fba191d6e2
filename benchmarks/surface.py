"""Dice, HD95 and NSD of 13 organs at 256^3, beside MONAI and surface-distance.

    python benchmarks/surface.py [--size 256] [--repeats 3] [--only vesalius monai ...]

One process, one thread, in turn; the label maps are ellipsoids and a disturbed copy of them, with
spacing (1.5, 0.8, 0.8) and a tolerance of 2 mm. MONAI gets one-hot masks made from the label maps
inside the measured call, because it takes nothing else. Prints CPU seconds (medians), ratios to
ours under the same conventions, and the largest difference of the values; then the peak memory of
each in a process of its own, above that of the label maps and imports; then HD of 512 x 512 pixels.
A library that is not installed is named and skipped (`pip install "vesalius[bench]"`; that of
surface-distance comes from its repository).
"""

import argparse
import importlib.util
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from vesalius.segment.metrics import evaluate

SPACING = (1.5, 0.8, 0.8)
TOLERANCE = 2.0
ORGANS = 13
NAMES = ("dice", "hd95", "nsd")
Table = np.ndarray


def organs(size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a true and a predicted label map (uint8)."""
    rng = np.random.default_rng(seed)
    truth, prediction = np.zeros((2, *(size,) * 3), np.uint8)
    for label in range(1, ORGANS + 1):
        centre, radii = rng.uniform(0.2, 0.8, 3) * size, rng.uniform(0.06, 0.17, 3) * size
        # The surface of the prediction is that of the truth, moved and waved by a few voxels.
        moved, waves = centre + rng.normal(0, 1.2, 3), rng.uniform(0.05, 0.15, 3)
        low = np.maximum(np.floor(centre - 1.4 * radii).astype(int), 0)
        high = np.minimum(np.ceil(centre + 1.4 * radii).astype(int), size)
        box = tuple(map(slice, low, high))
        grid = np.ogrid[box]
        wave = sum(np.sin(x * w) for x, w in zip(grid, waves, strict=True))
        for volume, at, ripple in ((truth, centre, 0.0), (prediction, moved, 0.04)):
            distance = sum(((x - c) / r) ** 2 for x, c, r in zip(grid, at, radii, strict=True))
            volume[box][distance <= 1 + ripple * wave] = label
    return truth, prediction


def ours(profile: str) -> Callable[[np.ndarray, np.ndarray], Table]:
    """Return our evaluation under a profile."""

    def score(truth: np.ndarray, prediction: np.ndarray) -> Table:
        values = evaluate(
            truth,
            prediction,
            labels=range(1, ORGANS + 1),
            spacing=SPACING,
            tolerance=TOLERANCE,
            profile=profile,
            metrics=NAMES,
        )
        return np.array([[row[name] for name in NAMES] for row in values.values()])

    return score


def monai(truth: np.ndarray, prediction: np.ndarray) -> Table:
    """Return MONAI's values."""
    from monai import metrics as m

    labels = torch.arange(ORGANS + 1).view(1, -1, 1, 1, 1)
    true, predicted = (torch.from_numpy(x)[None, None] == labels for x in (truth, prediction))
    pair = {"y_pred": predicted.float(), "y": true.float(), "include_background": False}
    limits = {"class_thresholds": [TOLERANCE] * ORGANS}
    columns = (
        m.compute_dice(**pair),
        m.compute_hausdorff_distance(**pair, percentile=95, spacing=list(SPACING)),
        m.compute_surface_dice(**pair, **limits, spacing=list(SPACING)),
    )
    return torch.cat(columns).T.numpy()


def surface_distance(truth: np.ndarray, prediction: np.ndarray) -> Table:
    """Return surface-distance's values."""
    import surface_distance as m

    # Names that its code uses and scipy has moved.
    ndimage.filters, ndimage.morphology = ndimage, ndimage
    rows = []
    for label in range(1, ORGANS + 1):
        pair = truth == label, prediction == label
        found = m.compute_surface_distances(*pair, SPACING)
        rows.append(
            (
                m.compute_dice_coefficient(*pair),
                m.compute_robust_hausdorff(found, 95),
                m.compute_surface_dice_at_tolerance(found, TOLERANCE),
            )
        )
    return np.array(rows)


METHODS: dict[str, tuple[str, Callable[[np.ndarray, np.ndarray], Table]]] = {
    "vesalius": ("vesalius", ours("vesalius")),
    "vesalius as monai": ("vesalius", ours("monai")),
    "vesalius as surface-distance": ("vesalius", ours("surface-distance")),
    "monai": ("monai", monai),
    "surface-distance": ("surface_distance", surface_distance),
}


def cpu_seconds(call: Callable[[], Table]) -> tuple[float, Table]:
    """Return the CPU time of a call and what it returned."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def peak_memory(name: str, size: int) -> float:
    """Return the growth of the largest resident size during one call, in GB (Linux)."""
    small, pair = organs(32), organs(size)
    METHODS[name][1](*small)
    # Resets the largest resident size to the present one; what getrusage says survives exec.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    METHODS[name][1](*pair)
    return (resident("VmHWM") - before) / 1e6


def resident(field: str) -> int:
    """Return a field of the process's status, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def compare(names: list[str], size: int, repeats: int) -> None:
    """Time the methods in turn, and print them beside ours."""
    pair = organs(size)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    tables: dict[str, Table] = {}
    for _ in range(repeats):
        for name in names:
            spent, tables[name] = cpu_seconds(lambda name=name: METHODS[name][1](*pair))
            seconds[name].append(spent)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name in names:
        means = " / ".join(f"{value:.5f}" for value in tables[name].mean(axis=0))
        line = f"{name:29s} {medians[name]:7.3f} CPU s   mean Dice / HD95 / NSD {means}"
        own = f"vesalius as {name}"
        if own in medians:
            gap = np.abs(tables[name] - tables[own]) / np.maximum(1, np.abs(tables[name]))
            line += f"   {medians[name] / medians[own]:.1f} x ours, difference {gap.max():.1e}"
        print(line, flush=True)


def image_hausdorff(repeats: int = 30) -> None:
    """Print the time of HD of one label in an image of 512 x 512 pixels."""
    y, x = np.ogrid[:512, :512]
    truth = ((y - 256) ** 2 + (x - 250) ** 2 < 150**2).astype(np.uint8)
    prediction = np.roll(truth, 7, axis=0)
    spent, passed = [], []
    for _ in range(repeats):
        wall = time.perf_counter()
        spent.append(1000 * cpu_seconds(lambda: evaluate(truth, prediction, metrics="hd"))[0])
        passed.append(1000 * (time.perf_counter() - wall))
    print(
        f"HD of 512 x 512: median {statistics.median(spent):.2f} CPU ms, "
        f"{statistics.median(passed):.2f} ms on the clock (best {min(passed):.2f})"
    )


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--memory", choices=list(METHODS), help="print the peak of one, and exit")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    if options.memory:
        print(f"{peak_memory(options.memory, options.size):.3f}")
        return
    present = [n for n in options.only if importlib.util.find_spec(METHODS[n][0])]
    for name in options.only:
        if name not in present:
            print(f"{name}: not installed, skipped")
    compare(present, options.size, options.repeats)
    for name in present:
        call = [sys.executable, __file__, "--memory", name, "--size", str(options.size)]
        peak = subprocess.run(call, check=True, capture_output=True, text=True).stdout.strip()
        print(f"{name:29s} peak memory {peak} GB")
    image_hausdorff()


if __name__ == "__main__":
    main()
