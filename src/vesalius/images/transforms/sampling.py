"""Read an image and its mask along composed spatial steps: exactly where possible, else once.

The steps of `spatial.py` are composed here into one set of reading positions. Matrices are
multiplied, so any number of them costs one; a displacement field is added at the positions that
the later steps ask for.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

PADDING = {"border": "border", "reflect": "reflection", "zeros": "zeros"}


def resample_by(
    steps: Sequence[Any],
    image: "Tensor",
    *,
    mask: "Tensor | None",
    spacing: np.ndarray,
    padding: str,
    mask_fill: int | None,
    mask_interpolation: str,
) -> tuple["Tensor", "Tensor | None"]:
    """Return image and mask read along `steps` (matrices and `SplineField`s, first one first).

    Images are read linearly; masks take the nearest voxel, or the label with the largest linear
    weight. Where the steps only permute and mirror axes no value is interpolated.
    """
    size = tuple(image.shape[1:])
    if all(isinstance(step, np.ndarray) for step in steps):
        matrix = np.linalg.multi_dot([np.eye(len(size)), *steps, np.eye(len(size))])
        exact = signed_permutation(matrix, size, spacing)
        if exact is not None:
            moved = _permute(image, *exact, lead=1)
            return moved, None if mask is None else _permute(mask, *exact, lead=0)
    positions = reading_positions(steps, size, spacing)
    moved = sample_linear(image, positions, spacing, padding)
    if mask is None:
        return moved, None
    read = sample_labels if mask_interpolation == "linear" else sample_nearest
    return moved, read(mask, positions, spacing, padding, mask_fill)


def signed_permutation(
    matrix: np.ndarray, size: Sequence[int], spacing: np.ndarray
) -> tuple[list[int], list[int]] | None:
    """Return (order of axes, axes to mirror) where `matrix` moves voxels onto voxels, else None."""
    whole = np.rint(matrix)
    if not np.allclose(matrix, whole, atol=1e-9) or not (np.abs(whole).sum(axis=0) == 1).all():
        return None
    order = [int(axis) for axis in np.abs(whole).argmax(axis=0)]
    if any(size[a] != size[b] or spacing[a] != spacing[b] for b, a in enumerate(order)):
        return None
    return order, [b for b, a in enumerate(order) if whole[a, b] < 0]


def _permute(tensor: "Tensor", order: list[int], mirrored: list[int], *, lead: int) -> "Tensor":
    if not mirrored and order == sorted(order):
        return tensor
    moved = tensor.permute(*range(lead), *[axis + lead for axis in order])
    return moved.flip([axis + lead for axis in mirrored]).contiguous()


def reading_positions(steps: Sequence[Any], size: Sequence[int], spacing: np.ndarray) -> "Tensor":
    """Return where each output voxel is read: `(*size, D)` in mm from the image's centre.

    A later step is asked first: output = step_n(... step_1(input)), so a position travels from
    the last step to the first.
    """
    import torch

    axes = [
        torch.from_numpy((np.arange(n) - (n - 1) / 2) * step).float()
        for n, step in zip(size, spacing, strict=True)
    ]
    positions = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    pending, on_grid = np.eye(len(size)), True
    for step in reversed(steps):
        if isinstance(step, np.ndarray):
            pending = step @ pending
            continue
        on_grid = on_grid and np.array_equal(pending, np.eye(len(size)))
        positions = _multiply(positions, pending)
        field = torch.from_numpy(step.displacement(size, spacing))
        # The field is known at voxel centres; positions off the grid read it linearly.
        shift = field if on_grid else sample_linear(field, positions, spacing, "border")
        positions = positions + shift.movedim(0, -1)
        pending, on_grid = np.eye(len(size)), False
    return _multiply(positions, pending)


def _multiply(positions: "Tensor", matrix: np.ndarray) -> "Tensor":
    import torch

    if np.array_equal(matrix, np.eye(len(matrix))):
        return positions
    return positions @ torch.from_numpy(matrix.T.copy()).float()


def sample_linear(
    image: "Tensor", positions: "Tensor", spacing: np.ndarray, padding: str
) -> "Tensor":
    """Read `image` `(C, *size)` linearly at `positions` in mm from its centre."""
    import torch
    import torch.nn.functional as F

    extent = torch.tensor([n * s for n, s in zip(image.shape[1:], spacing, strict=True)])
    # Without align_corners -1 and 1 are the outer edges of the outer voxels: half the extent.
    grid = (2 * positions / extent.float()).flip(-1)
    return F.grid_sample(
        image[None], grid[None], mode="bilinear", padding_mode=PADDING[padding],
        align_corners=False,
    )[0]  # fmt: skip


def sample_nearest(
    mask: "Tensor", positions: "Tensor", spacing: np.ndarray, padding: str, fill: int | None
) -> "Tensor":
    """Read the nearest label; beyond the edge `fill`, or as `padding` says where it is None.

    Integers of any size stay exact.
    """
    import torch

    fill = 0 if fill is None and padding == "zeros" else fill
    flat, inside = torch.zeros(mask.shape, dtype=torch.int64), torch.ones(mask.shape, dtype=bool)
    for axis, n in enumerate(mask.shape):
        index = torch.round(positions[..., axis] / float(spacing[axis]) + (n - 1) / 2).long()
        inside &= (index >= 0) & (index < n)
        if padding == "reflect":
            index = torch.minimum(index % (2 * n), 2 * n - 1 - index % (2 * n))
        flat = flat * n + index.clamp(0, n - 1)
    labels = mask.reshape(-1)[flat]
    return labels if fill is None else torch.where(inside, labels, torch.full_like(labels, fill))


def sample_labels(
    mask: "Tensor", positions: "Tensor", spacing: np.ndarray, padding: str, fill: int | None
) -> "Tensor":
    """Read each label's indicator linearly and keep the label with the largest weight.

    Beyond the edge the missing weight belongs to `fill`; where that is None the indicators are
    continued as `padding` says.
    """
    import torch

    padding = "zeros" if fill is not None else padding
    fill = 0 if fill is None else fill
    best_label = torch.full_like(mask, fill)
    best, total = torch.zeros(mask.shape), torch.zeros(mask.shape)
    for label in torch.unique(mask).tolist():
        if label == fill:
            continue
        weight = sample_linear((mask == label).float()[None], positions, spacing, padding)[0]
        best_label = torch.where(weight > best, torch.full_like(mask, label), best_label)
        best, total = torch.maximum(best, weight), total + weight
    return torch.where(1 - total >= best, torch.full_like(mask, fill), best_label)
