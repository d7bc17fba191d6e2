"""Values of the generalised Dice, Tversky, Lovasz, SSIM and boundary losses.

What all losses promise is tested in test_losses.py.
"""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy.ndimage import distance_transform_edt
from scipy.signal import convolve
from skimage.metrics import structural_similarity

from vesalius.errors import RecipeError
from vesalius.segment import losses
from vesalius.segment.loss_blocks import LossBlock
from vesalius.segment.losses.boundary import signed_distance
from vesalius.segment.losses.lovasz import lovasz_jaccard
from vesalius.segment.losses.structure import ms_ssim, scale_weights, ssim

REGIONAL = {
    "generalised_dice": losses.GeneralisedDiceLoss,
    "tversky": losses.TverskyLoss,
    "lovasz": losses.LovaszLoss,
    "ssim": losses.SSIMLoss,
    "boundary": losses.BoundaryLoss,
}
every_loss = pytest.mark.parametrize("name", REGIONAL)
seeds = st.integers(0, 10_000)


def example(channels, size=(12, 14), *, batch=2, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, channels, *size, generator=generator, dtype=dtype)
    return logits, torch.randint(0, max(channels, 2), (batch, *size), generator=generator)


def binary(probabilities, truth):
    """Logits (1, 1, 1, N) and target (1, 1, N)."""
    logits = torch.logit(torch.tensor(probabilities, dtype=torch.float64))
    return logits.view(1, 1, 1, -1), torch.tensor(truth).view(1, 1, -1)


def soft(logits, target):
    """Probabilities and one-hot labels in numpy, (B, K, N)."""
    z = logits.numpy().reshape(*logits.shape[:2], -1)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    labels = target.numpy().reshape(len(z), 1, -1)
    return p, (labels == np.arange(z.shape[1]).reshape(1, -1, 1)).astype(float)


# All of them


@every_loss
@settings(max_examples=10, deadline=None)
@given(seed=seeds)
def test_the_names_of_the_classes_do_not_matter(name, seed):
    logits, target = example(4, seed=seed)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed))
    renamed = order.argsort()[target]
    options = {"region": None} if name == "boundary" else {}
    loss = REGIONAL[name](include_background=True, **options)
    torch.testing.assert_close(loss(logits[:, order], renamed), loss(logits, target))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("label", [0, 1])
def test_masks_without_a_boundary_give_finite_values_and_gradients(name, dtype, channels, label):
    logits = example(channels, dtype=torch.float32)[0].mul(30).to(dtype).requires_grad_()
    target = torch.full((2, 12, 14), label)
    loss = REGIONAL[name]()(logits, target)
    loss.backward()
    assert loss.dtype == torch.float32
    assert 0 <= loss.item() < math.inf
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0


@every_loss
def test_slopes_are_right_in_volumes_with_ignored_pixels(name):
    logits, target = example(3, (5, 6, 4), batch=1)
    target[:, 2, 1:4] = 255
    loss = REGIONAL[name](ignore_index=255, class_weights=[0.5, 2.0, 1.0])
    assert torch.autograd.gradcheck(
        lambda x: loss(x, target), (logits.requires_grad_(),), fast_mode=True
    )


@pytest.mark.parametrize("name", ["generalised_dice", "tversky", "lovasz"])
@pytest.mark.parametrize("channels", [1, 3])
@settings(max_examples=15, deadline=None)
@given(seed=seeds)
def test_ignoring_any_pixels_is_leaving_them_out(name, channels, seed):
    logits, target = example(channels, (1, 30), seed=seed)
    kept = torch.rand(30, generator=torch.Generator().manual_seed(seed)) < 0.7
    kept[0] = True
    masked = target.masked_fill(~kept, 255)
    ours = REGIONAL[name](ignore_index=255)(logits, masked)
    torch.testing.assert_close(ours, REGIONAL[name]()(logits[..., kept], target[..., kept]))


