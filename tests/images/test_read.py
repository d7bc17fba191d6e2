"""Reading every format but DICOM, against the libraries that wrote the files."""

import nibabel
import nrrd
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as Pillow

from vesalius.errors import DataError
from vesalius.images.image import compact_labels, stem, suffix
from vesalius.images.read import (
    can_read,
    geometry_problem,
    read_channels,
    read_image,
    read_mask,
)

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (6, 9), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (6, 9, 3), dtype=np.uint8)
DEEP = RANDOM.integers(0, 65536, (6, 9), dtype=np.uint16)
VOLUME = RANDOM.normal(size=(4, 5, 6)).astype(np.float32)
AFFINE = np.array([[0, -1.5, 0, 10], [0.7, 0, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1.0]])


def test_suffix_and_stem_know_double_suffixes_and_folders():
    assert suffix("a/B.NII.GZ") == ".nii.gz"
    assert stem("a/B.NII.GZ") == "B"
    assert stem("scan.1.png") == "scan.1"
    assert suffix("scan.1.PNG") == ".png"
    assert stem("1.2.840.113") == "1.2.840.113"


@pytest.mark.parametrize("end", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_eight_bit_pictures_are_channels_first(tmp_path, end, pixels):
    Pillow.fromarray(pixels).save(tmp_path / f"a{end}")
    image = read_image(tmp_path / f"a{end}")
    expected = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    np.testing.assert_array_equal(image.array, expected)
    assert image.dims == 2
    assert image.size == (6, 9)
    assert image.affine is None
    assert image.spacing == (1.0, 1.0)
    assert image.array.dtype == np.uint8


@pytest.mark.parametrize("end", [".png", ".tif"])
def test_sixteen_bit_grey_keeps_its_values(tmp_path, end):
    Pillow.fromarray(DEEP).save(tmp_path / f"a{end}")
    image = read_image(tmp_path / f"a{end}")
    np.testing.assert_array_equal(image.array[0], DEEP)
    assert image.array.dtype == np.uint16


def test_sixteen_bit_colour_png_is_not_reduced_to_eight(tmp_path):
    import imagecodecs

    deep = RANDOM.integers(0, 65536, (6, 9, 3), dtype=np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(deep))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").array, deep.transpose(2, 0, 1))


def test_opaque_alpha_is_dropped_and_a_transparent_pixel_is_an_error(tmp_path):
    alpha = np.full((6, 9, 1), 255, np.uint8)
    Pillow.fromarray(np.concatenate([COLOUR, alpha], -1)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").array, COLOUR.transpose(2, 0, 1))
    alpha[2, 3] = 0
    Pillow.fromarray(np.concatenate([COLOUR, alpha], -1)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match="1 transparent"):
        read_image(tmp_path / "b.png")


def test_the_index_of_a_palette_mask_is_its_label(tmp_path):
    labels = (GREY % 4).astype(np.uint8)
    picture = Pillow.fromarray(labels, mode="P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png").array, labels)
    red = read_image(tmp_path / "a.png").array[0]
    np.testing.assert_array_equal(red, np.where(labels == 1, 255, 0))
    colours = {(0, 0, 0): 0, (255, 0, 0): 5, (0, 255, 0): 6, (0, 0, 255): 300}
    mask = read_mask(tmp_path / "a.png", colours=colours).array
    np.testing.assert_array_equal(mask, np.array([0, 5, 6, 300])[labels])
    assert mask.dtype == np.uint16


def test_a_coloured_mask_needs_a_table_that_lists_every_colour(tmp_path):
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[1] = (255, 0, 0)
    Pillow.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"coloured mask.*colours="):
        read_mask(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"1 colours.*\(255, 0, 0\)"):
        read_mask(tmp_path / "a.png", colours={(0, 0, 0): 0})


def test_a_grey_mask_saved_as_rgb_is_fine(tmp_path):
    Pillow.fromarray(np.repeat(GREY[..., None], 3, -1)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png").array, GREY)


def test_a_bilevel_mask_has_the_label_one_and_a_bilevel_image_is_white(tmp_path):
    Pillow.fromarray(GREY > 99).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png").array, GREY > 99)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").array[0], (GREY > 99) * 255)


def test_a_jpeg_is_an_image_but_never_a_mask(tmp_path):
    Pillow.fromarray(COLOUR).save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").array.shape == (3, 6, 9)
    with pytest.raises(DataError, match=r"JPEG.*PNG"):
        read_mask(tmp_path / "a.jpg")


