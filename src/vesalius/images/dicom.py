"""DICOM series, multi-frame objects and single pictures.

A volume is `(column, row, slice)` with slices in the order of their positions along the normal of
the image plane (row direction x column direction), whatever their file names and instance numbers
say. A single file with one frame is a picture `(row, column)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vesalius.errors import DataError
from vesalius.images.dicom_pixels import decoded_pixels, macro
from vesalius.images.image import FORMATS, LPS_TO_RAS, Image, intensities, suffix

if TYPE_CHECKING:
    from pydicom import Dataset

# objects that lie beside images in exports, but are none
_NOT_IMAGES = {"SEG", "SR", "PR", "KO", "RTSTRUCT", "RTPLAN", "RTDOSE", "REG", "DOC"}


@dataclass(frozen=True)
class Frame:
    """Where one frame lies: `(3,)` position, `(6,)` orientation (LPS, mm), spacing (row, column).

    `file` and `index` say which frame of which file it is.
    """

    file: Path
    index: int
    position: np.ndarray
    orientation: np.ndarray
    spacing: tuple[float, float]


def is_dicom(path: Path) -> bool:
    """Return whether a file carries DICOM's mark, whatever its suffix."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def dicom_files(folder: Path) -> list[Path]:
    """Return the DICOM files directly in a folder, sorted by name."""
    return [path for path in sorted(folder.iterdir()) if _may_be_dicom(path) and is_dicom(path)]


def holds_dicom(folder: Path) -> bool:
    """Return whether a DICOM file lies directly in a folder."""
    return any(_may_be_dicom(path) and is_dicom(path) for path in folder.iterdir())


def _may_be_dicom(path: Path) -> bool:
    other = FORMATS.get(suffix(path), "dicom") != "dicom"
    return not other and path.is_file() and path.name.upper() != "DICOMDIR"


def series_in(folder: Path) -> dict[str, list[Path]]:
    """Return the image series directly in a folder: "description (UID)" -> files."""
    import pydicom

    tags = ["SeriesInstanceUID", "SeriesDescription", "Modality", "Rows"]
    series: dict[str, list[Path]] = {}
    for path in dicom_files(folder):
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
        if "Rows" not in header or header.get("Modality") in _NOT_IMAGES:
            continue
        words = header.get("SeriesDescription") or header.get("Modality") or "unnamed"
        series.setdefault(f"{words} ({header.get('SeriesInstanceUID')})", []).append(path)
    return series


