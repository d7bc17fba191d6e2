"""What a detection network returns, in training and in evaluation alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Detections:
    """The objects found in one image, best first.

    Attributes:
        boxes: (N, 2 * dims) float32 corners in pixels of the image, inside it.
        scores: (N,) probabilities.
        labels: (N,) int64 from 0 to classes - 1.
        masks: (N, *sides) probabilities inside the boxes, commonly 28 x 28; None without a mask
            head. `paste` puts them into the image.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def subset(self, keep: Tensor) -> "Detections":
        """Return the detections that an index or a boolean tensor chooses."""
        masks = None if self.masks is None else self.masks[keep]
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep], masks)

    def to(self, device: torch.device | str) -> "Detections":
        """Return the detections on a device."""
        masks = None if self.masks is None else self.masks.to(device)
        moved = (value.to(device) for value in (self.boxes, self.scores, self.labels))
        return Detections(*moved, masks)

    def paste(self, size: Sequence[int], *, threshold: float = 0.5) -> Tensor:
        """Return the masks in the image, (N, *size) bool; see `vesalius.detect.masks.paste`.

        Raises:
            ValueError: the network that made these detections has no mask head.
        """
        from vesalius.detect.masks import paste

        if self.masks is None:
            raise ValueError("these detections have no masks; use a Mask R-CNN")
        return paste(self.masks, self.boxes, size, threshold=threshold)


@dataclass(frozen=True)
class Outputs:
    """Answer of a detection network.

    Attributes:
        losses: named scalars to be added and minimised; empty where no targets were given.
        detections: one for each image; empty where none were asked for.
    """

    losses: dict[str, Tensor] = field(default_factory=dict)
    detections: list[Detections] = field(default_factory=list)
