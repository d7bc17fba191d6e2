"""Build the heads on RoIs from the options that the models share."""

from typing import Any

from torch import nn

from vesalius.detect.models.backbone import Backbone
from vesalius.detect.models.heads import HEADS, BoxPredictor, MaskHead, MaskPredictor, box_head
from vesalius.detect.models.roi_heads import RoIHeads
from vesalius.detect.models.roi_pooling import METHODS, PyramidPooling
from vesalius.errors import RecipeError
from vesalius.images.encoders import unknown_name

BOXES = ("per class", "agnostic")
HEAD_NORMS = (None, "batch", "group")


def build_roi_heads(
    backbone: Backbone,
    *,
    classes: int,
    dims: int,
    roi: str,
    pooled_size: int,
    sampling_ratio: int,
    canonical_size: float,
    head: str,
    head_width: int,
    head_norm: str | None,
    box: str,
    **options: Any,
) -> RoIHeads:
    """Return heads for a backbone; see `FastRCNN` for the arguments and `RoIHeads` for `options`.

    Raises:
        RecipeError: a choice that does not exist.
    """
    for label, value, known in (("roi", roi, METHODS), ("head", head, HEADS), ("box", box, BOXES)):
        if value not in known:
            raise unknown_name(f"value of {label}", str(value), known)
    if head_norm not in HEAD_NORMS:
        raise RecipeError(f"head_norm is {head_norm}; use batch, group or none.")
    return RoIHeads(
        box_roi_pool=PyramidPooling(
            pooled_size,
            strides=backbone.strides[: backbone.roi_levels],
            dims=dims,
            method=roi,
            sampling_ratio=sampling_ratio,
            canonical_size=canonical_size,
        ),
        box_head=box_head(
            head, backbone.width, side=pooled_size, width=head_width, norm=head_norm, dims=dims
        ),
        box_predictor=BoxPredictor(
            head_width, classes=classes, agnostic=box == "agnostic", dims=dims
        ),
        dims=dims,
        **options,
    )


def build_mask_branch(
    backbone: Backbone,
    *,
    classes: int,
    dims: int,
    pooled_size: int,
    sampling_ratio: int,
    canonical_size: float,
    width: int,
    head_norm: str | None,
) -> dict[str, nn.Module]:
    """Return the three parts of the mask branch under the names that `RoIHeads` gives them."""
    return {
        "mask_roi_pool": PyramidPooling(
            pooled_size,
            strides=backbone.strides[: backbone.roi_levels],
            dims=dims,
            sampling_ratio=sampling_ratio,
            canonical_size=canonical_size,
        ),
        "mask_head": MaskHead(backbone.width, width=width, norm=head_norm, dims=dims),
        "mask_predictor": MaskPredictor(width, classes=classes, dims=dims),
    }
