"""Losses that compare the labels of a record with one another.

Soft targets enter as Su's soft form does it: label i counts as a positive with weight y_i and as a
negative with weight 1 - y_i inside the sums.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vesalius.diagnose.losses.base import MultiLabelLoss


class ZLPRLoss(MultiLabelLoss):
    """ZLPR, zero-bounded log-sum-exp and pairwise rank-based loss (Su et al. 2022).

    log(1 + sum over positives of exp(-z)) + log(1 + sum over negatives of exp(z)), the mean over
    records. Positives learn to lie above 0 and above all negatives; the decision is z > 0.
    """

    def compute(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over records."""
        return _two_sums(logits, targets).mean()


class MultiLabelSoftmaxLoss(MultiLabelLoss):
    """Softmax with cross-entropy for many labels, with a threshold s (Su 2020).

    log(exp(s) + sum over negatives of exp(z)) + log(exp(-s) + sum over positives of exp(-z)): the
    threshold takes part as one more class, which positives must beat and negatives must not. With
    s = 0 this is ZLPR, its later name.

    Args:
        threshold: s; the decision is z > s.
    """

    def __init__(self, *, threshold: float = 0.0):
        super().__init__()
        self.threshold = threshold

    def compute(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over records."""
        return _two_sums(logits - self.threshold, targets).mean()


class LogSoftmaxRankingLoss(MultiLabelLoss):
    """Minus the log-softmax of each positive against all negatives, the mean over positives.

    For a positive u: log(1 + sum over negatives v of exp(z_v - z_u)); other positives do not
    compete. The mean is over a record's positives, then over records; a record without positives
    or without negatives costs nothing. It learns an order only: decide with fitted thresholds.
    """

    def compute(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over records."""
        # A floor instead of -inf for records without negatives: logsumexp of nothing has no slope.
        floor = logits.detach().amin(1, keepdim=True) - 1e4
        entries = logits + _log(1 - targets)
        negatives = torch.cat([entries, floor], dim=1).logsumexp(1, keepdim=True)
        terms = targets * F.softplus(negatives - logits)
        return (terms.sum(1) / targets.sum(1).clamp_min(1e-6)).mean()


def _two_sums(logits: Tensor, targets: Tensor) -> Tensor:
    """Return log(1 + sum y exp(-z)) + log(1 + sum (1 - y) exp(z)) per record."""
    one = torch.zeros_like(logits[:, :1])
    positive = torch.cat([one, _log(targets) - logits], dim=1).logsumexp(1)
    negative = torch.cat([one, _log(1 - targets) + logits], dim=1).logsumexp(1)
    return positive + negative


def _log(weights: Tensor) -> Tensor:
    """Return log weights, -inf for 0, whose gradient is never asked for."""
    return weights.detach().log()
