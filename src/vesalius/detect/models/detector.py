"""What Fast, Faster and Mask R-CNN have in common: the way from images to losses and detections."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vesalius.detect import boxes as box_functions
from vesalius.detect.models.backbone import Backbone
from vesalius.detect.models.inputs import (
    Target,
    as_batch,
    check_images,
    check_proposals,
    check_targets,
)
from vesalius.detect.models.outputs import Detections, Outputs
from vesalius.detect.models.region_proposals import RegionProposals
from vesalius.detect.models.roi_heads import RoIHeads
from vesalius.errors import DataError

MINIMAL_SIDE = 1e-3


class Detector(nn.Module):
    """A backbone, a region-proposal network or none, and the heads on RoIs.

    Attributes:
        in_channels, classes, dims: what it was built for.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        rpn: RegionProposals | None,
        roi_heads: RoIHeads,
        in_channels: int,
        classes: int,
        dims: int,
    ):
        super().__init__()
        self.in_channels, self.classes, self.dims = in_channels, classes, dims
        self.backbone = backbone
        self.rpn = rpn
        self.roi_heads = roi_heads

    def forward(
        self,
        images: Tensor | Sequence[Tensor],
        targets: Sequence[Target] | None = None,
        proposals: Sequence[Tensor] | None = None,
        *,
        sizes: Sequence[Sequence[int]] | None = None,
        detect: bool | None = None,
    ) -> Outputs:
        """Return losses where targets are given and detections where they are asked for.

        The losses draw RoIs with torch's random generator and change nothing but, in training,
        the running statistics of batch normalisations.

        Args:
            images: list of (C, *size), of any sizes, or one batch (B, C, *size).
            targets: for every image a mapping with `boxes` (N, 2 * dims) float32 in pixels,
                `labels` (N,) int64 from 0, for Mask R-CNN `masks` (N, *size) bool, and, if at
                hand, `id`, its name for error messages. N may be 0.
            proposals: for every image boxes (N, 2 * dims), instead of the network's own.
            sizes: sizes of the images inside a padded batch; None: they fill it.
            detect: return detections; None: in evaluation only.

        Raises:
            DataError: images, targets or proposals that do not fit, all named.
        """
        check_images(images, in_channels=self.in_channels, dims=self.dims)
        batch, sizes = as_batch(images, sizes)
        if len(sizes) != len(batch):
            raise DataError(f"There are {len(sizes)} sizes for {len(batch)} images.")
        if targets is not None:
            targets = self._checked(targets, sizes, padded=batch.shape[2:])
        if proposals is not None:
            check_proposals(proposals, sizes)
        detect = not self.training if detect is None else detect
        maps = self.backbone(batch)
        found, losses = self._propose(maps, batch.shape[2:], sizes, targets, proposals)
        maps = maps[: self.backbone.roi_levels]
        if targets is not None:
            losses |= self.roi_heads.losses(maps, found, targets)
        detections = self._detect(maps, found, sizes) if detect else []
        return Outputs(losses, detections)

    def _checked(
        self, targets: Sequence[Target], sizes: Sequence[Sequence[int]], *, padded: Sequence[int]
    ) -> list[Target]:
        with_masks = self.roi_heads.has_masks
        check_targets(targets, sizes, classes=self.classes, with_masks=with_masks)
        return [{**target, "boxes": target["boxes"].float()} for target in targets]

    def _propose(
        self,
        maps: Sequence[Tensor],
        padded: Sequence[int],
        sizes: Sequence[Sequence[int]],
        targets: Sequence[Target] | None,
        given: Sequence[Tensor] | None,
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the proposals of every image and the losses of the network that made them."""
        if given is not None:
            given = [_inside(boxes.float(), size) for boxes, size in zip(given, sizes, strict=True)]
        if self.rpn is None:
            if given is None:
                raise DataError(
                    "Fast R-CNN makes no proposals of its own; give some for every image, for "
                    "example of vesalius.detect.proposals.selective_search."
                )
            return given, {}
        if given is not None and targets is None:
            return given, {}
        own, losses = self.rpn(
            maps, padded=padded, sizes=sizes, targets=targets, propose=given is None
        )
        return own if given is None else given, losses

    @torch.no_grad()
    def _detect(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], sizes: Sequence[Sequence[int]]
    ) -> list[Detections]:
        return self.roi_heads.detect(maps, proposals, sizes)


def _inside(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Return given proposals clipped to their image, without those that lie beside it."""
    boxes = box_functions.clip(boxes, size)
    return boxes[box_functions.valid(boxes, MINIMAL_SIDE)]
