"""wordMixup and sentMixup (Guo, Mao and Zhang 2019), for use inside a training step.

Both make a virtual example of two real ones, `share * a + (1 - share) * b` with
`share ~ Beta(alpha, alpha)`, and mix the multi-label targets alike. wordMixup mixes the word
embeddings position by position, sentMixup the sentence vectors before the classifier.

Differences from the paper: padding is masked to zero before it is mixed (the paper's embeddings
of padding are zero already), the mixed record is as long as the longer of the two, and each
record may draw a share of its own. The draws come from a numpy generator, as in the engine, so
that a resumed run draws the same.

    mixture = draw(len(targets), rng=rng)
    with mixing(model.get_input_embeddings(), mixture, mask=inputs["mask"]):   # wordMixup
        logits = model(mixture.inputs(inputs))
    mixture.loss(loss, logits, targets).backward()

With sentMixup the module is the one that gives the sentence vector, and no mask is needed.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vesalius.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Mixture:
    """Who is mixed with whom, and in which proportion.

    Attributes:
        shares: float64 (B,) in [0, 1], what remains of each record itself.
        partners: int64 (B,), the record that the rest comes from.
    """

    shares: np.ndarray
    partners: np.ndarray

    def mix(self, values: "Tensor") -> "Tensor":
        """Return `shares * values + (1 - shares) * values[partners]` for float (B, ...)."""
        self._check(values)
        if not values.is_floating_point():
            raise RecipeError(
                f"mixup mixes float tensors; these are {values.dtype}. Convert them with .float()"
            )
        shares = values.new_tensor(self.shares).view(-1, *[1] * (values.dim() - 1))
        return shares * values + (1 - shares) * self._of_partners(values)

    def mask(self, mask: "Tensor") -> "Tensor":
        """Return bool (B, T), true where either of the two records has a token."""
        self._check(mask)
        return mask | self._of_partners(mask)

    def inputs(self, inputs: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """Return a model's inputs with "mask" joined; tokens and fields stay those of `shares`."""
        return {**inputs, "mask": self.mask(inputs["mask"])}

    def loss(
        self, loss: "Callable[[Tensor, Tensor], Tensor]", logits: "Tensor", targets: "Tensor"
    ) -> "Tensor":
        """Return `share * loss(logits, own) + (1 - share) * loss(logits, partner's)`.

        For losses that are linear in the targets (cross-entropies) this is the loss against mixed
        targets; ranking and F1 losses need 0/1 targets and are right only this way.

        Raises:
            RecipeError: the records have different shares, which a mean over them cannot weigh.
        """
        self._check(targets)
        share = float(self.shares[0])
        if not np.all(self.shares == share):
            raise RecipeError(
                "the records have shares of their own; mix the targets, `loss(logits, "
                "mixture.mix(targets))`, or draw one share for the batch"
            )
        return share * loss(logits, targets) + (1 - share) * loss(
            logits, self._of_partners(targets)
        )

    def _of_partners(self, values: "Tensor") -> "Tensor":
        import torch

        return values[torch.from_numpy(self.partners).to(values.device)]

    def _check(self, values: "Tensor") -> None:
        if len(values) != len(self.shares):
            raise RecipeError(f"a mixture of {len(self.shares)} records met {len(values)}")


def draw(
    size: int, *, rng: np.random.Generator, alpha: float = 1.0, per_record: bool = False
) -> Mixture:
    """Draw partners and shares for a batch.

    Args:
        size: records in the batch.
        rng: where the draws come from.
        alpha: of Beta(alpha, alpha), > 0; 1 (uniform) is the paper's.
        per_record: a share for each record; else one for the batch.
    """
    if not alpha > 0:
        raise RecipeError(f"mixup's alpha must be greater than 0; it is {alpha}")
    shares = rng.beta(alpha, alpha, size=size if per_record else 1)
    partners = rng.permutation(size)
    return Mixture(np.broadcast_to(shares, (size,)).copy(), partners)


def word_mixup(
    embeddings: "Tensor",
    mask: "Tensor",
    targets: "Tensor",
    *,
    rng: np.random.Generator,
    alpha: float = 1.0,
    per_record: bool = False,
) -> "tuple[Tensor, Tensor, Tensor]":
    """Mix word embeddings (Guo et al. 2019, equations 1 and 2).

    Args:
        embeddings: float (B, T, D).
        mask: bool (B, T), true on real tokens.
        targets: float (B, labels).
        rng, alpha, per_record: as for `draw`.

    Returns:
        Mixed embeddings (B, T, D), joined mask (B, T), mixed targets (B, labels).
    """
    mixture = draw(len(embeddings), rng=rng, alpha=alpha, per_record=per_record)
    return _mix_words(embeddings, mask, mixture), mixture.mask(mask), mixture.mix(targets)


def sent_mixup(
    vectors: "Tensor",
    targets: "Tensor",
    *,
    rng: np.random.Generator,
    alpha: float = 1.0,
    per_record: bool = False,
) -> "tuple[Tensor, Tensor]":
    """Mix sentence vectors float (B, D) and targets float (B, labels) (equations 3 and 4)."""
    mixture = draw(len(vectors), rng=rng, alpha=alpha, per_record=per_record)
    return mixture.mix(vectors), mixture.mix(targets)


@contextmanager
def mixing(
    module: "nn.Module", mixture: Mixture, *, mask: "Tensor | None" = None
) -> Iterator[None]:
    """Mix what `module` puts out for as long as the body runs.

    Args:
        module: `model.get_input_embeddings()` for wordMixup; for sentMixup the module whose
            output is the sentence vector (B, D).
        mixture: from `draw`.
        mask: bool (B, T) of the unmixed batch; padding is zeroed before it is mixed.

    Raises:
        RecipeError: the body ended without the module being called: nothing was mixed.
    """
    calls = 0

    def hook(_module: Any, _inputs: Any, output: "Tensor") -> "Tensor":
        nonlocal calls
        calls += 1
        return mixture.mix(output) if mask is None else _mix_words(output, mask, mixture)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
    if not calls:
        raise RecipeError(
            f"mixup: {type(module).__name__} was not called, so nothing was mixed. Name the module "
            "that embeds the words, model.get_input_embeddings(), or gives the sentence vector."
        )


def _mix_words(embeddings: "Tensor", mask: "Tensor", mixture: Mixture) -> "Tensor":
    return mixture.mix(embeddings * mask.unsqueeze(-1).to(embeddings.dtype))
