"""What adversarial steps cost: CPU seconds of a training step, in turns, over a plain one.

    OMP_NUM_THREADS=1 python benchmarks/attack_steps.py [--turns 7] [--length 256]

The network is the default Transformer of `vesalius diagnose`, on random tokens; the steps are the
engine's own, called as the training loop calls them, and each ends with clipping and AdamW.
"""

import argparse
import contextlib
import time

import numpy as np
import torch

from vesalius.diagnose.models import build
from vesalius.engine.data import Batch
from vesalius.engine.steps import AWP, FGM, PGD, VAT, FreeLB, Passes, PlainStep

STEPS = {
    "plain": PlainStep,
    "fgm": FGM,
    "pgd (K=3)": PGD,
    "freelb (K=3)": FreeLB,
    "awp": AWP,
    "vat": VAT,
}
LABELS, VOCABULARY, RECORDS = 50, 8000, 16


def loss(model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """Return the loss as the task would."""
    logits = model(batch.inputs)
    return {"labels": torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.targets)}


def main() -> None:
    """Time the steps and print a line each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--length", type=int, default=256)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = build("transformer", labels=LABELS, vocabulary=VOCABULARY).train()
    optimizer = torch.optim.AdamW(model.parameters())
    shape = RECORDS, options.length
    inputs = {
        "tokens": torch.randint(VOCABULARY, shape),
        "mask": torch.ones(shape, dtype=torch.bool),
        "fields": torch.zeros(shape, dtype=torch.long),
    }
    batch = Batch(["x"] * RECORDS, inputs, (torch.rand(RECORDS, LABELS) < 0.05).float())
    passes = Passes(
        model,
        loss,
        lambda terms: sum(terms.values()).backward(),
        lambda last: contextlib.nullcontext(),
    )
    taken: dict[str, list[float]] = {name: [] for name in STEPS}
    for _ in range(options.turns + 1):
        for name, kind in STEPS.items():
            start = time.process_time()
            optimizer.zero_grad(set_to_none=True)
            kind()(passes, batch)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            taken[name].append(time.process_time() - start)
    plain = float(np.median(taken["plain"][1:]))  # the first turn warms up
    for name, seconds in taken.items():
        ratios = np.array(seconds[1:]) / np.array(taken["plain"][1:])
        print(f"{name:14} {np.median(seconds[1:]):.3f} CPU s, {np.median(ratios):.2f} x plain")
    print(f"plain: {RECORDS / plain:.0f} records of {options.length} tokens per CPU second")


if __name__ == "__main__":
    main()
