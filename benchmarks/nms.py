"""Non-maximum suppression: ours against torchvision's C++ in 2D and MONAI's in 3D, on the CPU.

torchvision has no build for a CPU torch, so it needs an environment of its own (several GB):

    python -m venv peer && peer/bin/pip install "torch===2.13.0" "torchvision==0.28.0" monai \
        pydantic scipy PyYAML rich cyclopts
    PYTHONPATH=src OMP_NUM_THREADS=1 peer/bin/python benchmarks/nms.py

Clustered boxes are jittered copies, 100 of each of some boxes, as a network gives them; uniform
boxes lie anywhere. Both sides take turns in one process on one thread; the least CPU time of the
turns is printed, the ratio (above 1: we are faster) and whether the same boxes are kept.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import torch

from vesalius.detect.boxes import batched_nms, nms


def cpu_ms(calls: Sequence[Callable[[], object]], turns: int) -> list[float]:
    """Return the least CPU milliseconds of each call, called in turn."""
    times = [[] for _ in calls]
    for _ in range(turns + 1):  # the first turn warms up
        for call, seen in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            seen.append(1e3 * (time.process_time() - start))
    return [min(seen[1:]) for seen in times]


def random_boxes(number: int, kind: str, dims: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return boxes (N, 2 * dims) in a space of 1,000 pixels a side, and scores (N,)."""
    if kind == "uniform":
        centre, side = torch.rand(number, dims) * 1000, torch.rand(number, dims) * 90 + 10
    else:
        objects = max(1, number // 100)
        of = torch.randint(objects, (number,))
        size = (torch.rand(objects, dims) * 150 + 30)[of]
        centre = (torch.rand(objects, dims) * 1000)[of] + torch.randn(number, dims) * size * 0.1
        side = size * torch.exp(torch.randn(number, dims) * 0.15)
    return torch.cat([centre - side / 2, centre + side / 2], dim=1), torch.rand(number)


def compare(name: str, peer_name: str, ours: Callable, peer: Callable, turns: int) -> None:
    """Print times, ratio and whether both keep the same boxes."""
    mine, theirs = cpu_ms([ours, peer], turns)
    kept = peer()
    same = "the same" if torch.equal(ours(), kept) else "NOT the same"
    print(
        f"{name}: Vesalius {mine:.2f} ms, {peer_name} {theirs:.2f} ms, {peer_name} / Vesalius "
        f"{theirs / mine:.2f}, {same} {len(kept)} boxes kept",
        flush=True,
    )


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    try:
        import monai
        import torchvision
        from monai.data.box_utils import non_max_suppression
        from torchvision import ops
    except (ImportError, RuntimeError) as error:
        raise SystemExit(f"torchvision or MONAI do not work here ({error}); see --help") from None
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, MONAI "
        f"{monai.__version__}, 1 thread"
    )
    for kind in ("clustered", "uniform"):
        for number in (1000, 2000, 6000, 12000):
            for threshold in (0.5, 0.7):
                b, s = random_boxes(number, kind, 2)
                compare(
                    f"2D, {number} {kind} boxes, threshold {threshold}",
                    "torchvision",
                    lambda b=b, s=s, t=threshold: nms(b, s, t),
                    lambda b=b, s=s, t=threshold: ops.nms(b, s, t),
                    options.turns,
                )
    b, s = random_boxes(2000, "clustered", 2)
    groups = torch.randint(80, (2000,))
    compare(
        "2D, 2000 boxes in 80 groups, threshold 0.5",
        "torchvision",
        lambda: batched_nms(b, s, groups, 0.5),
        lambda: ops.batched_nms(b, s, groups, 0.5),
        options.turns,
    )
    for number in (500, 1000, 2000, 4000):
        b, s = random_boxes(number, "clustered", 3)
        compare(
            f"3D, {number} clustered boxes, threshold 0.5",
            "MONAI",
            lambda b=b, s=s: nms(b, s, 0.5),
            lambda b=b, s=s: non_max_suppression(b, s, 0.5),
            max(1, options.turns // 2),
        )


if __name__ == "__main__":
    main()
