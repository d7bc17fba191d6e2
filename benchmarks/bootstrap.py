"""How long intervals take: 10,000 resamples of 1,000 cases with 20 classes, CPU seconds.

    python benchmarks/bootstrap.py [--loop 20]

One thread (set OMP_NUM_THREADS=1). `--loop` resamples are also made one by one with numpy, as a
plain script would, and the time is scaled up; the ratio is printed.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from vesalius.segment.metrics import bootstrap, bootstrap_counts, compare

CASES, CLASSES, RESAMPLES = 1000, 20, 10_000


def cpu_seconds(call: Callable[[], object]) -> float:
    """Return the CPU time of the second of two calls."""
    call()
    start = time.process_time()
    call()
    return time.process_time() - start


def by_loop(counts: np.ndarray, number: int) -> None:
    """Resample cases one by one and compute the mean IoU of each resample."""
    rng = np.random.default_rng(0)
    for _ in range(number):
        whole = counts[rng.integers(0, CASES, CASES)].sum(0)
        hits = np.diagonal(whole)
        (hits / (whole.sum(0) + whole.sum(1) - hits)).mean()


def main() -> None:
    """Print seconds of all parts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", type=int, default=20)
    number = parser.parse_args().loop
    rng = np.random.default_rng(0)
    values = rng.beta(9, 2, (CASES, CLASSES))
    counts = rng.integers(0, 10_000, (CASES, CLASSES, CLASSES))
    others = values + rng.normal(0, 0.05, values.shape)
    seconds = {
        "means over cases, 20 classes": cpu_seconds(lambda: bootstrap(values)),
        "global scores from confusion matrices": cpu_seconds(lambda: bootstrap_counts(counts)),
        "paired comparison with both tests": cpu_seconds(lambda: compare(values, others)),
    }
    for name, value in seconds.items():
        print(f"{name}: {value:.2f} s")
    start = time.process_time()
    by_loop(counts, number)
    loop = (time.process_time() - start) * RESAMPLES / number
    own = seconds["global scores from confusion matrices"]
    print(f"one resample after the other: {loop:.0f} s (scaled from {number}), {loop / own:.0f} x")


if __name__ == "__main__":
    main()
