"""Losses for segmentation: logits in, one number out.

All take `(logits, target)`: logits (B, C, *size) of any float type (computed in float32 at least,
under autocast too), target (B, *size) integer labels. C = 1 is binary: the sigmoid, labels 0 and
1. C >= 2 is the softmax. Pixels labelled `ignore_index` change neither value nor gradient.
`class_weights` holds one number per label (two for binary: background, foreground).
"""

from vesalius.segment.losses.boundary import BoundaryLoss
from vesalius.segment.losses.combined import DiceCrossEntropyLoss, HybridLoss
from vesalius.segment.losses.lovasz import LovaszLoss
from vesalius.segment.losses.pixel import CrossEntropyLoss, FocalLoss
from vesalius.segment.losses.presence import PresenceLoss
from vesalius.segment.losses.region import (
    DiceLoss,
    GeneralisedDiceLoss,
    IoULoss,
    TverskyLoss,
)
from vesalius.segment.losses.structure import MSSSIMLoss, SSIMLoss

__all__ = [
    "BoundaryLoss",
    "CrossEntropyLoss",
    "DiceCrossEntropyLoss",
    "DiceLoss",
    "FocalLoss",
    "GeneralisedDiceLoss",
    "HybridLoss",
    "IoULoss",
    "LovaszLoss",
    "MSSSIMLoss",
    "PresenceLoss",
    "SSIMLoss",
    "TverskyLoss",
]
