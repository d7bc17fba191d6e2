"""What the losses share: checks, float32, label counts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vesalius.errors import DataError, RecipeError


class MultiLabelLoss(nn.Module, ABC):
    """Check the inputs, leave autocast, compute in float32 (float64 stays), then call `compute`.

    Raises (when called):
        DataError: shapes differ or are not (B, labels), nothing is in the batch, or (looked at on
            the CPU only) a target lies outside 0 to 1.
    """

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar, of logits (B, labels) and targets (B, labels) in [0, 1]."""
        _check(logits, targets)
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.float() if logits.dtype.itemsize < 4 else logits
            return self.compute(logits, targets.to(logits.dtype))

    @abstractmethod
    def compute(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of checked inputs, both of one float type."""

    def per_label(self, values: Tensor, like: Tensor) -> Tensor:
        """Return a buffer (labels,) in the type and on the device of the logits."""
        if len(values) != like.shape[1]:
            raise RecipeError(
                f"{type(self).__name__} was made for {len(values)} labels; the logits have "
                f"{like.shape[1]}. Give one count per label."
            )
        return values.to(like)


def checked_counts(counts: Sequence[float], size: int | None = None) -> Tensor:
    """Return positives per label as float32 (labels,).

    Raises:
        RecipeError: a count is negative or above `size`, or there are no labels.
    """
    values = torch.as_tensor(list(counts), dtype=torch.float32)
    if values.ndim != 1 or not len(values) or not values.isfinite().all() or (values < 0).any():
        raise RecipeError(f"counts is {list(counts)}; give the positives of each label, at least 0")
    if size is not None and (size < 1 or values.max() > size):
        raise RecipeError(
            f"a label has {values.max():.0f} positives among {size} records; give the number of "
            "training records as size"
        )
    return values


def needed_size(counts: object, size: int | None) -> int:
    """Return `size`, which must stand beside counts."""
    if size is None:
        raise RecipeError("counts need the number of training records beside them: give size")
    return size


def prior_log_odds(counts: Tensor, size: int) -> Tensor:
    """Return log(p / (1 - p)) per label with p = (n + 1/2) / (N + 1): finite for n = 0 and N."""
    return torch.log((counts + 0.5) / (size - counts + 0.5))


def _check(logits: Tensor, targets: Tensor) -> None:
    if logits.ndim != 2 or logits.shape != targets.shape or 0 in logits.shape:
        raise DataError(
            f"Logits have shape {tuple(logits.shape)} and targets {tuple(targets.shape)}; both "
            "must be (records, labels) with at least one of each."
        )
    # On an accelerator the look at the values would make every step wait for the device.
    if targets.device.type == "cpu":
        low, high = (float(value) for value in targets.detach().float().aminmax())
        if not (low >= 0 and high <= 1):
            raise DataError(f"Targets range from {low} to {high}; give 0 and 1, or between.")
