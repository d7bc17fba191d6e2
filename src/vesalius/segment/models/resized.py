"""The 3 x 3 convolution of a map that is interpolated to a finer size, without the fine map.

U-Net 3+ interpolates coarser maps and then convolves them 3 x 3 at the fine size. Both are linear,
so the nine (in 3D twenty-seven) taps' products can be formed at the coarse size, by a 1 x 1
convolution, and interpolated, shifted and added afterwards, one axis at a time. That is exact up to
rounding, at the borders too, and needs neither the fine-size multiply-adds of the convolution nor
the interpolated copy of a map with hundreds of channels.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesalius.segment.models.blocks import resize

TILE = 32
"""Pixels of the fine axis made by one matrix product: larger ones multiply more zeros, smaller ones
are more calls."""


class ResizingConvolution(nn.Module):
    """Mixin: a 3 x 3 (x 3) convolution, padded by 1, of its input interpolated to a size.

    Equal to `convolution(resize(x, size))`. Where the size is larger than the map along every axis,
    the interpolation comes after the products, see the module. Not where a graph is captured
    (torch.compile, export): plain operations are what compilers and ONNX know.
    """

    def forward(self, x: Tensor, size: Sequence[int] | None = None) -> Tensor:
        size = x.shape[2:] if size is None else size
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return super().forward(resize(x, size))
        growing = all(low <= high for low, high in zip(x.shape[2:], size, strict=True))
        if tuple(size) == tuple(x.shape[2:]) or not growing:
            return super().forward(resize(x, size))
        return convolve_resized(x, size, self.weight, self.bias)


class ResizingConv2d(ResizingConvolution, nn.Conv2d):
    """Of images; options as of `nn.Conv2d`."""


class ResizingConv3d(ResizingConvolution, nn.Conv3d):
    """Of volumes; options as of `nn.Conv3d`."""


RESIZING_CONVOLUTIONS = {2: ResizingConv2d, 3: ResizingConv3d}
POINTWISE = {2: F.conv2d, 3: F.conv3d}


def convolve_resized(x: Tensor, size: Sequence[int], weight: Tensor, bias: Tensor) -> Tensor:
    """Return the convolution, padded by 1, of x interpolated linearly to a size.

    Args:
        x: (B, C, *low).
        size: as long as `low` and nowhere smaller.
        weight: (K, C, 3, 3) or (K, C, 3, 3, 3).
        bias: (K,).

    Returns:
        (B, K, *size), channels innermost in memory.
    """
    batch, dims, width = x.shape[0], x.ndim - 2, weight.shape[0]
    taps = weight.permute(*range(2, 2 + dims), 0, 1).reshape(-1, x.shape[1], *[1] * dims)
    products = POINTWISE[dims](x, taps).movedim(1, -1).unflatten(-1, (*[3] * dims, width))
    # Each axis beside its taps: both are summed over by one matrix, axis by axis.
    pairs = chain.from_iterable((axis, axis + dims) for axis in range(1, 1 + dims))
    products = products.permute(0, *pairs, 1 + 2 * dims).contiguous()
    done = batch
    for low, high in zip(x.shape[2:], size, strict=True):
        products = _AxisResize.apply(products.view(done, 3 * low, -1), low, high, False)
        done *= high
    return products.view(batch, *size, width).add_(bias).movedim(-1, 1)


class _AxisResize(torch.autograd.Function):
    """(N, 3 low, M) products of the taps -> (N, high, M) sums, or with `adjoint` the transpose.

    A linear map with constant coefficients: backward needs no saved tensor.
    """

    @staticmethod
    def forward(ctx, x: Tensor, low: int, high: int, adjoint: bool) -> Tensor:
        ctx.arguments = (low, high, not adjoint)
        # Tiles of the coarse axis overlap and are added up; those of the fine axis fill it.
        new = x.new_zeros if adjoint else x.new_empty
        out = new(len(x), 3 * low if adjoint else high, x.shape[2])
        # Fake tensors (of shape inference) must not find their way into the cache.
        tiles = _tiles if type(x) is Tensor else _tiles.__wrapped__
        for fine, coarse, matrix in tiles(low, high, x.dtype, x.device):
            if adjoint:
                out[:, coarse] += matrix.T @ x[:, fine]
            else:
                out[:, fine] = matrix @ x[:, coarse]
        return out

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _AxisResize.apply(gradient.contiguous(), *ctx.arguments), None, None, None


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _tiles(
    low: int, high: int, dtype: torch.dtype, device: torch.device
) -> list[tuple[slice, slice, Tensor]]:
    """Return (fine pixels, coarse pixels times taps, coefficients) of the tiles of an axis.

    Kept on the device: bringing them there in each step would make it wait.
    """
    matrix = _coefficients(low, high)
    tiles = []
    for start in range(0, high, TILE):
        rows = matrix[start : start + TILE]
        used = np.flatnonzero(rows.any(axis=(0, 2)))
        first, last = used[0], used[-1] + 1
        block = rows[:, first:last].reshape(len(rows), -1)
        block = torch.as_tensor(block, dtype=dtype, device=device)
        tiles.append((slice(start, start + TILE), slice(3 * first, 3 * last), block))
    return tiles


def _coefficients(low: int, high: int) -> np.ndarray:
    """Return (high, low, 3): the weight of coarse pixel j in pixel i + t - 1 of the interpolated
    axis, 0 where that pixel is in the convolution's padding."""
    fine = np.arange(high)
    position = np.maximum((fine + 0.5) * low / high - 0.5, 0)
    left = np.minimum(position.astype(int), low - 1)
    padded = np.zeros((high + 2, low))
    np.add.at(padded, (fine + 1, left), 1 - (position - left))
    np.add.at(padded, (fine + 1, np.minimum(left + 1, low - 1)), position - left)
    return np.stack([padded[tap : tap + high] for tap in range(3)], axis=2)
