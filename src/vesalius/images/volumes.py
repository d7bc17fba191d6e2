"""NIfTI and NRRD.

NIfTI: the affine is the sform, else the qform, else the voxel sizes (nibabel's rule). NRRD: the
space directions and origin, turned from the file's space into RAS; a file that names no space is
taken as left-posterior-superior, as ITK does.
"""

from pathlib import Path
from typing import Any

import numpy as np

from vesalius.errors import DataError
from vesalius.images.image import MILLIMETRES, Image, compact_labels, intensities

_SIGNS = {"left": (0, -1), "right": (0, 1), "posterior": (1, -1), "anterior": (1, 1)}
_SIGNS |= {"inferior": (2, -1), "superior": (2, 1)}
_LETTERS = {name[0].upper(): name for name in _SIGNS}


def read_nifti(path: Path, *, is_mask: bool) -> Image:
    """Read `(C, i, j, k)` intensities or `(i, j, k)` labels; a fourth axis becomes channels."""
    import nibabel

    file = nibabel.load(path)
    if not isinstance(file, nibabel.Nifti1Pair):
        raise DataError(f"{path} is a {type(file).__name__}, no NIfTI volume. Convert it.")
    array = np.asanyarray(file.dataobj)
    if array.dtype.names:  # RGB24
        array = np.stack([array[name] for name in array.dtype.names], axis=-1)
    unit = MILLIMETRES.get(file.header.get_xyzt_units()[0], 1.0)
    affine = np.diag([unit, unit, unit, 1.0]) @ file.affine
    array = _volume_and_channels(array, path)
    return _volume(array, affine, "nifti", file.header, path, is_mask)


def _volume_and_channels(array: np.ndarray, path: Path) -> np.ndarray:
    """Return `(C, i, j, k)`: of the axes after the third, only one may be longer than 1."""
    shape = array.shape + (1,) * (3 - array.ndim)
    rest = [length for length in shape[3:] if length > 1] or [1]
    if len(rest) > 1:
        raise DataError(
            f"{path} has the shape {shape}: time and channels at once. Save every time point "
            "in a file of its own."
        )
    return np.moveaxis(array.reshape(*shape[:3], *rest), 3, 0)


def read_nrrd(path: Path, *, is_mask: bool) -> Image:
    """Read a volume in the file's axis order, or a picture (two spatial axes) as `(H, W)`."""
    import nrrd

    array, header = nrrd.read(str(path), index_order="F")
    array, header = _channels_first(array, dict(header), path)
    if array.ndim == 3:
        return _nrrd_picture(array, header, path, is_mask)
    return _volume(array, _nrrd_affine(header, path), "nrrd", header, path, is_mask)


def _channels_first(array: np.ndarray, header: dict[str, Any], path: Path):
    """Return `(C, *size)` and a header whose per-axis fields describe `size` alone."""
    kinds = header.get("kinds") or ["domain"] * array.ndim
    directions = header.get("space directions")
    spatial = [k for k, kind in enumerate(kinds) if kind in ("domain", "space", "???", "none")]
    if directions is not None:
        spatial = [k for k, row in enumerate(directions) if row is not None]
        spatial = [k for k in spatial if not np.isnan(np.asarray(directions[k], float)).any()]
    other = [k for k in range(array.ndim) if k not in spatial]
    if len(spatial) not in (2, 3) or len(other) > 1:
        raise DataError(
            f"{path} has the axes {kinds} of size {array.shape}; two or three spatial axes and at "
            "most one of channels are needed. Save every volume in a file of its own."
        )
    array = array.transpose([*other, *spatial])
    for key in ("kinds", "space directions", "spacings", "units", "thicknesses", "centers"):
        if header.get(key) is not None:
            header[key] = [header[key][k] for k in spatial]
    return (array if other else array[None]), header


def _nrrd_affine(header: dict[str, Any], path: Path) -> np.ndarray:
    affine = np.eye(4)
    directions = header.get("space directions")
    if directions is None:
        spacings = np.asarray(header.get("spacings", (1.0, 1.0, 1.0)), float)
        affine[:3, :3] = np.diag(np.where(np.isfinite(spacings), spacings, 1.0))
    else:
        affine[:3, :3] = np.asarray(list(directions), float).T
    if header.get("space origin") is not None:
        affine[:3, 3] = np.asarray(header["space origin"], float)
    unit = MILLIMETRES.get((header.get("space units") or ["mm"])[0], 1.0)
    return _to_ras(header.get("space"), path) @ np.diag([unit, unit, unit, 1.0]) @ affine


def _to_ras(space: str | None, path: Path) -> np.ndarray:
    """Return the `(4, 4)` matrix from a NRRD space to RAS."""
    space = (space or "left-posterior-superior").lower()
    if len(space) == 3 and "-" not in space:
        space = "-".join(_LETTERS.get(letter.upper(), "") for letter in space)
    words = space.split("-")
    if len(words) != 3 or {_SIGNS.get(word, (-1, 0))[0] for word in words} != {0, 1, 2}:
        raise DataError(
            f"{path} lies in the space '{space}', which has no patient orientation. "
            "Save it in left-posterior-superior or right-anterior-superior."
        )
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1.0
    for axis, word in enumerate(words):
        row, sign = _SIGNS[word]
        matrix[row, axis] = sign
    return matrix


def _nrrd_picture(array: np.ndarray, header: dict[str, Any], path: Path, is_mask: bool) -> Image:
    spacings = header.get("spacings")
    if header.get("space directions") is not None:
        spacings = [np.linalg.norm(row) for row in header["space directions"]]
    x, y = (float(v) if np.isfinite(v) else 1.0 for v in (spacings or (1.0, 1.0)))
    pixels = np.ascontiguousarray(_values(array.swapaxes(1, 2), path, is_mask))
    return Image(pixels, (y, x), None, "nrrd", header, path)


def _volume(array, affine, kind: str, header, path: Path, is_mask: bool) -> Image:
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise DataError(
            f"{path} has an affine that maps the volume to a plane or to nowhere:\n{affine}\n"
            "Repair its header or convert it again from its source."
        )
    spacing = tuple(float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
    return Image(_values(array, path, is_mask), spacing, affine, kind, header, path)


def _values(array: np.ndarray, path: Path, is_mask: bool) -> np.ndarray:
    if not is_mask:
        if array.dtype.kind == "c":
            raise DataError(f"{path} holds complex numbers. Save its magnitude.")
        return intensities(array)
    if array.shape[0] != 1:
        raise DataError(
            f"{path} has {array.shape[0]} channels; a mask is one label map. Overlapping segments "
            "must be merged into one."
        )
    return compact_labels(array[0], path)
