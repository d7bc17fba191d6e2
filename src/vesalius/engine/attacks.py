"""What an adversarial step perturbs: float inputs, outputs of modules, or weights.

An attack runs a forward pass with `delta` added, and afterwards knows the gradient of that pass
alone. Its patterns must match something, else it would be a silent no-op.
"""

import fnmatch
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vesalius.engine.data import Batch
from vesalius.engine.distributed import unwrapped
from vesalius.errors import RecipeError

On = Literal["inputs", "activations", "weights"]


def unit(value: Tensor, per_case: bool) -> Tensor:
    """Scale to L2 length 1, per case (dimension 0) or as a whole; zero stays zero."""
    # In float32: squares overflow in float16, where the smallest length would be 0 as well.
    return (value.float() / norm(value, per_case).clamp_min(1e-12)).to(value.dtype)


def project(value: Tensor, radius: float, per_case: bool) -> Tensor:
    """Shorten what is longer than `radius`."""
    factor = (radius / norm(value, per_case).clamp_min(1e-12)).clamp_max(1.0)
    return (value.float() * factor).to(value.dtype)


def norm(value: Tensor, per_case: bool) -> Tensor:
    """Return the L2 length in float32, per case (shaped to broadcast) or as a whole."""
    if not per_case:
        return torch.linalg.vector_norm(value.float())
    shape = (-1, *[1] * (value.ndim - 1))
    return torch.linalg.vector_norm(value.flatten(1).float(), dim=1).reshape(shape)


class Attack:
    """Perturb float inputs or module outputs by `delta`, and read their gradients."""

    per_case = True

    def __init__(self):
        self.delta: dict[str, Tensor] = {}
        self.clean: dict[str, Tensor] = {}
        self.start: float | None = None
        self._leaves: dict[str, Tensor] = {}
        self._seed = 0
        self._generator: torch.Generator | None = None

    @contextmanager
    def recorded(self, batch: Batch) -> Iterator[Batch]:
        """Run a clean pass whose gradients can be read afterwards."""
        self.delta = {}
        with self.applied(batch) as recorded:
            yield recorded

    @contextmanager
    def applied(self, batch: Batch) -> Iterator[Batch]:
        raise NotImplementedError

    def gradients(self) -> dict[str, Tensor]:
        """Return the gradients of this micro-batch's last pass and forget them."""
        if not self._leaves:
            raise RecipeError(
                f"{self._target()} did not run in the forward pass: nothing to attack"
            )
        found = {}
        for key, leaf in self._leaves.items():
            found[key] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad.detach()
        self._leaves = {}
        return found

    def _target(self) -> str:
        return "step.on=inputs: the model"

    def keep_accumulated(self) -> None:
        """Nothing to do: gradients of inputs and activations never mix with `.grad`."""

    def draw_seed(self) -> None:
        """Take this step's seed for random directions from torch's random state."""
        self._seed = int(torch.randint(2**62, ()))

    def random_direction(self, value: Tensor) -> Tensor:
        """Return noise of length 1 per case, from a generator of its own.

        torch's own random state must not notice: the passes of a step share their dropout masks.
        """
        if self._generator is None:
            self._generator = torch.Generator(value.device).manual_seed(self._seed)
        noise = torch.randn(value.shape, generator=self._generator, device=value.device)
        return unit(noise, True).to(value.dtype)

    def shift(self, key: str, value: Tensor) -> Tensor:
        """Return value + delta, with delta as a leaf whose gradient will be read."""
        self.clean[key] = value.detach()
        delta = self.delta.get(key)
        if delta is None:
            delta = torch.zeros_like(value)
            if self.start:
                delta = self.start * self.random_direction(value)
            self.delta[key] = delta
        leaf = delta.detach().clone().requires_grad_(True)
        self._leaves[key] = leaf
        return value + leaf


class InputAttack(Attack):
    """Perturb the batch's float inputs."""

    @contextmanager
    def applied(self, batch: Batch) -> Iterator[Batch]:
        self._leaves = {}
        if not (isinstance(batch.inputs, Tensor) and batch.inputs.is_floating_point()):
            raise RecipeError("step.on=inputs needs float inputs; use on=activations with match")
        yield replace(batch, inputs=self.shift("inputs", batch.inputs))


class ActivationAttack(Attack):
    """Perturb what modules return."""

    def __init__(self, match: str, model: nn.Module):
        super().__init__()
        self.modules = _matching(_runnable(model), match, "module")

    @contextmanager
    def applied(self, batch: Batch) -> Iterator[Batch]:
        self._leaves = {}
        hooks = [
            module.register_forward_hook(self._hook(name)) for name, module in self.modules.items()
        ]
        try:
            yield batch
        finally:
            for hook in hooks:
                hook.remove()

    def _target(self) -> str:
        return f"step.match: the module {', '.join(map(repr, self.modules))}"

    def _hook(self, name: str):
        def shifted(_module, _inputs, output):
            if not (isinstance(output, Tensor) and output.is_floating_point()):
                raise RecipeError(f"step.match: module '{name}' does not return a float tensor")
            # A module that runs several times in one pass gets one perturbation for each run.
            key = f"{name}#{sum(other.startswith(f'{name}#') for other in self._leaves)}"
            return self.shift(key, output)

        return shifted


