"""Losses of overlap: Dice, intersection over union (Jaccard), generalised Dice and Tversky."""

from collections.abc import Sequence

import torch
from torch import Tensor

from vesalius.errors import RecipeError
from vesalius.segment.losses.base import RegionLoss


class OverlapLoss(RegionLoss):
    """Common part of all losses of overlap.

    Args:
        smooth: added to numerator and denominator, in pixels, above 0: an empty mask with an empty
            prediction then has the loss 0 and a finite gradient.
        batch: one overlap over all pixels of the batch, instead of one per image and then the mean.
        include_background, ignore_index, class_weights: see `RegionLoss`.
    """

    def __init__(
        self,
        *,
        smooth: float = 1.0,
        batch: bool = False,
        include_background: bool = False,
        ignore_index: int | None = None,
        class_weights: Sequence[float] | None = None,
    ):
        super().__init__(
            include_background=include_background,
            ignore_index=ignore_index,
            class_weights=class_weights,
        )
        if not smooth > 0:
            raise RecipeError(f"smooth is {smooth}; it must be above 0.")
        self.smooth = smooth
        self.batch = batch

    def areas(
        self, logits: Tensor, target: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return intersection, predicted and true area, (B, K) or with `batch` (K,)."""
        predicted, truth = (maps.flatten(2) for maps in self.maps(logits, target, valid))
        axes = (0, 2) if self.batch else 2
        return (predicted * truth).sum(dim=axes), predicted.sum(dim=axes), truth.sum(dim=axes)


class DiceLoss(OverlapLoss):
    """Soft Dice loss (Milletari et al. 2016, with areas not squared): the mean over images and
    classes of 1 - (2 I + smooth) / (P + T + smooth).

    Options: see `OverlapLoss`.
    """

    def compute(self, logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        intersection, predicted, truth = self.areas(logits, target, valid)
        dice = (2 * intersection + self.smooth) / (predicted + truth + self.smooth)
        return self.mean_over_classes(1 - dice)


class IoULoss(OverlapLoss):
    """Soft IoU loss (Rahman and Wang 2016; U-Net 3+, eq. 5): the mean over images and classes of
    1 - (I + smooth) / (P + T - I + smooth).

    Options: see `OverlapLoss`.
    """

    def compute(self, logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        intersection, predicted, truth = self.areas(logits, target, valid)
        union = predicted + truth - intersection
        return self.mean_over_classes(1 - (intersection + self.smooth) / (union + self.smooth))


class GeneralisedDiceLoss(OverlapLoss):
    """Generalised Dice loss (Sudre et al. 2017, arXiv:1707.03237, GDL): 1 minus one Dice over all
    classes together, each weighted by 1 / volume^2, so that small classes count like large ones.

    1 - (2 sum w I + smooth) / (sum w (P + T) + smooth), mean over images; T is a class's volume in
    the image (with `batch` in the batch) and w = class weight / T^2.

    Stated rules, where the paper is silent: a class that does not occur has the largest 1 / T^2 of
    those that do (1 where none does); all w are then divided by their largest, which changes no
    ratio and makes `smooth` pixels of the rarest class.

    Args:
        include_background: True as in the paper. Without it a binary model's loss is that of Dice.
        smooth, batch, ignore_index, class_weights: see `OverlapLoss`.
    """

    def __init__(
        self,
        *,
        smooth: float = 1.0,
        batch: bool = False,
        include_background: bool = True,
        ignore_index: int | None = None,
        class_weights: Sequence[float] | None = None,
    ):
        super().__init__(
            smooth=smooth,
            batch=batch,
            include_background=include_background,
            ignore_index=ignore_index,
            class_weights=class_weights,
        )

    def compute(self, logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        intersection, predicted, truth = self.areas(logits, target, valid)
        weights = self._weights(truth)
        overlap = 2 * (weights * intersection).sum(dim=-1)
        total = (weights * (predicted + truth)).sum(dim=-1)
        return (1 - (overlap + self.smooth) / (total + self.smooth)).mean()

    def _weights(self, truth: Tensor) -> Tensor:
        occurs = truth > 0
        smallest = torch.where(occurs, truth, torch.inf).amin(dim=-1, keepdim=True)
        # Relative to the smallest class: the square of a whole volume may leave float16's range.
        weights = torch.where(occurs, smallest / truth.clamp(min=1), 1.0) ** 2
        if self.class_weights is not None:
            first = 0 if self.include_background else 1
            weights = weights * self.class_weights[first:].to(weights.dtype)
        return weights / weights.amax(dim=-1, keepdim=True)


class TverskyLoss(OverlapLoss):
    """Tversky loss (Salehi et al. 2017, arXiv:1706.05721, eq. 4), with `gamma` focal Tversky: the
    mean over images and classes of (1 - TI)^gamma, TI = (I + smooth) / (I + alpha FP + beta FN +
    smooth), FP = sum p (1 - t), FN = sum (1 - p) t.

    alpha = beta = 1 is `IoULoss`; alpha = beta = 0.5 is `DiceLoss` with twice the smoothing.

    Args:
        alpha: weight of false positives, at least 0.
        beta: weight of false negatives, at least 0; above alpha it favours recall. The defaults
            are the paper's best.
        gamma: exponent, above 0. Focal Tversky (Abraham and Khan 2019, arXiv:1810.07842) names the
            exponent 1 / gamma: its 4/3 is 0.75 here.
        smooth, batch, include_background, ignore_index, class_weights: see `OverlapLoss`.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        gamma: float = 1.0,
        smooth: float = 1.0,
        batch: bool = False,
        include_background: bool = False,
        ignore_index: int | None = None,
        class_weights: Sequence[float] | None = None,
    ):
        super().__init__(
            smooth=smooth,
            batch=batch,
            include_background=include_background,
            ignore_index=ignore_index,
            class_weights=class_weights,
        )
        if not (alpha >= 0 and beta >= 0 and alpha + beta > 0):
            raise RecipeError(
                f"alpha is {alpha} and beta {beta}; give numbers of at least 0, not both 0."
            )
        if not gamma > 0:
            raise RecipeError(f"gamma is {gamma}; the Tversky loss needs it above 0.")
        self.alpha, self.beta, self.gamma = alpha, beta, gamma

    def compute(self, logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        predicted, truth = (maps.flatten(2) for maps in self.maps(logits, target, valid))
        axes = (0, 2) if self.batch else 2
        errors = self.alpha * (predicted * (1 - truth)) + self.beta * ((1 - predicted) * truth)
        # Summed as they are: 1 - TI from areas would lose the small numbers by cancellation.
        wrong = errors.sum(dim=axes)
        right = (predicted * truth).sum(dim=axes)
        terms = wrong / (right + wrong + self.smooth)
        if self.gamma != 1:
            # The floor keeps the slope finite for gamma below 1.
            terms = terms.clamp(min=1e-12) ** self.gamma
        return self.mean_over_classes(terms)
