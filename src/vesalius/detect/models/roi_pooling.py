"""Pool RoIs from the level of the pyramid that fits their size.

Lin et al. 2017 (FPN), equation 1: a RoI of 224 pixels, ImageNet's image, belongs to the level at
stride 16, one of half the side to the level before. Level borders are torchvision's, to the float.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vesalius.detect import boxes as box_functions
from vesalius.detect.models.roi_sampling import sampled_align
from vesalius.detect.roi import roi_align, roi_pool
from vesalius.errors import RecipeError

CANONICAL_STRIDE = 16
METHODS = ("align", "pool")


class PyramidPooling(nn.Module):
    """RoI Align (He et al. 2017) or RoI pooling (Girshick 2015) over one level or several.

    Args:
        output_size: bins per side of a RoI.
        strides: pixels per element of the levels, finest first.
        dims: 2 or 3.
        method: "align" (samples without half-pixel offset, as torchvision's detectors) or "pool".
        sampling_ratio: samples per bin and axis of RoI Align; 0 or less for as many as elements.
        canonical_size: side in pixels of a RoI that belongs to stride 16.
    """

    def __init__(
        self,
        output_size: int,
        *,
        strides: Sequence[int],
        dims: int,
        method: str = "align",
        sampling_ratio: int = 2,
        canonical_size: float = 224.0,
    ):
        super().__init__()
        self.output_size = (output_size,) * dims
        self.strides = tuple(strides)
        self.dims = dims
        self.method = method
        self.sampling_ratio = sampling_ratio
        self.canonical_size = canonical_size

    def levels(self, boxes: Tensor) -> Tensor:
        """Return the index of the level that every box (N, 2 * dims) belongs to, (N,) int64."""
        areas = box_functions.area(boxes)
        sides = areas.sqrt() if self.dims == 2 else areas ** (1 / self.dims)
        canonical = math.log2(CANONICAL_STRIDE)
        # The 1e-6 puts a side of exactly 112, 224, ... on the coarser side of the border.
        exact = torch.floor(canonical + torch.log2(sides / self.canonical_size) + 1e-6)
        finest = int(math.log2(self.strides[0]))
        return exact.clamp(finest, finest + len(self.strides) - 1).to(torch.int64) - finest

    def forward(self, maps: Sequence[Tensor], boxes: Tensor, owners: Tensor) -> Tensor:
        """Return (N, C, *output_size).

        Args:
            maps: one (B, C, *shape) for each stride.
            boxes: (N, 2 * dims) in pixels.
            owners: (N,) int64, the image of the batch that each box is of.
        """
        if torch.compiler.is_exporting() and self.method == "align":
            return self._sampled(maps, boxes, owners)
        rois = torch.cat([owners[:, None].to(boxes.dtype), boxes], dim=1)
        if len(self.strides) == 1:
            return self._pool(maps[0], rois, self.strides[0])
        levels = self.levels(boxes)
        chosen = [torch.nonzero(levels == level).flatten() for level in range(len(self.strides))]
        # Levels without a RoI too, so that every weight has a gradient, if of zero.
        parts = [
            self._pool(features, rois[indices], stride)
            for features, indices, stride in zip(maps, chosen, self.strides, strict=False)
        ]
        return torch.cat(parts)[torch.cat(chosen).argsort()]

    def _sampled(self, maps: Sequence[Tensor], boxes: Tensor, owners: Tensor) -> Tensor:
        if self.sampling_ratio < 1:
            raise RecipeError("For export, sampling_ratio must be at least 1.")
        several = len(self.strides) > 1
        return sampled_align(
            maps,
            boxes,
            owners,
            self.levels(boxes) if several else torch.zeros_like(owners),
            strides=self.strides,
            bins=self.output_size,
            ratio=self.sampling_ratio,
        )

    def _pool(self, features: Tensor, rois: Tensor, stride: int) -> Tensor:
        if self.method == "pool":
            return roi_pool(features, rois, self.output_size, spatial_scale=1 / stride)
        return roi_align(
            features,
            rois,
            self.output_size,
            spatial_scale=1 / stride,
            sampling_ratio=self.sampling_ratio,
        )
