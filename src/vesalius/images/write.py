"""Write masks and probability maps in the format of their path, with their image's geometry.

A file appears complete or not at all: it is written beside its place, flushed to the disk, and
then renamed over it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vesalius import files
from vesalius.errors import DataError
from vesalius.images.image import Image, suffix

MASK_SUFFIX = {
    "png": ".png",
    "jpeg": ".png",
    "bmp": ".png",
    "tiff": ".tif",
    "nifti": ".nii.gz",
    "nrrd": ".nrrd",
    "dicom": ".dcm",
}
"""Format of an image -> suffix of its mask."""
_RAS_DIRECTIONS = "right-anterior-superior"


def mask_suffix_for(image: Image) -> str:
    """Return the suffix of a mask of this image: its own format, PNG for JPEG, DICOM-SEG."""
    return MASK_SUFFIX[image.format]


def write_mask(path: str | Path, labels: np.ndarray, *, like: Image) -> Path:
    """Write a label map.

    Args:
        path: its suffix decides: .png, .tif, .tiff, .nii, .nii.gz, .nrrd or .dcm (DICOM-SEG).
        labels: `(*like.size)` integers from 0 to 65535; stored as uint8 where they fit, else
            uint16, compressed without loss where the format can.
        like: the image that was segmented: affine, orientation codes and spacing are taken from it.

    Raises:
        DataError: other shape, labels that do not fit, a format that cannot hold this geometry.
        StorageError: the disk is full or the place may not be written; nothing is left behind.
    """
    path = Path(path)
    labels = _storable(labels, like)
    if suffix(path) == ".dcm":
        return write_dicom_seg(path, labels, like=like)
    write = _writer(path, like)
    with files.replacing(path) as place:
        write(place, labels[None], like)
    return path


def write_image(path: str | Path, array: np.ndarray, *, like: Image) -> Path:
    """Write float maps `(C, *like.size)`, such as one probability per class, as float32.

    Args:
        path: .nii, .nii.gz, .nrrd, .tif or .tiff.
        array: any real numbers.
        like: as in `write_mask`.

    Raises:
        DataError, StorageError: as `write_mask`.
    """
    path = Path(path)
    array = np.asarray(array, dtype=np.float32)
    if array.ndim != like.dims + 1 or array.shape[1:] != like.size:
        raise DataError(f"The map for {path} has shape {array.shape}; (C, *{like.size}) is needed.")
    if suffix(path) in (".png", ".dcm"):
        raise DataError(f"{path}: {suffix(path)} holds no float maps. Use .nii.gz, .nrrd or .tif.")
    write = _writer(path, like)
    with files.replacing(path) as place:
        write(place, array, like)
    return path


def write_dicom_seg(
    path: str | Path, labels: np.ndarray, *, like: Image, names: Mapping[str, int] | None = None
) -> Path:
    """Write a DICOM Segmentation object that refers to the series of `like`.

    Args:
        path: the file, usually `.dcm`.
        labels: `(*like.size)` integers, 0 = background.
        like: the DICOM image.
        names: name -> label; see `dicom_segmentation`.

    Raises:
        DataError: `like` is no DICOM image, or a label has no name.
        StorageError: as `write_mask`.
    """
    from vesalius.images.dicom_seg import dicom_segmentation

    path = Path(path)
    segmentation = dicom_segmentation(_storable(labels, like), like=like, names=names)
    with files.replacing(path) as place:
        segmentation.save_as(place)
    return path


def _storable(labels: np.ndarray, like: Image) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != like.size:
        raise DataError(
            f"The mask for {like.path} has shape {labels.shape}; the image has {like.size}."
        )
    if labels.dtype != bool and labels.dtype.kind not in "iu":
        raise DataError(f"The mask for {like.path} is {labels.dtype}; labels must be integers.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > 65535:
        raise DataError(
            f"The mask for {like.path} has labels from {low} to {high}; renumber them from 0 to "
            "at most 65535."
        )
    return labels.astype(np.uint8 if high < 256 else np.uint16)


def _writer(path: Path, like: Image) -> Callable[[Path, np.ndarray, Image], None]:
    """Return the function that writes `(C, *size)`, after checking that the format can hold it."""
    end = suffix(path)
    writers = {
        ".png": _write_png,
        ".tif": _write_tiff,
        ".tiff": _write_tiff,
        ".nii": _write_nifti,
        ".nii.gz": _write_nifti,
        ".nrrd": _write_nrrd,
    }
    if end not in writers:
        lossy = "JPEG changes labels" if end in (".jpg", ".jpeg") else f"'{end}' is not written"
        raise DataError(f"{path}: {lossy}. Use {mask_suffix_for(like)} for this image.")
    flat_only, with_orientation = end == ".png", end in (".nii", ".nii.gz", ".nrrd")
    if flat_only and like.dims == 3:
        raise DataError(f"{path}: PNG holds no volume. Use {mask_suffix_for(like)}.")
    if with_orientation and like.dims == 2 and like.format != "nrrd":
        raise DataError(f"{path}: {like.path} is a picture. Use {mask_suffix_for(like)} or .png.")
    if like.format == "nrrd" and like.dims == 2 and end in (".nii", ".nii.gz"):
        raise DataError(f"{path}: {like.path} is a picture. Use .nrrd or .png.")
    if end in (".tif", ".tiff") and like.dims == 3 and like.format != "tiff":
        raise DataError(f"{path}: TIFF holds no orientation in the patient. Use .nii.gz or .nrrd.")
    return writers[end]


def _write_png(place: Path, array: np.ndarray, like: Image) -> None:
    from PIL import Image as Pillow

    Pillow.fromarray(np.ascontiguousarray(array[0])).save(place, format="PNG", optimize=False)


def _write_tiff(place: Path, array: np.ndarray, like: Image) -> None:
    import tifffile

    axes = ("C" if len(array) > 1 else "") + "ZYX"[-like.dims :]
    sizes = dict(zip("ZYX"[-like.dims :], like.spacing, strict=True))
    known = any(value != 1.0 for value in like.spacing)
    metadata: dict[str, Any] = {"axes": axes}
    for axis, size in sizes.items() if known else ():
        metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "mm"}
    pixels = array if len(array) > 1 else array[0]
    tifffile.imwrite(
        place,
        pixels,
        compression="zlib",
        predictor=pixels.dtype.kind == "u",
        photometric="minisblack",
        metadata=metadata,
        ome=True,
    )


def _write_nifti(place: Path, array: np.ndarray, like: Image) -> None:
    import nibabel

    pixels = array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)
    if like.format != "nifti":
        file = nibabel.Nifti1Image(pixels, like.affine)
        file.header.set_xyzt_units("mm")
        file.set_qform(like.affine, code=1)
        file.set_sform(like.affine, code=1)
    else:
        header = like.header.copy()
        header.set_data_dtype(pixels.dtype)
        header.set_slope_inter(1, 0)
        header.set_intent("none")
        header["cal_max"] = header["cal_min"] = 0
        kind = nibabel.Nifti2Image if header["sizeof_hdr"] == 540 else nibabel.Nifti1Image
        # without an affine nibabel keeps both of the header's and their codes
        file = kind(pixels, None, header)
    nibabel.save(file, place)


def _write_nrrd(place: Path, array: np.ndarray, like: Image) -> None:
    import nrrd

    header = _nrrd_geometry(like)
    pixels = array.swapaxes(1, 2) if like.dims == 2 else array
    if len(pixels) == 1:
        pixels = pixels[0]
    else:
        header = _with_list_axis(header)
    header["encoding"] = "gzip"
    nrrd.write(str(place), np.asfortranarray(pixels), header, index_order="F")


def _nrrd_geometry(like: Image) -> dict[str, Any]:
    """Return the header fields that say where the voxels lie."""
    if like.format != "nrrd":
        return {
            "space": _RAS_DIRECTIONS,
            "kinds": ["domain"] * 3,
            "space directions": like.affine[:3, :3].T,
            "space origin": like.affine[:3, 3],
        }
    keys = ("space", "space dimension", "space units", "space origin", "space directions")
    keys += ("measurement frame", "kinds", "spacings", "units", "thicknesses", "centers")
    header = {key: like.header[key] for key in keys if like.header.get(key) is not None}
    if "space directions" in header:
        header["space directions"] = np.array([list(row) for row in header["space directions"]])
    return header


def _with_list_axis(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header with a first axis of channels, which has no direction and no spacing."""
    header = dict(header)
    header["kinds"] = ["list", *header.get("kinds", ["domain"] * 3)]
    if "space directions" in header:
        directions = np.asarray(header["space directions"], float)
        header["space directions"] = np.vstack(
            [np.full((1, directions.shape[1]), np.nan), directions]
        )
    if "spacings" in header:
        header["spacings"] = [np.nan, *header["spacings"]]
    for key in ("units", "thicknesses", "centers"):
        header.pop(key, None)
    return header
