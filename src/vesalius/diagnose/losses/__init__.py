"""Losses for records with several labels: `loss(logits, targets)`, one number out.

All take logits (B, labels) of any float type (computed in float32 at least, under autocast too)
and targets (B, labels), 0 and 1 or between (mixup), of any type. All can be made with no
arguments; those that need label counts then treat labels as equally frequent. None touches the
gradient mode, a random state or its inputs.
"""

from vesalius.diagnose.losses.balanced import ClassBalancedLoss, DistributionBalancedLoss
from vesalius.diagnose.losses.base import MultiLabelLoss
from vesalius.diagnose.losses.cross_entropy import (
    BCELoss,
    PriorAdjustedBCELoss,
    WeightedBCELoss,
    bernoulli_kl,
)
from vesalius.diagnose.losses.f1 import HammingLoss, MacroF1Loss, SigmoidF1Loss
from vesalius.diagnose.losses.focal import AsymmetricLoss, FocalLoss
from vesalius.diagnose.losses.ranking import (
    LogSoftmaxRankingLoss,
    MultiLabelSoftmaxLoss,
    ZLPRLoss,
)

__all__ = [
    "AsymmetricLoss",
    "BCELoss",
    "ClassBalancedLoss",
    "DistributionBalancedLoss",
    "FocalLoss",
    "HammingLoss",
    "LogSoftmaxRankingLoss",
    "MacroF1Loss",
    "MultiLabelLoss",
    "MultiLabelSoftmaxLoss",
    "PriorAdjustedBCELoss",
    "SigmoidF1Loss",
    "WeightedBCELoss",
    "ZLPRLoss",
    "bernoulli_kl",
]
