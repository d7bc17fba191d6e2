"""The losses as blocks of a recipe. Importing this module imports no torch.

Which label is ignored is a property of the data, not of the loss, so `build` takes it.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from vesalius.block import Block

if TYPE_CHECKING:
    from torch import nn

Alpha = Annotated[float, Field(ge=0, le=1)] | tuple[NonNegativeFloat, ...] | None


class _Loss(Block):
    class_weights: tuple[NonNegativeFloat, ...] | None = None
    """One number per label (binary models have two: background, foreground); null for equal."""

    def build(self, *, ignore_index: int | None = None) -> "nn.Module":
        """Return the loss, a module called with (logits, target)."""
        from vesalius.segment import losses

        options = {field: getattr(self, field) for field in type(self).model_fields}
        loss = getattr(losses, _CLASSES[options.pop("name")])
        return loss(ignore_index=ignore_index, **options)


class _Region(_Loss):
    include_background: bool = False
    """Also a term for label 0."""


class CrossEntropyBlock(_Loss):
    """Cross-entropy."""

    name: Literal["cross_entropy"] = "cross_entropy"


class DiceBlock(_Region):
    """Soft Dice loss."""

    name: Literal["dice"] = "dice"
    smooth: PositiveFloat = 1.0
    """Added to numerator and denominator, in pixels."""
    batch: bool = False
    """One overlap over the batch instead of one per image."""


class IoUBlock(_Region):
    """Soft intersection-over-union (Jaccard) loss."""

    name: Literal["iou"] = "iou"
    smooth: PositiveFloat = 1.0
    """Added to numerator and denominator, in pixels."""
    batch: bool = False
    """One overlap over the batch instead of one per image."""


class GeneralisedDiceBlock(_Loss):
    """Generalised Dice: classes weighted by 1 / volume^2 (Sudre et al. 2017)."""

    name: Literal["generalised_dice"] = "generalised_dice"
    include_background: bool = True
    """Label 0 is a class like the others, as in the paper."""
    smooth: PositiveFloat = 1.0
    """Added to numerator and denominator, in pixels of the rarest class."""
    batch: bool = False
    """One overlap over the batch instead of one per image."""


class TverskyBlock(_Region):
    """Tversky loss (Salehi et al. 2017); with gamma focal Tversky."""

    name: Literal["tversky"] = "tversky"
    alpha: NonNegativeFloat = 0.3
    """Weight of false positives."""
    beta: NonNegativeFloat = 0.7
    """Weight of false negatives; above alpha it favours recall."""
    gamma: PositiveFloat = 1.0
    """Exponent of 1 - Tversky index; focal Tversky has 0.75 (its paper writes 1 / gamma)."""
    smooth: PositiveFloat = 1.0
    """Added to numerator and denominator, in pixels."""
    batch: bool = False
    """One overlap over the batch instead of one per image."""

    @model_validator(mode="after")
    def _some_error_counts(self):
        if self.alpha == self.beta == 0:
            raise ValueError("alpha and beta are both 0; give one of them a weight")
        return self


class LovaszBlock(_Region):
    """Lovasz extension of the IoU loss (Berman et al. 2018)."""

    name: Literal["lovasz"] = "lovasz"
    hinge: bool = True
    """Binary models: hinge errors of logits, as in the paper; false: errors of probabilities."""
    batch: bool = False
    """One set of pixels for the batch instead of one per image."""
    present_only: bool = False
    """Leave classes that do not occur out of the mean."""


class BoundaryBlock(_Region):
    """A region loss + boundary loss: errors weighted by their distance (Kervadec et al. 2019)."""

    name: Literal["boundary"] = "boundary"
    region: Literal["dice", "generalised_dice", "iou", "tversky"] | None = "generalised_dice"
    """The region loss beside it, with its own defaults; null: the boundary term alone."""
    factor: PositiveFloat = 0.01
    """Factor of the boundary term."""
    spacing: tuple[PositiveFloat, ...] | None = None
    """Distance of neighbouring pixels per axis, as distances should count it; null: pixels."""


class FocalBlock(_Loss):
    """Focal loss (Lin et al. 2017)."""

    name: Literal["focal"] = "focal"
    gamma: NonNegativeFloat = 2.0
    """How strongly easy pixels are played down; 0 is cross-entropy."""
    alpha: Alpha = 0.25
    """Factor of the foreground, 1 - alpha of the background; or one per label; or null."""


class SSIMBlock(_Region):
    """1 - structural similarity (Wang et al. 2004)."""

    name: Literal["ssim"] = "ssim"


class MSSSIMBlock(_Region):
    """1 - multi-scale structural similarity (Wang et al. 2003)."""

    name: Literal["ms_ssim"] = "ms_ssim"


class HybridBlock(_Region):
    """Focal + MS-SSIM + IoU (U-Net 3+, Huang et al. 2020)."""

    name: Literal["hybrid"] = "hybrid"
    focal: NonNegativeFloat = 1.0
    """Factor of the focal term."""
    ms_ssim: NonNegativeFloat = 1.0
    """Factor of the MS-SSIM term."""
    iou: NonNegativeFloat = 1.0
    """Factor of the IoU term."""
    gamma: NonNegativeFloat = 2.0
    """The focal term's gamma."""
    alpha: Alpha = 0.25
    """The focal term's alpha."""
    smooth: PositiveFloat = 1.0
    """The IoU term's smoothing, in pixels."""

    @model_validator(mode="after")
    def _something_is_left(self):
        if self.focal == self.ms_ssim == self.iou == 0:
            raise ValueError("focal, ms_ssim and iou are all 0; give one of them a factor")
        return self


class DiceCrossEntropyBlock(_Region):
    """Dice + cross-entropy, nnU-Net's loss (Isensee et al. 2021)."""

    name: Literal["dice_cross_entropy"] = "dice_cross_entropy"
    dice: NonNegativeFloat = 1.0
    """Factor of the Dice term."""
    cross_entropy: NonNegativeFloat = 1.0
    """Factor of the cross-entropy term."""
    smooth: PositiveFloat = 1.0
    """The Dice term's smoothing, in pixels."""
    batch: bool = False
    """One Dice over the batch instead of one per image."""

    @model_validator(mode="after")
    def _something_is_left(self):
        if self.dice == self.cross_entropy == 0:
            raise ValueError("dice and cross_entropy are both 0; give one of them a factor")
        return self


LossBlock = Annotated[
    CrossEntropyBlock
    | DiceBlock
    | FocalBlock
    | IoUBlock
    | GeneralisedDiceBlock
    | TverskyBlock
    | LovaszBlock
    | BoundaryBlock
    | SSIMBlock
    | MSSSIMBlock
    | HybridBlock
    | DiceCrossEntropyBlock,
    Field(discriminator="name"),
]
"""Any segmentation loss, chosen by `name`."""

_CLASSES = {
    "cross_entropy": "CrossEntropyLoss",
    "dice": "DiceLoss",
    "focal": "FocalLoss",
    "iou": "IoULoss",
    "generalised_dice": "GeneralisedDiceLoss",
    "tversky": "TverskyLoss",
    "lovasz": "LovaszLoss",
    "boundary": "BoundaryLoss",
    "ssim": "SSIMLoss",
    "ms_ssim": "MSSSIMLoss",
    "hybrid": "HybridLoss",
    "dice_cross_entropy": "DiceCrossEntropyLoss",
}
