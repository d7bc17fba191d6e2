"""What is composed around a step, in the order of the recipe: weight averages and mixup."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vesalius.engine.data import Batch
from vesalius.engine.distributed import freeze_batch_norm, unwrapped
from vesalius.errors import RecipeError

Loss = Callable[[nn.Module, Batch], dict[str, Tensor]]


class Piece:
    """A part that can act on the batch, on the loss, after the step, and on evaluation.

    Every method has a neutral default; a piece overrides what it needs.
    """

    def start(self, model: nn.Module, total_steps: int) -> None:
        """Prepare, once the model is on its device."""

    def on_batch(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Change a micro-batch before its passes. All randomness comes from `rng`."""
        return batch

    def on_loss(self, loss: Loss) -> Loss:
        """Wrap the loss. The result must stay pure: a step may call it several times."""
        return loss

    def after_step(self, model: nn.Module, step: int) -> None:
        """Look at the weights after optimiser step number `step` (the first is 0)."""

    def resumed(self, step: int) -> None:
        """Catch up, where a run goes on after `step` steps."""

    @contextmanager
    def evaluating(self, model: nn.Module) -> Iterator[None]:
        """Context in which `model` is evaluated and saved."""
        yield

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and numbers that a checkpoint must hold."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` returned."""


class _Average(Piece):
    """Keep a second set of weights (buffers included) and lend it to evaluation."""

    def __init__(self):
        self.average: dict[str, Tensor] = {}
        self.updates = 0

    def start(self, model: nn.Module, total_steps: int) -> None:
        """Copy the first weights."""
        self.average = {key: value.detach().clone() for key, value in model.state_dict().items()}

    @torch.no_grad()
    def _move(self, model: nn.Module, share: float) -> None:
        """Average += share * (weights - average); integer buffers are copied."""
        for key, value in model.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value.to(self.average[key].dtype), share)
            else:
                self.average[key].copy_(value)
        self.updates += 1

    @contextmanager
    def evaluating(self, model: nn.Module) -> Iterator[None]:
        """Put the average into the model, and the trained weights back afterwards."""
        current = model.state_dict()
        kept = {key: value.detach().clone() for key, value in current.items()}
        with torch.no_grad():
            for key, value in current.items():
                value.copy_(self.average[key])
        try:
            yield
        finally:
            with torch.no_grad():
                for key, value in current.items():
                    value.copy_(kept[key])

    def state_dict(self) -> dict[str, Any]:
        """Return the average and how many weights entered it."""
        return {"average": self.average, "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the average back."""
        self.average, self.updates = dict(state["average"]), int(state["updates"])


class EMA(_Average):
    """Exponential moving average of weights and buffers, with the usual early correction."""

    def __init__(self, decay: float = 0.999):
        super().__init__()
        self.decay = decay

    def after_step(self, model: nn.Module, step: int) -> None:
        """Move the average. Early on it follows faster, so the random start is forgotten."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self._move(model, 1 - decay)


class SWA(_Average):
    """Equal mean of the weights of the last part of training (Izmailov et al. 2018).

    BatchNorm's running statistics are averaged like weights; the paper recomputes them in an
    extra pass over the data instead.
    """

    def __init__(self, start: float = 0.75, every: int = 1):
        super().__init__()
        self.share, self.every, self.first = start, every, 0

    def start(self, model: nn.Module, total_steps: int) -> None:
        """Work out where averaging begins."""
        super().start(model, total_steps)
        self.first = int(self.share * total_steps)

    def after_step(self, model: nn.Module, step: int) -> None:
        """Follow the weights until averaging begins, then take the mean."""
        if step < self.first:
            self._move(model, 1.0)
            self.updates = 0
        elif (step - self.first) % self.every == 0:
            self._move(model, 1 / (self.updates + 1))


class Unfreeze(Piece):
    """Gradual unfreezing (Howard and Ruder 2018): the top trains first, then one layer more at a
    time, until `until` of the steps is done."""

    def __init__(self, until: float = 0.5):
        self.until, self.steps, self.layers = until, 1, {}

    def start(self, model: nn.Module, total_steps: int) -> None:
        """Find the layers and freeze all but the top one."""
        model = unwrapped(model)
        layer_of = getattr(model, "layer_of", None)
        if layer_of is None:
            raise RecipeError(
                f"piece unfreeze needs a model that knows its layers; {type(model).__name__} does "
                "not"
            )
        self.layers = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                self.layers.setdefault(layer_of(name), []).append(parameter)
        self.steps = max(1, int(self.until * total_steps))
        self._thaw(0)

    def after_step(self, model: nn.Module, step: int) -> None:
        """Thaw what is due before the next step."""
        self._thaw(step + 1)

    def _thaw(self, step: int) -> None:
        order = sorted(self.layers, reverse=True)
        open_layers = 1 + min(len(order) - 1, step * (len(order) - 1) // self.steps)
        for index, layer in enumerate(order):
            for parameter in self.layers[layer]:
                parameter.requires_grad_(index < open_layers)

    def resumed(self, step: int) -> None:
        """Thaw what was thawed when the run stopped."""
        self._thaw(step)


class Mixup(Piece):
    """mixup: x = s x_i + (1 - s) x_j, loss = s l(y_i) + (1 - s) l(y_j), s ~ Beta(alpha, alpha)."""

    def __init__(self, alpha: float = 0.2):
        self.alpha = alpha

    def on_batch(self, batch: Batch, rng: np.random.Generator) -> Batch:
        """Mix the inputs with those of shuffled partners; the share and the order are kept."""
        if not (isinstance(batch.inputs, Tensor) and batch.inputs.is_floating_point()):
            raise RecipeError("piece mixup mixes float inputs; this department's are not")
        if "mixup" in batch.extra:
            raise RecipeError("pieces: mixup stands twice; leave one out")
        share = float(rng.beta(self.alpha, self.alpha))
        order = torch.from_numpy(rng.permutation(len(batch.inputs))).to(batch.inputs.device)
        mixed = share * batch.inputs + (1 - share) * batch.inputs[order]
        return replace(batch, inputs=mixed, extra={**batch.extra, "mixup": (share, order)})

    def on_loss(self, loss: Loss) -> Loss:
        """Mix the losses against both sets of targets."""

        def mixed(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
            share, order = batch.extra["mixup"]
            own = loss(model, batch)
            with freeze_batch_norm(model):  # these inputs have moved the statistics already
                partner = loss(model, replace(batch, targets=_reordered(batch.targets, order)))
            return {name: share * own[name] + (1 - share) * partner[name] for name in own}

        return mixed


def _reordered(value: Any, order: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value[order]
    if isinstance(value, Mapping):
        return {key: _reordered(item, order) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_reordered(item, order) for item in value)
    raise RecipeError(f"piece mixup cannot reorder targets of type {type(value).__name__}")


BY_NAME: Mapping[str, Callable[..., Piece]] = {
    "ema": EMA,
    "swa": SWA,
    "mixup": Mixup,
    "unfreeze": Unfreeze,
}
