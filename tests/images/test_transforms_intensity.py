import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2hsv, rgb2ycbcr

from vesalius.errors import RecipeError
from vesalius.images.transforms import (
    Brightness,
    ColourJitter,
    Contrast,
    Gamma,
    GaussianBlur,
    GaussianNoise,
    Grey,
    Normalise,
    SimulateLowResolution,
    apply,
)

SEEDS = st.integers(0, 2**32 - 1)
ALL = [
    Brightness(),
    Brightness(per_channel=True),
    Contrast(),
    Contrast(per_channel=True, preserve_range=False),
    Gamma(),
    Gamma(per_channel=True, keep_statistics=False),
    GaussianNoise(),
    GaussianBlur(),
    SimulateLowResolution(zoom=(0.4, 0.6)),
    Normalise(),
    Grey(probability=1.0),
    ColourJitter(),
]


def generator(seed=0):
    return np.random.default_rng(seed)


def image_of(size, seed=0, channels=3):
    return torch.from_numpy(generator(seed).random((channels, *size), dtype=np.float32) * 50 + 10)


@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, size=st.sampled_from([(9, 11), (5, 6, 7)]))
@pytest.mark.parametrize("transform", ALL, ids=lambda t: t.name)
def test_intensity_transforms_change_the_image_alone_and_obey_the_seed(transform, seed, size):
    image, mask = image_of(size, seed), torch.arange(int(np.prod(size))).reshape(size)
    sample = {"image": image.clone(), "mask": mask}
    first, second = (apply([transform], sample, generator(seed)) for _ in range(2))
    assert first["mask"] is mask
    assert torch.equal(sample["image"], image)
    assert torch.equal(first["image"], second["image"])
    assert first["image"].shape == image.shape
    assert first["image"].dtype == torch.float32
    assert torch.isfinite(first["image"]).all()
    assert not torch.equal(first["image"], image)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_zero_strength_leaves_every_bit(seed):
    sample = {"image": image_of((8, 9), seed)}
    still = [
        Brightness(shift=(0, 0)),
        Contrast(factor=(1, 1)),
        GaussianNoise(strength=(0, 0)),
        GaussianBlur(sigma=(0, 0)),
        SimulateLowResolution(zoom=(1, 1)),
        ColourJitter(hue=(0, 0), saturation=(1, 1)),
        *(t.model_copy(update={"probability": 0.0}) for t in ALL if hasattr(t, "probability")),
    ]
    assert torch.equal(apply(still, sample, generator(seed))["image"], sample["image"])
    gamma = Gamma(gamma=(1, 1))(sample, generator(seed))["image"]
    torch.testing.assert_close(gamma, sample["image"], atol=1e-3, rtol=1e-5)


def test_probability_is_the_share_of_changed_samples():
    sample = {"image": image_of((3, 3))}
    transform, rng = Brightness(probability=0.3), generator()
    changed = sum(
        not torch.equal(transform(sample, rng)["image"], sample["image"]) for _ in range(1000)
    )
    assert changed == pytest.approx(300, abs=45)


