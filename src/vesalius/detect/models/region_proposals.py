"""The region-proposal network of Faster R-CNN (Ren et al. 2015), on one map or on a pyramid.

A 3 x 3 convolution, shared by all levels, then for every anchor one objectness logit and the
deltas of its box. One logit with a sigmoid as in Detectron2 and torchvision, where the paper has
two with a softmax; anchors across the image's border are learnt from, too, as there.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.detect import boxes as box_functions
from vesalius.detect.models.anchors import AnchorGenerator
from vesalius.detect.models.blocks import CONVOLUTIONS, conv_unit
from vesalius.detect.models.inputs import Target
from vesalius.detect.models.sampling import balanced_sample, match

SMOOTH_L1_BETA = 1 / 9
MINIMAL_SIDE = 1e-3


class RegionProposalHead(nn.Module):
    """Objectness logits (B, A, *shape) and deltas (B, A * 2 * dims, *shape) of every level.

    Args:
        in_channels: channels of the maps.
        anchors: anchors per element (A).
        convolutions: 3 x 3 convolutions before the two outputs.
        dims: 2 or 3.
    """

    def __init__(self, in_channels: int, *, anchors: int, convolutions: int = 1, dims: int = 2):
        super().__init__()
        self.conv = nn.Sequential(
            *(conv_unit(in_channels, in_channels, dims=dims) for _ in range(convolutions))
        )
        self.cls_logits = CONVOLUTIONS[dims](in_channels, anchors, 1)
        self.bbox_pred = CONVOLUTIONS[dims](in_channels, anchors * 2 * dims, 1)
        for module in self.modules():
            if isinstance(module, tuple(CONVOLUTIONS.values())):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        hidden = [self.conv(features) for features in maps]
        return [self.cls_logits(x) for x in hidden], [self.bbox_pred(x) for x in hidden]


class RegionProposals(nn.Module):
    """Proposals and their losses.

    Args:
        head: the convolutions.
        anchors: the boxes that they start from.
        dims: 2 or 3.
        before_nms: (training, evaluation) best candidates of each level that are decoded.
        after_nms: (training, evaluation) most proposals of one image, over all levels.
        nms_threshold: of two candidates of a level with a larger IoU only the better one stays.
        count: anchors of an image that the losses are computed on.
        foreground_share: largest share of them that belong to objects.
    """

    def __init__(
        self,
        head: RegionProposalHead,
        anchors: AnchorGenerator,
        *,
        dims: int,
        before_nms: tuple[int, int] = (2000, 1000),
        after_nms: tuple[int, int] = (2000, 1000),
        nms_threshold: float = 0.7,
        foreground: float = 0.7,
        background: float = 0.3,
        count: int = 256,
        foreground_share: float = 0.5,
    ):
        super().__init__()
        self.head = head
        self.anchors = anchors
        self.coder = box_functions.BoxCoder(weights=(1.0,) * (2 * dims))
        self.before_nms, self.after_nms = before_nms, after_nms
        self.nms_threshold = nms_threshold
        self.foreground, self.background = foreground, background
        self.count, self.foreground_share = count, foreground_share

    def forward(
        self,
        maps: Sequence[Tensor],
        *,
        padded: Sequence[int],
        sizes: Sequence[Sequence[int]],
        targets: Sequence[Target] | None = None,
        propose: bool = True,
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return proposals (N, 2 * dims) of every image, best first, and the losses.

        Args:
            maps: feature maps, one a level.
            padded: spatial size of the batch.
            sizes: sizes of the images in it; proposals are clipped to them.
            targets: objects of every image; without them there are no losses.
            propose: False to skip the proposals.
        """
        logits, deltas, anchors = self.predict(maps, padded)
        proposals = []
        if propose:
            with torch.no_grad():
                boxes, scores, groups = self.candidates(logits, deltas, anchors)
                proposals = [
                    self._select(boxes[index], scores[index], groups, size)
                    for index, size in enumerate(sizes)
                ]
        if targets is None:
            return proposals, {}
        return proposals, self.losses(
            torch.cat(logits, dim=1), torch.cat(deltas, dim=1), torch.cat(anchors), targets
        )

    def predict(
        self, maps: Sequence[Tensor], padded: Sequence[int]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Return logits (B, N), deltas (B, N, 2 * dims) and anchors (N, 2 * dims) of each level."""
        raw_logits, raw_deltas = self.head(maps)
        anchors = self.anchors(maps, padded)
        width = anchors[0].shape[1]
        logits = [level.float().movedim(1, -1).flatten(1) for level in raw_logits]
        deltas = [
            level.float().movedim(1, -1).flatten(1).unflatten(1, (-1, width))
            for level in raw_deltas
        ]
        return logits, deltas, anchors

    def candidates(
        self, logits: list[Tensor], deltas: list[Tensor], anchors: list[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the best candidates of each level before NMS.

        Returns:
            Boxes (B, K, 2 * dims), not clipped, scores (B, K) in [0, 1], and levels (K,).
        """
        most = self.before_nms[0 if self.training else 1]
        boxes, scores, groups = [], [], []
        for level, (logit, delta, anchor) in enumerate(zip(logits, deltas, anchors, strict=True)):
            best, order = logit.topk(min(most, len(anchor)), dim=1)
            chosen = delta.gather(1, order[..., None].expand(-1, -1, delta.shape[2]))
            decoded = self.coder.decode(chosen.flatten(0, 1), anchor[order.flatten()])
            boxes.append(decoded.unflatten(0, order.shape))
            scores.append(best.sigmoid())
            groups.append(order.new_full((order.shape[1],), level))
        return torch.cat(boxes, dim=1), torch.cat(scores, dim=1), torch.cat(groups)

    def _select(self, boxes: Tensor, scores: Tensor, groups: Tensor, size: Sequence[int]) -> Tensor:
        boxes = box_functions.clip(boxes, size)
        large = box_functions.valid(boxes, MINIMAL_SIDE)
        boxes, scores, groups = boxes[large], scores[large], groups[large]
        kept = box_functions.batched_nms(boxes, scores, groups, self.nms_threshold)
        return boxes[kept[: self.after_nms[0 if self.training else 1]]]

    def losses(
        self, logits: Tensor, deltas: Tensor, anchors: Tensor, targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        """Return the losses of objectness and boxes on sampled anchors.

        Args:
            logits: (B, N) of all levels.
            deltas: (B, N, 2 * dims).
            anchors: (N, 2 * dims).
            targets: objects of every image.
        """
        found_logits, wanted_logits, found_deltas, wanted_deltas = [], [], [], []
        for logit, delta, target in zip(logits, deltas, targets, strict=True):
            truth = target["boxes"]
            matches = match(
                box_functions.iou(truth, anchors),
                foreground=self.foreground,
                background=(0.0, self.background),
                keep_best=True,
            )
            positive, negative = balanced_sample(
                matches, count=self.count, foreground_share=self.foreground_share
            )
            found_logits += [logit[positive], logit[negative]]
            wanted_logits += [torch.ones_like(found_logits[-2]), torch.zeros_like(found_logits[-1])]
            found_deltas.append(delta[positive])
            wanted_deltas.append(self.coder.encode(truth[matches[positive]], anchors[positive]))
        found, wanted = torch.cat(found_logits), torch.cat(wanted_logits)
        box_loss = F.smooth_l1_loss(
            torch.cat(found_deltas),
            torch.cat(wanted_deltas),
            beta=SMOOTH_L1_BETA,
            reduction="sum",
        )
        count = max(len(found), 1)
        objectness = F.binary_cross_entropy_with_logits(found, wanted, reduction="sum")
        return {"objectness": objectness / count, "proposal_boxes": box_loss / count}
