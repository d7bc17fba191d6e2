import io
import subprocess
import sys
import warnings

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from vesalius.errors import DataError
from vesalius.images import draw, figures
from vesalius.images.encode import palette


def pixels(figure, dpi=60):
    return np.asarray(Image.open(io.BytesIO(draw.figure_to_png(figure, dpi=dpi))).convert("RGB"))


def texts(figure):
    found = [text.get_text() for text in figure.texts]
    return found + [t.get_text() for legend in figure.legends for t in legend.get_texts()]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64, bool])
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_image_becomes_an_rgb_picture(dtype, channels):
    image = (np.random.default_rng(0).random((channels, 9, 7)) * 200).astype(dtype)
    rgb = draw.to_rgb(image)
    assert rgb.shape == (9, 7, 3)
    assert rgb.dtype == np.uint8


def test_colours_stay_and_grey_is_stretched():
    colour = np.random.default_rng(0).integers(0, 99, (3, 8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(draw.to_rgb(colour), colour.transpose(1, 2, 0))
    grey = np.repeat(colour[:1], 3, axis=0)
    assert draw.to_rgb(grey).max() == 255
    np.testing.assert_array_equal(draw.to_rgb(grey), draw.to_rgb(colour[0]))


def test_the_window_resists_outliers_and_bad_values():
    image = np.random.default_rng(0).random((1, 64, 64))
    image[0, 0, :3] = (np.nan, np.inf, 1e9)
    rgb = draw.to_rgb(image)
    assert rgb[0, 0].tolist() == [0, 0, 0]
    assert rgb[0, 1].tolist() == [255, 255, 255]
    assert rgb[1:].mean() == pytest.approx(127, abs=8)
    fixed = draw.to_rgb(np.array([[-500.0, 40.0, 900.0]]), window=(-160, 240))
    assert fixed[0, :, 0].tolist() == [0, 128, 255]
    assert (draw.to_rgb(np.full((4, 4), 3.0)) == 0).all()
    assert (draw.to_rgb(np.full((4, 4), np.nan)) == 0).all()
    with pytest.raises(DataError, match="take a slice"):
        draw.to_rgb(np.zeros((1, 3, 3, 3)))


def test_two_channels_are_magenta_and_green():
    image = np.array([[[1.0, 0.0, 1.0, 0.0]], [[0.0, 1.0, 1.0, 0.0]]])
    expected = [[255, 0, 255], [0, 255, 0], [255, 255, 255], [0, 0, 0]]
    assert draw.to_rgb(image)[0].tolist() == expected


@settings(max_examples=40, deadline=None)
@given(
    labels=arrays.arrays(np.int64, (8, 9), elements=st.integers(-1, 60)),
    alpha=st.floats(0, 1),
)
def test_an_overlay_mixes_labels_and_leaves_the_background(labels, alpha):
    rgb = np.full((8, 9, 3), 100, dtype=np.uint8)
    mixed = draw.overlay(rgb, labels, alpha=alpha)
    assert (mixed[labels <= 0] == 100).all()
    colours = palette(24)[(labels - 1) % 23 + 1, :3]
    expected = 100 * (1 - alpha) + colours * alpha
    assert np.abs(mixed - expected)[labels > 0].max(initial=0) <= 0.51
    assert (rgb == 100).all()


def test_contours_are_pure_colours_inside_each_label():
    labels = np.zeros((12, 12), dtype=int)
    labels[2:10, 2:6], labels[2:10, 6:10] = 1, 2
    drawn = draw.contours(np.zeros((12, 12, 3), np.uint8), labels, width=1)
    painted = drawn.any(axis=-1)
    colours = {tuple(c) for c in drawn[painted].tolist()}
    assert colours == {tuple(c) for c in palette(3)[1:, :3].tolist()}
    assert not painted[labels == 0].any()
    assert painted[5, 5]
    assert painted[5, 6]
    assert not painted[3:9, 3:5].any()
    with pytest.raises(DataError, match="label map"):
        draw.contours(np.zeros((3, 3, 3), np.uint8), labels)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_the_best_slice_has_the_most_foreground(axis):
    labels = (np.random.default_rng(1).random((9, 10, 11)) > 0.8).astype(int)
    counts = np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1).sum(1)
    assert counts[draw.best_slice(labels, axis=axis)] == counts.max()
    assert draw.best_slice(np.zeros((4, 4, 7), int)) == 3
    image = np.zeros((5, 5, 9))
    image[1:4, 1:4, 6] = 10.0
    assert draw.best_slice(image) == 6


def test_the_error_map_tells_four_kinds_apart():
    truth = np.array([0, 0, 1, 1, 1, 9])
    prediction = np.array([0, 2, 0, 1, 2, 1])
    assert draw.error_map(truth, prediction, ignore=9).tolist() == [0, 2, 3, 1, 4, 0]
    assert draw.error_map(truth, prediction, instances=True).tolist() == [0, 2, 3, 1, 1, 1]


def test_a_sheet_shows_what_there_is():
    image = np.random.default_rng(0).random((1, 40, 60))
    truth = np.zeros((40, 60), int)
    truth[10:30, 10:30] = 1
    prediction = np.roll(truth, 4, axis=1)
    assert len(draw.sheet(image).axes) == 1
    assert len(draw.sheet(image, truth).axes) == 2
    figure = draw.sheet(image, truth, prediction, names=["background", "nucleus"], title="case_7")
    assert len(figure.axes) == 4
    assert {"case_7", "Image", "Truth", "Prediction", "Errors", "nucleus"} <= set(texts(figure))
    assert {"correct", "false positive", "false negative"} <= set(texts(figure))
    assert "wrong class" not in texts(figure)
    assert pixels(figure).std() > 30
    instances = draw.sheet(image, truth * 40, prediction, instances=True)
    assert "40" not in texts(instances)


def test_the_legend_lists_at_most_twelve_labels():
    labels = np.arange(400).reshape(20, 20) // 20
    figure = draw.sheet(np.zeros((1, 20, 20)), labels, names={1: "one"})
    assert {"one", "2", "12", "and 7 more"} <= set(texts(figure))
    assert "13" not in texts(figure)


def test_ignored_pixels_are_neither_painted_nor_judged():
    truth = np.full((20, 20), 255)
    truth[5:9, 5:9] = 1
    figure = draw.sheet(np.zeros((1, 20, 20)), truth, np.ones((20, 20), int), ignore=255)
    assert "255" not in texts(figure)
    errors = figure.axes[-1].images[0].get_array()
    assert len(np.unique(errors.reshape(-1, 3), axis=0)) == 2


def test_volumes_are_drawn_in_planes_with_their_proportions():
    image = np.random.default_rng(0).random((1, 20, 30, 10))
    truth = np.zeros((20, 30, 10), int)
    truth[5:9, 20:25, 7] = 2
    spacing = (1.0, 0.5, 3.0)
    figure = draw.sheet(image, truth, spacing=spacing, planes=True)
    shapes = [axes.images[0].get_array().shape for axes in figure.axes[::2]]
    ratios = [height / width for height, width, _ in shapes]
    assert ratios == pytest.approx([15 / 20, 30 / 20, 30 / 15], rel=0.01)
    assert {"axial 8/10", "coronal 23/30", "sagittal 8/20"} <= set(texts(figure))
    one = draw.sheet(image, truth, spacing=spacing, axis=0)
    assert len(one.axes) == 2
    assert "sagittal 8/20" in texts(one)


def test_slices_have_the_first_axis_to_the_right_and_the_second_upwards():
    image = np.zeros((1, 16, 16, 3))
    image[0, 12:, 12:, 1] = 1.0
    picture = draw.sheet(image).axes[0].images[0].get_array()
    height, width, _ = picture.shape
    assert picture[: height // 8, -width // 8 :].mean() > 250
    assert picture[-height // 2 :].mean() < 2


def test_shapes_that_do_not_fit_are_refused():
    image = np.zeros((1, 8, 8))
    with pytest.raises(DataError, match="The truth has shape"):
        draw.sheet(image, np.zeros((8, 9), int))
    with pytest.raises(DataError, match="spacing"):
        draw.sheet(image, spacing=(1, 1, 1))
    with pytest.raises(DataError, match="A sheet needs"):
        draw.sheet(np.zeros((8, 8)))
    with pytest.raises(DataError, match="caption each"):
        draw.montage([np.zeros((4, 4, 3), np.uint8)], ["a", "b"])


def test_a_montage_holds_every_picture_and_caption():
    pictures = [np.full((30, 20 + i, 3), 40 * i, dtype=np.uint8) for i in range(5)]
    figure = draw.montage(pictures, [f"no. {i}" for i in range(5)], columns=2, title="all")
    assert len(figure.axes) == 5
    assert {"all", *(f"no. {i}" for i in range(5))} <= set(texts(figure))
    assert draw.figure_to_png(figure).startswith(b"\x89PNG")


@pytest.fixture
def fonts(monkeypatch):
    """Forget what was found before and after the test."""

    def install(name):
        figures.cjk_font.cache_clear()
        figures._warn_of_missing_font.cache_clear()
        monkeypatch.setattr(figures, "_CJK_FONTS", (name,))

    yield install
    figures.cjk_font.cache_clear()
    figures._warn_of_missing_font.cache_clear()


def chinese_sheet():
    return draw.sheet(np.zeros((1, 8, 8)), np.ones((8, 8), int), names=["背景", "海马"])


def test_a_missing_chinese_font_is_said_once(fonts):
    fonts("no such font")
    with pytest.warns(UserWarning, match="fonts-noto-cjk"):
        chinese_sheet()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chinese_sheet()


def test_an_installed_chinese_font_is_used_for_chinese_alone(fonts):
    fonts("DejaVu Serif")  # any installed font may stand for one
    assert draw.cjk_font() == "DejaVu Serif"
    label = chinese_sheet().legends[0].get_texts()[0]
    assert label.get_text() == "海马"
    assert label.get_fontfamily() == ["DejaVu Sans", "DejaVu Serif"]
    latin = draw.sheet(np.zeros((1, 8, 8)), title="Latin").texts[0]
    assert latin.get_fontfamily() == ["DejaVu Sans"]


def test_headings_are_chinese_where_a_font_can_show_them(fonts, monkeypatch):
    monkeypatch.setenv("VESALIUS_LANG", "zh")
    fonts("DejaVu Serif")
    assert "图像" in texts(draw.sheet(np.zeros((1, 8, 8))))
    fonts("no such font")
    assert "Image" in texts(draw.sheet(np.zeros((1, 8, 8))))


def test_drawing_does_not_import_pyplot():
    code = (
        "import sys, numpy as np; from vesalius.images import draw\n"
        "assert 'matplotlib' not in sys.modules\n"
        "draw.figure_to_png(draw.sheet(np.zeros((1, 8, 8)), np.ones((8, 8), int)))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_real_cases_are_drawn(shared_data):
    case = shared_data / "hippocampus" / "imagesTr" / "hippocampus_001.nii.gz"
    image = nibabel.load(case).get_fdata()[None]
    truth = np.asarray(nibabel.load(str(case).replace("images", "labels")).dataobj).astype(int)
    names = ["background", "anterior", "posterior"]
    figure = draw.sheet(image, truth, np.roll(truth, 2, 1), names=names, planes=True)
    assert len(figure.axes) == 12
    assert {"anterior", "posterior", "wrong class"} <= set(texts(figure))
    assert pixels(figure).std() > 30
