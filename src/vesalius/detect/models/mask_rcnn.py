"""Mask R-CNN (He et al. 2017, arXiv:1703.06870) with a feature pyramid, for images and volumes.

Faster R-CNN with RoI Align and a third branch: four convolutions, a deconvolution and one mask for
each class, learnt by binary cross-entropy on the true class alone, from RoIs of objects alone.

In volumes the mask branch pools 7 bins per side by default (masks of 14 voxels): the 14 of images
would mean 64 times the memory of a box's.
"""

from typing import Any

from vesalius.detect.models.faster_rcnn import FasterRCNN
from vesalius.detect.models.second_stage import build_mask_branch

MASK_BINS = {2: 14, 3: 7}


class MaskRCNN(FasterRCNN):
    """Mask R-CNN; `forward` is `Detector.forward`, and targets need masks.

    Args:
        in_channels: channels of the images.
        classes: classes without the background.
        dims: 2 or 3.
        mask_width: channels of the mask head.
        mask_pooled_size: bins per side of a RoI in the mask head; masks have twice as many. None:
            14 in images, 7 in volumes.
        options: those of `FasterRCNN`.

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
        mask_width: int = 256,
        mask_pooled_size: int | None = None,
        **options: Any,
    ):
        super().__init__(in_channels=in_channels, classes=classes, dims=dims, **options)
        box_pool = self.roi_heads.box_roi_pool
        parts = build_mask_branch(
            self.backbone,
            classes=classes,
            dims=dims,
            pooled_size=mask_pooled_size or MASK_BINS[dims],
            sampling_ratio=box_pool.sampling_ratio,
            canonical_size=box_pool.canonical_size,
            width=mask_width,
            head_norm=options.get("head_norm"),
        )
        for name, part in parts.items():
            setattr(self.roi_heads, name, part)
