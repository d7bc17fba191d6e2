"""R-CNN (Girshick et al. 2014, arXiv:1311.2524): a CNN looks at every proposal by itself.

Proposals come from selective search or a file. Each is warped, with some of its surroundings, to
one size, and goes through the network alone. Training has three stages: the network is fine-tuned
with a softmax over the classes and the background (32 regions of objects with IoU of at least 0.5
and 96 others of a batch of 128: a quarter here too); then one linear SVM per class is trained on
its features with hard-negative mining; then one ridge regression per class corrects the boxes.

Deviations: any encoder, without AlexNet's linear layers; SVMs and regressions both read its deepest
map, flattened; regions of every image in a batch rather than of two. Scores are the SVMs' decisions
through the logistic function, which keeps their order. Until the SVMs are trained, scores are the
softmax's.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.detect import boxes as box_functions
from vesalius.detect.box_regression import RidgeBoxes
from vesalius.detect.models.backbone import build_backbone
from vesalius.detect.models.inputs import Target, check_images, check_proposals, check_targets
from vesalius.detect.models.outputs import Detections, Outputs
from vesalius.detect.svm import LinearSVMs
from vesalius.detect.warping import warp
from vesalius.errors import DataError, RecipeError

MINIMAL_SIDE = 1.0
CONTEXT = 16 / 227
"""Share of a crop's edge that shows surroundings, on each side."""


