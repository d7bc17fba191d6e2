"""Sums of losses: U-Net 3+'s hybrid and nnU-Net's Dice with cross-entropy."""

from collections.abc import Sequence

from torch import Tensor

from vesalius.segment.losses.base import SegmentationLoss
from vesalius.segment.losses.pixel import CrossEntropyLoss, FocalLoss
from vesalius.segment.losses.region import DiceLoss, IoULoss
from vesalius.segment.losses.structure import MSSSIMLoss


class HybridLoss(SegmentationLoss):
    """Focal + MS-SSIM + IoU: pixel, patch and map (Huang et al. 2020, arXiv:2004.08790, eq. 6).

    Args:
        focal, ms_ssim, iou: factors of the three terms; the paper adds them as they are.
        gamma, alpha: of the focal term, see `FocalLoss`.
        smooth: of the IoU term, see `IoULoss`.
        include_background: of the MS-SSIM and IoU terms.
        ignore_index, class_weights: as in every loss, for all terms.
    """

    def __init__(
        self,
        *,
        focal: float = 1.0,
        ms_ssim: float = 1.0,
        iou: float = 1.0,
        gamma: float = 2.0,
        alpha: float | Sequence[float] | None = 0.25,
        smooth: float = 1.0,
        include_background: bool = False,
        ignore_index: int | None = None,
        class_weights: Sequence[float] | None = None,
    ):
        super().__init__(ignore_index=ignore_index, class_weights=class_weights)
        common = {"ignore_index": ignore_index, "class_weights": class_weights}
        region = {"include_background": include_background, **common}
        self.factors = (focal, ms_ssim, iou)
        self.focal = FocalLoss(gamma=gamma, alpha=alpha, **common)
        self.ms_ssim = MSSSIMLoss(**region)
        self.iou = IoULoss(smooth=smooth, **region)

    def compute(self, logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        terms = (self.focal, self.ms_ssim, self.iou)
        return _sum(terms, self.factors, logits, target, valid)


class DiceCrossEntropyLoss(SegmentationLoss):
    """Dice + cross-entropy, nnU-Net's loss (Isensee et al. 2021).

    nnU-Net reports the Dice term as -Dice; here it is 1 - Dice, so the sum is at least 0.

    Args:
        dice, cross_entropy: factors of the two terms.
        smooth, batch, include_background: of the Dice term, see `DiceLoss`.
        ignore_index, class_weights: as in every loss, for both terms.
    """

    def __init__(
        self,
        *,
        dice: float = 1.0,
        cross_entropy: float = 1.0,
        smooth: float = 1.0,
        batch: bool = False,
        include_background: bool = False,
        ignore_index: int | None = None,
        class_weights: Sequence[float] | None = None,
    ):
        super().__init__(ignore_index=ignore_index, class_weights=class_weights)
        common = {"ignore_index": ignore_index, "class_weights": class_weights}
        self.factors = (dice, cross_entropy)
        self.dice = DiceLoss(
            smooth=smooth, batch=batch, include_background=include_background, **common
        )
        self.cross_entropy = CrossEntropyLoss(**common)

    def compute(self, logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        return _sum((self.dice, self.cross_entropy), self.factors, logits, target, valid)


def _sum(
    terms: Sequence[SegmentationLoss],
    factors: Sequence[float],
    logits: Tensor,
    target: Tensor,
    valid: Tensor | None,
) -> Tensor:
    """Add the terms; one with the factor 0 is not computed."""
    parts = [
        factor * term.compute(logits, target, valid)
        for term, factor in zip(terms, factors, strict=True)
        if factor != 0
    ]
    return sum(parts, start=logits.new_zeros(()))
