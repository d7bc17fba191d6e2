"""The confusion matrix against its peers: 21 classes, 32 x 512 x 512 labels, CPU seconds.

    python benchmarks/confusion.py [--repeats 7]

One thread. Two kinds of maps: "areas", blobs as label maps have them, the prediction differing
along borders and in 2 % of pixels; and "noise", where every pixel is drawn anew. All sides get the
same uint8 maps and must return the same counts. torchmetrics is measured where it is installed
(`pip install "vesalius[bench]"`), with its defaults and without its validation.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from vesalius.segment.metrics import ConfusionMatrix

CLASSES, SHAPE = 21, (32, 512, 512)


def areas(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return maps of blocks with a prediction that is moved by two pixels and partly wrong."""
    blocks = rng.integers(0, CLASSES, (SHAPE[0], 16, 16), dtype=np.uint8)
    truth = blocks.repeat(32, 1).repeat(32, 2)
    noise = rng.integers(0, CLASSES, SHAPE, dtype=np.uint8)
    moved = np.roll(truth, (2, 2), (1, 2))
    return truth, np.where(rng.random(SHAPE) < 0.02, noise, moved)


def noise(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return maps without any order."""
    truth, prediction = rng.integers(0, CLASSES, (2, *SHAPE), dtype=np.uint8)
    return truth, prediction


def ours(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Count with Vesalius."""
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(truth, prediction)
    return matrix.counts


def bincount(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Count with the usual line of numpy."""
    keys = truth.astype(np.int64) * CLASSES + prediction
    return np.bincount(keys.ravel(), minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def peers() -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """Return torchmetrics with and without validation, or say that it is missing."""
    try:
        import torch
        from torchmetrics.classification import MulticlassConfusionMatrix
    except ImportError:
        print('torchmetrics is not installed: pip install "vesalius[bench]" to compare with it')
        return {}
    torch.set_num_threads(1)

    def counting(**options) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        def count(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
            metric = MulticlassConfusionMatrix(CLASSES, **options)
            metric.update(torch.from_numpy(prediction), torch.from_numpy(truth))
            return metric.compute().numpy()

        return count

    return {"torchmetrics": counting(), "torchmetrics, unvalidated": counting(validate_args=False)}


def cpu_seconds(call: Callable[[], object], repeats: int) -> float:
    """Return the median CPU time of a call after a warm-up."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def main() -> None:
    """Print milliseconds and ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    sides = {"numpy.bincount, int64 keys": bincount, **peers()}
    for make in (areas, noise):
        maps = make(np.random.default_rng(0))
        own = cpu_seconds(lambda maps=maps: ours(*maps), repeats)
        print(f"{make.__name__}: Vesalius {1e3 * own:.1f} ms")
        for name, count in sides.items():
            assert (count(*maps) == ours(*maps)).all(), name
            other = cpu_seconds(lambda maps=maps, count=count: count(*maps), repeats)
            print(f"{make.__name__}: {name} {1e3 * other:.1f} ms, ratio {other / own:.1f}")


if __name__ == "__main__":
    main()
