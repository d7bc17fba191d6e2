"""How a step is taken: plainly, or with an adversarial perturbation.

A step does the forward and backward passes of one micro-batch and leaves its gradients added to
`parameter.grad`. The loop clips and moves the weights. Three traps that every attack here avoids:

1. The direction comes from this micro-batch's gradient only, although `.grad` may already hold
   earlier micro-batches (and, with float16, the loss scale, which cancels in the direction).
2. The perturbed pass does not move BatchNorm's running statistics.
3. Where a gradient is not finite (float16 before its scale has settled) there is no perturbation.

An attack whose pattern matches nothing raises a RecipeError: it would be a silent no-op.
Every call of a step returns the same names, so that micro-steps can be averaged: where there was
no perturbation, the terms that it would have added are 0.

Lengths are L2 norms per case for activations and inputs (dimension 0 is the batch; Miyato et al.
2017, normalised over all other dimensions), and per parameter tensor for weights.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from vesalius.engine.attacks import Attack, On, WeightAttack, make_attack, norm, project, unit
from vesalius.engine.data import Batch
from vesalius.engine.distributed import agree, freeze_batch_norm, world_size
from vesalius.errors import RecipeError

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Passes:
    """What a step may use of the loop.

    Attributes:
        model: the model, wrapped for several processes where there are any.
        loss: `(model, batch) -> terms`, under autocast and with the recipe's pieces around it.
        backward: `(terms) -> None`, scaled for accumulation and for float16.
        synchronise: context for a pass; True where its backward should average gradients over
            processes. The last pass of a step must use True, earlier ones False.
    """

    model: nn.Module
    loss: Callable[[nn.Module, Batch], Terms]
    backward: Callable[[Terms], None]
    synchronise: Callable[[bool], Any]

    def plain(self, batch: Batch, *, last: bool) -> Terms:
        """One forward and backward pass."""
        with self.synchronise(last):
            terms = self.loss(self.model, batch)
            self.backward(terms)
        return terms


class Step(Protocol):
    """Take the passes of one micro-batch; return the terms to log."""

    def __call__(self, passes: Passes, batch: Batch) -> Terms:
        """Add this micro-batch's gradients."""
        ...


class PlainStep:
    """Forward, backward."""

    def __call__(self, passes: Passes, batch: Batch) -> Terms:
        """Add the gradients of the loss."""
        return passes.plain(batch, last=True)


class FGM:
    """Fast gradient method: gradients of the loss at x, plus those at x + epsilon g / |g|.

    Miyato, Dai and Goodfellow 2017, equation 5-7.
    """

    def __init__(self, epsilon: float = 1.0, on: On = "activations", match: str = "auto"):
        self.epsilon, self.on, self.match = epsilon, on, match

    def __call__(self, passes: Passes, batch: Batch) -> Terms:
        """Add the clean and the adversarial gradients."""
        attack = make_attack(self.on, self.match, passes.model, weights=True)
        with attack.recorded(batch) as clean:
            terms = passes.plain(clean, last=False)
        gradients = attack.gradients()
        if not _all_finite(gradients):
            return _without_attack(passes, batch, attack, terms, _adversarial(terms))
        attack.keep_accumulated()
        attack.delta = {
            key: self.epsilon * unit(g, attack.per_case) for key, g in gradients.items()
        }
        return terms | _perturbed_pass(passes, batch, attack, last=True)


class PGD:
    """Projected gradient descent: `steps` ascent steps of length alpha inside a ball.

    Madry et al. 2018. The clean pass and the last perturbed pass train; those between only steer.
    """

    def __init__(
        self,
        epsilon: float = 1.0,
        alpha: float = 0.3,
        steps: int = 3,
        on: On = "activations",
        match: str = "auto",
    ):
        self.epsilon, self.alpha, self.steps, self.on, self.match = epsilon, alpha, steps, on, match

    def __call__(self, passes: Passes, batch: Batch) -> Terms:
        """Add the clean gradients and those at the last point of the ascent."""
        attack = make_attack(self.on, self.match, passes.model, weights=True)
        with attack.recorded(batch) as clean:
            terms = passes.plain(clean, last=False)
        gradients = attack.gradients()
        attack.keep_accumulated()
        for index in range(self.steps):
            if not _all_finite(gradients):
                return _without_attack(passes, batch, attack, terms, _adversarial(terms))
            attack.delta = {
                key: project(
                    attack.delta.get(key, 0) + self.alpha * unit(g, attack.per_case),
                    self.epsilon,
                    attack.per_case,
                )
                for key, g in gradients.items()
            }
            if index < self.steps - 1:  # these passes steer: their weight gradients are dropped
                with _gradients_aside(passes.model):
                    _perturbed_pass(passes, batch, attack, last=False)
                    gradients = attack.gradients()
        return terms | _perturbed_pass(passes, batch, attack, last=True)


