import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy.signal import convolve
from skimage.metrics import structural_similarity

from vesalius.errors import DataError, RecipeError
from vesalius.segment import losses
from vesalius.segment.loss_blocks import _CLASSES, LossBlock
from vesalius.segment.losses.structure import SCALE_WEIGHTS, ms_ssim, scale_weights, ssim_maps

LOSSES = {
    "cross_entropy": losses.CrossEntropyLoss,
    "dice": losses.DiceLoss,
    "focal": losses.FocalLoss,
    "iou": losses.IoULoss,
    "ms_ssim": losses.MSSSIMLoss,
    "hybrid": losses.HybridLoss,
    "dice_cross_entropy": losses.DiceCrossEntropyLoss,
    "generalised_dice": losses.GeneralisedDiceLoss,
    "tversky": losses.TverskyLoss,
    "lovasz": losses.LovaszLoss,
    "ssim": losses.SSIMLoss,
    "boundary": losses.BoundaryLoss,
}
BOUNDED_BY_ONE = ("dice", "iou", "ms_ssim", "generalised_dice", "tversky")
every_loss = pytest.mark.parametrize("name", LOSSES)
every_channels = pytest.mark.parametrize("channels", [1, 3])


def example(channels, size=(24, 26), *, batch=2, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, channels, *size, generator=generator, dtype=dtype)
    target = torch.randint(0, max(channels, 2), (batch, *size), generator=generator)
    return logits, target


def certain(target, channels, *, margin=50.0):
    """Logits that are sure of the target."""
    if channels == 1:
        return (target.unsqueeze(1) * 2.0 - 1) * margin
    return F.one_hot(target, channels).movedim(-1, 1) * margin


# What all losses promise


@every_loss
@every_channels
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), height=st.integers(1, 30), width=st.integers(1, 30))
def test_losses_are_finite_and_at_least_zero_and_so_are_gradients(
    name, channels, seed, height, width
):
    logits, target = example(channels, (height, width), seed=seed)
    logits = (logits * 20).requires_grad_()
    loss = LOSSES[name]()(logits, target)
    loss.backward()
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert 0 <= loss.item() < math.inf
    if name in BOUNDED_BY_ONE:
        assert loss.item() <= 1 + 1e-6
    assert logits.grad.isfinite().all()


@every_loss
@every_channels
def test_a_certain_and_right_prediction_costs_nothing(name, channels):
    _, target = example(channels)
    assert LOSSES[name]()(certain(target, channels), target).item() == pytest.approx(0, abs=1e-5)


@every_loss
@every_channels
def test_an_empty_mask_with_an_empty_prediction_costs_nothing(name, channels):
    target = torch.zeros(2, 24, 24, dtype=torch.long)
    logits = certain(target, channels).requires_grad_()
    loss = LOSSES[name]()(logits, target)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert logits.grad.isfinite().all()


@every_loss
@every_channels
def test_a_better_prediction_costs_less(name, channels):
    logits, target = example(channels)
    loss = LOSSES[name]()
    better = logits + certain(target, channels, margin=1.0)
    assert loss(better, target) < loss(logits, target)


@every_loss
@every_channels
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_the_batch_does_not_matter(name, channels, seed):
    logits, target = example(channels, batch=4, seed=seed)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    loss = LOSSES[name]()
    torch.testing.assert_close(loss(logits[order], target[order]), loss(logits, target))


@every_loss
@every_channels
@pytest.mark.parametrize("ignore_index", [255, -1, 0])
def test_ignored_pixels_change_neither_value_nor_gradient(name, channels, ignore_index):
    logits, target = example(channels)
    target[:, 4:15, 6:20] = ignore_index
    ignored = (target == ignore_index).unsqueeze(1).expand_as(logits)
    loss = LOSSES[name](ignore_index=ignore_index)
    results = []
    for garbage in (0.0, 1e4, math.nan):
        changed = logits.masked_fill(ignored, garbage).requires_grad_()
        value = loss(changed, target)
        value.backward()
        assert (changed.grad[ignored] == 0).all()
        results.append((value.detach(), changed.grad))
    for value, gradient in results[1:]:
        assert torch.equal(value, results[0][0])
        assert torch.equal(gradient, results[0][1])
    assert results[0][0] > 0


