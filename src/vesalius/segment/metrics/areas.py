"""Length or area of the surface in a neighbourhood of 2 x 2 (x 2) voxels, for every such.

Derived from the geometry, not copied: the surface cuts each edge between a corner inside and one
outside in its middle, corners inside that share no edge are cut off one by one, pieces that are not
plane are split into triangles as in marching cubes (Lorensen and Cline 1987), and inside and
outside are alike. The values equal the tables of surface-distance (Nikolov et al. 2021).
"""

from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=32)
def surface_areas(spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the length or area of the surface in a neighbourhood, by its code."""
    dims = len(spacing)
    corners = list(product((0, 1), repeat=dims))
    table = np.zeros(1 << len(corners))
    for code in range(len(table)):
        inside = [c for c in corners if code >> sum(x << a for a, x in enumerate(c)) & 1]
        # The surface of the rest is the same; with at most half of the corners the
        # pieces around corners that share no edge never touch.
        if len(inside) > len(corners) // 2:
            inside = [c for c in corners if c not in inside]
        pieces = [piece for part in _connected(inside) for piece in _pieces(part, dims)]
        table[code] = sum(_size(piece, spacing) for piece in pieces)
    return table


def _size(piece: NDArray, spacing: tuple[float, ...]) -> float:
    """Return the size of a surface piece of the unit cube after stretching by the spacing."""
    stretched = piece * np.prod(spacing) / np.array(spacing)
    return float(np.linalg.norm(stretched))


def _connected(corners: list[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """Split corners into groups that are joined by edges of the cube."""
    groups: list[list[tuple[int, ...]]] = []
    for corner in corners:
        near = [g for g in groups if any(_along(corner, other) is not None for other in g)]
        groups = [g for g in groups if g not in near] + [[corner, *(c for g in near for c in g)]]
    return groups


def _along(one: tuple[int, ...], other: tuple[int, ...]) -> int | None:
    """Return the axis of the edge between two corners, None if they share none."""
    axes = [a for a, (x, y) in enumerate(zip(one, other, strict=True)) if x != y]
    return axes[0] if len(axes) == 1 else None


def _pieces(part: list[tuple[int, ...]], dims: int) -> list[NDArray]:
    """Return the pieces around joined corners: for each its projections onto the axes' planes.

    In 2D, lengths take the place of areas. Pieces that are not plane are cut into triangles as
    marching cubes does.
    """
    edges = [(a, b) for i, a in enumerate(part) for b in part[:i] if _along(a, b) is not None]
    axes = [_along(a, b) for a, b in edges]
    ones = np.ones(dims)
    across = {axis: ones - np.eye(dims)[axis] for axis in range(dims)}
    if len(part) == 1:
        return [ones / (2 if dims == 2 else 8)]
    if len(part) == 2:
        return [across[axes[0]] / (1 if dims == 2 else 2)]
    if len(edges) == 4:
        return [ones - across[(set(range(dims)) - set(axes)).pop()]]
    if len(part) == 3:
        normal = np.eye(dims)[(set(range(dims)) - set(axes)).pop()]
        return [normal / 2, ones * 3 / 8]
    centres = [c for c in part if sum(c in edge for edge in edges) > 1]
    if len(centres) == 1:
        return [ones * 3 / 4]
    middle = _along(*centres)
    return [ones / 2, *(across[axis] / 4 for axis in range(dims) if axis != middle)]