class FreeLB:
    """FreeLB: gradients averaged over all ascent steps from a random start (Zhu et al. 2020).

    The same dropout mask is used in every ascent step, as their appendix asks. BatchNorm's running
    statistics see the clean batch only, in a forward pass of its own where the start is random.
    Where a gradient is not finite, the passes that follow start again from no perturbation.
    """

    def __init__(
        self,
        steps: int = 3,
        alpha: float = 0.1,
        magnitude: float = 0.05,
        max_norm: float | None = None,
        on: Literal["inputs", "activations"] = "activations",
        match: str = "auto",
    ):
        self.steps, self.alpha, self.magnitude = steps, alpha, magnitude
        self.max_norm, self.on, self.match = max_norm, on, match

    def __call__(self, passes: Passes, batch: Batch) -> Terms:
        """Add the gradients of `steps` perturbed passes, each divided by `steps`."""
        attack = make_attack(self.on, self.match, passes.model)
        if self.magnitude:
            attack.draw_seed()
        state = _random_state()
        if self.magnitude and _keeps_statistics(passes.model):
            with torch.no_grad(), passes.synchronise(False):
                passes.loss(passes.model, batch)
        divided = replace(passes, backward=lambda t: passes.backward(_scaled(t, 1 / self.steps)))
        logged: Terms = {}
        for index in range(self.steps):
            _set_random_state(state)
            last = index == self.steps - 1
            attack.start = self.magnitude if index == 0 else None
            frozen = index > 0 or self.magnitude > 0  # one vote on statistics, a clean one
            terms = _perturbed_pass(divided, batch, attack, last=last, freeze=frozen, label="")
            logged = logged or terms
            if not last:
                self._ascend(attack)
        return logged

    def _ascend(self, attack: "Attack") -> None:
        gradients = attack.gradients()
        if not _all_finite(gradients):
            attack.delta = {key: torch.zeros_like(value) for key, value in attack.delta.items()}
            return
        for key, gradient in gradients.items():
            delta = attack.delta[key] + self.alpha * unit(gradient, True)
            attack.delta[key] = project(delta, self.max_norm, True) if self.max_norm else delta


class AWP:
    """Adversarial weight perturbation: each weight moves by gamma |w| along its gradient.

    Wu, Xia and Wang 2020, equation 8, with one ascent step. The gradient used is that of the
    perturbed weights alone, as theirs is.
    """

    def __init__(self, gamma: float = 0.01, match: str = "*weight"):
        self.gamma, self.match = gamma, match

    def __call__(self, passes: Passes, batch: Batch) -> Terms:
        """Add the gradients at the perturbed weights."""
        attack = WeightAttack(self.match, passes.model, min_dims=2)
        with _gradients_aside(passes.model):
            with attack.recorded(batch):
                terms = passes.plain(batch, last=False)
            gradients = attack.gradients()
        if not _all_finite(gradients):
            with freeze_batch_norm(passes.model):  # the clean pass has moved them already
                passes.plain(batch, last=True)
            return terms | _zeros(_adversarial(terms), terms)
        weights = attack.parameters
        attack.delta = {
            key: self.gamma * norm(weights[key].detach(), False) * unit(gradient, False)
            for key, gradient in gradients.items()
        }
        return terms | _perturbed_pass(passes, batch, attack, last=True)


class VAT:
    """Virtual adversarial training: outputs should not change along their most sensitive direction.

    Miyato et al. 2018: LDS = D(p(x), p(x + r)), r = epsilon d, d by power iteration of the
    gradient of D at x + xi d. D is the sum of Bernoulli KL divergences over labels ("bernoulli"),
    or the KL divergence along dimension 1 ("categorical"). It needs a model that returns logits
    (a tensor, or an object or mapping whose `logits` is one, or a list whose first item is one).
    """

    def __init__(
        self,
        epsilon: float = 1.0,
        xi: float = 1e-2,
        power_iterations: int = 1,
        weight: float = 1.0,
        outputs: Literal["bernoulli", "categorical"] = "bernoulli",
        on: Literal["inputs", "activations"] = "activations",
        match: str = "auto",
    ):
        self.epsilon, self.xi, self.power_iterations = epsilon, xi, power_iterations
        self.weight, self.outputs, self.on, self.match = weight, outputs, on, match

    def __call__(self, passes: Passes, batch: Batch) -> Terms:
        """Add the gradients of loss + weight * LDS."""
        attack = make_attack(self.on, self.match, passes.model)
        attack.draw_seed()
        state = _random_state()
        with _logits_of(passes.model) as seen, attack.recorded(batch) as clean:
            terms = passes.plain(clean, last=False)
            target = seen[0].detach()
        attack.delta = {key: attack.random_direction(value) for key, value in attack.clean.items()}
        for _ in range(self.power_iterations):
            direction = self._sensitive(passes, batch, attack, target, state)
            if not _all_finite(direction):
                return _without_attack(passes, batch, attack, terms, ["virtual_adversarial"])
            attack.delta = {key: unit(value, True) for key, value in direction.items()}
        attack.delta = {key: self.epsilon * value for key, value in attack.delta.items()}
        smooth = self._smoothness(passes, batch, attack, target, state, last=True)
        return terms | {"virtual_adversarial": smooth.detach()}

    def _sensitive(self, passes, batch, attack, target, state) -> dict[str, Tensor]:
        attack.delta = {key: self.xi * value for key, value in attack.delta.items()}
        with _gradients_aside(passes.model):
            self._smoothness(passes, batch, attack, target, state, last=False)
            return attack.gradients()

    def _smoothness(self, passes, batch, attack, target, state, *, last: bool) -> Tensor:
        _set_random_state(state)
        with (
            freeze_batch_norm(passes.model),
            passes.synchronise(last),
            _logits_of(passes.model) as seen,
            attack.applied(batch) as moved,
        ):
            terms = passes.loss(passes.model, moved)
            smooth = self.weight * divergence(target, seen[0], self.outputs)
            # Parameters that the logits do not need (further heads) must still take part in the
            # pass that averages over processes: DDP waits for all of them.
            rest = _scaled(terms, 0.0) if last and world_size() > 1 else {}
            passes.backward({"virtual_adversarial": smooth, **rest})
        return smooth