@every_loss
@every_channels
def test_a_batch_that_is_ignored_entirely_costs_nothing(name, channels):
    logits, _ = example(channels)
    logits.requires_grad_()
    target = torch.full((2, 24, 26), 255)
    loss = LOSSES[name](ignore_index=255)(logits, target)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert (logits.grad == 0).all()


@every_loss
def test_an_ignore_index_that_does_not_occur_changes_nothing(name):
    logits, target = example(3, (40, 40))
    with_ignore, without = LOSSES[name](ignore_index=255), LOSSES[name]()
    torch.testing.assert_close(with_ignore(logits, target), without(logits, target))


@every_loss
@every_channels
def test_gradients_are_the_slope_in_double_precision(name, channels):
    logits, target = example(channels, (12, 13), batch=1, dtype=torch.float64)
    target[0, :3] = 9
    loss = LOSSES[name](ignore_index=9, class_weights=[0.5, 2.0, 1.0][: max(channels, 2)])
    target = target.clone()
    assert torch.autograd.gradcheck(
        lambda x: loss(x, target), (logits.requires_grad_(),), fast_mode=True
    )


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_under_autocast_gives_the_value_of_float32(name, dtype):
    logits, target = example(3, (48, 48))
    logits = logits.to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = LOSSES[name]()(logits, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, LOSSES[name]()(logits.float(), target))


@every_loss
def test_binary_logits_are_the_difference_of_two_classes(name):
    logits, target = example(2)
    binary = logits[:, 1:] - logits[:, :1]
    options = {"hinge": False} if name == "lovasz" else {}
    for weights in (None, [0.3, 1.7]):
        loss = LOSSES[name](class_weights=weights, **options)
        torch.testing.assert_close(loss(binary, target), loss(logits, target))


@every_loss
def test_equal_class_weights_change_nothing(name):
    logits, target = example(3)
    weighted = LOSSES[name](class_weights=[2.0, 2.0, 2.0])
    torch.testing.assert_close(weighted(logits, target), LOSSES[name]()(logits, target))


@every_loss
def test_volumes_are_taken_too(name):
    logits, target = example(2, (12, 14, 13))
    logits.requires_grad_()
    loss = LOSSES[name]()(logits, target)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("logits", "target", "part"),
    [
        (torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4).long(), "not one-hot"),
        (torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4), "integer labels"),
        (torch.zeros(1, 2, 4, 4), torch.full((1, 4, 4), 2), "holds the label 2; .* 0 to 1"),
        (torch.zeros(1, 1, 4, 4), torch.full((1, 4, 4), -1), "holds the label -1"),
    ],
)
def test_bad_targets_are_errors_with_a_remedy(logits, target, part):
    with pytest.raises(DataError, match=part):
        losses.DiceLoss()(logits, target)


def test_bad_options_are_errors_with_a_remedy():
    with pytest.raises(RecipeError, match="3 numbers; the model has 2 labels"):
        losses.DiceLoss(class_weights=[1, 1, 1])(*example(1))
    with pytest.raises(RecipeError, match="not all 0"):
        losses.CrossEntropyLoss(class_weights=[0, 0])
    with pytest.raises(RecipeError, match="foreground no weight"):
        losses.IoULoss(class_weights=[1, 0])
    with pytest.raises(RecipeError, match="alpha has 2 numbers"):
        losses.FocalLoss(alpha=[0.5, 0.5])(*example(3))
    with pytest.raises(RecipeError, match="gamma is -1"):
        losses.FocalLoss(gamma=-1)
    with pytest.raises(RecipeError, match="smooth is 0"):
        losses.DiceLoss(smooth=0)


# Cross-entropy and focal loss


