"""Losses for long tails that need the labels' counts: class-balanced and distribution-balanced."""

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
from vesalius.diagnose.losses.focal import focal_terms
from vesalius.errors import RecipeError


class ClassBalancedLoss(MultiLabelLoss):
    """Focal loss weighted by 1 / effective number, (1 - beta) / (1 - beta^n) (Cui et al. 2019).

    Theirs weighs a record by its one class; with several labels each label's terms get their
    weight. Weights have mean 1. Labels without positives get the weight of those with one.

    Args:
        counts: positives per label in the training records; None: all weights are 1.
        beta: 0 weighs all alike, towards 1 by inverse frequency.
        gamma: of the focal loss; 0 is cross-entropy.
    """

    def __init__(
        self, counts: Sequence[int] | None = None, *, beta: float = 0.999, gamma: float = 0.0
    ):
        super().__init__()
        if not 0 <= beta < 1 or gamma < 0:
            raise RecipeError(f"beta is {beta} (0 to below 1) and gamma {gamma} (at least 0)")
        self.gamma = gamma
        weights = None
        if counts is not None:
            weights = (1 - beta) / (1 - beta ** checked_counts(counts).double().clamp_min(1))
            weights = (weights / weights.mean()).float()
        self.register_buffer("weights", weights, persistent=False)

    def compute(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the weighted mean focal loss."""
        positive, negative = focal_terms(
            logits, targets, gamma_positive=self.gamma, gamma_negative=self.gamma
        )
        terms = positive + negative
        return (
            terms if self.weights is None else terms * self.per_label(self.weights, terms)
        ).mean()


class DistributionBalancedLoss(MultiLabelLoss):
    """Distribution-balanced focal loss (Wu et al. 2020), the mean over records and labels.

    Rebalanced weighting: a record drawn for its rare labels brings its frequent ones along, so
    label i of a record weighs w = alpha + sigmoid(beta (r - mu)), r = (1 / n_i) / sum over the
    record's labels of 1 / n. Negative-tolerant regularisation: logits are shifted by
    nu_i = kappa log(N / n_i - 1), and negatives' slope is divided by `negative_scale`:
    -y log sigmoid(z - nu) and -(1 - y) log sigmoid(-s (z - nu)) / s.

    Deviations: priors are (n + 1/2) / (N + 1), so labels that all or no records have stay finite;
    a record without labels, whose r has no value, gets the limit w = alpha + 1.

    Args:
        counts: positives per label in the training records; None: equally frequent labels and no
            shift.
        size: number of training records, needed beside counts.
        alpha, beta, mu: floor, slope and middle of the weight; the defaults are those used for
            text (Huang et al. 2021).
        kappa: strength of the shift.
        negative_scale: by how much the negatives' slope is reduced.
        gamma: of the focal factor; 0 leaves it out.
    """

    def __init__(
        self,
        counts: Sequence[int] | None = None,
        size: int | None = None,
        *,
        alpha: float = 0.1,
        beta: float = 10.0,
        mu: float = 0.9,
        kappa: float = 0.05,
        negative_scale: float = 2.0,
        gamma: float = 2.0,
    ):
        super().__init__()
        if alpha < 0 or negative_scale <= 0 or gamma < 0:
            raise RecipeError(
                f"alpha is {alpha} and gamma {gamma} (at least 0), negative_scale "
                f"{negative_scale} (above 0)"
            )
        self.alpha, self.beta, self.mu = alpha, beta, mu
        self.negative_scale, self.gamma = negative_scale, gamma
        rarity = shift = None
        if counts is not None:
            size = needed_size(counts, size)
            positives = checked_counts(counts, size)
            rarity = 1 / positives.clamp_min(1)
            shift = -kappa * prior_log_odds(positives, size)
        self.register_buffer("rarity", rarity, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def record_weights(self, targets: Tensor) -> Tensor:
        """Return the rebalanced weights, (B, labels), of float targets."""
        rarity = torch.ones_like(targets[0])
        if self.rarity is not None:
            rarity = self.per_label(self.rarity, targets)
        drawn = (targets * rarity).sum(1, keepdim=True)
        ratio = rarity / drawn.clamp_min(torch.finfo(drawn.dtype).tiny)
        weights = self.alpha + torch.sigmoid(self.beta * (ratio.clamp_max(1e6) - self.mu))
        return torch.where(drawn > 0, weights, self.alpha + 1.0)

    def compute(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of weight * focal factor * tolerant cross-entropy."""
        if self.shift is not None:
            logits = logits - self.per_label(self.shift, logits)
        scaled = self.negative_scale * logits
        positive = -targets * (self.gamma * F.logsigmoid(-logits)).exp() * F.logsigmoid(logits)
        negative = -(1 - targets) * (self.gamma * F.logsigmoid(scaled)).exp()
        negative = negative * F.logsigmoid(-scaled) / self.negative_scale
        return (self.record_weights(targets) * (positive + negative)).mean()
