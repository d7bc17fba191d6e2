"""DICOM: order, geometry and units of a series; segmentations written and read again."""

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from tests.images.synthetic_ct import (
    COLUMN,
    NORMAL,
    ORIGIN,
    ROW,
    STORED,
    save,
    slice_header,
    write_series,
)

from vesalius.errors import DataError
from vesalius.images.read import can_read, read_image, read_mask
from vesalius.images.write import mask_suffix_for, write_dicom_seg, write_mask


@pytest.fixture
def series(tmp_path):
    return read_image(write_series(tmp_path / "ct"))


@pytest.fixture
def labels():
    """`(column, row, slice)`: two labels, the first and last slice empty."""
    labels = np.zeros(STORED.shape[::-1], np.uint8)
    labels[1:3, 2:5, 1:3] = 1
    labels[4:6, 0:2, 2:4] = 7
    return labels


def test_a_series_is_sorted_by_position_and_in_hounsfield_units(series):
    np.testing.assert_array_equal(series.array[0], STORED.transpose(2, 1, 0) - 1024)
    assert series.array.dtype == np.int16
    assert series.spacing == pytest.approx((0.75, 0.5, 2.5))


def test_the_affine_gives_the_position_of_every_voxel_in_ras(series):
    i, j, k = 4, 2, 3
    lps = ORIGIN + ROW * 0.75 * i + COLUMN * 0.5 * j + NORMAL * 2.5 * k
    np.testing.assert_allclose((series.affine @ [i, j, k, 1])[:3], lps * [-1, -1, 1], atol=1e-4)


def test_values_and_places_agree_with_highdicom(series):
    datasets = [pydicom.dcmread(file) for file in series.header["files"]]
    volume = highdicom.get_volume_from_series(datasets)
    indices = np.argwhere(np.ones(volume.array.shape))
    ras = volume.map_indices_to_reference(indices) * [-1, -1, 1]
    ours = np.c_[ras, np.ones(len(ras))] @ np.linalg.inv(series.affine).T
    np.testing.assert_allclose(ours[:, :3], np.rint(ours[:, :3]), atol=1e-3)
    i, j, k = np.rint(ours[:, :3]).astype(int).T
    np.testing.assert_array_equal(series.array[0, i, j, k], volume.array.ravel())


def test_a_missing_slice_is_an_error_that_names_its_neighbours(tmp_path):
    write_series(tmp_path, leave_out=2)
    with pytest.raises(DataError, match=r"chest-a\.dcm to chest-b\.dcm is 5\.00 mm.*2\.50"):
        read_image(tmp_path)


def test_two_series_in_one_folder_are_listed(tmp_path):
    write_series(tmp_path, series="chest")
    write_series(tmp_path, series="head")
    with pytest.raises(DataError, match="2 DICOM series") as caught:
        read_image(tmp_path)
    assert len(caught.value.problems) == 2
    assert "head" in str(caught.value)
    assert "5 files" in str(caught.value)


def test_two_slices_at_one_position_are_an_error(tmp_path):
    write_series(tmp_path)
    again = slice_header(2, "chest")
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    save(again, tmp_path / "again.dcm")
    with pytest.raises(DataError, match="same position"):
        read_image(tmp_path)


def test_a_slice_in_another_direction_is_an_error(tmp_path):
    write_series(tmp_path)
    scout = slice_header(2, "chest")
    scout.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    scout.SOPInstanceUID = scout.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    save(scout, tmp_path / "scout.dcm")
    with pytest.raises(DataError, match="different directions"):
        read_image(tmp_path)


def test_a_fractional_slope_of_each_slice_is_applied(tmp_path):
    for k in range(3):
        dataset = slice_header(k, "pet")
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 + k, 0
        save(dataset, tmp_path / f"{k}.dcm")
    image = read_image(tmp_path)
    assert image.array.dtype == np.float32
    for k in range(3):
        np.testing.assert_allclose(image.array[0, :, :, k], STORED[k].T * (0.5 + k))


def test_a_single_file_is_a_picture_in_rows_and_columns(tmp_path):
    save(slice_header(1, "film"), tmp_path / "film.dcm")
    image = read_image(tmp_path / "film.dcm")
    assert image.dims == 2
    assert image.affine is None
    assert image.spacing == (0.5, 0.75)
    np.testing.assert_array_equal(image.array[0], STORED[1] - 1024)
    assert read_image(tmp_path).array.shape == image.array.shape


