"""One image or label map in memory, together with where its pixels lie in the world.

Axis order. A picture is `(H, W)`. A volume keeps the order of its file: `(i, j, k)` of nibabel
and pynrrd, `(column, row, slice)` for DICOM, `(Z, Y, X)` for a TIFF stack. Whatever the order,
`affine` says where voxel `(0, 0, 0)` lies and which way each axis runs.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.errors import DataError, VesaliusError

FORMATS: Mapping[str, str] = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".bmp": "bmp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".dcm": "dicom",
    ".dicom": "dicom",
    ".ima": "dicom",
}
"""The suffixes that can be read, and the name of the format behind each."""

MILLIMETRES: Mapping[str, float] = {
    "nm": 1e-6,
    "um": 1e-3,
    "\u00b5m": 1e-3,
    "\u03bcm": 1e-3,
    "micron": 1e-3,
    "microns": 1e-3,
    "mm": 1.0,
    "cm": 10.0,
    "m": 1e3,
    "meter": 1e3,
}
"""Units of length that files name, in millimetres."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM and ITK count x to the left and y to the back; nibabel to the right and to the front."""


@dataclass(frozen=True, eq=False)
class Image:
    """An image or a label map with its geometry.

    Attributes:
        array: intensities `(C, *size)` as uint8, uint16, int16 or float32; or labels `(*size)` as
            uint8, uint16 or int32.
        spacing: size of one pixel or voxel along each axis of `size`, in mm; 1.0 where the file
            does not say.
        affine: `(4, 4)` float64, voxel index -> mm in RAS coordinates; None for a picture.
        format: "png", "jpeg", "bmp", "tiff", "nifti", "nrrd" or "dicom".
        header: what a mask of this image needs to be written in the same format.
        path: where it was read from.
    """

    array: np.ndarray
    spacing: tuple[float, ...]
    affine: np.ndarray | None
    format: str
    header: Any
    path: Path

    @property
    def dims(self) -> int:
        """2 for a picture, 3 for a volume."""
        return len(self.spacing)

    @property
    def size(self) -> tuple[int, ...]:
        """The spatial shape, without the channel axis."""
        return self.array.shape[-self.dims :]


def suffix(path: str | Path) -> str:
    """Return the suffix in lower case; ".nii.gz" is one suffix."""
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def stem(path: str | Path) -> str:
    """Return the name without a known suffix; "1.2.840.113" (a DICOM folder) stays whole."""
    name, end = Path(path).name, suffix(path)
    return name[: -len(end)] if end in FORMATS else name


def intensities(array: np.ndarray) -> np.ndarray:
    """Return pixels as uint8, uint16 or int16 where they are, else as float32.

    Black-and-white becomes 0 and 255.
    """
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    native = array.dtype.newbyteorder("=")
    if native in (np.uint8, np.uint16, np.int16):
        return array.astype(native, copy=False)
    return array.astype(np.int16 if native == np.int8 else np.float32)


def compact_labels(array: np.ndarray, path: str | Path) -> np.ndarray:
    """Return labels as uint8, uint16 or (large or negative ones) int32.

    Raises:
        DataError: values that are no whole numbers, or beyond 32 bits.
    """
    if array.dtype.kind == "c":
        raise DataError(f"{path} holds complex numbers; a mask must hold whole numbers.")
    if array.dtype.kind == "f":
        array = _whole_numbers(array, path)
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if low < -(2**31) or high >= 2**31:
        raise DataError(f"{path} has labels from {low} to {high}; renumber them below 2^31.")
    if low < 0 or high > 65535:
        return array.astype(np.int32)
    return array.astype(np.uint8 if high < 256 else np.uint16)


def _whole_numbers(array: np.ndarray, path: str | Path) -> np.ndarray:
    if not np.isfinite(array).all():
        raise DataError(f"{path} has labels that are not finite (NaN); a mask must not.")
    whole = np.rint(array)
    # a scaled header turns 3 into 2.9999; an interpolated mask is further off
    wrong = np.abs(array - whole) > 1e-3
    if wrong.any():
        examples = ", ".join(f"{value:g}" for value in np.unique(array[wrong])[:3])
        raise DataError(
            f"{path} has {int(wrong.sum())} values that are no labels ({examples}, ...). It is an "
            "image, a probability map or a mask that was resampled with interpolation: "
            "save the label map itself, as whole numbers."
        )
    return whole.astype(np.int64)


@contextmanager
def decoding(path: str | Path) -> Iterator[None]:
    """Turn whatever a decoder raises into a DataError that names the file.

    Decoders meet damaged bytes with errors of every class (zlib.error, SyntaxError, struct.error,
    ...), so all are caught here; the original stays attached as the cause.
    """
    try:
        yield
    except (VesaliusError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist. Check the path.") from error
    except PermissionError as error:
        raise DataError(f"{path} may not be read. Change its permissions.") from error
    except Exception as error:
        raise DataError(
            f"{path} cannot be read; it is damaged, incomplete or not what its name says "
            f"({type(error).__name__}: {error}). Copy it again from its source, or remove it."
        ) from error
