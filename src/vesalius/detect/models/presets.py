"""torchvision's detection networks, spelled in our options.

| preset                     | weights there | box AP (mask AP) on COCO val2017 with them |
|----------------------------|---------------|--------------------------------------------|
| fasterrcnn_resnet50_fpn    | COCO_V1       | 37.0                                       |
| fasterrcnn_resnet50_fpn_v2 | COCO_V1       | 46.7                                       |
| maskrcnn_resnet50_fpn      | COCO_V1       | 37.9 (34.6)                                |
| maskrcnn_resnet50_fpn_v2   | COCO_V1       | 47.4 (41.8)                                |

The accuracies are torchvision's own statements. Its 91 classes are the background and COCO's 90
category numbers: here label 0 is category 1.
"""

from dataclasses import dataclass, field
from typing import Any

FIRST = {
    "encoder": "resnet50",
    "norm": "frozen",
    "rounded_anchors": True,
    "fitted_strides": True,
}
SECOND = {
    **FIRST,
    "norm": "batch",
    "proposal_convolutions": 2,
    "head": "convolutions",
    "head_norm": "batch",
}


@dataclass(frozen=True)
class Preset:
    """A network of torchvision.

    Attributes:
        model: ours of the same kind.
        options: what makes it torchvision's.
        frozen_eps: what the frozen normalisations of its COCO weights add to the variance; None
            where they are not frozen.
    """

    model: str
    options: dict[str, Any] = field(default_factory=dict)
    frozen_eps: float | None = None


PRESETS: dict[str, Preset] = {
    "fasterrcnn_resnet50_fpn": Preset("faster_rcnn", FIRST, frozen_eps=0.0),
    "fasterrcnn_resnet50_fpn_v2": Preset("faster_rcnn", SECOND),
    "maskrcnn_resnet50_fpn": Preset("mask_rcnn", FIRST, frozen_eps=0.0),
    "maskrcnn_resnet50_fpn_v2": Preset("mask_rcnn", SECOND),
}
