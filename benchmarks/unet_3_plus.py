"""A training step of our U-Net 3+ against a plain transcription of the paper's formulas.

    python benchmarks/unet_3_plus.py [--steps 7] [--threads 1] [--layout channels-last|usual]

The transcription pools, interpolates, convolves and joins in the order in which the paper writes
it; both sides have the same weights, see the same images and minimise the same sum of the heads'
squares, and take turns step by step in one process. Printed per setting: the medians of the CPU
seconds of a step and the median of the pairs' ratios; of each side the bytes that a forward pass
keeps for the backward pass and the growth of the peak memory of a process of its own; and how far
logits and gradients are from the transcription's in double precision (each tensor's largest
difference over its largest value): ours in double precision, where only the formula counts, and
both sides in single precision, whose rounding this network amplifies.
"""

import argparse
import multiprocessing
import resource
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vesalius.segment import models

LAYOUT = {2: torch.channels_last, 3: torch.channels_last_3d}
CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
MODE = {2: "bilinear", 3: "trilinear"}
NAMES = ("ours", "plain")
PAPER = ((64, 128, 256, 512, 1024), 64)
QUARTER = ((16, 32, 64, 128, 256), 16)
SHALLOW = ((16, 32, 64, 128), 16)
SETTINGS = {
    "2D, paper's widths, 1 x 96 x 96": ((1, 1, 96, 96), *PAPER),
    "2D, a quarter of them, 4 x 96 x 96": ((4, 1, 96, 96), *QUARTER),
    "2D, a quarter of them, 2 x 256 x 256": ((2, 1, 256, 256), *QUARTER),
    "3D, four levels, 2 x 32 x 48 x 32": ((2, 1, 32, 48, 32), *SHALLOW),
}


def unit(into: int, out: int, dims: int) -> nn.Sequential:
    """Return convolution, batch norm, ReLU."""
    layers = {
        "convolution": CONVOLUTION[dims](into, out, 3, padding=1),
        "norm": NORM[dims](out),
        "activation": nn.ReLU(inplace=True),
    }
    return nn.Sequential(OrderedDict(layers))


class Node(nn.Module):
    """A decoder node: pool or interpolate each source, convolve it, join, convolve."""

    def __init__(self, level: int, channels: Sequence[int], skip_width: int, dims: int):
        super().__init__()
        self.resizers = [
            POOL[dims](2 ** (level - i), ceil_mode=True)
            if i < level
            else nn.Upsample(scale_factor=2 ** (i - level), mode=MODE[dims])
            if i > level
            else nn.Identity()
            for i in range(len(channels))
        ]
        width = skip_width * len(channels)
        self.skips = nn.ModuleList(unit(into, skip_width, dims) for into in channels)
        self.fusion = unit(width, width, dims)

    def forward(self, sources: Sequence[Tensor]) -> Tensor:
        parts = zip(self.skips, self.resizers, sources, strict=True)
        return self.fusion(torch.cat([skip(resizer(x)) for skip, resizer, x in parts], dim=1))


class Transcription(nn.Module):
    """U-Net 3+ with deep supervision as it is written, with our names of the weights."""

    def __init__(self, *, classes: int, dims: int, widths: Sequence[int], skip_width: int):
        super().__init__()
        stages = [
            nn.Sequential(unit(into, out, dims), unit(out, out, dims))
            for into, out in zip((1, *widths[:-1]), widths, strict=True)
        ]
        self.encoder = nn.ModuleDict({"stages": nn.ModuleList(stages)})
        self.pool = POOL[dims](2, ceil_mode=True)
        levels, node_width = len(widths), skip_width * len(widths)
        self.nodes = nn.ModuleList()
        for level in range(levels - 1):
            channels = [*widths[: level + 1], *[node_width] * (levels - 2 - level), widths[-1]]
            self.nodes.append(Node(level, channels, skip_width, dims))
        self.heads = nn.ModuleList(
            CONVOLUTION[dims](
                node_width if level < levels - 1 else widths[-1], classes, 3, padding=1
            )
            for level in range(levels)
        )
        self.resizers = [
            nn.Upsample(scale_factor=2**level, mode=MODE[dims]) if level else nn.Identity()
            for level in range(levels)
        ]

    def forward(self, images: Tensor) -> list[Tensor]:
        features = []
        for stage in self.encoder["stages"]:
            features.append(stage(self.pool(features[-1]) if features else images))
        maps = features[-1:]
        for level in reversed(range(len(self.nodes))):
            maps.insert(0, self.nodes[level]([*features[: level + 1], *maps]))
        parts = zip(self.heads, self.resizers, maps, strict=True)
        return [resizer(head(x)) for head, resizer, x in parts]