def test_bad_options_are_errors_with_a_remedy():
    adapter = TypeAdapter(LossBlock)
    for bad, part in [
        ({"name": "tversky", "alpha": 0, "beta": 0}, "both 0"),
        ({"name": "tversky", "gamma": 0}, "gamma"),
        ({"name": "boundary", "region": "focal"}, "region"),
        ({"name": "boundary", "spacing": [1, -1]}, "spacing"),
        ({"name": "ssim", "window": 7}, "window"),
    ]:
        with pytest.raises(ValidationError, match=part):
            adapter.validate_python(bad)
    with pytest.raises(RecipeError, match="not both 0"):
        losses.TverskyLoss(alpha=0, beta=0)
    with pytest.raises(RecipeError, match="gamma is -1"):
        losses.TverskyLoss(gamma=-1)
    with pytest.raises(RecipeError, match="region is 'focal'; give one of dice"):
        losses.BoundaryLoss(region="focal")
    with pytest.raises(RecipeError, match="factor is 0"):
        losses.BoundaryLoss(factor=0)
    with pytest.raises(RecipeError, match="spacing has 3 numbers; the images have 2 axes"):
        losses.BoundaryLoss(spacing=(1, 1, 1))(*example(1))


def test_blocks_pass_their_options_on():
    adapter = TypeAdapter(LossBlock)
    tversky = adapter.validate_python({"name": "tversky", "alpha": 0.2, "gamma": 0.75}).build()
    assert (tversky.alpha, tversky.beta, tversky.gamma) == (0.2, 0.7, 0.75)
    options = {"name": "boundary", "region": "dice", "factor": 2, "spacing": [1, 3]}
    boundary = adapter.validate_python(options).build(ignore_index=9)
    assert type(boundary.region) is losses.DiceLoss
    assert boundary.region.ignore_index == 9
    assert (boundary.factor, boundary.spacing) == (2, (1, 3))
    lovasz = adapter.validate_python({"name": "lovasz", "hinge": False, "batch": True}).build()
    assert (lovasz.hinge, lovasz.batch, lovasz.present_only) == (False, True, False)
    assert adapter.validate_python({"name": "generalised_dice"}).build().include_background


# Generalised Dice


def test_generalised_dice_by_hand():
    # Volumes 3 and 1: weights 1/9 and 1. I = (.9 + .8 + .6, .7), P = (2.6, 1.4).
    logits, target = binary([0.1, 0.2, 0.4, 0.7], [0, 0, 0, 1])
    expected = 1 - 2 * (2.3 / 9 + 0.7) / ((2.6 + 3) / 9 + 1.4 + 1)
    loss = losses.GeneralisedDiceLoss(smooth=1e-12)(logits, target)
    assert loss.item() == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, batch=st.booleans())
def test_generalised_dice_is_sudres_formula(seed, batch):
    logits, target = example(3, seed=seed)
    p, t = soft(logits, target)
    if batch:
        p, t = (x.transpose(1, 0, 2).reshape(1, 3, -1) for x in (p, t))
    w = 1 / t.sum(axis=2) ** 2
    expected = 1 - 2 * (w * (p * t).sum(2)).sum(1) / (w * (p + t).sum(2)).sum(1)
    loss = losses.GeneralisedDiceLoss(smooth=1e-12, batch=batch)(logits, target)
    assert loss.item() == pytest.approx(expected.mean())


def test_an_absent_class_has_the_weight_of_the_smallest_present_one():
    logits, target = example(3, (4, 5), batch=1)
    target[:] = 0
    target[0, 0, :2] = 1
    p, t = soft(logits, target)
    w = np.array([[1 / 18**2, 1 / 2**2, 1 / 2**2]])
    expected = 1 - 2 * (w * (p * t).sum(2)).sum(1) / (w * (p + t).sum(2)).sum(1)
    loss = losses.GeneralisedDiceLoss(smooth=1e-12)(logits, target)
    assert loss.item() == pytest.approx(expected.item())


def test_a_binary_foreground_alone_makes_it_the_dice_loss():
    logits, target = example(1)
    ours = losses.GeneralisedDiceLoss(include_background=False)(logits, target)
    torch.testing.assert_close(ours, losses.DiceLoss()(logits, target))


# Tversky


def test_tversky_by_hand():
    # I = .9 + .4, FP = .2 + .3, FN = .1 + .6.
    logits, target = binary([0.9, 0.4, 0.2, 0.3], [1, 1, 0, 0])
    index = (1.3 + 1) / (1.3 + 0.3 * 0.5 + 0.7 * 0.7 + 1)
    assert losses.TverskyLoss()(logits, target).item() == pytest.approx(1 - index)
    focal = losses.TverskyLoss(gamma=0.75)(logits, target)
    assert focal.item() == pytest.approx((1 - index) ** 0.75)


