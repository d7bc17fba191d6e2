"""DICOM Segmentation objects: written with highdicom, read by the position of every frame.

A label's number is kept as a code of the private scheme "99VESALIUS", so labels need not be
consecutive. Objects of other programs are read with their segment numbers as labels.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vesalius.errors import DataError
from vesalius.images.dicom import Frame, frames_of, stack
from vesalius.images.dicom_pixels import macro, require_decoder
from vesalius.images.image import LPS_TO_RAS, Image, compact_labels

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom import Dataset

_SCHEME = "99VESALIUS"


def dicom_segmentation(
    labels: np.ndarray, *, like: Image, names: Mapping[str, int] | None = None
) -> "Dataset":
    """Return a BINARY segmentation object: one segment per label, all frames of the source.

    Args:
        labels: `(*like.size)` integers, 0 = background.
        like: the DICOM image that was segmented; its files are opened for their headers.
        names: name -> label; every one becomes a segment, present in `labels` or not. None: the
            labels that occur, named "label 1" and so on.

    Raises:
        DataError: `like` is no DICOM image, a label has no name, or the source lacks an attribute
            that a segmentation must repeat.
    """
    import highdicom
    import pydicom

    from vesalius import __version__

    if like.format != "dicom":
        raise DataError(
            f"{like.path} is no DICOM image, so no DICOM segmentation can refer to it. "
            "Write .nii.gz or .nrrd instead."
        )
    table = _segments(labels, names, like)
    numbers = np.zeros(int(max(table.values())) + 1, np.uint16)
    numbers[list(table.values())] = np.arange(1, len(table) + 1)
    files, frames = _in_source_order(numbers[labels], like)
    sources = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    try:
        return highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=frames.astype(np.uint8 if len(table) < 256 else np.uint16),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=_descriptions(table, __version__),
            series_instance_uid=highdicom.UID(),
            series_number=int(sources[0].get("SeriesNumber") or 0) + 1000,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="Vesalius",
            manufacturer_model_name="vesalius",
            software_versions=__version__,
            device_serial_number="0",
            # kept although empty, so that the object covers the whole source when it is read alone
            omit_empty_frames=False,
        )
    except AttributeError as error:
        raise DataError(
            f"{like.path} lacks what a DICOM segmentation must repeat ({error}). "
            "Write .nii.gz instead, or take the files from the archive again."
        ) from error


def read_dicom_seg(path: Path, *, like: Image | None = None) -> Image:
    """Read a segmentation as labels `(column, row, slice)`, or `(row, column)` of a picture.

    Args:
        path: the DICOM file.
        like: the image; slices that the object leaves out are then filled with 0. Without it the
            labels reach from the first to the last slice that the object holds.

    Raises:
        DataError: segments overlap, the object is fractional, or it lies outside the image's grid.
    """
    import pydicom
    from pydicom.pixels import pixel_array

    dataset = pydicom.dcmread(path)
    _check_kind(dataset, path)
    require_decoder(dataset, path)
    pixels = pixel_array(dataset)
    pixels = pixels.reshape(-1, dataset.Rows, dataset.Columns)
    values = _label_maps(pixels, dataset)
    flat = "PerFrameFunctionalGroupsSequence" not in dataset or not macro(
        dataset, 0, "PlanePositionSequence"
    ).get("ImagePositionPatient")
    if flat or (like is not None and like.dims == 2):
        return _flat(values, dataset, path)
    frames = frames_of(dataset, path)
    if like is None and len({tuple(frame.position) for frame in frames}) == 1:
        return _flat(values, dataset, path)
    if like is not None:
        affine, size = like.affine, like.size
    else:
        affine, size = _own_grid(frames, path)
    labels = _place(values, frames, affine, size, path)
    spacing = tuple(float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
    return Image(compact_labels(labels, path), spacing, affine, "dicom", None, path)


def is_dicom_seg(path: Path) -> bool:
    """Return whether a DICOM file is a segmentation."""
    import pydicom

    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Modality"])
    return header.get("Modality") == "SEG"


def segment_labels(path: Path) -> dict[str, int]:
    """Return segment name -> label of a DICOM segmentation, in the order of its segments."""
    import pydicom

    tags = ["SegmentSequence"]
    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
    return {str(segment.SegmentLabel): _label(segment) for segment in header.SegmentSequence}


def _segments(labels: np.ndarray, names: Mapping[str, int] | None, like: Image) -> dict[str, int]:
    found = [int(label) for label in np.unique(labels) if label != 0]
    if names is None:
        names = {f"label {label}": label for label in found}
    table = {name: int(label) for name, label in names.items() if label != 0}
    table = dict(sorted(table.items(), key=lambda item: item[1]))
    if not table:
        raise DataError(
            f"The mask of {like.path} is empty and no names are given; a DICOM segmentation needs "
            "at least one segment. Give `names`."
        )
    if set(found) - set(table.values()) or min(table.values()) < 0:
        raise DataError(
            f"The mask of {like.path} has the labels {found}; the names cover "
            f"{list(table.values())}. Name every label."
        )
    return table


def _in_source_order(labels: np.ndarray, like: Image) -> tuple[list[Path], np.ndarray]:
    """Return the source files and label frames `([frames,] rows, columns)` that correspond."""
    files = list(like.header["files"])
    if like.dims == 2:
        return files, labels
    frames = labels.transpose(2, 1, 0)
    if len(set(files)) < len(files):  # one multi-frame object: back to its own order
        frames = frames[np.argsort(like.header["frames"])]
        files = files[:1]
    return files, np.ascontiguousarray(frames)


def _descriptions(table: Mapping[str, int], version: str) -> "list[SegmentDescription]":
    import highdicom
    from pydicom.sr.codedict import codes

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="vesalius", version=version, family=codes.DCM.ArtificialIntelligence
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=highdicom.sr.CodedConcept(str(label), _SCHEME, name[:64]),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, (name, label) in enumerate(table.items(), start=1)
    ]


def _check_kind(dataset: "Dataset", path: Path) -> None:
    if dataset.get("Modality") != "SEG":
        raise DataError(
            f"{path} is a DICOM image, no segmentation. Masks in DICOM must be DICOM-SEG objects; "
            "others can be NIfTI, NRRD, PNG or TIFF."
        )
    if dataset.SegmentationType == "FRACTIONAL":
        raise DataError(
            f"{path} is a fractional segmentation (probabilities). Save it as BINARY or LABELMAP."
        )


def _label_maps(pixels: np.ndarray, dataset: "Dataset") -> np.ndarray:
    """Return `(frames, rows, columns)` with labels in the place of ones or segment numbers."""
    numbers = {int(s.SegmentNumber): _label(s) for s in dataset.SegmentSequence}
    if dataset.SegmentationType == "LABELMAP":
        table = np.arange(max(int(pixels.max()), *numbers) + 1)
        table[list(numbers)] = list(numbers.values())
        return table[pixels]
    values = np.empty(pixels.shape, np.int32)
    for index, frame in enumerate(pixels):
        identification = macro(dataset, index, "SegmentIdentificationSequence")
        values[index] = frame * numbers[int(identification.ReferencedSegmentNumber)]
    return values


def _label(segment: "Dataset") -> int:
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    ours = kind.get("CodingSchemeDesignator") == _SCHEME
    return int(kind.CodeValue) if ours else int(segment.SegmentNumber)


def _flat(values: np.ndarray, dataset: "Dataset", path: Path) -> Image:
    labels = np.zeros(values.shape[1:], np.int32)
    for frame in values:
        _merge(labels, frame, path)
    spacing = macro(dataset, 0, "PixelMeasuresSequence").get("PixelSpacing") or (1.0, 1.0)
    spacing = tuple(float(v) for v in spacing)
    return Image(compact_labels(labels, path), spacing, None, "dicom", None, path)


def _own_grid(frames: list[Frame], path: Path) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Return the affine and size of the smallest grid that holds all frames."""
    import pydicom

    unique = {tuple(np.round(frame.position, 3)): frame for frame in frames}
    normal = np.cross(frames[0].orientation[:3], frames[0].orientation[3:])
    ordered = sorted(unique.values(), key=lambda frame: float(frame.position @ normal))
    depths = np.array([frame.position @ normal for frame in ordered])
    # slices between segments may be left out: the smallest gap is the step
    step = float(np.diff(depths).min())
    count = round((depths[-1] - depths[0]) / step) + 1
    along = (ordered[-1].position - ordered[0].position) / (count - 1)
    _, affine = stack(ordered[:1], path, step=along)
    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
    return affine, (int(header.Columns), int(header.Rows), count)


