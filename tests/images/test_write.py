"""Writing: what is written reads back the same, lies at the same place, and appears whole."""

import os
import resource

import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as Pillow

from vesalius.errors import DataError, StorageError
from vesalius.images.read import geometry_problem, read_image, read_mask
from vesalius.images.write import mask_suffix_for, write_image, write_mask

RANDOM = np.random.default_rng(0)
VOLUME = RANDOM.normal(size=(4, 5, 6)).astype(np.float32)
LABELS = RANDOM.integers(0, 4, (4, 5, 6))
AFFINE = np.array([[0, -1.5, 0, 10], [0.7, 0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1.0]])


@pytest.fixture
def nifti(tmp_path):
    file = nibabel.Nifti1Image(VOLUME, None)
    other = AFFINE.copy()
    other[:3, 3] += 7
    file.set_qform(AFFINE, code=1)
    file.set_sform(other, code=4)
    file.header.set_xyzt_units("mm", "sec")
    nibabel.save(file, tmp_path / "in.nii.gz")
    return read_image(tmp_path / "in.nii.gz")


@pytest.fixture
def nrrd_lps(tmp_path):
    header = {
        "space": "left-posterior-superior",
        "space directions": AFFINE[:3, :3].T,
        "space origin": AFFINE[:3, 3],
    }
    nrrd.write(str(tmp_path / "in.nrrd"), VOLUME, header)
    return read_image(tmp_path / "in.nrrd")


@pytest.fixture
def stack(tmp_path):
    tifffile.imwrite(
        tmp_path / "in.tif", VOLUME, imagej=True, resolution=(4.0, 2.0),
        metadata={"axes": "ZYX", "unit": "um", "spacing": 3.0},
    )  # fmt: skip
    return read_image(tmp_path / "in.tif")


@pytest.fixture
def picture(tmp_path):
    Pillow.fromarray(np.zeros((6, 9, 3), np.uint8)).save(tmp_path / "in.jpg")
    return read_image(tmp_path / "in.jpg")


def test_a_nifti_mask_keeps_both_orientations_and_their_codes(nifti, tmp_path):
    write_mask(tmp_path / "out.nii.gz", LABELS, like=nifti)
    ours, source = nibabel.load(tmp_path / "out.nii.gz"), nibabel.load(nifti.path)
    for key in ("qform_code", "sform_code", "pixdim", "srow_x", "quatern_b", "xyzt_units"):
        np.testing.assert_array_equal(ours.header[key], source.header[key], err_msg=key)
    np.testing.assert_array_equal(ours.affine, source.affine)
    assert ours.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(read_mask(tmp_path / "out.nii.gz").array, LABELS)


def test_the_scaling_of_an_image_is_not_taken_over_by_its_mask(tmp_path):
    file = nibabel.Nifti1Image(LABELS.astype(np.int16), AFFINE)
    file.header.set_slope_inter(0.25, -3)
    nibabel.save(file, tmp_path / "in.nii")
    write_mask(tmp_path / "out.nii", LABELS * 100, like=read_image(tmp_path / "in.nii"))
    mask = read_mask(tmp_path / "out.nii").array
    np.testing.assert_array_equal(mask, LABELS * 100)
    assert mask.dtype == np.uint16


@pytest.mark.parametrize("end", [".nrrd", ".nii", ".nii.gz"])
@pytest.mark.parametrize("source", ["nifti", "nrrd_lps", "stack"])
def test_a_volume_mask_lies_where_its_image_lies_in_every_format(source, end, tmp_path, request):
    like = request.getfixturevalue(source)
    write_mask(tmp_path / f"out{end}", LABELS, like=like)
    mask = read_mask(tmp_path / f"out{end}")
    np.testing.assert_array_equal(mask.array, LABELS)
    assert geometry_problem(like, mask) is None
    np.testing.assert_allclose(mask.spacing, like.spacing, rtol=1e-5)


def test_a_nrrd_mask_keeps_the_space_and_is_compressed(nrrd_lps, tmp_path):
    write_mask(tmp_path / "out.nrrd", LABELS, like=nrrd_lps)
    header = nrrd.read_header(str(tmp_path / "out.nrrd"))
    assert header["space"] == "left-posterior-superior"
    assert header["encoding"] == "gzip"
    np.testing.assert_array_equal(header["space directions"], AFFINE[:3, :3].T)
    assert header["type"] == "uint8"


def test_a_tiff_stack_keeps_its_spacing(stack, tmp_path):
    assert mask_suffix_for(stack) == ".tif"
    write_mask(tmp_path / "out.tif", LABELS, like=stack)
    mask = read_mask(tmp_path / "out.tif")
    np.testing.assert_array_equal(mask.array, LABELS)
    np.testing.assert_allclose(mask.affine, stack.affine)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), LABELS)


