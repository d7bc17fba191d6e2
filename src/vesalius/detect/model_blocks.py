"""The detectors as blocks of a recipe. Importing this module imports no torch."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from vesalius.block import Block
from vesalius.images.encoder_names import EncoderName

if TYPE_CHECKING:
    from torch import nn

Share = Annotated[float, Field(ge=0, le=1)]
Sizes = tuple[PositiveFloat | tuple[PositiveFloat, ...], ...]


class _Model(Block):
    encoder: EncoderName | None = "efficientnet_lite0"
    """the backbone; null: a small plain one with `widths`"""
    encoder_weights: str | None = None
    """a weight file, or "imagenet" for the EfficientNet-Lite encoders; null draws weights"""
    widths: tuple[PositiveInt, ...] | None = None
    """channels per stage of the plain backbone (encoder=null), finest first: strides 1, 2, 4"""
    norm: Literal["batch", "frozen", "group"] = "batch"
    """normalisation of the backbone; frozen: statistics and scale of the weight file stay"""
    trainable_stages: int | None = Field(None, ge=0)
    """how many of the backbone's stages, the deepest, are trained; null: all"""

    @model_validator(mode="after")
    def _one_backbone(self):
        if (self.encoder is None) == (self.widths is None):
            raise ValueError("name an encoder, or give the widths of a plain one (encoder=null)")
        if self.encoder is None and self.encoder_weights is not None:
            raise ValueError("encoder_weights needs an encoder")
        return self

    @property
    def masks(self) -> bool:
        """Whether it predicts masks."""
        return False

    @property
    def outside_proposals(self) -> bool:
        """Whether proposals are made before the network sees the image."""
        return False

    def options(self) -> dict[str, Any]:
        """Return what the network's class takes."""
        found = {key: getattr(self, key) for key in type(self).model_fields}
        del found["name"]
        widths = found.pop("widths")
        return found | ({"encoder_options": {"widths": widths}} if widths else {})

    def build(self, *, in_channels: int, classes: int, dims: int = 2) -> "nn.Module":
        """Return the network with fresh weights, see `vesalius.detect.models.build`."""
        from vesalius.detect import models

        name: str = self.name  # pyright: ignore
        return models.build(
            name, in_channels=in_channels, classes=classes, dims=dims, **self.options()
        )


class RCNNBlock(_Model):
    """R-CNN (Girshick et al. 2014): every region by itself, SVMs, ridge regression of boxes."""

    name: Literal["rcnn"] = "rcnn"
    crop_size: PositiveInt = 96
    """edge of the warped regions in pixels (paper: 227)"""
    crop_mode: Literal["warp", "square"] = "warp"
    """stretch a region, or make it as wide as it is high first"""
    crops_at_once: PositiveInt = 64
    """regions that go through the network together in prediction"""
    rois_per_image: PositiveInt = 32
    """regions of an image that the fine-tuning looks at"""
    foreground_share: Share = 0.25
    """largest share of them that belong to objects"""
    score_threshold: Share = 0.05
    """detections below are dropped"""
    nms_threshold: Share = 0.3
    """of two detections of a class that overlap more, the better stays"""
    detections_per_image: PositiveInt = 100
    """at most"""

    @property
    def outside_proposals(self) -> bool:
        """Whether proposals are made before the network sees the image."""
        return True


class _Heads(_Model):
    pyramid: bool = True
    """pool from a feature pyramid; else from one map at stride 16"""
    pyramid_width: PositiveInt = 64
    """channels of the pyramid (papers: 256)"""
    finest_stride: PositiveInt = 4
    """stride of the pyramid's finest level"""
    roi: Literal["pool", "align"] = "align"
    """RoI pooling, or RoI Align"""
    pooled_size: PositiveInt = 7
    """bins per side of a region"""
    canonical_size: PositiveFloat = 224.0
    """side of a region that belongs to the pyramid's level of stride 16"""
    head_width: PositiveInt = 256
    """units of the two linear layers (papers: 1024, or 4096)"""
    box: Literal["per class", "agnostic"] = "per class"
    """one box for each class, or one for all"""
    rois_per_image: PositiveInt = 128
    """regions that the losses are computed on"""
    foreground_share: Share = 0.25
    """largest share of them that belong to objects"""
    score_threshold: Share = 0.05
    """detections below are dropped"""
    nms_threshold: Share = 0.5
    """of two detections of a class that overlap more, the better stays"""
    detections_per_image: PositiveInt = 100
    """at most"""


class FastRCNNBlock(_Heads):
    """Fast R-CNN (Girshick 2015): regions from selective search or a file."""

    name: Literal["fast_rcnn"] = "fast_rcnn"
    roi: Literal["pool", "align"] = "pool"
    """RoI pooling as in the paper, or RoI Align"""
    rois_per_image: PositiveInt = 64
    """regions that the losses are computed on"""
    background: tuple[Share, Share] = (0.1, 0.5)
    """overlap of regions that count as background"""

    @property
    def outside_proposals(self) -> bool:
        """Whether proposals are made before the network sees the image."""
        return True


class FasterRCNNBlock(_Heads):
    """Faster R-CNN (Ren et al. 2015): a network proposes the regions; images and volumes."""

    name: Literal["faster_rcnn"] = "faster_rcnn"
    anchor_sizes: Sizes | None = None
    """sides of the anchors in pixels, one (or several) per level; null: 8 times the stride"""
    aspect_ratios: tuple[PositiveFloat, ...] = (0.5, 1.0, 2.0)
    """height over width of the anchors"""
    depth_ratios: tuple[PositiveFloat, ...] = (1.0,)
    """depth over size of the anchors in volumes"""
    before_nms: tuple[PositiveInt, PositiveInt] = (1000, 500)
    """proposals per level before suppression, in training and in prediction"""
    after_nms: tuple[PositiveInt, PositiveInt] = (500, 300)
    """proposals per image after it"""
    anchors_per_image: PositiveInt = 256
    """anchors that the proposals' losses are computed on"""


class MaskRCNNBlock(FasterRCNNBlock):
    """Mask R-CNN (He et al. 2017): boxes, and a mask in each; images and volumes."""

    name: Literal["mask_rcnn"] = "mask_rcnn"
    mask_width: PositiveInt = 64
    """channels of the mask head (paper: 256)"""
    mask_pooled_size: PositiveInt = 14
    """bins per side of a region for the mask head; masks are twice as fine"""

    @property
    def masks(self) -> bool:
        """Whether it predicts masks."""
        return True


ModelBlock = Annotated[
    RCNNBlock | FastRCNNBlock | FasterRCNNBlock | MaskRCNNBlock, Field(discriminator="name")
]