def _place(values, frames: list[Frame], affine: np.ndarray, size, path: Path) -> np.ndarray:
    """Return `(column, row, slice)` with every frame at its position in the grid of `affine`."""
    labels = np.zeros(size[::-1], np.int32)
    inverse = np.linalg.inv(affine)
    for frame, value in zip(frames, values, strict=True):
        corners = np.stack([_corner(frame, 0, 0), _corner(frame, *value.shape)])
        index = corners @ inverse.T
        expected = [[0, 0], [value.shape[1], value.shape[0]]]
        k = round(index[0, 2])
        off = max(np.abs(index[:, :2] - expected).max(), np.abs(index[:, 2] - k).max())
        if off > 0.1 or not 0 <= k < size[2] or value.shape != labels.shape[1:]:
            raise DataError(
                f"{path} lies on another grid than its image: a frame of {value.shape} pixels at "
                f"{np.round(frame.position, 2).tolist()} mm is no slice of {size[::-1]}. "
                "Resample the segmentation onto the image in the program that made it."
            )
        _merge(labels[k], value, path)
    return labels.transpose(2, 1, 0)


def _corner(frame: Frame, row: int, column: int) -> np.ndarray:
    """Return the world position `(4,)` in RAS of a pixel of a frame."""
    along_row, along_column = frame.orientation[:3], frame.orientation[3:]
    place = frame.position + along_row * frame.spacing[1] * column
    return LPS_TO_RAS @ np.array([*(place + along_column * frame.spacing[0] * row), 1.0])


def _merge(labels: np.ndarray, frame: np.ndarray, path: Path) -> None:
    overlap = (labels != 0) & (frame != 0)
    if overlap.any():
        raise DataError(
            f"{path} has segments that overlap ({int(overlap.sum())} pixels of one slice). "
            "Keep the segments in separate objects, or decide which one is on top."
        )
    labels += frame
