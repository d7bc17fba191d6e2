"""Losses of overlap: Dice and intersection over union (Jaccard)."""

from collections.abc import Sequence

from torch import Tensor

from vesalius.errors import RecipeError
from vesalius.segment.losses.base import RegionLoss


class OverlapLoss(RegionLoss):
    """Common part of Dice and IoU.

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