def test_brightness_adds_standard_deviations():
    image = image_of((20, 20))
    changed = Brightness(shift=(0.5, 0.5))({"image": image}, generator())["image"]
    added = (changed - image).numpy()
    np.testing.assert_allclose(
        added,
        np.broadcast_to(0.5 * image.numpy().std((1, 2), keepdims=True), added.shape),
        atol=1e-4,
    )


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_contrast_keeps_the_mean_or_the_range(seed):
    image = image_of((12, 12), seed)
    free = Contrast(factor=(1.3, 1.3), preserve_range=False)({"image": image}, generator())["image"]
    torch.testing.assert_close(free.mean((1, 2)), image.mean((1, 2)))
    torch.testing.assert_close(free.std((1, 2)), 1.3 * image.std((1, 2)))
    bound = Contrast(factor=(1.3, 1.3))({"image": image}, generator())["image"]
    assert torch.equal(bound.amax((1, 2)), image.amax((1, 2)))
    assert torch.equal(bound.amin((1, 2)), image.amin((1, 2)))


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, inverted=st.booleans())
def test_gamma_keeps_the_range_and_the_order_of_values(seed, inverted):
    image = image_of((10, 10), seed, channels=1)
    gamma = Gamma(keep_statistics=False, invert_probability=float(inverted))
    changed = gamma({"image": image}, generator(seed))["image"]
    torch.testing.assert_close(changed.amin(), image.amin(), atol=1e-3, rtol=0)
    torch.testing.assert_close(changed.amax(), image.amax(), atol=1e-3, rtol=0)
    order = image.flatten().argsort()
    assert (changed.flatten()[order].diff() > -1e-3).all()


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_gamma_can_keep_mean_and_deviation(seed):
    image = image_of((10, 10), seed)
    changed = Gamma()({"image": image}, generator(seed))["image"]
    torch.testing.assert_close(changed.mean((1, 2)), image.mean((1, 2)), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(changed.std((1, 2)), image.std((1, 2)), atol=1e-3, rtol=1e-3)


def test_gamma_of_a_known_image():
    image = torch.tensor([[[0.0, 1.0, 2.0, 4.0]]])
    changed = Gamma(gamma=(2, 2), invert_probability=0, keep_statistics=False)(
        {"image": image}, generator()
    )
    torch.testing.assert_close(changed["image"], image**2 / 4)


@pytest.mark.parametrize("gamma", [(0.5, 0.8), (0.7, 1.5), (1.2, 2.0), (1.0, 1.0), (0.5, 1.0)])
def test_gamma_exponents_stay_in_their_range_and_are_below_one_half_of_the_time(gamma):
    drawn = np.array([Gamma(gamma=gamma)._exponent(generator(seed)) for seed in range(400)])
    assert drawn.min() >= gamma[0]
    assert drawn.max() <= gamma[1]
    if gamma[0] < 1 < gamma[1]:
        assert (drawn < 1).mean() == pytest.approx(0.5, abs=0.1)


def test_noise_has_the_asked_strength():
    image = image_of((64, 64))
    noise = GaussianNoise(strength=(0.2, 0.2))({"image": image}, generator())["image"] - image
    torch.testing.assert_close(noise.std((1, 2)), 0.2 * image.std((1, 2)), rtol=0.05, atol=0)


@pytest.mark.parametrize(("size", "spacing"), [((21, 5), None), ((9, 12, 7), (1.0, 2.0, 4.0))])
@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_blur_equals_scipys_gaussian_filter(size, spacing, sigma):
    image = image_of(size, channels=2)
    sample = {"image": image} if spacing is None else {"image": image, "spacing": spacing}
    blurred = GaussianBlur(sigma=(sigma, sigma))(sample, generator())["image"]
    widths = [sigma / s for s in (spacing or (1.0,) * len(size))]
    for before, after in zip(image.numpy(), blurred.numpy(), strict=True):
        np.testing.assert_allclose(after, gaussian_filter(before, widths), rtol=1e-4)


def test_low_resolution_loses_detail_only_along_its_axes():
    columns = np.mgrid[:32, :32][1]
    stripes = torch.from_numpy((columns % 2).astype(np.float32))[None]
    coarse = SimulateLowResolution(zoom=(0.5, 0.5), axes=(0,))({"image": stripes}, generator())
    assert torch.equal(coarse["image"], stripes)
    lost = SimulateLowResolution(zoom=(0.5, 0.5), axes=(1,))({"image": stripes}, generator())
    assert lost["image"].std() < 0.1


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_normalise_brings_mean_and_deviation_to_zero_and_one(seed):
    image = image_of((9, 9), seed)
    by_channel = Normalise()({"image": image}, generator())["image"]
    torch.testing.assert_close(by_channel.mean((1, 2)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(by_channel.std((1, 2), correction=0), torch.ones(3))
    together = Normalise(per_channel=False)({"image": image}, generator())["image"]
    assert together.mean() == pytest.approx(0, abs=1e-4)
    assert together.std(correction=0) == pytest.approx(1, abs=1e-4)


def test_normalise_measures_only_nonzero_voxels_and_leaves_the_others_zero():
    image = torch.zeros(1, 10, 10)
    image[0, 2:8, 2:8] = torch.from_numpy(generator().random((6, 6), dtype=np.float32) + 5)
    changed = Normalise(nonzero=True)({"image": image}, generator())["image"]
    brain = image[0] != 0
    assert (changed[0][~brain] == 0).all()
    assert changed[0][brain].mean() == pytest.approx(0, abs=1e-4)
    assert changed[0][brain].std(correction=0) == pytest.approx(1, abs=1e-4)


def test_normalise_by_percentiles_resists_outliers():
    image = image_of((50, 50), channels=1)
    spoiled = image.clone()
    spoiled[0, 0, 0] = 1e6
    clean, robust = (
        Normalise(mode="percentile")({"image": i}, generator())["image"] for i in (image, spoiled)
    )
    torch.testing.assert_close(clean[0, 1:], robust[0, 1:], atol=0.02, rtol=0)


def test_normalise_with_given_numbers():
    image = torch.tensor([[[-1000.0, 0.0, 40.0, 240.0, 3000.0]]])
    window = Normalise(mode="window", window=(-160, 240))({"image": image}, generator())["image"]
    assert window.flatten().tolist() == pytest.approx([0, 0.4, 0.5, 1, 1])
    fixed = Normalise(mode="fixed", mean=(40,), std=(10,), clip=(0, 240))(
        {"image": image}, generator()
    )
    assert fixed["image"].flatten().tolist() == pytest.approx([-4, -4, 0, 20, 20])
    minmax = Normalise(mode="minmax")({"image": image}, generator())["image"]
    assert minmax.flatten().tolist() == pytest.approx([0, 0.25, 0.26, 0.31, 1])


@pytest.mark.parametrize("mode", ["zscore", "percentile", "minmax"])
def test_a_constant_image_becomes_zero(mode):
    image = torch.full((2, 5, 5), 7.3)
    assert (Normalise(mode=mode)({"image": image}, generator())["image"] == 0).all()
    empty = Normalise(mode=mode, nonzero=True)({"image": torch.zeros(1, 4, 4)}, generator())
    assert (empty["image"] == 0).all()


def test_grey_is_the_luminance():
    rgb = generator().random((6, 6, 3))
    image = torch.from_numpy(rgb.transpose(2, 0, 1).astype(np.float32))
    grey = Grey(probability=1.0)({"image": image}, generator())["image"]
    expected = (rgb2ycbcr(rgb)[..., 0] - 16) / 219
    for channel in grey.numpy():
        np.testing.assert_allclose(channel, expected, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(angle=st.floats(-180, 180))
def test_hue_leaves_grey_and_the_channel_sum_alone(angle):
    image = image_of((5, 5))
    image[:, 0] = image[:1, 0]
    turned = ColourJitter(hue=(angle, angle), saturation=(1, 1))({"image": image}, generator())[
        "image"
    ]
    torch.testing.assert_close(turned[:, 0], image[:, 0])
    torch.testing.assert_close(turned.sum(0), image.sum(0))


def test_a_third_of_a_turn_makes_red_green_and_no_saturation_is_grey():
    image = torch.zeros(3, 1, 1)
    image[0] = 1
    green = ColourJitter(hue=(120, 120), saturation=(1, 1))({"image": image}, generator())["image"]
    torch.testing.assert_close(green.flatten(), torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)
    assert rgb2hsv(green.numpy().clip(0, 1).reshape(1, 1, 3))[0, 0, 0] == pytest.approx(
        1 / 3, abs=1e-4
    )
    grey = ColourJitter(hue=(0, 0), saturation=(0, 0))({"image": image}, generator())["image"]
    torch.testing.assert_close(grey, torch.full((3, 1, 1), 0.299))


def test_bad_settings_are_refused():
    with pytest.raises(ValidationError, match="needs mean and std"):
        Normalise(mode="fixed")
    with pytest.raises(ValidationError, match="does not use window"):
        Normalise(window=(0, 1))
    with pytest.raises(ValidationError, match="exceed 1"):
        SimulateLowResolution(zoom=(0.5, 1.5))
    with pytest.raises(ValidationError, match="below 0"):
        GaussianNoise(strength=(-1, 0))
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        Gamma(probability=1.5)
    with pytest.raises(RecipeError, match="RGB"):
        Grey(probability=1.0)({"image": image_of((4, 4), channels=1)}, generator())
    with pytest.raises(RecipeError, match="2 numbers for an image of 3"):
        Normalise(mode="fixed", mean=(1, 2), std=(1,))({"image": image_of((4, 4))}, generator())
