"""FAVOR+: attention with positive orthogonal random features, linear in the number of tokens.

Choromanski et al. 2021, "Rethinking Attention with Performers": softmax(q k / sqrt(d)) is
approximated by phi(q) phi(k) with phi(x) = exp(w x' - |x'|^2 / 2) / sqrt(m), x' = x / d^(1/4)
(lemma 1), and the rows w are orthogonal within blocks of d (section 2.4), with the lengths of
Gaussian vectors.

What differs from common releases: padding is taken out of the keys' features, so it enters neither
the sum nor the normaliser, and not out of the values alone; the features are a pure function of
(seed, number of the draw), so that two integers are the whole state, a resumed run draws the same,
and averages of weights (EMA, SWA) leave them alone.

The approximation is good for small |q| and |k| only. Where attention is sharp, as in pretrained
encoders, the estimate degenerates towards the plain mean of the values: train with it from scratch.
"""

import math

import torch
from torch import Tensor


def orthogonal_features(width: int, features: int, *, seed: int) -> Tensor:
    """Draw m = `features` directions (m, width), float32: orthogonal in blocks of `width`.

    Each row has the length of a Gaussian vector of its own. Drawn on the CPU, so that every device
    and process gets the same.
    """
    generator = torch.Generator().manual_seed(seed)
    blocks = []
    for _ in range(math.ceil(features / width)):
        square = torch.randn(width, width, generator=generator)
        orthogonal, triangle = torch.linalg.qr(square)
        # The sign makes the distribution uniform (Mezzadri 2007, section 5).
        blocks.append((orthogonal * triangle.diagonal().sign()).T)
    lengths = torch.randn(features, width, generator=generator).norm(dim=1)
    return torch.cat(blocks)[:features] * lengths[:, None]


def favor_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor,
    directions: Tensor,
    *,
    epsilon: float = 1e-4,
) -> Tensor:
    """Return the attended values (B, H, T, D), in the values' type.

    Args:
        queries: (B, H, T, D), not yet scaled.
        keys: (B, H, T, D).
        values: (B, H, T, D).
        mask: bool (B, T), true on real tokens.
        directions: (m, D) of `orthogonal_features`.
        epsilon: added to every feature: a floor under the normaliser, and a pull to the mean.
    """
    with torch.autocast(values.device.type, enabled=False):  # exponentials need float32
        return _favor(queries, keys, values.float(), mask, directions, epsilon).to(values.dtype)


def _favor(queries, keys, values, mask, directions, epsilon) -> Tensor:
    real = mask[:, None, :, None]
    queries, keys = _exponents(queries, directions), _exponents(keys, directions)
    # Any constant per query, and one per head for all keys, cancels in the quotient.
    queries = queries - queries.amax(-1, keepdim=True).detach()
    keys = keys.masked_fill(~real, float("-inf"))
    highest = keys.amax((-2, -1), keepdim=True).detach()
    keys = keys - highest.clamp_min(torch.finfo(keys.dtype).min)
    queries = queries.exp() + epsilon
    keys = torch.where(real, keys.exp() + epsilon, 0.0)
    seen = torch.where(real, values, 0.0)
    # A column of ones beside the values gives the normaliser in the same product.
    summed = keys.transpose(-2, -1) @ torch.cat([seen, torch.ones_like(seen[..., :1])], -1)
    attended = queries @ summed
    floor = torch.finfo(torch.float32).tiny
    return attended[..., :-1] / attended[..., -1:].clamp_min(floor)


def _exponents(vectors: Tensor, directions: Tensor) -> Tensor:
    """Return w x' - |x'|^2 / 2 in float32 (B, H, T, m)."""
    scaled = vectors.float() * vectors.shape[-1] ** -0.25
    return scaled @ directions.T - scaled.square().sum(-1, keepdim=True) / 2


class FeatureDraws(torch.nn.Module):
    """Random directions for every layer, drawn anew after `every` training passes.

    Args:
        layers: number of layers, each with directions of its own.
        width: width of a head.
        features: directions per layer; None: width x ln(width), the paper's theory.
        every: training passes between draws; 0 keeps the first.
        seed: number that all draws follow from.
    """

    def __init__(self, layers: int, width: int, *, features: int | None, every: int, seed: int):
        super().__init__()
        self.layers, self.width, self.every = layers, width, every
        self.features = features or max(1, round(width * math.log(width)))
        self.register_buffer("seed", torch.tensor(seed))
        self.register_buffer("passes", torch.tensor(0))
        self._drawn: tuple[tuple, list[Tensor]] | None = None

    def forward(self, device: torch.device) -> list[Tensor]:
        """Return (m, width) for each layer; in training this counts as a pass."""
        passes, seed = int(self.passes), int(self.seed)
        if self.training:
            self.passes += 1
        key = (seed, passes // self.every if self.every else 0, device)
        if self._drawn is None or self._drawn[0] != key:
            first = (seed * 1_000_003 + key[1]) * self.layers
            drawn = [
                orthogonal_features(self.width, self.features, seed=first + layer).to(device)
                for layer in range(self.layers)
            ]
            self._drawn = (key, drawn)
        return self._drawn[1]
