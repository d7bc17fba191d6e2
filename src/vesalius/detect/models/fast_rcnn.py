"""Fast R-CNN (Girshick 2015, arXiv:1504.08083): one pass over the image, RoIs from outside.

Proposals come from selective search or a file. In training 64 RoIs an image, a quarter of them
with an IoU of at least 0.5 with an object, the others with 0.1 to 0.5 (0 to 0.5 where there are
none); smooth L1 with beta 1; box targets divided by their spread (weights 10 and 5, the authors'
later constants, where the first code measured them); NMS at 0.3.

Deviations: the two linear layers have 1,024 units by default (the paper's VGG-16 has 4,096, and its
pretrained ones); ResNets keep stride 16 by dilating their last stage; RoI Align, a pyramid and
volumes are options that the paper does not have.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from vesalius.detect.models.backbone import build_backbone
from vesalius.detect.models.detector import Detector
from vesalius.detect.models.second_stage import build_roi_heads


class FastRCNN(Detector):
    """Fast R-CNN; `forward` is `Detector.forward` and needs proposals.

    Args:
        in_channels: channels of the images.
        classes: classes without the background.
        dims: 2 or 3.
        encoder: name of an encoder of `vesalius.images.encoders`, or None for a small plain one
            with `encoder_options={"widths": (16, 32, ...)}`, one stage for each stride 1, 2, 4, ...
        encoder_weights: None, "imagenet" or the path of a file; see
            `vesalius.images.encoders.build`.
        encoder_options: the encoder's own options.
        norm: "batch"; "frozen" (statistics, scale and shift of the encoder's normalisations are
            constants; for pretrained weights and small batches); or "group", without weights.
        trainable_stages: how many of the encoder's stages, the deepest, are trained; None: all.
            The others are frozen with their statistics.
        pyramid: pool from a feature pyramid instead of one map at stride 16.
        pyramid_width: channels of the pyramid.
        finest_stride: stride of the pyramid's finest level.
        roi: "pool" or "align".
        pooled_size: bins per side of a RoI.
        sampling_ratio: samples per bin and axis for "align".
        canonical_size: side of a RoI that belongs to the pyramid's level of stride 16.
        head: "linear" (two linear layers) or "convolutions" (four, and one linear layer).
        head_width: units of the linear layers.
        head_norm: normalisation of pyramid and convolution head: None, "batch" or "group".
        box: "per class", or "agnostic": one box for all classes.
        rois_per_image: RoIs of an image that the losses are computed on.
        foreground_share: largest share of them that belong to objects.
        background: (low, high) IoU of background RoIs.
        score_threshold, nms_threshold, detections_per_image: see `RoIHeads`.

    Raises:
        RecipeError: a bad value, or an encoder that does not exist so.
        DataError: the weight file is missing, damaged or does not fit.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        dims: int = 2,
        encoder: str | None = "vgg16",
        encoder_weights: str | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        norm: Literal["batch", "frozen", "group"] = "batch",
        trainable_stages: int | None = None,
        pyramid: bool = False,
        pyramid_width: int = 256,
        finest_stride: int = 4,
        roi: Literal["pool", "align"] = "pool",
        pooled_size: int = 7,
        sampling_ratio: int = 2,
        canonical_size: float = 224.0,
        head: Literal["linear", "convolutions"] = "linear",
        head_width: int = 1024,
        head_norm: Literal["batch", "group"] | None = None,
        box: Literal["per class", "agnostic"] = "per class",
        rois_per_image: int = 64,
        foreground_share: float = 0.25,
        background: Sequence[float] = (0.1, 0.5),
        score_threshold: float = 0.05,
        nms_threshold: float = 0.3,
        detections_per_image: int = 100,
    ):
        backbone = build_backbone(
            encoder,
            encoder_weights=encoder_weights,
            encoder_options=encoder_options,
            in_channels=in_channels,
            dims=dims,
            pyramid=pyramid,
            pyramid_width=pyramid_width,
            finest_stride=finest_stride,
            norm=norm,
            head_norm=head_norm,
            trainable_stages=trainable_stages,
        )
        roi_heads = build_roi_heads(
            backbone,
            classes=classes,
            dims=dims,
            roi=roi,
            pooled_size=pooled_size,
            sampling_ratio=sampling_ratio,
            canonical_size=canonical_size,
            head=head,
            head_width=head_width,
            head_norm=head_norm,
            box=box,
            count=rois_per_image,
            foreground_share=foreground_share,
            foreground=0.5,
            background=tuple(background),
            smooth_l1_beta=1.0,
            score_threshold=score_threshold,
            nms_threshold=nms_threshold,
            detections_per_image=detections_per_image,
        )
        super().__init__(
            backbone=backbone,
            rpn=None,
            roi_heads=roi_heads,
            in_channels=in_channels,
            classes=classes,
            dims=dims,
        )