@pytest.mark.parametrize("weights", [None, [0.2, 1.0, 3.0]])
def test_cross_entropy_is_torchs(weights):
    logits, target = example(3)
    target[0, :5] = 255
    tensor = None if weights is None else torch.tensor(weights)
    expected = F.cross_entropy(logits, target, weight=tensor, ignore_index=255)
    ours = losses.CrossEntropyLoss(class_weights=weights, ignore_index=255)(logits, target)
    torch.testing.assert_close(ours, expected)


def test_binary_cross_entropy_is_torchs():
    logits, target = example(1)
    expected = F.binary_cross_entropy_with_logits(logits[:, 0], target.float())
    torch.testing.assert_close(losses.CrossEntropyLoss()(logits, target), expected)


@every_channels
@pytest.mark.parametrize("weighted", [False, True])
def test_focal_loss_without_gamma_and_alpha_is_cross_entropy(channels, weighted):
    logits, target = example(channels)
    weights = [0.5, 2.0, 1.0][: max(channels, 2)] if weighted else None
    focal = losses.FocalLoss(gamma=0, alpha=None, class_weights=weights)
    expected = losses.CrossEntropyLoss(class_weights=weights)
    torch.testing.assert_close(focal(logits, target), expected(logits, target))


def test_focal_loss_follows_the_formula_of_the_paper():
    logits = torch.tensor([0.0, 2.0, -1.0]).view(1, 1, 1, 3)
    target = torch.tensor([1, 1, 0]).view(1, 1, 3)
    p = 1 / (1 + np.exp([0.0, -2.0, -1.0]))
    expected = (np.array([0.25, 0.25, 0.75]) * (1 - p) ** 2 * -np.log(p)).mean()
    assert losses.FocalLoss()(logits, target).item() == pytest.approx(expected, rel=1e-5)


def test_one_alpha_stands_for_the_foreground_and_its_complement_for_the_background():
    logits, target = example(3)
    one, each = losses.FocalLoss(alpha=0.3), losses.FocalLoss(alpha=[0.7, 0.3, 0.3])
    torch.testing.assert_close(one(logits, target), each(logits, target))


def test_extreme_logits_stay_finite_in_the_focal_loss():
    logits = torch.tensor([1e4, -1e4, 1e4, -1e4]).view(1, 1, 1, 4).requires_grad_()
    target = torch.tensor([1, 1, 0, 0]).view(1, 1, 4)
    for gamma in (0, 0.5, 2):
        loss = losses.FocalLoss(gamma=gamma)(logits, target)
        loss.backward()
        assert loss.isfinite()
        assert logits.grad.isfinite().all()


# Dice and IoU


def test_overlaps_of_certain_predictions_are_those_of_the_masks():
    target = torch.tensor([[[1, 1, 0, 0]], [[0, 0, 0, 1]]])
    predicted = torch.tensor([[[0, 1, 1, 0]], [[0, 0, 0, 1]]])
    logits = certain(predicted, 1, margin=100.0)
    dice = losses.DiceLoss(smooth=1e-6)(logits, target)
    iou = losses.IoULoss(smooth=1e-6)(logits, target)
    assert dice.item() == pytest.approx(1 - (1 / 2 + 1) / 2, abs=1e-4)
    assert iou.item() == pytest.approx(1 - (1 / 3 + 1) / 2, abs=1e-4)
    batch = losses.IoULoss(smooth=1e-6, batch=True)(logits, target)
    assert batch.item() == pytest.approx(1 - 2 / 4, abs=1e-4)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_dice_and_iou_keep_their_identity_d_is_two_j_over_one_plus_j(seed):
    logits, target = example(1, (9, 9), batch=1, seed=seed)
    # Both smoothings vanish beside areas of dozens of pixels.
    j = 1 - losses.IoULoss(smooth=1e-6)(logits, target)
    d = 1 - losses.DiceLoss(smooth=1e-6)(logits, target)
    torch.testing.assert_close(d, 2 * j / (1 + j), rtol=1e-4, atol=1e-5)


def test_the_background_counts_only_when_asked():
    logits, target = example(3)
    per_class = []
    for label in range(3):
        weights = [0.0, 0.0, 0.0]
        weights[label] = 1.0
        loss = losses.DiceLoss(include_background=True, class_weights=weights)
        per_class.append(loss(logits, target))
    torch.testing.assert_close(losses.DiceLoss()(logits, target), sum(per_class[1:]) / 2)
    included = losses.DiceLoss(include_background=True)(logits, target)
    torch.testing.assert_close(included, sum(per_class) / 3)