class WeightAttack(Attack):
    """Perturb parameters in place; restored bit by bit afterwards."""

    per_case = False

    def __init__(self, match: str, model: nn.Module, min_dims: int = 1):
        super().__init__()
        named = ((n, p) for n, p in unwrapped(model).named_parameters() if p.requires_grad)
        self.parameters: dict[str, nn.Parameter] = _matching(
            ((n, p) for n, p in named if p.ndim >= min_dims), match, "parameter"
        )
        self._earlier: dict[str, Tensor | None] = {}

    @contextmanager
    def recorded(self, batch: Batch) -> Iterator[Batch]:
        # Trap 1: set what earlier micro-batches accumulated aside.
        self._earlier = {key: p.grad for key, p in self.parameters.items()}
        for parameter in self.parameters.values():
            parameter.grad = None
        self.delta = {}
        yield batch

    @contextmanager
    def applied(self, batch: Batch) -> Iterator[Batch]:
        saved = {key: p.detach().clone() for key, p in self.parameters.items()}
        with torch.no_grad():
            for key, delta in self.delta.items():
                self.parameters[key].add_(delta)
        try:
            yield batch
        finally:
            with torch.no_grad():
                for key, value in saved.items():
                    self.parameters[key].copy_(value)

    def gradients(self) -> dict[str, Tensor]:
        # Called only while earlier gradients are set aside, so `.grad` is the last pass's alone.
        # An unused parameter (a pooler, say) has no gradient and no direction.
        parameters = self.parameters.items()
        found = {k: p.grad.detach().clone() for k, p in parameters if p.grad is not None}
        if not found:
            raise RecipeError("step.match: none of the matched parameters receives a gradient")
        return found

    def keep_accumulated(self) -> None:
        """Add back what earlier micro-batches had accumulated."""
        for key, earlier in self._earlier.items():
            parameter = self.parameters[key]
            if earlier is not None:
                parameter.grad = earlier if parameter.grad is None else earlier + parameter.grad
        self._earlier = {}


def make_attack(on: On, match: str, model: nn.Module, *, weights: bool = False) -> Attack:
    """Return the attack that `step.on` and `step.match` name."""
    if on == "inputs":
        return InputAttack()
    if on == "activations":
        return ActivationAttack(_embedding(model) if match == "auto" else match, model)
    if on == "weights" and weights:
        return WeightAttack(_embedding(model, ".weight") if match == "auto" else match, model)
    known = "inputs, activations" + (", weights" if weights else "")
    raise RecipeError(f"step.on='{on}': this step perturbs one of {known}")


def _embedding(model: nn.Module, suffix: str = "") -> str:
    """Return the name of the module that embeds inputs; a pattern where the model names none."""
    model = unwrapped(model)
    if not hasattr(model, "get_input_embeddings"):
        return f"*embed*{suffix}"
    wanted = model.get_input_embeddings()
    name = next((name for name, module in model.named_modules() if module is wanted), None)
    if not name:
        raise RecipeError(
            "step.match=auto: the model's get_input_embeddings() returns none of its modules; "
            "name the module in step.match"
        )
    return _without_prefix(name) + suffix


def _runnable(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules below the root; lists and mappings of modules never run themselves."""
    for name, module in unwrapped(model).named_modules():
        if name and not isinstance(module, nn.ModuleList | nn.ModuleDict):
            yield name, module


def _matching(named, pattern: str, kind: str) -> dict[str, Any]:
    cleaned = {_without_prefix(name): item for name, item in named}
    found = {name: item for name, item in cleaned.items() if fnmatch.fnmatchcase(name, pattern)}
    if not found:
        some = ", ".join(sorted(cleaned)[:12])
        more = ", ..." if len(cleaned) > 12 else ""
        raise RecipeError(
            f"step.match='{pattern}' matches no {kind} of the model, so nothing would be attacked. "
            f"The model has: {some}{more}"
        )
    # Outermost matches only: perturbing a module and its own parts would count twice.
    if kind == "module":
        found = {n: m for n, m in found.items() if not _inside(n, found)}
    return found


def _without_prefix(name: str) -> str:
    """Return a name without what torch.compile adds to it, which users do not know."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def _inside(name: str, names: Mapping[str, Any]) -> bool:
    return any(name != other and name.startswith(f"{other}.") for other in names)
