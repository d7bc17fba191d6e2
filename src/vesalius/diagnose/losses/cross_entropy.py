"""Binary cross-entropy per label: plain, weighted by frequency, adjusted for the prior."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vesalius.diagnose.losses.base import (
    MultiLabelLoss,
    checked_counts,
    needed_size,
    prior_log_odds,
)
from vesalius.errors import DataError, RecipeError


class BCELoss(MultiLabelLoss):
    """Binary cross-entropy, the mean over records and labels."""

    def compute(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of -[y log p + (1 - y) log(1 - p)]."""
        return F.binary_cross_entropy_with_logits(logits, targets)


class WeightedBCELoss(MultiLabelLoss):
    """Binary cross-entropy whose positives weigh (negatives / positives) ** power.

    Args:
        counts: positives per label in the training records; None: all weights are 1.
        size: number of training records, needed beside counts.
        power: 1 balances fully; 1/2 is the usual compromise; 0 is plain cross-entropy.
        maximum: the largest weight; labels without positives get it too.
    """

    def __init__(
        self,
        counts: Sequence[int] | None = None,
        size: int | None = None,
        *,
        power: float = 1.0,
        maximum: float = 100.0,
    ):
        super().__init__()
        if power < 0 or maximum < 1:
            raise RecipeError(f"power is {power} (at least 0) and maximum {maximum} (at least 1)")
        weights = None
        if counts is not None:
            size = needed_size(counts, size)
            positives = checked_counts(counts, size)
            ratio = (size - positives) / positives.clamp_min(0.5)
            weights = (ratio**power).clamp(1 / maximum, maximum)
        self.register_buffer("pos_weight", weights, persistent=False)

    def compute(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of -[w y log p + (1 - y) log(1 - p)]."""
        weights = None if self.pos_weight is None else self.per_label(self.pos_weight, logits)
        return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights)


class PriorAdjustedBCELoss(MultiLabelLoss):
    """Binary cross-entropy of logits + tau * prior log-odds (logit adjustment, Menon et al. 2021).

    The prior's part of the answer is given to the model, which learns what records add to it:
    sigmoid(logits) then treats rare labels as if they were balanced, and `posterior(logits)` are
    the log-odds that can be calibrated.

    Args:
        counts: positives per label in the training records; None: no adjustment.
        size: number of training records, needed beside counts.
        tau: how much of the prior is taken out; 1 is the consistent choice for balanced error.
    """

    def __init__(
        self, counts: Sequence[int] | None = None, size: int | None = None, *, tau: float = 1.0
    ):
        super().__init__()
        adjustment = None
        if counts is not None:
            size = needed_size(counts, size)
            adjustment = tau * prior_log_odds(checked_counts(counts, size), size)
        self.register_buffer("adjustment", adjustment, persistent=False)

    def posterior(self, logits: Tensor) -> Tensor:
        """Return the log-odds with the prior in them."""
        if self.adjustment is None:
            return logits
        return logits + self.per_label(self.adjustment, logits)

    def compute(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean binary cross-entropy of the posterior."""
        return F.binary_cross_entropy_with_logits(self.posterior(logits), targets)


def bernoulli_kl(logits: Tensor, other: Tensor, *, symmetric: bool = True) -> Tensor:
    """Return the divergence between two sets of labels' Bernoulli distributions, a scalar.

    R-Drop (Liang et al. 2021) minimises it between two passes with different dropout; theirs is
    of a softmax, many labels at once need the Bernoulli form. The mean over records and labels, so
    that it stands beside the mean binary cross-entropy.

    Args:
        logits, other: (B, labels), of any float type; computed in float32 at least.
        symmetric: [KL(p || q) + KL(q || p)] / 2, which is (p - q)(logit p - logit q) / 2; False:
            KL(p || q) alone.

    Raises:
        DataError: the shapes differ.
    """
    if logits.shape != other.shape:
        raise DataError(f"Logits have shapes {tuple(logits.shape)} and {tuple(other.shape)}.")
    with torch.autocast(logits.device.type, enabled=False):
        wide = torch.promote_types(logits.dtype, torch.float32)
        a, b = logits.to(wide), other.to(wide)
        p = a.sigmoid()
        if symmetric:
            return ((p - b.sigmoid()) * (a - b)).mean() / 2
        positive = p * (F.logsigmoid(a) - F.logsigmoid(b))
        negative = (-a).sigmoid() * (F.logsigmoid(-a) - F.logsigmoid(-b))
        return (positive + negative).mean()
