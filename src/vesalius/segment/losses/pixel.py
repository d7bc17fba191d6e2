"""Losses that are a mean over pixels: cross-entropy and focal loss."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vesalius.errors import RecipeError
from vesalius.segment.losses.base import SegmentationLoss, class_log_probabilities


class CrossEntropyLoss(SegmentationLoss):
    """Cross-entropy, the mean of -log p(label).

    With class weights it is the weighted mean (divided by the sum of the pixels' weights, as
    torch does). Without any pixel that counts it is 0.
    """

    def compute(self, logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        return self.mean_over_pixels(-_label_log_probability(logits, target), target, valid)

    def mean_over_pixels(self, terms: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        """Return the mean of (B, *size) terms over valid pixels with their labels' weights."""
        if self.class_weights is None:
            weights = torch.ones_like(terms)
        else:
            weights = self.class_weights.to(terms.dtype)[target]
        if valid is not None:
            weights = weights * valid
        total = weights.sum()
        # No pixel counts: the numerator is 0, so is the answer, and so is its gradient.
        return (terms * weights).sum() / torch.where(total > 0, total, 1)


class FocalLoss(CrossEntropyLoss):
    """Focal loss (Lin et al. 2017, arXiv:1708.02002, eq. 5): mean of -a (1 - p)^gamma log p.

    p is the probability of the pixel's label and a its alpha. The paper divides by the number of
    positive anchors; here the mean is over all pixels that count, as is usual for segmentation.

    Args:
        gamma: focusing parameter, at least 0; with 0 and alpha None this is the cross-entropy.
        alpha: None for 1; a number for the foreground labels, and 1 - alpha for label 0 (the
            paper's convention, which with two classes is the same for sigmoid and softmax); or a
            sequence with one number per label.
        ignore_index, class_weights: as in every loss. Unlike class weights, alpha is not divided
            out of the mean.
    """

    def __init__(
        self,
        *,
        gamma: float = 2.0,
        alpha: float | Sequence[float] | None = 0.25,
        ignore_index: int | None = None,
        class_weights: Sequence[float] | None = None,
    ):
        super().__init__(ignore_index=ignore_index, class_weights=class_weights)
        if gamma < 0:
            raise RecipeError(f"gamma is {gamma}; the focal loss needs at least 0.")
        self.gamma = gamma
        self.alpha = alpha if alpha is None or isinstance(alpha, int | float) else tuple(alpha)

    def compute(self, logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        log_p = _label_log_probability(logits, target)
        # 1 - p without cancellation; the floor keeps the slope finite for gamma below 1.
        others = (-torch.expm1(log_p)).clamp(min=1e-12)
        terms = -others.pow(self.gamma) * log_p
        if self.alpha is not None:
            terms = terms * self._alphas(max(logits.shape[1], 2), terms)[target]
        return self.mean_over_pixels(terms, target, valid)

    def _alphas(self, labels: int, like: Tensor) -> Tensor:
        alpha = self.alpha
        if isinstance(alpha, int | float):
            alpha = (1 - alpha, *[alpha] * (labels - 1))
        if len(alpha) != labels:
            raise RecipeError(
                f"alpha has {len(alpha)} numbers; the model has {labels} labels. Give one per "
                "label, a single number, or None."
            )
        return torch.tensor(alpha, dtype=like.dtype, device=like.device)


def _label_log_probability(logits: Tensor, target: Tensor) -> Tensor:
    """Return the log-probability of each pixel's label, (B, *size)."""
    return class_log_probabilities(logits).gather(1, target.unsqueeze(1)).squeeze(1)
