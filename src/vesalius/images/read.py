"""Read images and masks of every format that is understood, by one name each."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vesalius.errors import DataError
from vesalius.images.image import FORMATS, Image, decoding, suffix
from vesalius.images.pictures import Colours


def can_read(path: str | Path) -> bool:
    """Return whether `read_image` knows the format: by suffix, or by DICOM's mark in the file.

    A folder can be read when DICOM files lie directly in it. Nothing is decoded, so a damaged
    file still counts.
    """
    return format_of(path) is not None


def format_of(path: str | Path) -> str | None:
    """Return the name of the format ("png", "nifti", "dicom", ...), or None."""
    from vesalius.images.dicom import holds_dicom, is_dicom

    path = Path(path)
    if path.is_dir():
        return "dicom" if holds_dicom(path) else None
    known = FORMATS.get(suffix(path))
    if known is None and path.is_file() and is_dicom(path):
        return "dicom"
    return known


def read_image(path: str | Path) -> Image:
    """Read intensities, channels first.

    Args:
        path: PNG, JPEG, BMP, TIFF, NIfTI, NRRD, a DICOM file, or a folder with one DICOM series.

    Returns:
        An image whose `array` is `(C, *size)`: uint8, uint16 or int16 as stored, else float32 with
        the file's scaling applied (Hounsfield units for CT). MONOCHROME1 and white-is-zero are
        turned so that bright is high.

    Raises:
        DataError: the file does not exist, is damaged, or is not an image that is understood.
    """
    path = Path(path)
    with decoding(path):
        return _not_empty(_read(path))


def read_mask(
    path: str | Path, *, colours: Colours | None = None, like: Image | None = None
) -> Image:
    """Read a label map.

    Args:
        path: PNG, BMP, TIFF, NIfTI, NRRD or DICOM-SEG. JPEG is refused: it changes labels.
        colours: for coloured masks, `(red, green, blue) -> label`. Without it a palette picture's
            index is the label, and a picture must be grey.
        like: the image, for DICOM-SEG objects that leave out empty slices.

    Returns:
        An image whose `array` is `(*size)` of uint8, uint16 or (negative or large labels) int32.

    Raises:
        DataError: as `read_image`, or the values are no labels.
    """
    path = Path(path)
    with decoding(path):
        return _not_empty(_read_mask(path, colours, like))


def mask_labels(path: str | Path) -> dict[str, int]:
    """Return name -> label as a mask itself declares them: DICOM-SEG does, for others it is {}.

    Raises:
        DataError: as `read_mask`.
    """
    from vesalius.images import dicom_seg

    path = Path(path)
    with decoding(path):
        is_dicom = _known_format(path) == "dicom"
        return dicom_seg.segment_labels(_only_segmentation(path)) if is_dicom else {}


def read_channels(paths: Sequence[str | Path]) -> Image:
    """Read the files of one case and join their channels; header and path are the first file's.

    Raises:
        DataError: the files differ in size or affine.
    """
    images = [read_image(path) for path in paths]
    first = images[0]
    for image in images[1:]:
        problem = geometry_problem(first, image)
        if problem:
            raise DataError(problem)
    if len(images) == 1:
        return first
    return replace(first, array=np.concatenate([image.array for image in images]))


def geometry_problem(image: Image, other: Image) -> str | None:
    """Say how two files differ in size or place (over 0.05 voxel at a corner)."""
    if image.dims != other.dims or image.size != other.size:
        return (
            f"{other.path} has shape {other.size}; {image.path} has {image.size}. "
            "Resample one to the other or remove the case."
        )
    if image.affine is None or other.affine is None:
        return None
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in image.size])).reshape(3, -1)
    shift = (image.affine - other.affine)[:3] @ np.vstack([corners, np.ones(corners.shape[1])])
    distance = float(np.linalg.norm(shift, axis=0).max())
    # headers round to float32, and a step along a long axis multiplies that
    if distance <= 0.05 * min(image.spacing):
        return None
    return (
        f"{other.path} lies up to {distance:.2f} mm away from {image.path}: same shape "
        f"{image.size}, another affine (spacing {_rounded(other)} and {_rounded(image)} mm). "
        "Copy the image's header to the mask if the voxels correspond, else resample it."
    )


def _rounded(image: Image) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in image.spacing)


def _not_empty(image: Image) -> Image:
    if image.array.size == 0:
        raise DataError(f"{image.path} has no pixels (shape {image.array.shape}). Remove it.")
    return image


def _read(path: Path) -> Image:
    from vesalius.images import dicom, pictures, tiff, volumes

    kind = _known_format(path)
    if kind == "dicom":
        return dicom.read_dicom(path)
    if kind == "tiff":
        return tiff.read_tiff(path)
    if kind == "nifti":
        return volumes.read_nifti(path, is_mask=False)
    if kind == "nrrd":
        return volumes.read_nrrd(path, is_mask=False)
    return pictures.read_picture(path, kind)


def _read_mask(path: Path, colours: Colours | None, like: Image | None) -> Image:
    from vesalius.images import dicom_seg, pictures, tiff, volumes

    kind = _known_format(path)
    if kind == "dicom":
        return dicom_seg.read_dicom_seg(_only_segmentation(path), like=like)
    if kind == "tiff":
        return tiff.read_tiff_mask(path, colours)
    if kind == "nifti":
        return volumes.read_nifti(path, is_mask=True)
    if kind == "nrrd":
        return volumes.read_nrrd(path, is_mask=True)
    return pictures.read_picture_mask(path, kind, colours)


def _known_format(path: Path) -> str:
    if not path.exists():
        raise DataError(f"{path} does not exist. Check the path.")
    kind = format_of(path)
    if kind is not None:
        return kind
    if path.is_dir():
        raise DataError(f"{path} is a folder without DICOM files. Give the image file itself.")
    raise DataError(
        f"{path} is of an unknown format. Known are {' '.join(FORMATS)} and folders with a DICOM "
        "series. Convert it to one of these."
    )


def _only_segmentation(path: Path) -> Path:
    """Return the one DICOM-SEG file of a folder, or the file itself."""
    from vesalius.images import dicom, dicom_seg

    if path.is_file():
        return path
    found = [file for file in dicom.dicom_files(path) if dicom_seg.is_dicom_seg(file)]
    if len(found) != 1:
        raise DataError(
            f"{path} holds {len(found)} DICOM segmentations; one is needed. Give the file itself."
        )
    return found[0]
