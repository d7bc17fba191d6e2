"""A detector with answers of a fixed shape: what goes into an ONNX file.

The networks themselves return as many detections as there are; a graph wants tensors whose shapes
follow from the input's. Here every choice is a top-k of a fixed size with unused places marked, and
NMS is a loop over a fixed matrix of overlaps: a box survives if no better survivor of its group
overlaps it, repeated until nothing changes, which is after as many rounds as the longest chain of
suppressions, often about ten, and gives exactly greedy NMS.

The answers are the network's own with two exceptions: of all (RoI, class) pairs the best
`candidates` enter the last NMS instead of all above the score threshold; and equal scores may come
in another order.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vesalius.detect import boxes as box_functions
from vesalius.detect.models import region_proposals, roi_heads
from vesalius.detect.models.detector import MINIMAL_SIDE, Detector
from vesalius.detect.models.outputs import Detections

CANDIDATES = 1000


class FixedDetector(nn.Module):
    """A network in evaluation mode, with a fixed number of places for detections.

    Args:
        network: Faster or Mask R-CNN, or Fast R-CNN, which takes proposals as a second input.
        candidates: (RoI, class) pairs of an image that enter the last NMS.

    `forward` maps images (B, C, *size) and, for Fast R-CNN, proposals (B, P, 2 * dims) to boxes
    (B, D, 2 * dims), scores (B, D), labels (B, D) int64 and, with a mask branch, masks
    (B, D, *sides), best first. Places without a detection have score 0, label -1 and a box of
    zeros; so do proposals without extent stand for none.
    """

    def __init__(self, network: Detector, *, candidates: int = CANDIDATES):
        super().__init__()
        self.network = network.eval()
        self.candidates = candidates

    @property
    def names(self) -> list[str]:
        """Names of the answers, in order."""
        names = ["boxes", "scores", "labels"]
        return [*names, "masks"] if self.network.roi_heads.has_masks else names

    def forward(self, images: Tensor, proposals: Tensor | None = None) -> tuple[Tensor, ...]:
        size = tuple(images.shape[2:])
        maps = self.network.backbone(images)
        if self.network.rpn is not None:
            proposals = self._propose(maps, size)
        maps = maps[: self.network.backbone.roi_levels]
        proposals = box_functions.clip(proposals, size)
        boxes, scores, labels = self._detect(maps, proposals, size)
        if not self.network.roi_heads.has_masks:
            return boxes, scores, labels
        rois, owners = _with_owners(boxes)
        # The mask of a free place is nobody's; class 0 serves as well as any.
        masks = self.network.roi_heads.mask_probabilities(
            maps, rois, owners, labels.flatten().clamp(min=0)
        )
        return boxes, scores, labels, masks.unflatten(0, tuple(scores.shape))

    def _propose(self, maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """Return the proposals of every image, (B, P, 2 * dims), zeros where there are fewer."""
        rpn = self.network.rpn
        levels = [
            rpn.candidates(*([part] for part in level))[:2]
            for level in zip(*rpn.predict(maps, size), strict=True)
        ]
        # One loop for all levels: each is as long as the longest, and stands beside the images.
        longest = max(scores.shape[1] for _, scores in levels)
        boxes = torch.stack([_lengthened(boxes, longest, 0.0) for boxes, _ in levels], dim=1)
        scores = torch.stack([_lengthened(scores, longest, -1.0) for _, scores in levels], dim=1)
        boxes = box_functions.clip(boxes, size)
        allowed = _extended(boxes, region_proposals.MINIMAL_SIDE)
        kept = survivors(boxes.flatten(0, 1), allowed.flatten(0, 1), threshold=rpn.nms_threshold)
        scores = torch.where(kept.unflatten(0, tuple(scores.shape[:2])), scores, -1.0)
        boxes, scores = _best(boxes.flatten(1, 2), scores.flatten(1, 2), rpn.after_nms[1])
        return torch.where(scores[..., None] >= 0, boxes, 0.0)

    def _detect(
        self, maps: Sequence[Tensor], proposals: Tensor, size: Sequence[int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        heads = self.network.roi_heads
        rois, owners = _with_owners(proposals)
        scores, boxes = heads.refine(maps, rois, owners)
        classes = scores.shape[1]
        boxes = box_functions.clip(boxes.unflatten(0, tuple(proposals.shape[:2])), size)
        boxes, scores = boxes.flatten(1, 2), scores.unflatten(0, tuple(proposals.shape[:2]))
        real = _extended(proposals, MINIMAL_SIDE)[..., None].expand(-1, -1, classes)
        scores = torch.where(real, scores, -1.0).flatten(1)
        allowed = (scores > heads.score_threshold) & _extended(boxes, roi_heads.MINIMAL_SIDE)
        labels = torch.arange(classes, device=scores.device).repeat(proposals.shape[1])
        labels = labels[None].expand(proposals.shape[0], -1)
        scores = torch.where(allowed, scores, -1.0)
        boxes, scores, labels = _best(boxes, scores, self.candidates, labels)
        kept = survivors(boxes, scores >= 0, threshold=heads.nms_threshold, groups=labels)
        scores = torch.where(kept, scores, -1.0)
        boxes, scores, labels = _best(boxes, scores, heads.detections_per_image, labels)
        found = scores >= 0
        return (
            torch.where(found[..., None], boxes, 0.0),
            scores.clamp(min=0),
            torch.where(found, labels, -1),
        )

    def detections(self, answers: Sequence[Tensor]) -> list[Detections]:
        """Return answers of `forward` (or of its ONNX file) without the places that are free."""
        found = []
        for parts in zip(*answers, strict=True):
            boxes, scores, labels, *masks = (part[parts[2] >= 0] for part in parts)
            found.append(Detections(boxes, scores, labels, *masks))
        return found


def survivors(
    boxes: Tensor, allowed: Tensor, *, threshold: float, groups: Tensor | None = None
) -> Tensor:
    """Return which boxes greedy NMS keeps.

    Args:
        boxes: (B, K, 2 * dims), best first.
        allowed: (B, K) bool; the others neither survive nor suppress.
        threshold: IoU above which a box is suppressed.
        groups: (B, K); boxes of different groups do not meet. None: all are of one group.

    Returns:
        (B, K) bool.
    """
    suppresses = _overlaps(boxes) > threshold
    if groups is not None:
        suppresses = suppresses & (groups[:, :, None] == groups[:, None, :])
    order = torch.arange(boxes.shape[1], device=boxes.device)
    suppresses = suppresses & (order[:, None] < order) & allowed[:, :, None]

    return greedy(suppresses, allowed)


@torch.library.custom_op("vesalius::greedy_suppression", mutates_args=())
def greedy(suppresses: Tensor, allowed: Tensor) -> Tensor:
    """Return who survives greedy suppression, (B, K) bool.

    An operator of its own, because its rounds depend on the data; `graph_files` writes it as a loop
    of standard ONNX operators.

    Args:
        suppresses: (B, K, K) bool: the first, if it survives, removes the second; nobody removes
            one that stands before it.
        allowed: (B, K) bool; the others do not take part.
    """
    kept = allowed.clone()
    while True:
        after = allowed & ~(suppresses & kept[:, :, None]).any(dim=1)
        if torch.equal(after, kept):
            return after
        kept = after


@greedy.register_fake
def _(suppresses: Tensor, allowed: Tensor) -> Tensor:
    return torch.empty_like(allowed)


def _overlaps(boxes: Tensor) -> Tensor:
    """Return the IoU of every two boxes of an image: (B, K, 2 * dims) to (B, K, K)."""
    dims = boxes.shape[-1] // 2
    low, high = boxes[..., :dims], boxes[..., dims:]
    common_low = torch.maximum(low[:, :, None], low[:, None])
    common_high = torch.minimum(high[:, :, None], high[:, None])
    common = (common_high - common_low).clamp(min=0).prod(dim=-1)
    areas = (high - low).prod(dim=-1)
    union = areas[:, :, None] + areas[:, None] - common
    return torch.where(union > 0, common / torch.where(union > 0, union, 1.0), 0.0)


def _best(boxes: Tensor, scores: Tensor, count: int, *others: Tensor) -> tuple[Tensor, ...]:
    """Return the `count` best of each image, or all, best first."""
    best, order = scores.topk(min(count, scores.shape[1]), dim=1)
    chosen = boxes.gather(1, order[..., None].expand(-1, -1, boxes.shape[2]))
    return chosen, best, *(other.gather(1, order) for other in others)


def _lengthened(values: Tensor, length: int, filler: float) -> Tensor:
    """Return (B, K, ...) continued with a filler up to K = length."""
    missing = values.new_full(
        (values.shape[0], length - values.shape[1], *values.shape[2:]), filler
    )
    return torch.cat([values, missing], dim=1)


def _extended(boxes: Tensor, minimum: float) -> Tensor:
    dims = boxes.shape[-1] // 2
    return (boxes[..., dims:] - boxes[..., :dims] >= minimum).all(dim=-1)


def _with_owners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return (B, P, 2 * dims) as (B * P, 2 * dims) and the image of each."""
    images = torch.arange(boxes.shape[0], device=boxes.device)
    return boxes.flatten(0, 1), images[:, None].expand(-1, boxes.shape[1]).flatten()
