"""FAVOR+ ("performer") attention against softmax attention: time, memory and error.

    python benchmarks/performer.py [--lengths 512 1024 2048 4096 8192] [--features 64 256]

One layer's attention with 4 heads of width 64 on one thread, forward and backward. CPU seconds are
the least of several turns. Memory is what a process of its own needs at its peak above its start:
for softmax as torch fuses it, for softmax written out (the full matrix, as most releases do), and
for FAVOR+. The error is |FAVOR+ - softmax| / |softmax| of the attended values; beside it stands
that of the plain mean of the values, which a useless approximation degenerates to. It depends on
how sharp the attention is: queries and keys have the given standard deviation. Last, what padding
changes in the answers of the real tokens.
"""

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from vesalius.diagnose.models.favor import favor_attention, orthogonal_features

HEADS, WIDTH = 4, 64


def drawn(length: int, spread: float = 0.5) -> list[torch.Tensor]:
    """Return queries, keys and values (1, heads, length, width)."""
    rng = torch.Generator().manual_seed(0)
    shape = (1, HEADS, length, WIDTH)
    queries, keys = (spread * torch.randn(shape, generator=rng) for _ in range(2))
    return [queries, keys, torch.randn(shape, generator=rng)]


def written_out(queries, keys, values):
    """Softmax attention with its whole matrix."""
    return (queries @ keys.transpose(-2, -1) / WIDTH**0.5).softmax(-1) @ values


def attention(kind: str, features: int):
    """Return a function of (queries, keys, values)."""
    if kind == "fused":
        return F.scaled_dot_product_attention
    if kind == "written":
        return written_out
    directions = orthogonal_features(WIDTH, features, seed=1)

    def favor(queries, keys, values):
        mask = torch.ones(1, queries.shape[2], dtype=torch.bool)
        return favor_attention(queries, keys, values, mask, directions)

    return favor


def train(function, parts) -> None:
    """Run forward and backward."""
    leaves = [part.clone().requires_grad_() for part in parts]
    function(*leaves).sum().backward()


def seconds(function, parts, turns: int) -> float:
    """Return the least CPU seconds of a forward and backward pass."""
    found = []
    for _ in range(turns):
        start = time.process_time()
        train(function, parts)
        found.append(time.process_time() - start)
    return min(found)


def peak(kind: str, features: int, length: int) -> float:
    """Return the MiB that a process of its own needs above its start."""
    command = [sys.executable, __file__, "--measure", kind, str(features), str(length)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def measure(kind: str, features: int, length: int) -> None:
    """Print the peak of one forward and backward pass in MiB."""
    function, small, parts = attention(kind, features), drawn(64), drawn(length)
    train(function, small)
    before = highest_memory()
    train(function, parts)
    print((highest_memory() - before) / 1024)


def highest_memory() -> int:
    """Return this process's peak in KiB; getrusage's would hold that of the parent (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def error(features: int, spread: float, epsilon: float, length: int = 512) -> tuple[float, float]:
    """Return the relative errors of FAVOR+ and of the plain mean."""
    queries, keys, values = drawn(length, spread)
    exact = F.scaled_dot_product_attention(queries, keys, values)
    mask = torch.ones(1, length, dtype=torch.bool)
    found = [
        favor_attention(
            queries,
            keys,
            values,
            mask,
            orthogonal_features(WIDTH, features, seed=seed),
            epsilon=epsilon,
        )
        for seed in range(3)
    ]
    errors = [float((one - exact).norm() / exact.norm()) for one in found]
    mean = values.mean(2, keepdim=True)
    return sum(errors) / len(errors), float((mean - exact).norm() / exact.norm())


def leak(pads: int, tokens: int = 50) -> float:
    """Return the largest change of the real tokens' answers by padding."""
    parts = drawn(tokens + pads)
    directions = orthogonal_features(WIDTH, 256, seed=1)
    mask = torch.arange(tokens + pads)[None] < tokens
    padded = favor_attention(*parts, mask, directions)[:, :, :tokens]
    alone = favor_attention(*(p[:, :, :tokens] for p in parts), mask[:, :tokens], directions)
    return float((padded - alone).abs().max())


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192])
    parser.add_argument("--features", type=int, nargs="+", default=[64, 266])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.measure:
        measure(options.measure[0], *map(int, options.measure[1:]))
        return
    kinds = [("fused", 0), ("written", 0), *(("favor", m) for m in options.features)]
    print(f"torch {torch.__version__}, one thread, {HEADS} heads of {WIDTH}, forward and backward")
    for length in options.lengths:
        parts, line = drawn(length), []
        times = {}
        for kind in kinds:
            times[kind] = seconds(attention(*kind), parts, options.turns)
            name = kind[0] if not kind[1] else f"favor m={kind[1]}"
            ratio = times["fused", 0] / times[kind]
            memory = peak(*kind, length)
            line.append(f"{name} {times[kind]:.3f} s ({ratio:.2f}x) {memory:.0f} MiB")
        print(f"{length:5d} tokens: " + " | ".join(line), flush=True)
    print("relative error of the attended values, 512 tokens (mean of three draws)")
    for spread in (0.25, 0.5, 1.0):
        for features in (*options.features, 1024):
            for epsilon in (1e-4, 1e-6):
                found, mean = error(features, spread, epsilon)
                print(
                    f"  std {spread}: m={features}, epsilon {epsilon:g}: {found:.3f} "
                    f"(plain mean {mean:.3f})"
                )
    for pads in (10, 50, 200):
        print(f"50 tokens with {pads} of padding: answers change by {leak(pads):.1e} at most")
    try:
        import performer_pytorch  # noqa: F401
    except ImportError:
        print("performer-pytorch is not installed and was not measured")


if __name__ == "__main__":
    main()