@settings(max_examples=15, deadline=None)
@given(seed=seeds, batch=st.booleans(), smooth=st.floats(0.01, 10))
def test_tversky_of_halves_is_dice_and_of_ones_is_iou(seed, batch, smooth):
    logits, target = example(3, seed=seed)
    options = {"batch": batch, "include_background": True, "class_weights": [1, 2, 3]}
    halves = losses.TverskyLoss(alpha=0.5, beta=0.5, smooth=smooth / 2, **options)
    ones = losses.TverskyLoss(alpha=1, beta=1, smooth=smooth, **options)
    dice, iou = (kind(smooth=smooth, **options) for kind in (losses.DiceLoss, losses.IoULoss))
    torch.testing.assert_close(halves(logits, target), dice(logits, target))
    torch.testing.assert_close(ones(logits, target), iou(logits, target))


@pytest.mark.parametrize("gamma", [0.5, 0.75, 1, 2])
def test_focal_tversky_of_a_right_answer_is_nothing_with_a_finite_slope(gamma):
    target = torch.tensor([[[0, 1, 1, 0]]])
    logits = ((target.float() * 2 - 1) * 200).unsqueeze(1).requires_grad_()
    loss = losses.TverskyLoss(gamma=gamma)(logits, target)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=2e-6)
    assert logits.grad.isfinite().all()


# Lovasz


def jaccard_loss(wrong, truth):
    """Of a set of wrong pixels: 1 - |T without wrong| / |T with wrong|."""
    union = (truth.astype(bool) | wrong).sum()
    return 0.0 if union == 0 else 1 - (truth.astype(bool) & ~wrong).sum() / union


def lovasz_extension(errors, truth):
    """The integral of the set function over the levels of the errors."""
    levels = np.unique(np.concatenate([[0.0], errors]))
    return sum((high - low) * jaccard_loss(errors >= high, truth) for low, high in pairwise(levels))


@settings(max_examples=150, deadline=None)
@given(
    pixels=st.lists(st.tuples(st.sampled_from([0, 0.1, 0.5, 0.7, 1.3]), st.booleans()), min_size=1)
)
def test_lovasz_is_the_extension_of_the_jaccard_set_function(pixels):
    errors, truth = (np.array(part, dtype=float) for part in zip(*pixels, strict=True))
    ours = lovasz_jaccard(torch.from_numpy(errors), torch.from_numpy(truth))
    assert ours.item() == pytest.approx(lovasz_extension(errors, truth), abs=1e-12)


@given(masks=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=20))
def test_lovasz_of_certain_answers_is_the_jaccard_loss(masks):
    predicted, truth = (np.array(part) for part in zip(*masks, strict=True))
    ours = lovasz_jaccard(torch.tensor(predicted != truth).double(), torch.tensor(truth).double())
    assert ours.item() == pytest.approx(jaccard_loss(predicted != truth, truth))


def test_lovasz_softmax_by_hand():
    # Errors .1 (true), .6 (true), .2, .3; sorted .6 .3 .2 .1; Jaccard losses 1/2, 2/3, 3/4, 1.
    logits, target = binary([0.9, 0.4, 0.2, 0.3], [1, 1, 0, 0])
    expected = 0.6 / 2 + 0.3 * (2 / 3 - 1 / 2) + 0.2 * (3 / 4 - 2 / 3) + 0.1 / 4
    loss = losses.LovaszLoss(hinge=False)(logits, target)
    assert loss.item() == pytest.approx(expected)


def test_lovasz_hinge_by_hand():
    # Errors 1 - (+-1) logit: .5 (true), 3 (true), none, 1.5; sorted 3, 1.5, .5.
    logits = torch.tensor([0.5, -2.0, -4.0, 0.5]).view(1, 1, 1, 4)
    target = torch.tensor([1, 1, 0, 0]).view(1, 1, 4)
    expected = 3 / 2 + 1.5 * (2 / 3 - 1 / 2) + 0.5 / 3
    assert losses.LovaszLoss()(logits, target).item() == pytest.approx(expected)


@pytest.mark.parametrize("batch", [False, True])
def test_lovasz_is_of_each_image_or_of_the_batch(batch):
    logits, target = example(3, (3, 4))
    p, t = soft(logits, target)
    if batch:
        p, t = (x.transpose(1, 0, 2).reshape(1, 3, -1) for x in (p, t))
    rows = [
        lovasz_extension(abs(p[i, k] - t[i, k]), t[i, k]) for i in range(len(p)) for k in (1, 2)
    ]
    assert losses.LovaszLoss(batch=batch)(logits, target).item() == pytest.approx(np.mean(rows))


