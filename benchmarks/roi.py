"""RoI Align and RoI pooling: ours against torchvision's C++, forward and backward, on the CPU.

torchvision has no build for a CPU torch, so it needs an environment of its own (several GB):

    python -m venv peer && peer/bin/pip install "torch===2.13.0" "torchvision==0.28.0" pydantic \
        scipy PyYAML rich cyclopts
    PYTHONPATH=src OMP_NUM_THREADS=1 peer/bin/python benchmarks/roi.py [--boxes 512 1000 2000]

Boxes of 2 to 27 pixels on a map of (1, 256, 50, 50), 7 x 7 bins. Both sides take turns in one
process on one thread; the least CPU time of the turns is printed, the ratio (above 1: we are
faster) and the largest difference of outputs and gradients. Both return contiguous tensors.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import torch

from vesalius.detect.roi import roi_align, roi_pool


def cpu_ms(calls: Sequence[Callable[[], object]], turns: int) -> list[float]:
    """Return the least CPU milliseconds of each call, called in turn."""
    times = [[] for _ in calls]
    for _ in range(turns + 1):  # the first turn warms up
        for call, seen in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            seen.append(1e3 * (time.process_time() - start))
    return [min(seen[1:]) for seen in times]


def random_boxes(number: int) -> torch.Tensor:
    """Return boxes (K, 5) of image 0."""
    low, side = torch.rand(number, 2) * 35, torch.rand(number, 2) * 25 + 2
    return torch.cat([torch.zeros(number, 1), low, (low + side).clamp(max=50)], dim=1)


def compare(name: str, ours: Callable, peer: Callable, boxes: torch.Tensor, turns: int) -> None:
    """Print forward times, forward and backward times, ratios and differences."""
    features = torch.randn(1, 256, 50, 50)
    leaf = features.clone().requires_grad_()
    weights = torch.randn(len(boxes), 256, 7, 7)

    def gradient(operator: Callable) -> torch.Tensor:
        return torch.autograd.grad((operator(leaf, boxes) * weights).sum(), leaf)[0]

    forward = [lambda f=f: f(features, boxes) for f in (ours, peer)]
    both = [lambda f=f: f(leaf, boxes).backward(weights) for f in (ours, peer)]
    gap = float((ours(features, boxes) - peer(features, boxes)).abs().max())
    slopes = [gradient(f) for f in (ours, peer)]
    slope_gap = float((slopes[0] - slopes[1]).abs().max() / slopes[1].abs().max())
    for part, calls in (("forward", forward), ("forward and backward", both)):
        mine, theirs = cpu_ms(calls, turns)
        print(
            f"{name}, {len(boxes)} boxes, {part}: Vesalius {mine:.0f} ms, torchvision "
            f"{theirs:.0f} ms, torchvision / Vesalius {theirs / mine:.2f}",
            flush=True,
        )
    print(f"{name}, {len(boxes)} boxes: largest difference {gap:.1g}, of gradients {slope_gap:.1g}")


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, nargs="+", default=[512, 1000, 2000])
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    try:
        import torchvision
        from torchvision import ops
    except (ImportError, RuntimeError) as error:
        raise SystemExit(f"torchvision does not work here ({error}); see --help") from None
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, 1 thread")
    for number in options.boxes:
        boxes = random_boxes(number)
        for ratio in (2, -1):
            compare(
                f"RoI Align, sampling ratio {ratio}",
                lambda x, b, r=ratio: roi_align(x, b, 7, sampling_ratio=r, aligned=True),
                lambda x, b, r=ratio: ops.roi_align(x, b, 7, 1.0, r, True),
                boxes,
                options.turns,
            )
        compare(
            "RoI pooling",
            lambda x, b: roi_pool(x, b, 7),
            lambda x, b: ops.roi_pool(x, b, 7),
            boxes,
            options.turns,
        )


if __name__ == "__main__":
    main()