def test_ignoring_pixels_is_cutting_them_off():
    logits, target = example(3)
    masked = target.clone()
    masked[:, 10:] = 255
    for name in ("cross_entropy", "dice", "focal", "iou"):
        ignoring = LOSSES[name](ignore_index=255)(logits, masked)
        cut = LOSSES[name]()(logits[:, :, :10], target[:, :10])
        torch.testing.assert_close(ignoring, cut)


# MS-SSIM


def wang_ms_ssim(x, y):
    """Wang et al. 2003 in numpy, written from the paper's equations 2 to 7."""
    offsets = np.arange(11) - 5
    gaussian = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = gaussian / gaussian.sum()
    for _ in range(x.ndim - 1):
        window = np.multiply.outer(window, gaussian / gaussian.sum())

    def mean(values):
        return convolve(values, window, mode="valid", method="direct")

    result = 1.0
    for scale, exponent in enumerate([0.0448, 0.2856, 0.3001, 0.2363, 0.1333]):
        if scale > 0:
            shape = [part for side in x.shape for part in (side // 2, 2)]
            trimmed = tuple(slice(side // 2 * 2) for side in x.shape)
            axes = tuple(range(1, 2 * x.ndim, 2))
            x, y = (values[trimmed].reshape(shape).mean(axis=axes) for values in (x, y))
        mean_x, mean_y = mean(x), mean(y)
        variance_x, variance_y = mean(x**2) - mean_x**2, mean(y**2) - mean_y**2
        covariance = mean(x * y) - mean_x * mean_y
        terms = (2 * covariance + 0.03**2) / (variance_x + variance_y + 0.03**2)
        if scale == 4:
            terms = terms * (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
        result *= terms.mean() ** exponent
    return result


def blobs(size, seed):
    """A smooth random map in [0, 1] and a noisy copy."""
    rng = np.random.default_rng(seed)
    grids = np.meshgrid(*(np.linspace(0, 7, side) for side in size), indexing="ij")
    clean = 0.5 + 0.5 * np.sin(sum(rng.uniform(1, 2) * grid for grid in grids) + rng.uniform(0, 6))
    return clean, np.clip(clean + rng.normal(0, 0.15, size), 0, 1)


@pytest.mark.parametrize("size", [(176, 192), (183, 201)])
@pytest.mark.parametrize("seed", [0, 1])
def test_ms_ssim_is_that_of_wang(size, seed):
    pairs = [blobs(size, seed), blobs(size, seed + 10)]
    x, y = (torch.from_numpy(np.stack(part)).unsqueeze(1) for part in zip(*pairs, strict=True))
    expected = [wang_ms_ssim(*pair) for pair in pairs]
    np.testing.assert_allclose(ms_ssim(x, y), expected, rtol=1e-10)
    assert all(0.2 < value < 0.999 for value in expected)


def test_the_loss_is_one_minus_wangs_value_of_probability_and_mask():
    clean, noisy = blobs((176, 180), 3)
    logits = torch.logit(torch.from_numpy(noisy), eps=1e-3)[None, None]
    mask = clean > 0.5
    expected = 1 - wang_ms_ssim(torch.sigmoid(logits)[0, 0].numpy(), mask.astype(float))
    loss = losses.MSSSIMLoss()(logits, torch.from_numpy(mask).long()[None])
    assert loss.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", [(31, 40), (15, 17, 19)])
def test_one_scale_is_the_ssim_of_scikit_image_inside_the_border(size):
    x, y = blobs(size, 5)
    _, expected = structural_similarity(
        x,
        y,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
        full=True,
    )
    inside = expected[tuple(slice(5, -5) for _ in size)]
    luminance, contrast = ssim_maps(
        torch.from_numpy(x)[None, None], torch.from_numpy(y)[None, None]
    )
    np.testing.assert_allclose((luminance * contrast)[0, 0], inside, rtol=1e-9)


@pytest.mark.parametrize(
    ("size", "scales"),
    [
        ((176, 176), 5),
        ((175, 400), 4),
        ((88, 88), 4),
        ((87, 88), 3),
        ((22, 50), 2),
        ((21, 50), 1),
        ((3, 9), 1),
    ],
)
def test_small_images_use_the_scales_whose_window_fits(size, scales):
    weights = scale_weights(size)
    assert len(weights) == scales
    if scales < 5:
        assert sum(weights) == pytest.approx(1)
        np.testing.assert_allclose(
            np.divide(weights, weights[0]), np.divide(SCALE_WEIGHTS, SCALE_WEIGHTS[0])[:scales]
        )
    else:
        assert weights == SCALE_WEIGHTS


def test_opposite_maps_cost_almost_everything_and_have_a_finite_gradient():
    # Stripes of 16 pixels are still there at the coarsest scale.
    stripes = torch.arange(176) // 16 % 2
    target = stripes.expand(1, 176, 176)
    logits = certain(1 - target, 1, margin=8.0).requires_grad_()
    loss = losses.MSSSIMLoss()(logits, target)
    loss.backward()
    assert 0.5 < loss.item() <= 1
    assert logits.grad.isfinite().all()


# Sums, presence, blocks


def test_the_hybrid_loss_is_the_weighted_sum_of_its_parts():
    logits, target = example(3, (40, 40))
    parts = losses.FocalLoss(), losses.MSSSIMLoss(), losses.IoULoss()
    values = [part(logits, target) for part in parts]
    torch.testing.assert_close(losses.HybridLoss()(logits, target), sum(values))
    weighted = losses.HybridLoss(focal=2, ms_ssim=0, iou=0.5)(logits, target)
    torch.testing.assert_close(weighted, 2 * values[0] + 0.5 * values[2])


def test_dice_with_cross_entropy_is_their_sum():
    logits, target = example(3)
    expected = losses.DiceLoss()(logits, target) + losses.CrossEntropyLoss()(logits, target)
    torch.testing.assert_close(losses.DiceCrossEntropyLoss()(logits, target), expected)


def test_presence_is_judged_from_labelled_pixels():
    target = torch.tensor([[[0, 2]], [[0, 0]], [[255, 255]]])
    presence = torch.tensor([[-3.0, 3.0], [1.0, -2.0], [5.0, 5.0]], requires_grad=True)
    loss = losses.PresenceLoss(ignore_index=255)(presence, target)
    occurs = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(presence[:2], occurs))
    loss.backward()
    assert (presence.grad[2] == 0).all()
    with pytest.raises(DataError, match="do not belong"):
        losses.PresenceLoss()(presence[:2], target)


@every_loss
def test_every_loss_can_be_named_in_a_recipe(name):
    block = TypeAdapter(LossBlock).validate_python({"name": name, "class_weights": [1, 2, 3]})
    loss = block.build(ignore_index=7)
    assert type(loss) is LOSSES[name]
    assert loss.ignore_index == 7
    assert loss.class_weights.tolist() == [1, 2, 3]
    assert _CLASSES[name] == LOSSES[name].__name__


def test_blocks_pass_their_options_on_and_check_them():
    adapter = TypeAdapter(LossBlock)
    focal = adapter.validate_python({"name": "focal", "gamma": 1.5, "alpha": [0.2, 0.8]}).build()
    assert (focal.gamma, focal.alpha) == (1.5, (0.2, 0.8))
    hybrid = adapter.validate_python({"name": "hybrid", "iou": 3, "smooth": 2}).build()
    assert hybrid.factors == (1, 1, 3)
    assert hybrid.iou.smooth == 2
    for bad in ({"name": "dice", "smooth": 0}, {"name": "focal", "gama": 2}, {"name": "border"}):
        with pytest.raises(ValidationError):
            adapter.validate_python(bad)
    with pytest.raises(ValidationError, match="all 0"):
        adapter.validate_python({"name": "hybrid", "focal": 0, "ms_ssim": 0, "iou": 0})