class Side:
    """A model, and its training step without the optimiser."""

    def __init__(self, name: str, setting: str, layout: str, dtype: torch.dtype = torch.float32):
        size, widths, skip_width = SETTINGS[setting]
        dims = len(size) - 2
        options = {"classes": 3, "dims": dims, "widths": widths, "skip_width": skip_width}
        torch.manual_seed(0)
        model = models.build("unet_3_plus", in_channels=1, deep_supervision=True, **options)
        self.images = torch.randn(size)
        if name == "plain":
            state, model = model.state_dict(), Transcription(**options)
            model.load_state_dict(state)
        if layout == "channels-last":
            model = model.to(memory_format=LAYOUT[dims])
        self.model, self.images = model.to(dtype).train(), self.images.to(dtype)

    def step(self) -> None:
        """Forward and backward."""
        self.model.zero_grad(set_to_none=True)
        logits = models.Outputs.of(self.model(self.images)).logits
        sum((item**2).mean() for item in logits).backward()
        self.logits = [item.detach() for item in logits]

    def kept(self) -> int:
        """Return the bytes that a forward pass keeps for the backward pass, weights aside."""
        weights = {part.untyped_storage().data_ptr() for part in self.model.parameters()}
        storages: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            answer = self.model(self.images)
        del answer
        return sum(storages.values())


def cpu_seconds() -> float:
    """Return user and system seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def take_turns(sides: Sequence[Side], steps: int) -> np.ndarray:
    """Return CPU seconds (steps, sides), after a warm-up."""
    seconds = np.zeros((steps + 1, len(sides)))
    for turn in range(steps + 1):
        for index, side in enumerate(sides):
            start = cpu_seconds()
            side.step()
            seconds[turn, index] = cpu_seconds() - start
    return seconds[1:]


def differences(side: Side, reference: Side) -> str:
    """Return the largest differences of the last step's logits and gradients, as text."""
    found = []
    for of in (lambda side: side.logits, lambda side: gradients(side.model)):
        pairs = zip(of(side), of(reference), strict=True)
        found.append(max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs))
    return "{:.0e} and {:.0e}".format(*found)


def gradients(model: nn.Module) -> list[Tensor]:
    """Return the gradients, less those that are zero but for rounding.

    A batch norm takes away what a bias before it adds, so such biases have no gradient.
    """
    named = dict(model.named_parameters())
    return [
        value.grad
        for name, value in named.items()
        if not (name.endswith("convolution.bias") and f"{name[:-16]}norm.bias" in named)
    ]


def high_water() -> int:
    """Return this process's peak memory in KiB.

    Linux only; getrusage's figure would start at that of the process that started this one.
    """
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def _peak(name: str, setting: str, layout: str, threads: int, answer) -> None:
    torch.set_num_threads(threads)
    side = Side(name, setting, layout)
    Path("/proc/self/clear_refs").write_text("5")  # The peak so far is forgotten.
    before = high_water()
    for _ in range(2):
        side.step()
    answer.put(high_water() - before)


def peak(name: str, setting: str, layout: str, threads: int) -> float:
    """Return by how many MiB two steps raise the peak memory of a fresh process."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=_peak, args=(name, setting, layout, threads, answer))
    process.start()
    kibibytes = answer.get(timeout=600)
    process.join()
    return kibibytes / 1024


def agreement(setting: str, layout: str) -> str:
    """Return how far ours and the transcription are from the transcription in double precision."""
    reference = Side("plain", setting, layout, torch.float64)
    others = [
        Side("ours", setting, layout, torch.float64),
        Side("ours", setting, layout),
        Side("plain", setting, layout),
    ]
    for side in (reference, *others):
        side.step()
    ours_double, ours, plain = (differences(side, reference) for side in others)
    return f"{ours_double} in double, {ours} in single precision (transcription {plain})"


def compare(setting: str, *, layout: str, threads: int, steps: int) -> None:
    """Measure one setting and print it."""
    sides = [Side(name, setting, layout) for name in NAMES]
    seconds = take_turns(sides, steps)
    ours, plain = np.median(seconds, axis=0)
    ratio = np.median(seconds[:, 1] / seconds[:, 0])
    print(f"{setting}, {layout}")
    print(f"  {ours:.3f} against {plain:.3f} CPU s, {ratio:.2f} times as fast")
    kept = [side.kept() / 2**20 for side in sides]
    peaks = [peak(name, setting, layout, threads) for name in NAMES]
    for what, (ours, plain) in {"kept for backward": kept, "peak": peaks}.items():
        print(f"  {what}: {ours:.0f} against {plain:.0f} MiB, ratio {ours / plain:.2f}")
    print(f"  logits and gradients differ by {agreement(setting, layout)}", flush=True)


def main() -> None:
    """Compare all settings."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layout", choices=("channels-last", "usual"), default="channels-last")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for setting in SETTINGS:
        compare(setting, **vars(options))


if __name__ == "__main__":
    main()
