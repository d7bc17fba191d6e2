"""Anchors: the boxes of fixed shapes that a region-proposal network starts from.

Ren et al. 2015 (Faster R-CNN, arXiv:1506.01497), section 3.1.1. At every element of a feature map
stand the same cell anchors. Their order is torchvision's: elements in array order, at each the
aspect ratios, within each the sizes; in volumes the depth ratios come outermost.

Boxes are corners (x1, y1, x2, y2) or (x1, y1, z1, x2, y2, z2) in pixels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vesalius.errors import RecipeError


def cell_anchors(
    sizes: Sequence[float],
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    *,
    depth_ratios: Sequence[float] | None = None,
    rounded: bool = False,
) -> Tensor:
    """Return the anchors of one element, centred on the origin.

    Args:
        sizes: square roots of the areas in the x-y plane, in pixels.
        aspect_ratios: height over width; the area in the plane is kept.
        depth_ratios: depth over size, for volumes; None for images.
        rounded: round corners to whole pixels, halves to even, as torchvision does. Anchors of a
            few pixels lose their shape by it.

    Returns:
        (A, 4) or, with depth ratios, (A, 6), float32.
    """
    areas = torch.tensor(sizes, dtype=torch.float32)
    heights = torch.tensor(aspect_ratios, dtype=torch.float32).sqrt()
    w = (1 / heights)[:, None].mul(areas).flatten()
    h = heights[:, None].mul(areas).flatten()
    sides = torch.stack([w, h], dim=1)
    if depth_ratios is not None:
        planes = len(aspect_ratios)
        depths = [areas.repeat(planes) * ratio for ratio in depth_ratios]
        sides = torch.cat([torch.cat([sides, depth[:, None]], dim=1) for depth in depths])
    corners = torch.cat([-sides, sides], dim=1) / 2
    return corners.round() if rounded else corners


def caffe_cell_anchors(
    *,
    base: int = 16,
    scales: Sequence[float] = (8, 16, 32),
    aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
) -> Tensor:
    """Return the anchors of the authors' code (py-faster-rcnn), (A, 4) float32.

    There a box (x1, y1, x2, y2) includes its last pixel and the cell is the base x base square at
    the origin; here the second corner is one further, as everywhere in this package. The list in
    that code, which begins with -83, -39, 100, 56, is MATLAB's and counts pixels from 1: here its
    first anchor is -84, -40, 100, 56.
    """
    centre = (base - 1) / 2
    boxes = []
    for ratio in aspect_ratios:
        width = round(math.sqrt(base * base / ratio))
        height = round(width * ratio)
        for scale in scales:
            half_w, half_h = (width * scale - 1) / 2, (height * scale - 1) / 2
            corners = (centre - half_w, centre - half_h, centre + half_w, centre + half_h)
            boxes.append((corners[0], corners[1], corners[2] + 1, corners[3] + 1))
    return torch.tensor(boxes, dtype=torch.float32)


def grid_anchors(cells: Tensor, shape: Sequence[int], strides: Sequence[int]) -> Tensor:
    """Return cell anchors (A, 2 * dims) repeated at every element of a map.

    Args:
        cells: one element's anchors.
        shape: the map's shape, (h, w) or (d, h, w).
        strides: pixels between elements along each axis of the array.

    Returns:
        (prod(shape) * A, 2 * dims), elements in array order, the A anchors of one side by side.
    """
    steps = [
        torch.arange(side, dtype=cells.dtype, device=cells.device) * stride
        for side, stride in zip(shape, strides, strict=True)
    ]
    origins = torch.stack(torch.meshgrid(*steps, indexing="ij")[::-1], dim=-1)
    origins = origins.reshape(-1, 1, len(steps)).repeat(1, 1, 2)
    return (origins + cells).reshape(-1, cells.shape[1])


class AnchorGenerator(nn.Module):
    """The anchors of all levels of a pyramid.

    Args:
        sizes: for every level its sizes in pixels; or one tuple of numbers, one size a level.
        strides: pixels per element of every level's map.
        aspect_ratios: height over width, for all levels.
        depth_ratios: depth over size, for volumes; None for images.
        rounded: see `cell_anchors`.
        fitted_strides: compute strides from image and map, side // elements, as torchvision does.
            They differ from the true ones where a side is no multiple of the deepest stride:
            an image of 800 pixels has 13 elements at stride 64, hence 61. Weights that were
            trained so need them.
        cells: for every level its anchors (A, 2 * dims), instead of sizes and ratios.

    Raises:
        RecipeError: as many sizes as levels are missing, or one is not positive.
    """

    def __init__(
        self,
        *,
        strides: Sequence[int],
        sizes: Sequence[float | Sequence[float]] = (),
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        depth_ratios: Sequence[float] | None = None,
        rounded: bool = False,
        fitted_strides: bool = False,
        cells: Sequence[Tensor] | None = None,
    ):
        super().__init__()
        self.strides = tuple(strides)
        self.fitted_strides = fitted_strides
        if cells is None:
            levels = [
                (level,) if isinstance(level, int | float) else tuple(level) for level in sizes
            ]
            _check(levels, aspect_ratios, depth_ratios, strides=self.strides)
            cells = [
                cell_anchors(level, aspect_ratios, depth_ratios=depth_ratios, rounded=rounded)
                for level in levels
            ]
        if len({len(level) for level in cells}) != 1:
            raise RecipeError(
                "Every level needs as many anchors as the others; one head is shared."
            )
        for index, level in enumerate(cells):
            # Made anew from the recipe, so they do not belong into a state dict.
            self.register_buffer(f"cells_{index}", level, persistent=False)

    @property
    def per_element(self) -> int:
        """How many anchors stand at one element."""
        return len(self.cells_0)

    def forward(self, maps: Sequence[Tensor], size: Sequence[int]) -> list[Tensor]:
        """Return the anchors of every level, (N_level, 2 * dims).

        Args:
            maps: feature maps (B, C, *shape), one a level.
            size: the batch's spatial size in pixels, padding included.
        """
        anchors = []
        for index, features in enumerate(maps):
            shape = features.shape[2:]
            strides = [self.strides[index]] * len(shape)
            if self.fitted_strides:
                strides = [side // count for side, count in zip(size, shape, strict=True)]
            anchors.append(grid_anchors(getattr(self, f"cells_{index}"), shape, strides))
        return anchors


def _check(levels: list, aspect_ratios, depth_ratios, *, strides: tuple[int, ...]) -> None:
    if len(levels) != len(strides):
        raise RecipeError(
            f"anchor_sizes has {len(levels)} levels; the network has {len(strides)}, with the "
            f"strides {', '.join(map(str, strides))}. Give one size, or a list of them, for each."
        )
    numbers = [*(size for level in levels for size in level), *aspect_ratios, *(depth_ratios or ())]
    if not all(levels) or not all(number > 0 for number in numbers):
        raise RecipeError("anchor sizes and ratios must be positive numbers, at least one a level.")
