"""Optimisers and learning-rate schedules, as blocks of a recipe.

A schedule is a pure function of the step, so that nothing of it needs to be in a checkpoint.
"""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from vesalius.block import Block
from vesalius.errors import RecipeError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


_Decay = Annotated[float, Field(ge=0, lt=1)]


class AdamW(Block):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: Literal["adamw"] = "adamw"
    learning_rate: float = Field(1e-3, gt=0)
    """peak learning rate"""
    weight_decay: float = Field(0.01, ge=0)
    """not applied to biases and normalisation weights"""
    betas: tuple[_Decay, _Decay] = (0.9, 0.999)
    """decay of the first and second moment"""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """each layer's rate is that of the layer above times this (Howard and Ruder 2018: 1/2.6);
    for models that know their layers, such as text encoders"""

    def build(self, model: "nn.Module") -> "Optimizer":
        """Return the torch optimiser over `model`'s parameters."""
        import torch

        if self.layer_decay == 1.0:
            groups = decay_groups(model.named_parameters(), self.weight_decay)
        else:
            groups = layer_groups(
                model, self.weight_decay, rate=self.learning_rate, decay=self.layer_decay
            )
        return torch.optim.AdamW(groups, lr=self.learning_rate, betas=self.betas)


class SGD(Block):
    """Stochastic gradient descent with Nesterov momentum, nnU-Net's choice."""

    name: Literal["sgd"] = "sgd"
    learning_rate: float = Field(1e-2, gt=0)
    """peak learning rate"""
    momentum: float = Field(0.99, ge=0, lt=1)
    """momentum"""
    nesterov: bool = True
    """look ahead (Nesterov)"""
    weight_decay: float = Field(3e-5, ge=0)
    """not applied to biases and normalisation weights"""

    def build(self, model: "nn.Module") -> "Optimizer":
        """Return the torch optimiser over `model`'s parameters."""
        import torch

        groups = decay_groups(model.named_parameters(), self.weight_decay)
        nesterov = self.nesterov and self.momentum > 0
        return torch.optim.SGD(
            groups, lr=self.learning_rate, momentum=self.momentum, nesterov=nesterov
        )


OptimizerBlock = Annotated[AdamW | SGD, Field(discriminator="name")]


def decay_groups(parameters: Iterable, weight_decay: float) -> list[dict]:
    """Split trainable parameters: matrices and filters decay, biases and norms do not."""
    decayed, kept = [], []
    for _, parameter in parameters:
        if parameter.requires_grad:
            (decayed if parameter.ndim > 1 else kept).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def layer_groups(
    model: "nn.Module", weight_decay: float, *, rate: float, decay: float
) -> list[dict]:
    """Split parameters by the model's `layer_of(name)`: the top layer has the full rate.

    Raises:
        RecipeError: the model does not know its layers.
    """
    from vesalius.engine.distributed import unwrapped

    layer_of = getattr(unwrapped(model), "layer_of", None)
    if layer_of is None:
        raise RecipeError(
            "optimizer.layer_decay needs a model that knows its layers; "
            f"{type(unwrapped(model)).__name__} does not. Leave it at 1."
        )
    named = list(unwrapped(model).named_parameters())
    layers: dict[int, list] = {}
    for name, parameter in named:
        layers.setdefault(layer_of(name), []).append((name, parameter))
    top = max(layers)
    return [
        {**group, "lr": rate * decay ** (top - layer)}
        for layer, members in sorted(layers.items())
        for group in decay_groups(members, weight_decay)
    ]


class _Schedule(Block):
    warmup: int = Field(0, ge=0)
    """steps over which the rate rises linearly from 0 to its peak"""

    def factor(self, step: int, total: int) -> float:
        """Return what the peak learning rate is multiplied with at `step` of `total` steps."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        rest = max(1, total - self.warmup)
        return self.curve(min(1.0, (step - self.warmup) / rest))

    def curve(self, progress: float) -> float:
        """Return the factor after warm-up; `progress` runs from 0 to 1."""
        raise NotImplementedError


class Constant(_Schedule):
    """The same rate throughout."""

    name: Literal["constant"] = "constant"

    def curve(self, progress: float) -> float:
        """Return 1."""
        return 1.0


class Cosine(_Schedule):
    """Half a cosine from the peak to `floor` (Loshchilov and Hutter 2017, without restarts)."""

    name: Literal["cosine"] = "cosine"
    floor: float = Field(0.01, ge=0, le=1)
    """share of the peak rate that is left at the end"""

    def curve(self, progress: float) -> float:
        """Return the cosine between 1 and `floor`."""
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * progress))


class Polynomial(_Schedule):
    """(1 - progress) ** power: DeepLab's and nnU-Net's "poly" rule."""

    name: Literal["polynomial"] = "polynomial"
    power: float = Field(0.9, gt=0)
    """exponent"""

    def curve(self, progress: float) -> float:
        """Return (1 - progress) ** power."""
        return (1 - progress) ** self.power


ScheduleBlock = Annotated[Constant | Cosine | Polynomial, Field(discriminator="name")]
