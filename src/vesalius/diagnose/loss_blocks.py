"""The losses as blocks of a recipe. Importing this module imports no torch.

How often each label occurs is a property of the data, not of the loss, so `build` takes it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from vesalius.block import Block

if TYPE_CHECKING:
    from torch import nn


class _Loss(Block):
    class_name: ClassVar[str]
    takes: ClassVar[tuple[str, ...]] = ()

    def build(self, counts: Sequence[int], size: int) -> "nn.Module":
        """Return the loss, a module called with (logits, targets).

        Args:
            counts: positives per label in the training records.
            size: number of training records.
        """
        from vesalius.diagnose import losses

        known: dict[str, Any] = {"counts": counts, "size": size}
        options = {field: getattr(self, field) for field in type(self).model_fields}
        del options["name"]
        return getattr(losses, self.class_name)(**{k: known[k] for k in self.takes}, **options)


class BCEBlock(_Loss):
    """Binary cross-entropy."""

    class_name = "BCELoss"
    name: Literal["bce"] = "bce"


class WeightedBCEBlock(_Loss):
    """Binary cross-entropy with positives weighted by negatives / positives."""

    class_name = "WeightedBCELoss"
    takes = ("counts", "size")
    name: Literal["weighted_bce"] = "weighted_bce"
    power: NonNegativeFloat = 1.0
    """1 balances fully, 1/2 is the usual compromise, 0 is plain cross-entropy."""
    maximum: float = Field(100.0, ge=1)
    """The largest weight."""


class PriorAdjustedBCEBlock(_Loss):
    """Binary cross-entropy with logits adjusted by the prior (Menon et al. 2021)."""

    class_name = "PriorAdjustedBCELoss"
    takes = ("counts", "size")
    name: Literal["prior_adjusted_bce"] = "prior_adjusted_bce"
    tau: NonNegativeFloat = 1.0
    """How much of the prior is taken out of what the model learns."""


class FocalBlock(_Loss):
    """Focal loss (Lin et al. 2017)."""

    class_name = "FocalLoss"
    name: Literal["focal"] = "focal"
    gamma: NonNegativeFloat = 2.0
    """How strongly easy terms are played down; 0 is cross-entropy."""
    alpha: float | None = Field(None, ge=0, le=1)
    """Factor of positives, 1 - alpha of negatives; null: both 1."""


class AsymmetricBlock(_Loss):
    """Asymmetric loss (Ridnik et al. 2021)."""

    class_name = "AsymmetricLoss"
    name: Literal["asymmetric"] = "asymmetric"
    gamma_negative: NonNegativeFloat = 4.0
    """Focusing of negatives; 0, or at least 1."""
    gamma_positive: NonNegativeFloat = 1.0
    """Focusing of positives; 0, or at least 1."""
    clip: float = Field(0.05, ge=0, lt=1)
    """By how much the probability of negatives is shifted down."""

    @model_validator(mode="after")
    def _slopes_are_finite(self):
        if 0 < self.gamma_negative < 1 or 0 < self.gamma_positive < 1:
            raise ValueError("gamma_negative and gamma_positive are 0, or at least 1")
        return self


class ClassBalancedBlock(_Loss):
    """Labels weighted by the inverse of their effective number (Cui et al. 2019)."""

    class_name = "ClassBalancedLoss"
    takes = ("counts",)
    name: Literal["class_balanced"] = "class_balanced"
    beta: float = Field(0.999, ge=0, lt=1)
    """0 weighs all labels alike, towards 1 by inverse frequency."""
    gamma: NonNegativeFloat = 0.0
    """Of the focal factor; 0 is cross-entropy."""


class DistributionBalancedBlock(_Loss):
    """Distribution-balanced loss (Wu et al. 2020)."""

    class_name = "DistributionBalancedLoss"
    takes = ("counts", "size")
    name: Literal["distribution_balanced"] = "distribution_balanced"
    alpha: NonNegativeFloat = 0.1
    """The smallest weight of a term."""
    beta: PositiveFloat = 10.0
    """Slope of the weight."""
    mu: float = 0.9
    """Middle of the weight: labels that are this share of why a record matters."""
    kappa: NonNegativeFloat = 0.05
    """Strength of the shift for rare labels."""
    negative_scale: PositiveFloat = 2.0
    """By how much the slope of negatives is reduced."""
    gamma: NonNegativeFloat = 2.0
    """Of the focal factor; 0 leaves it out."""


class _Counted(_Loss):
    queue: NonNegativeInt = 64
    """How many past batches are counted beside this one; small batches hold few positives."""
    smooth: PositiveFloat = 0.1
    """Added to both sides of the fraction, in records."""


class MacroF1Block(_Counted):
    """1 - soft macro F1, counted over a queue of batches."""

    class_name = "MacroF1Loss"
    name: Literal["macro_f1"] = "macro_f1"


class SigmoidF1Block(_Counted):
    """1 - sigmoidF1 (Benedict et al. 2022), counted over a queue of batches."""

    class_name = "SigmoidF1Loss"
    name: Literal["sigmoid_f1"] = "sigmoid_f1"
    beta: PositiveFloat = 2.0
    """Slope; the larger, the closer to counting decisions."""
    eta: float = 0.0
    """Offset of the logits."""


class HammingBlock(_Loss):
    """The expected share of wrong labels."""

    class_name = "HammingLoss"
    name: Literal["hamming"] = "hamming"


class ZLPRBlock(_Loss):
    """ZLPR: positives above 0 and above all negatives (Su et al. 2022)."""

    class_name = "ZLPRLoss"
    name: Literal["zlpr"] = "zlpr"


class MultiLabelSoftmaxBlock(_Loss):
    """Softmax with cross-entropy for many labels (Su 2020)."""

    class_name = "MultiLabelSoftmaxLoss"
    name: Literal["multi_label_softmax"] = "multi_label_softmax"
    threshold: float = 0.0
    """The logit that positives must beat and negatives must not."""


class LogSoftmaxRankingBlock(_Loss):
    """Minus the log-softmax of each positive against all negatives."""

    class_name = "LogSoftmaxRankingLoss"
    name: Literal["log_softmax_ranking"] = "log_softmax_ranking"


LossBlock = Annotated[
    BCEBlock
    | WeightedBCEBlock
    | PriorAdjustedBCEBlock
    | FocalBlock
    | AsymmetricBlock
    | ClassBalancedBlock
    | DistributionBalancedBlock
    | MacroF1Block
    | SigmoidF1Block
    | HammingBlock
    | ZLPRBlock
    | MultiLabelSoftmaxBlock
    | LogSoftmaxRankingBlock,
    Field(discriminator="name"),
]
"""Any loss for records with several labels, chosen by `name`."""
