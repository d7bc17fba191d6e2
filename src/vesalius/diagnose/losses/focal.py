"""Losses that play easy terms down: focal loss and asymmetric loss.

Both are linear in the target, so a soft target (mixup) gets the mixture of two losses.
"""

import torch.nn.functional as F
from torch import Tensor

from vesalius.diagnose.losses.base import MultiLabelLoss
from vesalius.errors import RecipeError


def focal_terms(
    logits: Tensor, targets: Tensor, *, gamma_positive: float, gamma_negative: float
) -> tuple[Tensor, Tensor]:
    """Return -y (1 - p)^g+ log p and -(1 - y) p^g- log(1 - p), both (B, labels).

    Powers are taken as exp(gamma log p): their gradient stays finite where p is 0 in float32.
    """
    log_p, log_not_p = F.logsigmoid(logits), F.logsigmoid(-logits)
    positive = -targets * (gamma_positive * log_not_p).exp() * log_p
    negative = -(1 - targets) * (gamma_negative * log_p).exp() * log_not_p
    return positive, negative


class FocalLoss(MultiLabelLoss):
    """Focal loss (Lin et al. 2017, equation 5), the mean over records and labels.

    Args:
        gamma: how strongly easy terms are played down; 0 is cross-entropy.
        alpha: factor of positives, 1 - alpha of negatives; None: both 1.
    """

    def __init__(self, *, gamma: float = 2.0, alpha: float | None = None):
        super().__init__()
        if gamma < 0 or (alpha is not None and not 0 <= alpha <= 1):
            raise RecipeError(f"gamma is {gamma} (at least 0) and alpha {alpha} (0 to 1, or null)")
        self.gamma, self.alpha = gamma, alpha

    def compute(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of -alpha_t (1 - p_t)^gamma log p_t."""
        positive, negative = focal_terms(
            logits, targets, gamma_positive=self.gamma, gamma_negative=self.gamma
        )
        if self.alpha is not None:
            positive, negative = self.alpha * positive, (1 - self.alpha) * negative
        return (positive + negative).mean()


class AsymmetricLoss(MultiLabelLoss):
    """Asymmetric loss (Ridnik et al. 2021), the mean over records and labels.

    Negatives are focused harder than positives, and their probability is shifted down by `clip`,
    so that very easy (and hopelessly mislabelled) ones count nothing. The published code sums
    instead, which ties the learning rate to the batch size and the number of labels.

    Args:
        gamma_negative, gamma_positive: focusing of negatives and positives; 0, or at least 1.
        clip: the shift of the negatives' probability, 0 to below 1.
    """

    def __init__(
        self, *, gamma_negative: float = 4.0, gamma_positive: float = 1.0, clip: float = 0.05
    ):
        super().__init__()
        for name, gamma in (("negative", gamma_negative), ("positive", gamma_positive)):
            # Between 0 and 1 the power's slope is infinite where the shifted probability is 0.
            if not (gamma == 0 or gamma >= 1):
                raise RecipeError(f"gamma_{name} is {gamma}; give 0, or at least 1")
        if not 0 <= clip < 1:
            raise RecipeError(f"clip is {clip}; give 0 to below 1")
        self.gamma_negative, self.gamma_positive, self.clip = gamma_negative, gamma_positive, clip

    def compute(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of both parts."""
        positive, negative = focal_terms(
            logits,
            targets,
            gamma_positive=self.gamma_positive,
            gamma_negative=self.gamma_negative,
        )
        if self.clip:
            shifted = (logits.sigmoid() - self.clip).clamp_min(0)
            # 1 - p_m as sigmoid(-z) + clip: no cancellation for large z.
            rest = (logits.neg().sigmoid() + self.clip).clamp_max(1)
            negative = -(1 - targets) * shifted**self.gamma_negative * rest.log()
        return (positive + negative).mean()
