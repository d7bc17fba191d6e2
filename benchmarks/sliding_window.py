"""Sliding-window prediction of a volume: ours against MONAI's inferer, with the same network.

    pip install "vesalius[bench]"
    python benchmarks/sliding_window.py [--side 256] [--window 96] [--threads 2]

Both cover the volume with windows that overlap by half, weight them with the same Gaussian (sigma:
an eighth of the window) and call the same small 3D U-Net. The two take turns; wall and CPU
seconds and their ratio are printed. The accumulation alone is timed too, with a network that costs
nothing. MONAI clamps small weights at 1e-3, ours at 1e-4, which shows near the faces of the volume;
so that the answers can be compared exactly, a corner is also predicted with equal weights.
"""

import argparse
import time

import torch

from vesalius.segment import models
from vesalius.segment.window import predict_whole


def clocks() -> tuple[float, float]:
    """Return wall and CPU seconds."""
    return time.perf_counter(), time.process_time()


def ours(network, volume, window, gaussian=True):
    """Predict with the toolkit's own windows."""
    return predict_whole(network, volume, window=window, overlap=0.5, gaussian=gaussian)


def monai(network, volume, window, gaussian=True):
    """Predict with MONAI's `sliding_window_inference`."""
    from monai.inferers import sliding_window_inference

    mode = "gaussian" if gaussian else "constant"
    return sliding_window_inference(
        volume[None], window, 1, network, overlap=0.5, mode=mode, sigma_scale=0.125
    )[0]


def compare(name: str, network, volume, window, turns: int) -> None:
    """Let both predict in turn and print what it cost."""
    times = {ours: [], monai: []}
    corner = volume[(slice(None), *(slice(2 * side) for side in window))]
    with torch.inference_mode():
        for _ in range(turns):
            for side in (ours, monai):
                start = clocks()
                side(network, volume, window)
                times[side].append([b - a for a, b in zip(start, clocks(), strict=True)])
        mine, peer = (side(network, corner, window, gaussian=False) for side in (ours, monai))
        gap = float((mine - peer).abs().max())
    for index, clock in enumerate(("wall", "CPU")):
        mine, peer = (min(row[index] for row in times[side]) for side in (ours, monai))
        print(
            f"{name}: {clock} Vesalius {mine:.2f} s, MONAI {peer:.2f} s, "
            f"MONAI / Vesalius {peer / mine:.3f}"
        )
    print(f"{name}: largest difference with equal weights {gap:.2g}")


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--window", type=int, default=96)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    try:
        import monai
    except ImportError:
        raise SystemExit("MONAI is not installed: pip install 'vesalius[bench]'") from None
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    volume = torch.randn(1, *[options.side] * 3)
    window = (options.window,) * 3
    network = models.build("unet", in_channels=1, classes=3, dims=3, widths=(4, 8, 16)).eval()
    print(f"MONAI {monai.__version__}, torch {torch.__version__}, {options.threads} thread(s)")
    compare("U-Net", lambda x: network(x).softmax(1), volume, window, options.turns)
    compare("accumulation", lambda x: x.repeat(1, 3, 1, 1, 1), volume, window, options.turns)


if __name__ == "__main__":
    main()
