import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vesalius.segment.window import gaussian_weights, positions, predict_whole


@given(st.integers(1, 300), st.integers(1, 80), st.floats(0, 0.9))
def test_windows_cover_everything_and_overlap_enough(size, window, overlap):
    starts = positions(size, window, overlap)
    covered = np.zeros(size, bool)
    for start in starts:
        assert 0 <= start <= max(0, size - window)
        covered[start : start + window] = True
    assert covered.all()
    stride = max(1, int(window * (1 - overlap)))
    assert all(b - a <= stride for a, b in itertools.pairwise(starts))


def test_gaussian_weights_are_the_textbook_ones():
    weights = gaussian_weights((17, 33), like=torch.zeros(1))
    assert weights.max() == 1
    assert weights.argmax() == 8 * 33 + 16
    assert weights[8, 20] == pytest.approx(np.exp(-0.5 * (4 / (33 / 8)) ** 2), rel=1e-5)


def pixelwise(x):
    """A "model" that looks at single pixels: windows cannot change its answer."""
    foreground = torch.sigmoid(x[:, :1])
    return torch.cat([1 - foreground, foreground], 1)


@pytest.mark.parametrize("shape", [(1, 37, 51), (1, 9, 51), (2, 20, 30, 25)])
@pytest.mark.parametrize("gaussian", [True, False])
def test_a_pixelwise_model_gives_the_same_by_windows_as_at_once(shape, gaussian):
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    window = (16,) * (len(shape) - 1)
    found = predict_whole(pixelwise, image, window=window, gaussian=gaussian)
    torch.testing.assert_close(found, pixelwise(image[None])[0], rtol=1e-5, atol=1e-6)


def test_a_small_image_is_predicted_in_one_pass_at_its_own_size():
    sizes = []

    def model(x):
        sizes.append(tuple(x.shape))
        return pixelwise(x)

    predict_whole(model, torch.zeros(1, 13, 16), window=(16, 16))
    assert sizes == [(1, 1, 13, 16)]


def test_mirroring_makes_a_lopsided_model_symmetric():
    def lopsided(x):
        ramp = torch.linspace(0, 1, x.shape[-1]).expand(x[:, :1].shape)
        return torch.cat([1 - ramp, ramp], 1)

    found = predict_whole(lopsided, torch.zeros(1, 8, 8), window=(8, 8), mirror=True)
    torch.testing.assert_close(found, torch.full_like(found, 0.5))


def test_window_averages_are_weighted_by_the_gaussian():
    """Two windows that disagree: the answer at a pixel is the weighted mean of the two."""
    answers = iter([0.0, 1.0])

    def model(x):
        value = torch.full_like(x[:, :1], next(answers))
        return torch.cat([1 - value, value], 1)

    found = predict_whole(model, torch.zeros(1, 1, 12), window=(1, 8), overlap=0.5)[1, 0]
    weights = gaussian_weights((1, 8), like=torch.zeros(1))[0]
    expected = weights[0:4] / (weights[4:8] + weights[0:4])
    torch.testing.assert_close(found[4:8], expected)
    assert (found[:4] == 0).all()
    assert (found[8:] == 1).all()