def test_the_exif_orientation_is_applied(tmp_path):
    picture = Pillow.fromarray(COLOUR)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.png", exif=exif)
    expected = np.rot90(COLOUR, -1).transpose(2, 0, 1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").array, expected)


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((7, 6, 9), "ZYX", (1, 7, 6, 9)),
        ((3, 6, 9), "CYX", (3, 6, 9)),
        ((7, 2, 6, 9), "ZCYX", (2, 7, 6, 9)),
        ((1, 7, 1, 6, 9), "TZCYX", (1, 7, 6, 9)),
    ],
)
def test_tiff_axes_decide_what_is_depth_and_what_channel(tmp_path, shape, axes, expected):
    pixels = RANDOM.integers(0, 65536, shape, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": axes})
    image = read_image(tmp_path / "a.tif")
    assert image.array.shape == expected
    assert image.array.sum(dtype=float) == pixels.sum(dtype=float)
    if axes == "ZCYX":
        np.testing.assert_array_equal(image.array, pixels.swapaxes(0, 1))


def test_pages_without_metadata_are_a_stack(tmp_path):
    pages = RANDOM.integers(0, 255, (5, 6, 9), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages:
            file.write(page, metadata=None, contiguous=False, compression="zlib")
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.array[0], pages)
    assert image.dims == 3
    assert image.affine.shape == (4, 4)


def test_a_time_series_tiff_is_refused(tmp_path):
    pixels = np.zeros((3, 4, 6, 9), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(DataError, match="time point"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("codec", ["lzw", "zlib", "zstd", "jpeg2000"])
def test_compressed_float_and_integer_tiffs_are_decoded(tmp_path, codec):
    pixels = DEEP if codec == "jpeg2000" else VOLUME[0]
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression=codec)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array[0], pixels)


def test_tiff_spacing_comes_from_microscopes_and_not_from_printers(tmp_path):
    stack = np.zeros((3, 6, 9), np.uint8)
    tifffile.imwrite(
        tmp_path / "imagej.tif", stack, imagej=True, resolution=(4.0, 2.0),
        metadata={"axes": "ZYX", "unit": "um", "spacing": 3.0},
    )  # fmt: skip
    image = read_image(tmp_path / "imagej.tif")
    assert image.spacing == pytest.approx((3e-3, 0.5e-3, 0.25e-3))
    np.testing.assert_allclose((image.affine @ [1, 2, 4, 1])[:3], [1e-3, 1e-3, 3e-3])
    Pillow.fromarray(GREY).save(tmp_path / "printer.tif", dpi=(300, 300))
    assert read_image(tmp_path / "printer.tif").spacing == (1.0, 1.0)


def test_white_is_zero_is_turned_for_images_and_kept_for_masks(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").array[0], 255 - GREY)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif").array, GREY)


def test_nifti_keeps_axes_and_affine(tmp_path):
    nibabel.save(nibabel.Nifti1Image(VOLUME, AFFINE), tmp_path / "a.nii.gz")
    image = read_image(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(image.array[0], VOLUME)
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    assert image.spacing == pytest.approx((0.7, 1.5, 3.0))


def test_nifti_channels_come_first_and_scaling_is_applied(tmp_path):
    four = RANDOM.integers(0, 100, (4, 5, 6, 2)).astype(np.int16)
    file = nibabel.Nifti1Image(four, AFFINE)
    file.header.set_slope_inter(0.5, -10)
    nibabel.save(file, tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    assert image.array.shape == (2, 4, 5, 6)
    assert image.dims == 3
    expected = np.asarray(nibabel.load(tmp_path / "a.nii").get_fdata()).transpose(3, 0, 1, 2)
    np.testing.assert_allclose(image.array, expected)
    with pytest.raises(DataError, match="2 channels"):
        read_mask(tmp_path / "a.nii")


def test_a_float_mask_of_whole_numbers_is_a_mask_and_an_interpolated_one_is_not(tmp_path):
    labels = RANDOM.integers(0, 3, (4, 5, 6)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), tmp_path / "a.nii.gz")
    mask = read_mask(tmp_path / "a.nii.gz")
    assert mask.array.dtype == np.uint8
    assert mask.array.shape == (4, 5, 6)
    nibabel.save(nibabel.Nifti1Image(labels / 2, AFFINE), tmp_path / "b.nii.gz")
    with pytest.raises(DataError, match=r"0\.5.*interpolation"):
        read_mask(tmp_path / "b.nii.gz")


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("LAS", (-1, 1, 1)),
    ],
)
def test_nrrd_directions_become_ras(tmp_path, space, signs):
    header = {"space": space, "space directions": AFFINE[:3, :3].T, "space origin": AFFINE[:3, 3]}
    nrrd.write(str(tmp_path / "a.nrrd"), VOLUME, header)
    image = read_image(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(image.array[0], VOLUME)
    np.testing.assert_allclose(image.affine, np.diag([*signs, 1]) @ AFFINE)


def test_nrrd_channels_are_told_from_space_by_their_missing_direction(tmp_path):
    pixels = RANDOM.normal(size=(2, 4, 5, 6)).astype(np.float32)
    header = {
        "space": "right-anterior-superior",
        "space directions": np.vstack([[np.nan] * 3, AFFINE[:3, :3].T]),
        "kinds": ["vector", "domain", "domain", "domain"],
    }
    nrrd.write(str(tmp_path / "a.nrrd"), pixels, header)
    np.testing.assert_array_equal(read_image(tmp_path / "a.nrrd").array, pixels)


@pytest.mark.parametrize(
    "name", ["a.png", "a.jpg", "a.tif", "b.tif", "a.nii", "a.nii.gz", "a.nrrd"]
)
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, name):
    noise = RANDOM.integers(0, 256, (64, 64), dtype=np.uint8)
    path = tmp_path / name
    if name.endswith(("png", "jpg")):
        Pillow.fromarray(noise).save(path)
    elif name.endswith("tif"):
        tifffile.imwrite(path, noise, compression="zlib" if name == "b.tif" else None)
    elif name.endswith("nrrd"):
        nrrd.write(str(path), noise[..., None])
    else:
        nibabel.save(nibabel.Nifti1Image(noise[..., None], np.eye(4)), path)
    whole = path.read_bytes()
    for part in (0.0, 0.3, 0.8):
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(DataError, match=name):
            read_image(path)


