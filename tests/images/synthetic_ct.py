"""A small CT series made with pydicom alone: oblique, anisotropic, in no helpful file order."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

STORED = np.random.default_rng(0).integers(0, 2000, (5, 6, 7), dtype=np.int16)
"""`(slice, row, column)` in the order of the positions."""
ROW = np.array([0.8, 0.6, 0.0])
COLUMN = np.array([0.0, 0.0, -1.0])
NORMAL = np.cross(ROW, COLUMN)
ORIGIN = np.array([-50.0, 20.0, 5.0])


def slice_header(k: int, series: str, *, step: float = 2.5) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[series, str(k)])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=[series])
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame"])
    dataset.PositionReferenceIndicator = None
    dataset.SeriesDescription, dataset.Modality = series, "CT"
    dataset.PatientName, dataset.PatientID = "Test^Case", "1"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.AccessionNumber = ""
    dataset.StudyDate = dataset.StudyTime = dataset.StudyID = ""
    dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber, dataset.InstanceNumber = 3, 100 - k
    dataset.ImagePositionPatient = [round(v, 6) for v in ORIGIN + NORMAL * step * k]
    dataset.ImageOrientationPatient = [*ROW, *COLUMN]
    dataset.PixelSpacing = [0.5, 0.75]  # between rows, between columns
    dataset.SliceThickness = 2.0
    dataset.Rows, dataset.Columns = STORED.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.PixelData = STORED[k].astype("<u2").tobytes()
    return dataset


def save(dataset: Dataset, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def write_series(folder: Path, *, series: str = "chest", leave_out: int | None = None) -> Path:
    """Write slices under names whose order is not the order of their positions."""
    for k, name in enumerate(("c", "a.dcm", "e", "b.dcm", "d")):
        if k != leave_out:
            save(slice_header(k, series), folder / f"{series}-{name}")
    return folder
