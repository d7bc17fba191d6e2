"""The exact distance from every element of one surface to the nearest element of another.

Three searches share the work: elements of a fair prediction are found in the neighbourhood, others
by a k-d tree, and where too many are left for that, by a distance transform. All work with integer
positions, and distances are computed from their differences.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

REACH = 100
"""Neighbouring positions that are looked at one by one before a tree is built for the rest."""
FEW = 3000
"""For fewer elements a tree is faster than the look at the neighbourhood."""
NORMS = {"euclidean": 2.0, "taxicab": 1.0, "chessboard": np.inf}


@dataclass(frozen=True)
class Surface:
    """The elements of one mask's surface.

    Attributes:
        where: bool, the positions with an element; positions of surfels are the corners between
            voxels, so there is one more of them along each axis than of voxels.
        flat: (n,) their flat indices.
        areas: (n,) length or area of each.
    """

    where: NDArray[np.bool_]
    flat: NDArray[np.intp]
    areas: NDArray[np.float64]


def directed_distances(
    here: Surface, there: Surface, spacing: tuple[float, ...], norm: str
) -> NDArray[np.float64]:
    """Return the distance of every element here to the nearest there."""
    if not there.flat.size:
        return np.full(here.flat.size, np.inf)
    distances = np.zeros(here.flat.size)
    # Where both surfaces pass the distance is 0: only the rest need a search.
    rest = np.flatnonzero(~there.where.reshape(-1)[here.flat])
    if rest.size >= FEW:
        rest = _near(distances, rest, here, there, spacing, NORMS[norm])
    if not rest.size:
        return distances
    shape = here.where.shape
    queries = np.stack(np.unravel_index(here.flat[rest], shape), axis=1)
    # Rough costs of a search in a tree, a point of the tree, and a voxel of a transform.
    if norm == "euclidean" and rest.size + 0.2 * there.flat.size > 0.12 * here.where.size:
        nearest = _by_transform(queries, there, spacing)
    else:
        nearest = _by_tree(queries, there, spacing, NORMS[norm])
    difference = np.abs(queries - nearest) * np.array(spacing)
    distances[rest] = np.linalg.norm(difference, NORMS[norm], axis=1)
    return distances


def _near(
    distances: NDArray,
    rest: NDArray,
    here: Surface,
    there: Surface,
    spacing: tuple[float, ...],
    order: float,
) -> NDArray:
    """Fill in the distances to elements in the neighbourhood; return which are still unknown.

    Positions around are looked up from the nearest on, so the first that is found is the nearest.
    Most elements of a fair prediction end here, at a fraction of a tree's cost.
    """
    offsets, lengths, reach = _offsets(spacing, order)
    shape = np.array(here.where.shape)
    wide = np.pad(there.where, [(r, r) for r in reach])
    steps = np.cumprod([1, *wide.shape[:0:-1]])[::-1]
    at = np.zeros(rest.size, dtype=np.intp)
    for along, r, step in zip(
        np.unravel_index(here.flat[rest], tuple(shape)), reach, steps, strict=True
    ):
        at += (along + r) * step
    wide = wide.reshape(-1)
    for shift, length in zip((offsets @ steps).tolist(), lengths.tolist(), strict=True):
        if not rest.size:
            break
        hit = wide[at + shift]
        distances[rest[hit]] = length
        rest, at = rest[~hit], at[~hit]
    return rest


@lru_cache(maxsize=32)
def _offsets(
    spacing: tuple[float, ...], order: float
) -> tuple[NDArray[np.intp], NDArray[np.float64], tuple[int, ...]]:
    """Return offsets (n, dims) without 0, nearest first, their lengths, and the farthest reach.

    Every offset that is not among them is at least as long.
    """
    # A ball of about REACH positions: its radius if voxels were cubes of the same volume.
    dims = len(spacing)
    radius = (REACH / (np.pi if dims == 2 else 4.19)) ** (1 / dims)
    radius = max(radius * np.prod(spacing) ** (1 / dims), min(spacing))
    reach = tuple(int(radius / step) for step in spacing)
    grid = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1)
    offsets = grid.reshape(-1, dims)
    lengths = np.linalg.norm(np.abs(offsets) * np.array(spacing), order, axis=1)
    kept = np.argsort(lengths, kind="stable")
    kept = kept[(lengths[kept] > 0) & (lengths[kept] <= radius)]
    return offsets[kept], lengths[kept], reach


def _by_tree(queries: NDArray, there: Surface, spacing: tuple[float, ...], order: float) -> NDArray:
    """Return the position of the element nearest to each query (rows, dims)."""
    from scipy.spatial import cKDTree

    targets = np.stack(np.unravel_index(there.flat, there.where.shape), axis=1)
    tree = cKDTree(targets * spacing, leafsize=24, balanced_tree=False)
    return targets[tree.query(queries * spacing, p=order, workers=1)[1]]


def _by_transform(queries: NDArray, there: Surface, spacing: tuple[float, ...]) -> NDArray:
    """Return the same by a distance transform over all positions."""
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(
        ~there.where, sampling=spacing, return_distances=False, return_indices=True
    )
    return nearest[(slice(None), *queries.T)].T