class RCNN(nn.Module):
    """R-CNN; `forward` takes and returns what `Detector.forward` does, and needs proposals.

    Args:
        in_channels: channels of the images.
        classes: classes without the background.
        dims: 2 or 3.
        encoder, encoder_weights, encoder_options, norm, trainable_stages: as in `FastRCNN`.
        crop_size: edge of the warped regions, in pixels (paper: 227).
        crop_mode: "warp" or "square"; see `warping.warp`.
        crops_at_once: regions that go through the network together in prediction.
        rois_per_image: regions of an image that the fine-tuning looks at.
        foreground_share: largest share of them that belong to objects.
        score_threshold, nms_threshold, detections_per_image: as in `FastRCNN`.

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
        encoder: str | None = "efficientnet_lite0",
        encoder_weights: str | None = None,
        encoder_options: Mapping[str, Any] | None = None,
        norm: Literal["batch", "frozen", "group"] = "batch",
        trainable_stages: int | None = None,
        crop_size: int = 96,
        crop_mode: Literal["warp", "square"] = "warp",
        crops_at_once: int = 64,
        rois_per_image: int = 32,
        foreground_share: float = 0.25,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.3,
        detections_per_image: int = 100,
    ):
        super().__init__()
        self.in_channels, self.classes, self.dims = in_channels, classes, dims
        self.crop_size, self.crop_mode, self.crops_at_once = crop_size, crop_mode, crops_at_once
        self.rois_per_image, self.foreground_share = rois_per_image, foreground_share
        self.score_threshold, self.nms_threshold = score_threshold, nms_threshold
        self.detections_per_image = detections_per_image
        self.backbone = build_backbone(
            encoder,
            encoder_weights=encoder_weights,
            encoder_options=encoder_options,
            in_channels=in_channels,
            dims=dims,
            pyramid=False,
            pyramid_width=1,
            finest_stride=1,
            head_norm=None,
            norm=norm,
            trainable_stages=trainable_stages,
        )
        width = self._width()
        self.classifier = nn.Linear(width, classes + 1)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)
        # What the solvers find: no gradients, but part of the state.
        self.register_buffer("solved", torch.zeros((), dtype=torch.bool))
        self.register_buffer("svm_weights", torch.zeros(classes, width))
        self.register_buffer("svm_biases", torch.zeros(classes))
        self.register_buffer("svm_scale", torch.ones(1))
        self.register_buffer("box_weights", torch.zeros(classes, width + 1, 2 * dims))
        self.register_buffer("box_means", torch.zeros(classes, 2 * dims))
        self.register_buffer("box_colours", torch.eye(2 * dims).repeat(classes, 1, 1))
        self.register_buffer("box_scale", torch.ones(1))

    def _width(self) -> int:
        """Return the number of features of a crop."""
        training = self.backbone.training
        with torch.no_grad():
            empty = torch.zeros(1, self.in_channels, *[self.crop_size] * self.dims)
            width = self.backbone.eval()(empty)[-1].numel()
        self.backbone.train(training)
        if not width:
            raise RecipeError(f"crops of {self.crop_size} pixels are too small for this encoder")
        return width

    def forward(
        self,
        images: Tensor | Sequence[Tensor],
        targets: Sequence[Target] | None = None,
        proposals: Sequence[Tensor] | None = None,
        *,
        detect: bool | None = None,
    ) -> Outputs:
        """Return losses where targets are given and detections where they are asked for.

        Arguments and errors are those of `Detector.forward`.
        """
        check_images(images, in_channels=self.in_channels, dims=self.dims)
        sizes = [tuple(image.shape[1:]) for image in images]
        if proposals is None:
            raise DataError("R-CNN makes no proposals of its own; give some for every image.")
        check_proposals(proposals, sizes)
        losses = {}
        if targets is not None:
            check_targets(targets, sizes, classes=self.classes, with_masks=False)
            losses = {"classes": self._loss(images, targets, proposals)}
        detect = not self.training if detect is None else detect
        found = []
        if detect:
            with torch.no_grad():
                pairs = zip(images, proposals, strict=True)
                found = [self._detect(image, boxes) for image, boxes in pairs]
        return Outputs(losses, found)

    # --- features -------------------------------------------------------------------------------

    def crops(self, image: Tensor, boxes: Tensor) -> Tensor:
        """Return the warped boxes of an image (C, *size), (N, C, crop_size, ...)."""
        context = round(CONTEXT * self.crop_size)
        return warp(image, boxes, self.crop_size, context, self.crop_mode)

    def look(self, crops: Tensor) -> Tensor:
        """Return the features (N, width) of crops."""
        return self.backbone(crops)[-1].flatten(1)

    @torch.no_grad()
    def features(self, image: Tensor, boxes: Tensor) -> Tensor:
        """Return the features (N, width) of boxes of an image, some at a time."""
        rows = [self.look(self.crops(image, part)) for part in boxes.split(self.crops_at_once)]
        return torch.cat(rows) if rows else image.new_zeros(0, self.classifier.in_features)

    # --- fine-tuning ------------------------------------------------------------------------------

    def _loss(self, images, targets: Sequence[Target], proposals: Sequence[Tensor]) -> Tensor:
        crops, labels = [], []
        for image, target, boxes in zip(images, targets, proposals, strict=True):
            chosen, own = self._sample(target, _usable(boxes, image))
            crops.append(self.crops(image, chosen))
            labels.append(own)
        logits = self.classifier(self.look(torch.cat(crops)))
        if not len(logits):
            return logits.sum()
        return F.cross_entropy(logits, torch.cat(labels))

    def _sample(self, target: Target, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Return regions of an image and their classes, 0 the background."""
        truth = target["boxes"].float()
        boxes = torch.cat([truth, boxes])
        if not len(truth):
            chosen = torch.randperm(len(boxes), device=boxes.device)[: self.rois_per_image]
            return boxes[chosen], torch.zeros(len(chosen), dtype=torch.long, device=boxes.device)
        best, nearest = box_functions.iou(boxes, truth).max(1)
        labels = torch.where(best >= 0.5, target["labels"][nearest] + 1, 0)
        objects = torch.nonzero(labels > 0).flatten()
        others = torch.nonzero(labels == 0).flatten()
        most = min(len(objects), int(self.foreground_share * self.rois_per_image))
        objects = objects[torch.randperm(len(objects), device=boxes.device)[:most]]
        rest = self.rois_per_image - most
        others = others[torch.randperm(len(others), device=boxes.device)[:rest]]
        chosen = torch.cat([objects, others])
        return boxes[chosen], labels[chosen]

    # --- what is solved ---------------------------------------------------------------------------

    def store(self, machines: LinearSVMs, regressors: RidgeBoxes) -> None:
        """Take the SVMs and box regressions that were trained on this network's features."""
        for prefix, solved in (("svm", machines), ("box", regressors)):
            for name, array in solved.to_arrays().items():
                buffer = getattr(self, f"{prefix}_{name}")
                buffer.copy_(torch.from_numpy(np.asarray(array, np.float32)))
        self.solved.fill_(True)

    def _arrays(self, prefix: str, names: Sequence[str]) -> dict[str, np.ndarray]:
        return {name: getattr(self, f"{prefix}_{name}").cpu().numpy() for name in names}

    def _detect(self, image: Tensor, boxes: Tensor) -> Detections:
        boxes = _usable(boxes, image)
        features = self.features(image, boxes).float()
        if not self.solved:
            scores = self.classifier(features).softmax(1)[:, 1:]
            rows, labels = self._survivors(boxes, scores).T
            return Detections(boxes[rows], scores[rows, labels], labels)
        table = features.cpu().numpy()
        machines = LinearSVMs.from_arrays(self._arrays("svm", ("weights", "biases", "scale")))
        names = ("weights", "means", "colours", "scale")
        regressors = RidgeBoxes.from_arrays(self._arrays("box", names))
        scores = torch.from_numpy(machines.decide(table)).to(boxes).sigmoid()
        kept = self._survivors(boxes, scores)
        rows, labels = kept.T
        moved = regressors.apply(table[rows.cpu()], boxes[rows].cpu().numpy(), labels.cpu().numpy())
        moved = torch.from_numpy(moved).to(boxes)
        moved = box_functions.clip(moved, tuple(image.shape[1:]))
        good = box_functions.valid(moved, MINIMAL_SIDE)
        return Detections(moved[good], scores[rows, labels][good], labels[good])

    def _survivors(self, boxes: Tensor, scores: Tensor) -> Tensor:
        """Return (K, 2) rows and labels after suppression per class, best first."""
        pairs = torch.nonzero(scores > self.score_threshold)
        rows, labels = pairs.T
        keep = box_functions.batched_nms(
            boxes[rows], scores[rows, labels], labels, self.nms_threshold
        )
        return pairs[keep[: self.detections_per_image]]


def _usable(boxes: Tensor, image: Tensor) -> Tensor:
    boxes = box_functions.clip(boxes.float(), tuple(image.shape[1:]))
    return boxes[box_functions.valid(boxes, MINIMAL_SIDE)]