def test_monochrome1_is_inverted_within_its_bits(tmp_path):
    film = slice_header(0, "film")
    film.PhotometricInterpretation = "MONOCHROME1"
    film.RescaleIntercept = 0
    save(film, tmp_path / "film.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "film.dcm").array[0], 4095 - STORED[0])


def test_a_multi_frame_object_is_a_volume_like_its_series(tmp_path, series):
    order = [3, 0, 4, 1, 2]
    save(_multi_frame(order), tmp_path / "enhanced.dcm")
    image = read_image(tmp_path / "enhanced.dcm")
    np.testing.assert_array_equal(image.array, series.array)
    np.testing.assert_allclose(image.affine, series.affine, atol=1e-5)
    assert image.header["frames"] == (1, 3, 4, 0, 2)


def test_a_film_of_frames_without_positions_is_refused(tmp_path):
    film = slice_header(0, "film")
    film.NumberOfFrames = 5
    film.PixelData = STORED.astype("<u2").tobytes()
    del film.ImagePositionPatient
    save(film, tmp_path / "film.dcm")
    with pytest.raises(DataError, match="without a position"):
        read_image(tmp_path / "film.dcm")


def test_truncated_pixels_are_an_error_that_names_the_file(tmp_path):
    save(slice_header(0, "cut"), tmp_path / "cut.dcm")
    data = (tmp_path / "cut.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(data[:-20])
    with pytest.raises(DataError, match=r"cut\.dcm"):
        read_image(tmp_path / "cut.dcm")


def test_a_segmentation_reads_back_the_same(tmp_path, series, labels):
    assert mask_suffix_for(series) == ".dcm"
    write_mask(tmp_path / "seg.dcm", labels, like=series)
    mask = read_mask(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(mask.array, labels)
    np.testing.assert_allclose(mask.affine, series.affine, atol=1e-5)
    assert mask.array.dtype == np.uint8


def test_highdicom_finds_each_segment_on_its_source_slice(tmp_path, series, labels):
    names = {"background": 0, "lung": 1, "tumour": 7, "bone": 9}
    write_dicom_seg(tmp_path / "seg.dcm", labels, like=series, names=names)
    theirs = highdicom.seg.segread(tmp_path / "seg.dcm")
    described = [theirs.get_segment_description(n) for n in theirs.segment_numbers]
    assert [one.segment_label for one in described] == ["lung", "tumour", "bone"]
    assert described[0].algorithm_type.value == "AUTOMATIC"
    assert described[0].algorithm_identification[0].AlgorithmName == "vesalius"
    sources = [pydicom.dcmread(file) for file in series.header["files"]]
    frames = theirs.get_pixels_by_source_instance(
        [str(source.SOPInstanceUID) for source in sources], assert_missing_frames_are_empty=True
    )
    for segment, label in enumerate((1, 7, 9)):
        ours = (labels == label).transpose(2, 1, 0)
        np.testing.assert_array_equal(frames[..., segment].astype(bool), ours)
    assert theirs.SegmentationType == "BINARY"


def test_highdicom_places_the_segments_where_the_image_is(tmp_path, series, labels):
    write_dicom_seg(tmp_path / "seg.dcm", labels, like=series)
    volume = highdicom.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    for index in np.argwhere(volume.array):
        lps = volume.map_indices_to_reference(index[None])[0]
        ours = np.linalg.inv(series.affine) @ [*(lps * [-1, -1, 1]), 1]
        i, j, k = np.rint(ours[:3]).astype(int)
        np.testing.assert_allclose(ours[:3], [i, j, k], atol=1e-3)
        assert labels[i, j, k] == {1: 1, 2: 7}[int(volume.array[tuple(index)])]
    assert (volume.array > 0).sum() == (labels > 0).sum()


def test_a_segmentation_that_omits_empty_slices_is_placed_on_its_image(tmp_path, series, labels):
    sources = [pydicom.dcmread(file) for file in series.header["files"]]
    _sparse(sources, (labels == 1).transpose(2, 1, 0)).save_as(tmp_path / "sparse.dcm")
    placed = read_mask(tmp_path / "sparse.dcm", like=series)
    np.testing.assert_array_equal(placed.array, labels == 1)
    alone = read_mask(tmp_path / "sparse.dcm")
    np.testing.assert_array_equal(alone.array, (labels == 1)[:, :, 1:3])
    np.testing.assert_allclose(alone.affine[:3, 3], (series.affine @ [0, 0, 1, 1])[:3], atol=1e-4)


def test_a_segmentation_of_another_grid_is_refused(tmp_path, series, labels):
    write_mask(tmp_path / "seg.dcm", labels, like=series)
    for k in range(5):
        moved = slice_header(k, "moved")
        moved.ImagePositionPatient = [v + 0.3 for v in moved.ImagePositionPatient]
        save(moved, tmp_path / "moved" / f"{k}.dcm")
    with pytest.raises(DataError, match="another grid"):
        read_mask(tmp_path / "seg.dcm", like=read_image(tmp_path / "moved"))


def test_overlapping_segments_are_refused(tmp_path, series):
    sources = [pydicom.dcmread(file) for file in series.header["files"]]
    both = np.ones((*STORED.shape, 2), np.uint8)
    _sparse(sources, both, segments=2).save_as(tmp_path / "overlap.dcm")
    with pytest.raises(DataError, match="overlap"):
        read_mask(tmp_path / "overlap.dcm")


def test_the_segmentation_of_a_single_film_is_a_picture(tmp_path):
    save(slice_header(1, "film"), tmp_path / "film.dcm")
    film = read_image(tmp_path / "film.dcm")
    labels = (STORED[1] > 1000).astype(np.uint8) * 2
    write_mask(tmp_path / "seg.dcm", labels, like=film)
    np.testing.assert_array_equal(read_mask(tmp_path / "seg.dcm").array, labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "seg.dcm", like=film).array, labels)


def test_a_segmentation_of_a_multi_frame_object_goes_back_to_its_frames(tmp_path, labels):
    save(_multi_frame([3, 0, 4, 1, 2]), tmp_path / "enhanced.dcm")
    image = read_image(tmp_path / "enhanced.dcm")
    write_mask(tmp_path / "seg.dcm", labels, like=image)
    mask = read_mask(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(mask.array, labels)
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)


def test_an_unnamed_label_is_an_error(tmp_path, series, labels):
    with pytest.raises(DataError, match="Name every label"):
        write_dicom_seg(tmp_path / "seg.dcm", labels, like=series, names={"lung": 1})
    assert not (tmp_path / "seg.dcm").exists()


def test_images_and_segmentations_are_told_apart(tmp_path, series, labels):
    folder = series.path
    write_mask(folder / "seg.dcm", labels, like=series)
    assert read_image(folder).size == series.size  # the segmentation beside it is no second series
    np.testing.assert_array_equal(read_mask(folder).array, labels)
    with pytest.raises(DataError, match="read_mask"):
        read_image(folder / "seg.dcm")
    with pytest.raises(DataError, match="no segmentation"):
        read_mask(folder / "chest-c")


def test_dicom_is_recognised_without_a_suffix(tmp_path, series):
    assert can_read(series.path)
    assert can_read(series.path / "chest-c")
    (tmp_path / "notes").write_text("no image")
    assert not can_read(tmp_path / "notes")


def _multi_frame(order: list[int]) -> Dataset:
    """An enhanced CT whose frame f is slice order[f]."""
    dataset = slice_header(0, "enhanced")
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = (
        pydicom.uid.EnhancedCTImageStorage
    )
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = dataset.PixelSpacing, 2.0
    plane.ImageOrientationPatient = dataset.ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    transformation = Dataset()
    transformation.RescaleSlope, transformation.RescaleIntercept = 1, -1024
    transformation.RescaleType = "HU"
    shared.PixelValueTransformationSequence = [transformation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in order:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = slice_header(k, "enhanced").ImagePositionPatient
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    dataset.NumberOfFrames = len(order)
    dataset.PixelData = STORED[order].astype("<u2").tobytes()
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(dataset, name)
    del dataset.RescaleSlope, dataset.RescaleIntercept
    return dataset


def _sparse(sources, pixels, segments: int = 1):
    """A segmentation as another program writes it, without the empty frames."""
    from pydicom.sr.codedict import codes

    descriptions = [
        highdicom.seg.SegmentDescription(
            n + 1, f"part {n}", codes.SCT.Tissue, codes.SCT.Tissue, "MANUAL"
        )
        for n in range(segments)
    ]
    return highdicom.seg.Segmentation(
        sources, pixels.astype(np.uint8), "BINARY", descriptions, highdicom.UID(), 9,
        highdicom.UID(), 1, "Other", "other", "1", "0",
    )  # fmt: skip