@pytest.mark.parametrize("kind", ["imagej", "ome", "bigtiff", "shaped"])
def test_a_stack_that_is_cut_off_never_loses_pages_silently(tmp_path, kind):
    pixels, path = RANDOM.integers(0, 9, (6, 32, 32), dtype=np.uint16), tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        pixels,
        compression=None if kind == "imagej" else "zlib",
        metadata={"axes": "ZYX"},
        **({kind: True} if kind != "shaped" else {}),
    )
    whole, refused = path.read_bytes(), 0
    np.testing.assert_array_equal(read_image(path).array, pixels[None])
    for end in np.linspace(100, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:end])
        try:
            array = read_image(path).array
        except DataError:
            refused += 1
        else:
            np.testing.assert_array_equal(array, pixels[None])
    assert refused > 35


def test_a_text_file_called_png_is_an_error(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        read_image(tmp_path / "a.png")


def test_a_file_that_tells_no_volume_is_refused_by_its_kind(tmp_path):
    axis = nibabel.cifti2.ScalarAxis(["a"]), nibabel.cifti2.ScalarAxis(["b", "c"])
    nibabel.save(nibabel.Cifti2Image(np.zeros((1, 2), np.float32), axis), tmp_path / "a.nii")
    with pytest.raises(DataError, match="Cifti2Image, no NIfTI volume"):
        read_image(tmp_path / "a.nii")


def test_unknown_formats_and_missing_files_say_so(tmp_path):
    (tmp_path / "a.webp").write_bytes(b"RIFF")
    assert not can_read(tmp_path / "a.webp")
    with pytest.raises(DataError, match=r"unknown format.*png"):
        read_image(tmp_path / "a.webp")
    with pytest.raises(DataError, match="does not exist"):
        read_image(tmp_path / "b.png")


def test_channel_files_are_joined_and_must_lie_at_the_same_place(tmp_path):
    for name, shift in (("a", 0.0), ("b", 0.0), ("c", 2.0)):
        affine = AFFINE.copy()
        affine[0, 3] += shift
        nibabel.save(nibabel.Nifti1Image(VOLUME, affine), tmp_path / f"{name}.nii.gz")
    paths = [tmp_path / f"{name}.nii.gz" for name in "abc"]
    assert read_channels(paths[:2]).array.shape == (2, 4, 5, 6)
    with pytest.raises(DataError, match=r"c\.nii\.gz lies up to 2\.00 mm away"):
        read_channels(paths)


def test_different_shapes_are_both_named(tmp_path):
    Pillow.fromarray(GREY).save(tmp_path / "a.png")
    Pillow.fromarray(GREY[:4]).save(tmp_path / "b.png")
    problem = geometry_problem(read_image(tmp_path / "a.png"), read_mask(tmp_path / "b.png"))
    assert "(6, 9)" in problem
    assert "(4, 9)" in problem


@given(hnp.arrays(st.sampled_from([np.uint8, np.int16, np.int64, np.float32]), (3, 4),
                  elements=st.integers(0, 120)))  # fmt: skip
def test_compact_labels_keep_every_value(array):
    compact = compact_labels(array, "mask.png")
    np.testing.assert_array_equal(compact, array)
    assert compact.dtype == np.uint8


def test_nuclei_and_hippocampus_read_as_they_are_described(shared_data):
    picture = sorted((shared_data / "nuclei" / "labels").iterdir())[0]
    expected = np.asarray(Pillow.open(picture))
    np.testing.assert_array_equal(read_mask(picture).array, expected)
    volume = sorted((shared_data / "hippocampus" / "imagesTr").glob("*.nii.gz"))[0]
    np.testing.assert_allclose(read_image(volume).array[0], nibabel.load(volume).get_fdata())