BY_NAME: Mapping[str, Callable[..., Step]] = {
    "plain": PlainStep,
    "fgm": FGM,
    "pgd": PGD,
    "freelb": FreeLB,
    "awp": AWP,
    "vat": VAT,
}


def divergence(target: Tensor, logits: Tensor, kind: str) -> Tensor:
    """Return KL(p || q) between two sets of logits, averaged over the batch."""
    target, logits = target.float(), logits.float()
    if kind == "categorical" and target.shape[1] > 1:  # one logit is a pair of classes: Bernoulli
        p, log_q = target.softmax(1), logits.log_softmax(1)
        return (p * (target.log_softmax(1) - log_q)).sum() / target.shape[0]
    p = target.sigmoid()
    positive = p * (nn.functional.logsigmoid(target) - nn.functional.logsigmoid(logits))
    negative = (1 - p) * (nn.functional.logsigmoid(-target) - nn.functional.logsigmoid(-logits))
    return (positive + negative).sum() / target.shape[0]


# --- passes -------------------------------------------------------------------------------------


def _perturbed_pass(
    passes: Passes,
    batch: Batch,
    attack: Attack,
    *,
    last: bool,
    freeze: bool = True,
    label: str = "adversarial_",
) -> Terms:
    with (
        freeze_batch_norm(passes.model, freeze),
        passes.synchronise(last),
        attack.applied(batch) as moved,
    ):
        terms = passes.loss(passes.model, moved)
        passes.backward(terms)
    return {f"{label}{name}": value.detach() for name, value in terms.items()}


def _without_attack(
    passes: Passes, batch: Batch, attack: Attack, terms: Terms, missing: Iterable[str]
) -> Terms:
    """Keep the clean gradients; where there are several processes, average them."""
    attack.keep_accumulated()
    if world_size() > 1:
        # Averaging happens in a backward pass, and the clean one could not know it was the last.
        nothing = replace(passes, backward=lambda t: passes.backward(_scaled(t, 0.0)))
        with freeze_batch_norm(passes.model):
            nothing.plain(batch, last=True)
    return terms | _zeros(missing, terms)


def _adversarial(terms: Terms) -> list[str]:
    return [f"adversarial_{name}" for name in terms]


def _zeros(names: Iterable[str], like: Terms) -> Terms:
    return dict.fromkeys(names, torch.zeros_like(next(iter(like.values())).detach()))


def _all_finite(gradients: Mapping[str, Tensor]) -> bool:
    finite = all(bool(torch.isfinite(gradient).all()) for gradient in gradients.values())
    return agree(finite)


def _keeps_statistics(model: nn.Module) -> bool:
    return any(getattr(module, "running_mean", None) is not None for module in model.modules())


def _scaled(terms: Terms, by: float) -> Terms:
    return {name: value * by for name, value in terms.items()}


@contextmanager
def _gradients_aside(model: nn.Module) -> Iterator[None]:
    """Set `.grad` aside, so that the body starts from none and leaves nothing behind."""
    saved = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in saved:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in saved:
            parameter.grad = gradient


@contextmanager
def _logits_of(model: nn.Module) -> Iterator[list[Tensor]]:
    seen: list[Tensor] = []
    hook = model.register_forward_hook(lambda _m, _i, output: seen.append(_logits(output)))
    try:
        yield seen
    finally:
        hook.remove()


def _logits(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    inner = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if inner is None and isinstance(output, list | tuple):
        inner = output
    if isinstance(inner, list | tuple):
        inner = inner[0]
    if not isinstance(inner, Tensor):
        raise RecipeError("step vat: the model returns no logits that it could compare")
    return inner


def _random_state() -> tuple[Tensor, list[Tensor]]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.get_rng_state(), cuda


def _set_random_state(state: tuple[Tensor, list[Tensor]]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
