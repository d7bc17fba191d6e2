"""The pixels of a DICOM object in the unit that it means, frame by frame."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vesalius.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    from pydicom import Dataset


def macro(header: "Dataset", index: int, name: str) -> "Dataset":
    """Return a functional group of a frame; of a plain object, which has none, the object itself.

    A group that a multi-frame object lacks is an empty data set.
    """
    from pydicom import Dataset

    if "PerFrameFunctionalGroupsSequence" not in header:
        return header
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for group in (header.PerFrameFunctionalGroupsSequence[index], *shared[:1]):
        if group.get(name):
            return group[name].value[0]
    return Dataset()


def decoded_pixels(file: Path) -> tuple[np.ndarray, bool]:
    """Return `(frames, rows, columns, samples)` in the file's unit, and whether all are whole."""
    import pydicom
    from pydicom.pixels import apply_color_lut, pixel_array

    dataset = pydicom.dcmread(file)
    require_decoder(dataset, file)
    try:
        values, whole = pixel_array(dataset), True
    except RuntimeError as error:
        raise DataError(
            f"{file} cannot be decoded ({error}). It is damaged, or its compression needs another "
            'decoder: pip install "vesalius[dicom]".'
        ) from error
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, dataset)
        values = (values >> 8).astype(np.uint8) if values.dtype == np.uint16 else values
    elif dataset.SamplesPerPixel == 1:
        values, whole = _modality(values, dataset)
        values = values[..., None]
    return values.reshape(-1, dataset.Rows, dataset.Columns, values.shape[-1]), whole


def _modality(stored: np.ndarray, dataset: "Dataset") -> tuple[np.ndarray, bool]:
    """Apply rescale slope and intercept (of each frame), and turn MONOCHROME1 to bright-is-high."""
    stack_of = stored if stored.ndim == 3 else stored[None]
    values = np.empty(stack_of.shape, np.float32)
    bits, signed = int(dataset.BitsStored), bool(dataset.PixelRepresentation)
    ends = np.array([0, 2**bits - 1] if not signed else [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1])
    whole = stored.dtype.kind in "iu"
    for index, frame in enumerate(stack_of):
        source = macro(dataset, index, "PixelValueTransformationSequence")
        source = source if "RescaleSlope" in source else dataset
        values[index], exact = _rescale(frame, source)
        whole &= exact
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            values[index] = _rescale(ends.astype(stored.dtype), source)[0].sum() - values[index]
    return values.reshape(stored.shape), whole


def _rescale(stored: np.ndarray, source: "Dataset") -> tuple[np.ndarray, bool]:
    from pydicom.pixels import apply_modality_lut

    if "ModalityLUTSequence" in source:
        return apply_modality_lut(stored, source), True
    slope, intercept = (
        float(source.get("RescaleSlope", 1)),
        float(source.get("RescaleIntercept", 0)),
    )
    return stored * slope + intercept, slope.is_integer() and intercept.is_integer()


def require_decoder(dataset: "Dataset", file: Path) -> None:
    """Raise MissingDependencyError where the pixels' compression needs another package."""
    from pydicom.pixels import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax.name.startswith("Deflated"):
        return
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError as error:
        raise DataError(
            f"{file} is compressed as {syntax.name}, which is not supported."
        ) from error
    if not available:
        purpose = f"{file} (compressed as {syntax.name})"
        raise MissingDependencyError("pylibjpeg", purpose, 'pip install "vesalius[dicom]"')
