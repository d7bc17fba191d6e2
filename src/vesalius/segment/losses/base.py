"""What the losses share: checks, float32, ignored pixels, probabilities and one-hot labels."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.errors import DataError, RecipeError


class SegmentationLoss(nn.Module, ABC):
    """Checks its inputs, leaves autocast, removes ignored pixels, then calls `compute`.

    Args:
        ignore_index: label of pixels that count for nothing, or None.
        class_weights: one non-negative number per label, not all zero, or None for equal weights.

    Raises (when called):
        DataError: shapes do not match, the target is not integer, a label is out of range.
        RecipeError: the number of class weights differs from the number of labels.
    """

    def __init__(
        self, *, ignore_index: int | None = None, class_weights: Sequence[float] | None = None
    ):
        super().__init__()
        self.ignore_index = ignore_index
        weights = None if class_weights is None else _checked_weights(class_weights)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a scalar."""
        labels = max(logits.shape[1], 2) if logits.ndim > 1 else 0
        _check_shapes(logits, target)
        self._check_class_weights(labels)
        target = target.long()
        valid = self._valid(target)
        if valid is not None:
            target = target.masked_fill(~valid, 0)
            # Filled, not multiplied by zero: a NaN under an ignored pixel stays harmless.
            logits = logits.masked_fill(~valid.unsqueeze(1), 0)
        if target.device.type == "cpu":
            # On an accelerator the look at the values would make every step wait for the device.
            _check_labels(target, labels)
        with torch.autocast(logits.device.type, enabled=False):
            logits = logits.float() if logits.dtype.itemsize < 4 else logits
            return self.compute(logits, target, valid)

    @abstractmethod
    def compute(self, logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        """Return the loss from float logits, clean labels and (B, *size) booleans or None."""

    def _valid(self, target: Tensor) -> Tensor | None:
        return None if self.ignore_index is None else target != self.ignore_index

    def _check_class_weights(self, labels: int) -> None:
        if self.class_weights is not None and len(self.class_weights) != labels:
            raise RecipeError(
                f"class_weights has {len(self.class_weights)} numbers; the model has {labels} "
                "labels (a binary model has two: background and foreground). Give one per label."
            )


class RegionLoss(SegmentationLoss):
    """A loss of per-class terms, such as overlaps.

    Args:
        include_background: also a term for label 0. By default only the foreground counts.
        ignore_index, class_weights: as in every loss; the weighted mean over classes divides by
            the sum of the weights that take part.
    """

    def __init__(
        self,
        *,
        include_background: bool = False,
        ignore_index: int | None = None,
        class_weights: Sequence[float] | None = None,
    ):
        super().__init__(ignore_index=ignore_index, class_weights=class_weights)
        self.include_background = include_background
        if class_weights is not None and not include_background and sum(class_weights[1:]) == 0:
            raise RecipeError(
                "class_weights gives the foreground no weight. Change it or include_background."
            )

    def maps(self, logits: Tensor, target: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return probabilities and one-hot labels, both (B, K, *size), zero where ignored."""
        first = 0 if self.include_background else 1
        probabilities = class_probabilities(logits)[:, first:]
        truth = one_hot(target, max(logits.shape[1], 2), dtype=logits.dtype)[:, first:]
        if valid is not None:
            probabilities = probabilities * valid.unsqueeze(1)
            truth = truth * valid.unsqueeze(1)
        return probabilities, truth

    def mean_over_classes(self, terms: Tensor) -> Tensor:
        """Return the mean of (..., K) terms, over classes with their weights."""
        if self.class_weights is None:
            return terms.mean()
        weights = self.class_weights.to(terms.dtype)
        weights = weights if self.include_background else weights[1:]
        return ((terms * weights).sum(dim=-1) / weights.sum()).mean()


def class_probabilities(logits: Tensor) -> Tensor:
    """Return (B, K, *size) probabilities; a binary model's become background and foreground."""
    if logits.shape[1] > 1:
        return logits.softmax(dim=1)
    return torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=1)


def class_log_probabilities(logits: Tensor) -> Tensor:
    """Return the logarithms of `class_probabilities`, computed without cancellation."""
    if logits.shape[1] > 1:
        return logits.log_softmax(dim=1)
    return torch.cat([F.logsigmoid(-logits), F.logsigmoid(logits)], dim=1)


def one_hot(target: Tensor, classes: int, *, dtype: torch.dtype) -> Tensor:
    """Return (B, classes, *size) zeros and ones."""
    shape = (target.shape[0], classes, *target.shape[1:])
    return torch.zeros(shape, dtype=dtype, device=target.device).scatter_(1, target.unsqueeze(1), 1)


def _checked_weights(class_weights: Sequence[float]) -> Tensor:
    weights = torch.tensor(list(class_weights), dtype=torch.float32)
    if not (weights.isfinite().all() and (weights >= 0).all() and weights.sum() > 0):
        raise RecipeError(
            f"class_weights is {list(class_weights)}; give finite numbers of at least 0, not all 0."
        )
    return weights


def _check_shapes(logits: Tensor, target: Tensor) -> None:
    if logits.ndim < 3 or target.shape != (logits.shape[0], *logits.shape[2:]):
        raise DataError(
            f"Logits of shape {tuple(logits.shape)} need a target of shape (B, *size) with the "
            f"same batch and size; it has {tuple(target.shape)}. Give integer labels, not one-hot."
        )
    if target.is_floating_point() or target.is_complex():
        raise DataError(f"The target has type {target.dtype}; give integer labels.")


def _check_labels(target: Tensor, labels: int) -> None:
    if target.numel() == 0:
        raise DataError("The target has no pixels. Check the batch.")
    low, high = (int(value) for value in target.aminmax())
    if low < 0 or high >= labels:
        raise DataError(
            f"The target holds the label {low if low < 0 else high}; the model knows 0 to "
            f"{labels - 1}. Map it to one of them, or name it as ignore_index."
        )
