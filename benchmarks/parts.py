"""What three decisions of the segment department cost or save on this machine.

    python benchmarks/parts.py [--threads 2]

Each pair is measured in turn in one process, forward and backward, the median of three after a
warm-up: MS-SSIM's filter as a convolution against a band matrix product, weights in the usual
layout against channels-last, and U-Net against U-Net 3+ of the same levels and widths.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vesalius.segment import models
from vesalius.segment.losses import structure

LAYOUT = {2: torch.channels_last, 3: torch.channels_last_3d}


def compared(name: str, one: Callable[[], None], other: Callable[[], None]) -> None:
    """Time two calls in turn and print the ratio of their medians."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(4):
        for side, call in zip(seconds, (one, other), strict=True):
            start = time.perf_counter()
            call()
            if turn:
                side.append(time.perf_counter() - start)
    first, second = (statistics.median(side) for side in seconds)
    print(f"{name}: {first:.3f} s against {second:.3f} s, ratio {first / second:.2f}", flush=True)


def filtering(function: Callable[[Tensor], Tensor]) -> Callable[[], None]:
    """Return a pass of a filter over 80 maps of 192 x 160."""
    maps = torch.rand(80, 1, 192, 160, requires_grad=True)
    return lambda: function(maps).sum().backward()


def by_convolution(x: Tensor) -> Tensor:
    """The filter as torch's convolution of one channel."""
    window = structure._window(structure.WINDOW, x)
    return F.conv2d(F.conv2d(x, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))


def training(name: str, size: tuple[int, ...], *, channels_last: bool, **options) -> Callable:
    """Return a forward and backward pass of a model on noise."""
    dims = len(size) - 1
    model = models.build(name, in_channels=1, classes=3, dims=dims, **options).train()
    images = torch.randn(size[0], 1, *size[1:])
    if channels_last:
        model = model.to(memory_format=LAYOUT[dims])

    def once() -> None:
        logits = models.Outputs.of(model(images)).logits
        sum((item**2).mean() for item in logits).backward()

    return once


def main() -> None:
    """Print all comparisons."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    compared(
        "MS-SSIM filter, convolution / band matrix",
        filtering(by_convolution),
        filtering(structure._blur),
    )
    flat = {"widths": (16, 32, 64, 128)}
    deep = {"widths": (8, 16, 32, 64), "normalisation": "instance"}
    for label, size, widths in (("2D", (4, 96, 96), flat), ("3D", (2, 40, 56, 40), deep)):
        plus = {**widths, "skip_width": 8, "deep_supervision": True}
        for name, options in (("unet", widths), ("unet_3_plus", plus)):
            compared(
                f"{label} {name}, usual layout / channels-last",
                training(name, size, channels_last=False, **options),
                training(name, size, channels_last=True, **options),
            )
        compared(
            f"{label} unet_3_plus / unet, both channels-last",
            training("unet_3_plus", size, channels_last=True, **plus),
            training("unet", size, channels_last=True, **widths),
        )


if __name__ == "__main__":
    main()