def read_dicom(path: Path) -> Image:
    """Read a folder with one series, or one file.

    Raises:
        DataError: several series in a folder, slices that are missing, doubled or not parallel.
    """
    files = _only_series(path) if path.is_dir() else [path]
    headers = [_header(file) for file in files]
    if len(files) == 1 and int(headers[0].get("NumberOfFrames") or 1) == 1:
        return _picture(headers[0], files[0], path)
    listed = [frames_of(header, file) for header, file in zip(headers, files, strict=True)]
    ordered, affine = stack([frame for frames in listed for frame in frames], path)
    array = _load(ordered, path)
    spacing = tuple(float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
    return Image(array, spacing, affine, "dicom", _references(ordered), path)


def frames_of(header: "Dataset", file: Path) -> list[Frame]:
    """Return the frames of one DICOM object with their positions.

    Raises:
        DataError: the frames have no positions (a film, a scanned picture).
    """
    frames = []
    for index in range(int(header.get("NumberOfFrames") or 1)):
        try:
            position = macro(header, index, "PlanePositionSequence").ImagePositionPatient
            plane = macro(header, index, "PlaneOrientationSequence").ImageOrientationPatient
            spacing = macro(header, index, "PixelMeasuresSequence").PixelSpacing
        except AttributeError as error:
            raise DataError(
                f"{file} has slices without a position in the patient ({error}): a film or "
                "separate pictures, no volume. Save every frame as a picture of its own."
            ) from error
        row, column = (float(v) for v in spacing)
        position, plane = np.array(position, float), np.array(plane, float)
        frames.append(Frame(file, index, position, plane, (row, column)))
    return frames


def stack(
    frames: Sequence[Frame], path: Path, *, step: np.ndarray | None = None
) -> tuple[list[Frame], np.ndarray]:
    """Return the frames in the order of their positions, and the affine `(4, 4)` to RAS.

    The affine's third column is the step between slices `(3,)`, by default their mean step; so a
    tilted gantry is a shear.

    Raises:
        DataError: planes that differ in direction or spacing, steps that differ by over 10 %.
    """
    first = frames[0]
    for frame in frames:
        if not np.allclose(frame.orientation, first.orientation, atol=1e-3):
            raise DataError(
                f"{path}: {first.file.name} and {frame.file.name} have slices in different "
                "directions (a scout, or a reformatted series). Keep one direction per folder."
            )
        if not np.allclose(frame.spacing, first.spacing, rtol=1e-3):
            raise DataError(
                f"{path}: {first.file.name} and {frame.file.name} have pixels of different sizes, "
                f"{first.spacing} and {frame.spacing} mm. Keep one series per folder."
            )
    along_row, along_column = first.orientation[:3], first.orientation[3:]
    normal = np.cross(along_row, along_column)
    ordered = sorted(frames, key=lambda frame: float(frame.position @ normal))
    step = _step(ordered, normal, path) if step is None else step
    affine = np.eye(4)
    affine[:3, 0] = along_row * first.spacing[1]
    affine[:3, 1] = along_column * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = ordered[0].position
    return ordered, LPS_TO_RAS @ affine


def _step(ordered: Sequence[Frame], normal: np.ndarray, path: Path) -> np.ndarray:
    """Return the vector from one slice to the next, after checking that all are alike."""
    positions = np.array([frame.position for frame in ordered])
    steps = np.diff(positions, axis=0)
    depths = steps @ normal
    if (depths < 1e-3).any():
        k = int(np.argmax(depths < 1e-3))
        raise DataError(
            f"{path}: {_named(ordered[k])} and {_named(ordered[k + 1])} lie at the same position "
            "(several time points, echoes or copies). Keep one of them in this folder."
        )
    usual = np.median(steps, axis=0)
    wrong = np.linalg.norm(steps - usual, axis=1) > 0.1 * np.linalg.norm(usual)
    if wrong.any():
        k = int(np.argmax(wrong))
        raise DataError(
            f"{path}: the step from {_named(ordered[k])} to {_named(ordered[k + 1])} is "
            f"{np.linalg.norm(steps[k]):.2f} mm, elsewhere {np.linalg.norm(usual):.2f} mm "
            f"({int(wrong.sum())} such places). Slices are missing or of another series: "
            "export the series again."
        )
    return (positions[-1] - positions[0]) / (len(positions) - 1)


def _named(frame: Frame) -> str:
    return f"{frame.file.name} (frame {frame.index + 1})" if frame.index else frame.file.name


def _references(ordered: Sequence[Frame]) -> dict[str, tuple]:
    """Return which file and frame each slice is, so that a segmentation can refer to them."""
    return {
        "files": tuple(frame.file for frame in ordered),
        "frames": tuple(frame.index for frame in ordered),
    }


def _only_series(folder: Path) -> list[Path]:
    series = series_in(folder)
    if not series:
        raise DataError(f"{folder} holds no DICOM images. Check the path.")
    if len(series) > 1:
        listing = [f"{name}: {len(files)} files" for name, files in series.items()]
        raise DataError(
            f"{folder} holds {len(series)} DICOM series. Put each into a folder of its own.",
            listing,
        )
    return next(iter(series.values()))


def _header(file: Path) -> "Dataset":
    import pydicom

    header = pydicom.dcmread(file, stop_before_pixels=True)
    if header.get("Modality") == "SEG":
        raise DataError(f"{file} is a DICOM segmentation, no image. Read it with read_mask.")
    if "Rows" not in header or header.get("Modality") in _NOT_IMAGES:
        kind = header.get("Modality") or "unknown kind"
        raise DataError(f"{file} is a DICOM object ({kind}), no image. Remove it.")
    return header


def _picture(header: "Dataset", file: Path, path: Path) -> Image:
    pixels, whole = decoded_pixels(file)
    pixels = np.moveaxis(pixels[0], -1, 0)
    measures = macro(header, 0, "PixelMeasuresSequence")
    spacing = measures.get("PixelSpacing") or header.get("ImagerPixelSpacing") or (1.0, 1.0)
    spacing = tuple(float(v) for v in spacing)
    references = {"files": (file,), "frames": (0,)}
    return Image(_smallest(pixels, whole), spacing, None, "dicom", references, path)


def _load(ordered: Sequence[Frame], path: Path) -> np.ndarray:
    """Return `(C, column, row, slice)`; every file is decoded once."""
    where: dict[Path, list[int]] = {}
    for position, frame in enumerate(ordered):
        where.setdefault(frame.file, []).append(position)
    volume, all_whole = None, True
    for file, slices in where.items():
        pixels, whole = decoded_pixels(file)
        all_whole &= whole
        _, rows, columns, samples = pixels.shape
        if volume is None:
            volume = np.empty((samples, columns, rows, len(ordered)), np.float32)
        if (samples, columns, rows) != volume.shape[:3]:
            raise DataError(
                f"{path}: {file.name} has {rows} x {columns} pixels, the slices before it "
                f"{volume.shape[2]} x {volume.shape[1]}. Keep one series per folder."
            )
        for position in slices:
            volume[..., position] = pixels[ordered[position].index].T
    return _smallest(volume, all_whole)


def _smallest(values: np.ndarray, whole: bool) -> np.ndarray:
    """Return int16 where nothing is lost (Hounsfield units), uint8 as it is, else float32."""
    if whole and values.dtype != np.uint8 and values.min() >= -32768 and values.max() <= 32767:
        return values.astype(np.int16)
    return intensities(values)