def test_absent_classes_cost_their_largest_error_or_are_left_out():
    logits, target = example(3, (3, 4), batch=1)
    target[target == 2] = 1
    p, t = soft(logits, target)
    present, absent = lovasz_extension(abs(p[0, 1] - t[0, 1]), t[0, 1]), p[0, 2].max()
    every = losses.LovaszLoss()(logits, target)
    assert every.item() == pytest.approx((present + absent) / 2)
    some = losses.LovaszLoss(present_only=True)
    assert some(logits, target).item() == pytest.approx(present)
    assert some(logits, torch.zeros_like(target)).item() == 0


# SSIM and MS-SSIM


def smooth_and_noisy(size, seed=0):
    rng = np.random.default_rng(seed)
    grids = np.meshgrid(*(np.linspace(0, 7, side) for side in size), indexing="ij")
    clean = 0.5 + 0.5 * np.sin(sum(rng.uniform(1, 2) * grid for grid in grids))
    return clean, np.clip(clean + rng.normal(0, 0.15, size), 0.01, 0.99)


@pytest.mark.parametrize("size", [(11, 11), (31, 40), (64, 23), (15, 17, 12)])
def test_ssim_loss_is_one_minus_the_value_of_scikit_image_inside_the_border(size):
    clean, noisy = smooth_and_noisy(size)
    mask = clean > 0.5
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, maps = structural_similarity(noisy, mask.astype(float), data_range=1.0, full=True, **options)
    expected = 1 - maps[tuple(slice(5, -5) for _ in size)].mean()
    logits = torch.logit(torch.from_numpy(noisy))[None, None]
    loss = losses.SSIMLoss()(logits, torch.from_numpy(mask).long()[None])
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def wang(x, y, width, weights):
    """MS-SSIM from the papers' equations with square windows; one weight makes it SSIM."""
    gaussian = np.exp(-((np.arange(width) - width // 2) ** 2) / (2 * 1.5**2))
    window = np.multiply.outer(gaussian, gaussian) / gaussian.sum() ** 2
    result = 1.0
    for scale, weight in enumerate(weights):
        if scale:
            x, y = (
                v[: len(v) // 2 * 2, : v.shape[1] // 2 * 2]
                .reshape(len(v) // 2, 2, v.shape[1] // 2, 2)
                .mean(axis=(1, 3))
                for v in (x, y)
            )
        mx, my, xx, yy, xy = (
            convolve(v, window, mode="valid", method="direct") for v in (x, y, x * x, y * y, x * y)
        )
        terms = (2 * (xy - mx * my) + 9e-4) / (xx - mx**2 + yy - my**2 + 9e-4)
        if scale == len(weights) - 1:
            terms = terms * (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4)
        result *= terms.mean() ** weight
    return result


@pytest.mark.parametrize(
    ("size", "scales"),
    [((11, 30), 1), ((22, 31), 2), ((45, 60), 3), ((90, 101), 4), ((177, 179), 5)],
)
def test_ms_ssim_is_wangs_with_the_scales_that_fit(size, scales):
    x, y = smooth_and_noisy(size, seed=1)
    published = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    weights = published / (published.sum() if scales < 5 else 1)
    np.testing.assert_allclose(scale_weights(size), weights)
    maps = (torch.from_numpy(v)[None, None] for v in (x, y))
    np.testing.assert_allclose(ms_ssim(*maps), wang(x, y, 11, weights), rtol=1e-9)


@pytest.mark.parametrize(("side", "width"), [(10, 9), (7, 7), (4, 3), (1, 1)])
def test_images_below_the_window_use_the_largest_odd_one_that_fits(side, width):
    x, y = smooth_and_noisy((side, side), seed=2)
    maps = [torch.from_numpy(v)[None, None] for v in (x, y)]
    expected = wang(x, y, width, [1.0])
    np.testing.assert_allclose(ssim(*maps), expected, rtol=1e-9)
    np.testing.assert_allclose(ms_ssim(*maps), max(expected, 1e-4), rtol=1e-9)


def test_ssim_of_single_precision_keeps_six_digits():
    x, y = smooth_and_noisy((60, 70))
    maps = [torch.from_numpy(v)[None, None] for v in (x, y)]
    single = ssim(*(v.float() for v in maps))
    torch.testing.assert_close(single.double(), ssim(*maps), rtol=1e-5, atol=1e-6)


# Boundary


def test_boundary_by_hand():
    # Distances from the boundary: 2 1 | -1 -2 -1 | 1.
    logits, target = binary([0.1, 0.3, 0.6, 0.8, 0.9, 0.5], [0, 0, 1, 1, 1, 0])
    expected = (2 * 0.1 + 0.3 + 0.4 + 2 * 0.2 + 0.1 + 0.5) / 6
    loss = losses.BoundaryLoss(region=None, factor=3)(logits, target)
    assert loss.item() == pytest.approx(3 * expected)


@settings(max_examples=15, deadline=None)
@given(
    seed=seeds,
    size=st.lists(st.integers(2, 8), min_size=2, max_size=3),
    spacing=st.lists(st.floats(0.5, 3), min_size=3, max_size=3),
)
def test_distances_are_those_of_the_euclidean_transform(seed, size, spacing):
    masks = torch.rand(2, 2, *size, generator=torch.Generator().manual_seed(seed)) < 0.3
    masks[0, 0], masks[1, 1] = False, True
    ours = signed_distance(masks, spacing=spacing[: len(size)])
    assert (ours[0, 0] == 0).all()
    assert (ours[1, 1] == 0).all()
    for mask, distances in ((masks[0, 1], ours[0, 1]), (masks[1, 0], ours[1, 0])):
        if mask.any() and not mask.all():
            expected = distance_transform_edt(~mask, sampling=spacing[: len(size)])
            expected -= distance_transform_edt(mask, sampling=spacing[: len(size)])
            np.testing.assert_allclose(distances, expected)


def test_the_gradient_is_that_of_the_papers_equation():
    logits, target = example(3)
    distances = signed_distance(torch.stack([target == 1, target == 2], dim=1))
    logits.requires_grad_()
    losses.BoundaryLoss(region=None, factor=1)(logits, target).backward()
    ours, logits.grad = logits.grad, None
    (distances * logits.softmax(dim=1)[:, 1:]).mean().backward()
    torch.testing.assert_close(ours, logits.grad)


def test_the_edge_of_an_ignored_area_is_no_boundary():
    row = torch.tensor([[1, 1, 1, 0, 0, 0, 0, 1]]).bool().view(1, 1, 1, 8)
    valid = torch.tensor([[1, 1, 0, 0, 0, 1, 1, 0]]).bool().view(1, 1, 8)
    ours = signed_distance(row, valid=valid)
    # Left: the nearest labelled background is pixel 5; right: the nearest labelled mask pixel is 1.
    assert ours.flatten()[[0, 1, 5, 6]].tolist() == [-5, -4, 4, 5]


@pytest.mark.parametrize("region", ["dice", "generalised_dice", "iou", "tversky"])
def test_the_boundary_loss_adds_a_factor_of_itself_to_a_region_loss(region):
    logits, target = example(3)
    target[:, :4] = 255
    options = {"ignore_index": 255, "class_weights": [1, 2, 3]}
    both = losses.BoundaryLoss(region=region, factor=0.2, **options)(logits, target)
    kinds = {**REGIONAL, "dice": losses.DiceLoss, "iou": losses.IoULoss}
    alone = losses.BoundaryLoss(region=None, factor=0.2, **options)(logits, target)
    torch.testing.assert_close(both, alone + kinds[region](**options)(logits, target))


def test_ignored_pixels_do_not_dilute_the_boundary_loss():
    logits, target = example(1, (1, 8), batch=1)
    target[0, 0, 4:] = 255
    target[0, 0, :4] = torch.tensor([0, 1, 1, 0])
    ours = losses.BoundaryLoss(region=None, ignore_index=255)(logits, target)
    cut = losses.BoundaryLoss(region=None)(logits[..., :4], target[..., :4])
    torch.testing.assert_close(ours, cut)


# Do they teach?


@every_loss
@pytest.mark.parametrize("dims", [2, 3])
def test_a_few_steps_of_descent_find_the_mask(name, dims):
    grid = torch.meshgrid(*[torch.arange(12.0)] * dims, indexing="ij")
    target = (sum((axis - 5) ** 2 for axis in grid) < 12).long()[None]
    logits = torch.zeros(1, 1, *[12] * dims, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        REGIONAL[name]()(logits, target).backward()
        optimizer.step()
    assert ((logits[:, 0] > 0).long() == target).float().mean() > 0.99
