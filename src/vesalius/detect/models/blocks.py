"""Layers that all detection networks share: convolution units and normalisations."""

import math

import torch
from torch import Tensor, nn

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED_CONVOLUTIONS = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class FrozenBatchNorm(nn.Module):
    """Batch normalisation whose statistics, scale and shift are constants, for any dimension.

    Args:
        channels: channels of the maps.
        eps: added to the variance. torchvision's COCO weights of the first version were made with
            0, everything since with 1e-5.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    @classmethod
    def of(cls, norm: nn.Module) -> "FrozenBatchNorm":
        """Return a frozen copy of a batch normalisation."""
        frozen = cls(norm.num_features, eps=norm.eps)
        with torch.no_grad():
            for name in ("weight", "bias", "running_mean", "running_var"):
                getattr(frozen, name).copy_(getattr(norm, name))
        return frozen

    def forward(self, x: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (x.ndim - 2))
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.view(shape).to(x.dtype) + shift.view(shape).to(x.dtype)


def norm_layer(norm: str, channels: int, *, dims: int) -> nn.Module:
    """Return "batch", "frozen" or "group" normalisation (Wu and He 2018, at most 32 groups)."""
    if norm == "batch":
        return BATCH_NORMS[dims](channels)
    if norm == "frozen":
        return FrozenBatchNorm(channels)
    return nn.GroupNorm(math.gcd(32, channels), channels)


def conv_unit(
    in_channels: int,
    out_channels: int,
    *,
    kernel: int = 3,
    norm: str | None = None,
    activation: bool = True,
    dims: int,
) -> nn.Sequential:
    """Return a convolution that keeps the size, a normalisation or a bias, and a ReLU or none."""
    layers = [
        CONVOLUTIONS[dims](
            in_channels, out_channels, kernel, padding=kernel // 2, bias=norm is None
        )
    ]
    if norm is not None:
        layers.append(norm_layer(norm, out_channels, dims=dims))
    if activation:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def replace_batch_norms(module: nn.Module, norm: str) -> None:
    """Replace every batch normalisation inside `module` by its frozen copy or by groups."""
    for name, child in module.named_children():
        if isinstance(child, tuple(BATCH_NORMS.values())):
            fresh = (
                FrozenBatchNorm.of(child)
                if norm == "frozen"
                else nn.GroupNorm(math.gcd(32, child.num_features), child.num_features)
            )
            setattr(module, name, fresh)
        else:
            replace_batch_norms(child, norm)