def test_the_mask_of_a_jpeg_is_a_png(picture, tmp_path):
    assert mask_suffix_for(picture) == ".png"
    labels = RANDOM.integers(0, 900, (6, 9))
    write_mask(tmp_path / "out.png", labels, like=picture)
    np.testing.assert_array_equal(np.asarray(Pillow.open(tmp_path / "out.png")), labels)
    with pytest.raises(DataError, match=r"JPEG changes labels.*\.png"):
        write_mask(tmp_path / "out.jpg", labels, like=picture)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(labels=hnp.arrays(np.int64, (6, 9), elements=st.integers(0, 65535)),
       end=st.sampled_from([".png", ".tif"]))  # fmt: skip
def test_any_labels_of_a_picture_come_back(picture, tmp_path, labels, end):
    write_mask(tmp_path / f"any{end}", labels, like=picture)
    mask = read_mask(tmp_path / f"any{end}").array
    np.testing.assert_array_equal(mask, labels)
    assert mask.dtype == (np.uint8 if labels.max() < 256 else np.uint16)


@pytest.mark.parametrize("source", ["nifti", "nrrd_lps", "stack"])
@pytest.mark.parametrize("channels", [1, 3])
def test_probability_maps_come_back_as_float32(source, channels, tmp_path, request):
    like = request.getfixturevalue(source)
    maps = RANDOM.random((channels, *like.size))
    path = tmp_path / f"maps{mask_suffix_for(like)}"
    write_image(path, maps, like=like)
    image = read_image(path)
    np.testing.assert_array_equal(image.array, maps.astype(np.float32))
    np.testing.assert_allclose(image.affine, like.affine, atol=1e-5)


def test_maps_of_a_picture_are_a_tiff_and_no_png(picture, tmp_path):
    maps = RANDOM.random((3, 6, 9)).astype(np.float32)
    write_image(tmp_path / "maps.tif", maps, like=picture)
    np.testing.assert_array_equal(read_image(tmp_path / "maps.tif").array, maps)
    with pytest.raises(DataError, match="no float maps"):
        write_image(tmp_path / "maps.png", maps, like=picture)


def test_a_nrrd_picture_comes_back_in_rows_and_columns(tmp_path):
    pixels = RANDOM.integers(0, 3, (6, 9), dtype=np.uint8)
    nrrd.write(str(tmp_path / "in.nrrd"), pixels.T, {"spacings": [0.5, 2.0]})
    image = read_image(tmp_path / "in.nrrd")
    np.testing.assert_array_equal(image.array[0], pixels)
    assert image.spacing == (2.0, 0.5)
    write_mask(tmp_path / "out.nrrd", pixels, like=image)
    mask = read_mask(tmp_path / "out.nrrd")
    np.testing.assert_array_equal(mask.array, pixels)
    assert mask.spacing == image.spacing


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:3], r"shape \(3, 5, 6\)"),
        (LABELS - 1, "from -1 to 2"),
        (LABELS * 30000, "at most 65535"),
        (LABELS * 0.5, "must be integers"),
    ],
)
def test_labels_that_cannot_be_stored_are_refused(nifti, tmp_path, labels, message):
    with pytest.raises(DataError, match=message):
        write_mask(tmp_path / "out.nii.gz", labels, like=nifti)
    assert not (tmp_path / "out.nii.gz").exists()


def test_formats_that_lose_the_geometry_are_refused(nifti, picture, tmp_path):
    with pytest.raises(DataError, match="PNG holds no volume"):
        write_mask(tmp_path / "out.png", LABELS, like=nifti)
    with pytest.raises(DataError, match="no orientation"):
        write_mask(tmp_path / "out.tif", LABELS, like=nifti)
    with pytest.raises(DataError, match="is a picture"):
        write_mask(tmp_path / "out.nii.gz", np.zeros((6, 9), int), like=picture)
    with pytest.raises(DataError, match="no DICOM image"):
        write_mask(tmp_path / "out.dcm", LABELS, like=nifti)


@pytest.mark.parametrize("end", [".nii", ".nii.gz", ".nrrd", ".tif"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(stack, tmp_path, end):
    folder = tmp_path / "out"
    large = RANDOM.integers(0, 255, (32, 32, 32))
    like = type(stack)(large[None], *[getattr(stack, k) for k in list(vars(stack))[1:]])
    write_mask(folder / f"a{end}", np.zeros_like(large), like=like)
    before = (folder / f"a{end}").read_bytes()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, old[1]))
    try:
        with pytest.raises(
            StorageError, match=rf"no space left to write .*a{end} .*Free some space"
        ):
            write_mask(folder / f"a{end}", large, like=like)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert (folder / f"a{end}").read_bytes() == before
    assert os.listdir(folder) == [f"a{end}"]


def test_a_place_that_is_a_file_is_a_storage_error(picture, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write .*out\.png"):
        write_mask(tmp_path / "file" / "out.png", np.zeros((6, 9), int), like=picture)


def test_a_written_mask_has_the_permissions_of_any_new_file(picture, tmp_path):
    write_mask(tmp_path / "out.png", np.zeros((6, 9), int), like=picture)
    (tmp_path / "plain").touch()
    assert (tmp_path / "out.png").stat().st_mode == (tmp_path / "plain").stat().st_mode
