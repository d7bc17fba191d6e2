"""The second stage: RoIs to classes, boxes and masks.

Girshick 2015 (Fast R-CNN) and He et al. 2017 (Mask R-CNN, arXiv:1703.06870). The classifier and
the per-class outputs have the background at index 0, as torchvision's; outside labels start at 0
with the first class.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.detect import boxes as box_functions
from vesalius.detect.models.inputs import Target
from vesalius.detect.models.outputs import Detections
from vesalius.detect.models.roi_pooling import PyramidPooling
from vesalius.detect.models.sampling import balanced_sample, match
from vesalius.detect.roi import roi_align

MINIMAL_SIDE = 1e-2


@dataclass(frozen=True)
class Sample:
    """RoIs of one image that the losses are computed on, those of objects first.

    Attributes:
        boxes: (R, 2 * dims).
        classes: (R,) int64, 0 for the background, else 1 + label.
        objects: (P,) index of the object of each of the first P RoIs.
    """

    boxes: Tensor
    classes: Tensor
    objects: Tensor


class RoIHeads(nn.Module):
    """Sample, pool, classify and refine RoIs.

    Args:
        box_roi_pool, box_head, box_predictor: the box branch.
        dims: 2 or 3.
        count: RoIs of an image that the losses are computed on.
        foreground_share: largest share of them that belong to objects.
        foreground: smallest IoU with an object that makes a RoI one of its own.
        background: (low, high) IoU of background RoIs; where an image has none, low is 0.
        smooth_l1_beta: where the box loss turns from quadratic to linear.
        score_threshold: detections must score more.
        nms_threshold: of two detections of a class with a larger IoU only the better one stays.
        detections_per_image: at most so many, the best.

    Attributes:
        mask_roi_pool, mask_head, mask_predictor: the mask branch, which `MaskRCNN` sets; or None.
    """

    def __init__(
        self,
        *,
        box_roi_pool: PyramidPooling,
        box_head: nn.Module,
        box_predictor: nn.Module,
        dims: int,
        count: int,
        foreground_share: float,
        foreground: float,
        background: tuple[float, float],
        smooth_l1_beta: float,
        score_threshold: float,
        nms_threshold: float,
        detections_per_image: int,
    ):
        super().__init__()
        self.box_roi_pool, self.box_head = box_roi_pool, box_head
        self.box_predictor = box_predictor
        self.mask_roi_pool: PyramidPooling | None = None
        self.mask_head: nn.Module | None = None
        self.mask_predictor: nn.Module | None = None
        # Fast R-CNN divides targets by their standard deviations, 0.1 and 0.2 in the authors'
        # later code: the weights 10 and 5.
        self.coder = box_functions.BoxCoder(weights=(10.0,) * dims + (5.0,) * dims)
        self.count, self.foreground_share = count, foreground_share
        self.foreground, self.background = foreground, background
        self.smooth_l1_beta = smooth_l1_beta
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.detections_per_image = detections_per_image

    @property
    def has_masks(self) -> bool:
        """Whether there is a mask branch."""
        return self.mask_head is not None

    # Training ----------------------------------------------------------------------------------

    def sample(self, proposals: Tensor, target: Target) -> Sample:
        """Draw RoIs of one image from its proposals (N, 2 * dims) and from its objects' boxes."""
        truth = target["boxes"]
        candidates = torch.cat([proposals, truth])
        overlaps = box_functions.iou(truth, candidates)
        matches = match(overlaps, foreground=self.foreground, background=self.background)
        if self.background[0] > 0 and not (matches == -1).any():
            lenient = (0.0, self.background[1])
            matches = match(overlaps, foreground=self.foreground, background=lenient)
        positive, negative = balanced_sample(
            matches, count=self.count, foreground_share=self.foreground_share
        )
        objects = matches[positive]
        background = torch.zeros_like(negative)
        return Sample(
            boxes=candidates[torch.cat([positive, negative])],
            classes=torch.cat([target["labels"][objects] + 1, background]),
            objects=objects,
        )

    def losses(
        self, maps: Sequence[Tensor], proposals: Sequence[Tensor], targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        """Return the losses of classes, boxes and, with a mask branch, masks.

        Args:
            maps: feature maps that RoIs are pooled from.
            proposals: (N, 2 * dims) of every image.
            targets: objects of every image.
        """
        with torch.no_grad():
            samples = [self.sample(*pair) for pair in zip(proposals, targets, strict=True)]
        losses = self._box_losses(maps, samples, targets)
        if self.has_masks:
            losses["masks"] = self._mask_loss(maps, samples, targets)
        return losses

    def _box_losses(
        self, maps: Sequence[Tensor], samples: Sequence[Sample], targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        classes = torch.cat([sample.classes for sample in samples])
        if not len(classes):
            nothing = _nothing(self.box_head, self.box_predictor)
            return {"classes": nothing, "boxes": nothing}
        boxes, owners = _joined([sample.boxes for sample in samples])
        logits, deltas = self._box_outputs(maps, boxes, owners)
        wanted = torch.cat(
            [
                self.coder.encode(
                    target["boxes"][sample.objects], sample.boxes[: len(sample.objects)]
                )
                for sample, target in zip(samples, targets, strict=True)
            ]
        )
        positive = torch.nonzero(classes > 0).flatten()
        column = classes[positive] if deltas.shape[1] > 1 else torch.zeros_like(positive)
        box_loss = F.smooth_l1_loss(
            deltas[positive, column], wanted, beta=self.smooth_l1_beta, reduction="sum"
        )
        return {"classes": F.cross_entropy(logits, classes), "boxes": box_loss / len(classes)}

    def _mask_loss(
        self, maps: Sequence[Tensor], samples: Sequence[Sample], targets: Sequence[Target]
    ) -> Tensor:
        if not any(len(sample.objects) for sample in samples):
            return _nothing(self.mask_head, self.mask_predictor)
        boxes, owners = _joined([sample.boxes[: len(sample.objects)] for sample in samples])
        classes = torch.cat([sample.classes[: len(sample.objects)] for sample in samples])
        logits = self._mask_outputs(maps, boxes, owners, classes)
        wanted = [
            mask_targets(
                target["masks"],
                sample.boxes[: len(sample.objects)],
                sample.objects,
                sides=logits.shape[1:],
            )
            for sample, target in zip(samples, targets, strict=True)
        ]
        return F.binary_cross_entropy_with_logits(logits, torch.cat(wanted))

    # Networks ----------------------------------------------------------------------------------

    def _box_outputs(
        self, maps: Sequence[Tensor], boxes: Tensor, owners: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return class logits (R, 1 + classes) and deltas (R, 1 + classes or 1, 2 * dims)."""
        features = self.box_head(self.box_roi_pool(maps, boxes, owners))
        logits, deltas = self.box_predictor(features)
        return logits.float(), deltas.float()

    def _mask_outputs(
        self, maps: Sequence[Tensor], boxes: Tensor, owners: Tensor, classes: Tensor
    ) -> Tensor:
        """Return the mask logits (R, *sides) of every RoI's class (counted with background)."""
        logits = self.mask_predictor(self.mask_head(self.mask_roi_pool(maps, boxes, owners)))
        return logits[torch.arange(classes.shape[0], device=classes.device), classes].float()

    def refine(
        self, maps: Sequence[Tensor], boxes: Tensor, owners: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return probabilities (R, classes) and boxes (R, classes, 2 * dims), no background."""
        logits, deltas = self._box_outputs(maps, boxes, owners)
        scores = logits.softmax(dim=1)[:, 1:]
        # Agnostic boxes serve every class.
        deltas = deltas[:, 1:] if deltas.shape[1] > 1 else deltas.expand(-1, scores.shape[1], -1)
        return scores, self.coder.decode(deltas, boxes)

    def mask_probabilities(
        self, maps: Sequence[Tensor], boxes: Tensor, owners: Tensor, labels: Tensor
    ) -> Tensor:
        """Return (R, *sides) probabilities inside boxes of the classes `labels` (from 0)."""
        return self._mask_outputs(maps, boxes, owners, labels + 1).sigmoid()

    # Evaluation --------------------------------------------------------------------------------

    def detect(
        self,
        maps: Sequence[Tensor],
        proposals: Sequence[Tensor],
        sizes: Sequence[Sequence[int]],
    ) -> list[Detections]:
        """Return the detections of every image (of the given sizes), best first."""
        boxes, owners = _joined(proposals)
        if not len(boxes):
            return [self._none(boxes) for _ in sizes]
        scores, refined = self.refine(maps, boxes, owners)
        counts = [len(part) for part in proposals]
        found = [
            self._select(*parts, size)
            for *parts, size in zip(refined.split(counts), scores.split(counts), sizes, strict=True)
        ]
        return self._with_masks(maps, found) if self.has_masks else found

    def _select(self, boxes: Tensor, scores: Tensor, size: Sequence[int]) -> Detections:
        """Keep the best boxes of each class: (R, classes, 2 * dims) and (R, classes)."""
        rois, labels = torch.nonzero(scores > self.score_threshold, as_tuple=True)
        boxes = box_functions.clip(boxes[rois, labels], size)
        scores = scores[rois, labels]
        large = box_functions.valid(boxes, MINIMAL_SIDE)
        boxes, scores, labels = boxes[large], scores[large], labels[large]
        kept = box_functions.batched_nms(boxes, scores, labels, self.nms_threshold)
        kept = kept[: self.detections_per_image]
        return Detections(boxes[kept], scores[kept], labels[kept])

    def _with_masks(self, maps: Sequence[Tensor], found: Sequence[Detections]) -> list[Detections]:
        boxes, owners = _joined([one.boxes for one in found])
        labels = torch.cat([one.labels for one in found])
        if not len(boxes):
            return [self._none(boxes) for _ in found]
        masks = self.mask_probabilities(maps, boxes, owners, labels)
        parts = masks.split([len(one) for one in found])
        return [
            Detections(one.boxes, one.scores, one.labels, part)
            for one, part in zip(found, parts, strict=True)
        ]

    def _none(self, boxes: Tensor) -> Detections:
        masks = None
        if self.has_masks:
            masks = boxes.new_zeros(0, *(2 * side for side in self.mask_roi_pool.output_size))
        labels = torch.zeros(0, dtype=torch.int64, device=boxes.device)
        return Detections(boxes.new_zeros(0, boxes.shape[1]), boxes.new_zeros(0), labels, masks)


def mask_targets(masks: Tensor, boxes: Tensor, objects: Tensor, *, sides: Sequence[int]) -> Tensor:
    """Return what the mask head should say: the objects' masks inside the RoIs, in [0, 1].

    RoI Align with adaptive sampling of the true mask, not rounded, as torchvision does it.

    Args:
        masks: (N, *size) bool.
        boxes: (R, 2 * dims) RoIs.
        objects: (R,) index of each RoI's mask.
        sides: size of the answer.

    Returns:
        (R, *sides) float32.
    """
    if not len(boxes):
        return boxes.new_zeros(0, *sides)
    rois = torch.cat([objects[:, None].to(boxes.dtype), boxes], dim=1)
    return roi_align(masks[:, None].to(boxes.dtype), rois, tuple(sides))[:, 0]


def _joined(boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the boxes of all images and the image of each, (N,) int64."""
    owners = [
        torch.full((len(part),), index, device=part.device) for index, part in enumerate(boxes)
    ]
    return torch.cat(list(boxes)), torch.cat(owners)


def _nothing(*modules: nn.Module) -> Tensor:
    """Return a zero that depends on every parameter, so that all have a gradient.

    A module that normalises over the batch must not see an empty one.
    """
    return sum(parameter.sum() * 0.0 for module in modules for parameter in module.parameters())
