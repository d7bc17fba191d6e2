"""Faster R-CNN (Ren et al. 2015, arXiv:1506.01497), with and without a feature pyramid, 2D and 3D.

The constants are those of Detectron2 and torchvision (losses, numbers of anchors and RoIs, NMS at
0.7 and 0.5), because their weights load; the first authors' differ: RoI pooling, 6,000 candidates
before and 300 after NMS, 128 RoIs an image, anchors across the border left out. Smooth L1 of boxes
has beta 1/9 in both stages.

In volumes anchors have a depth as well, convolutions and RoI Align are three-dimensional, and boxes
are (x1, y1, z1, x2, y2, z2).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from vesalius.detect.models.anchors import AnchorGenerator, caffe_cell_anchors
from vesalius.detect.models.backbone import Backbone, build_backbone
from vesalius.detect.models.detector import Detector
from vesalius.detect.models.region_proposals import RegionProposalHead, RegionProposals
from vesalius.detect.models.second_stage import build_roi_heads
from vesalius.errors import RecipeError

PYRAMID_SCALES = (8,)
SCALES = (8, 16, 32)
"""Sides of the anchors in units of the stride."""


class FasterRCNN(Detector):
    """Faster R-CNN; `forward` is `Detector.forward`.

    Args:
        in_channels: channels of the images.
        classes: classes without the background.
        dims: 2 or 3.
        encoder, encoder_weights, encoder_options, norm, trainable_stages, pyramid, pyramid_width,
            finest_stride, roi, pooled_size, sampling_ratio, canonical_size, head, head_width,
            head_norm, box, rois_per_image, foreground_share, background, score_threshold,
            nms_threshold, detections_per_image: as in `FastRCNN`.
        anchor_sizes: side of the anchors in pixels, one number (or several) for every level of the
            pyramid, its extra coarsest one included; None: 8 times the stride. Without a pyramid a
            list of numbers for the one level; None: 8, 16 and 32 times the stride.
        aspect_ratios: height over width of the anchors.
        depth_ratios: depth over size of the anchors in volumes.
        rounded_anchors: see `cell_anchors`.
        fitted_strides: see `AnchorGenerator`.
        caffe_anchors: the nine anchors of the authors' code instead; images, no pyramid.
        proposal_convolutions: 3 x 3 convolutions in the region-proposal network.
        before_nms, after_nms: (training, evaluation) numbers of proposals, see `RegionProposals`.
        anchors_per_image: anchors of an image that the proposals' losses are computed on.

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
        encoder: str | None = "resnet50",
        encoder_weights: str | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        norm: Literal["batch", "frozen", "group"] = "batch",
        trainable_stages: int | None = None,
        pyramid: bool = True,
        pyramid_width: int = 256,
        finest_stride: int = 4,
        anchor_sizes: Sequence[float | Sequence[float]] | None = None,
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        depth_ratios: Sequence[float] = (1.0,),
        rounded_anchors: bool = False,
        fitted_strides: bool = False,
        caffe_anchors: bool = False,
        proposal_convolutions: int = 1,
        before_nms: tuple[int, int] = (2000, 1000),
        after_nms: tuple[int, int] = (2000, 1000),
        anchors_per_image: int = 256,
        roi: Literal["pool", "align"] = "align",
        pooled_size: int = 7,
        sampling_ratio: int = 2,
        canonical_size: float = 224.0,
        head: Literal["linear", "convolutions"] = "linear",
        head_width: int = 1024,
        head_norm: Literal["batch", "group"] | None = None,
        box: Literal["per class", "agnostic"] = "per class",
        rois_per_image: int = 512,
        foreground_share: float = 0.25,
        background: Sequence[float] = (0.0, 0.5),
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
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
        anchors = _anchors(
            backbone,
            sizes=anchor_sizes,
            aspect_ratios=aspect_ratios,
            depth_ratios=depth_ratios if dims == 3 else None,
            rounded=rounded_anchors,
            fitted_strides=fitted_strides,
            caffe=caffe_anchors,
        )
        rpn = RegionProposals(
            RegionProposalHead(
                backbone.width,
                anchors=anchors.per_element,
                convolutions=proposal_convolutions,
                dims=dims,
            ),
            anchors,
            dims=dims,
            before_nms=tuple(before_nms),
            after_nms=tuple(after_nms),
            count=anchors_per_image,
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
            smooth_l1_beta=1 / 9,
            score_threshold=score_threshold,
            nms_threshold=nms_threshold,
            detections_per_image=detections_per_image,
        )
        super().__init__(
            backbone=backbone,
            rpn=rpn,
            roi_heads=roi_heads,
            in_channels=in_channels,
            classes=classes,
            dims=dims,
        )


def _anchors(
    backbone: Backbone,
    *,
    sizes: Sequence[float | Sequence[float]] | None,
    aspect_ratios: Sequence[float],
    depth_ratios: Sequence[float] | None,
    rounded: bool,
    fitted_strides: bool,
    caffe: bool,
) -> AnchorGenerator:
    """Return the anchors of a backbone's maps."""
    strides = backbone.strides
    if caffe:
        if backbone.has_pyramid or depth_ratios is not None:
            raise RecipeError("caffe_anchors are for images and one map; use pyramid=false.")
        cells = caffe_cell_anchors(base=strides[0], aspect_ratios=aspect_ratios)
        return AnchorGenerator(strides=strides, cells=[cells])
    if sizes is None:
        scales = PYRAMID_SCALES if backbone.has_pyramid else SCALES
        sizes = [[scale * stride for scale in scales] for stride in strides]
    elif not backbone.has_pyramid and all(isinstance(size, int | float) for size in sizes):
        sizes = [sizes]
    return AnchorGenerator(
        sizes=sizes,
        strides=strides,
        aspect_ratios=aspect_ratios,
        depth_ratios=depth_ratios,
        rounded=rounded,
        fitted_strides=fitted_strides,
    )
