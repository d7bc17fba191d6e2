import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter, map_coordinates

from vesalius.errors import DataError, RecipeError
from vesalius.images.transforms import Elastic, Flip, Rotate, Rotate90, Scale, apply
from vesalius.images.transforms.sampling import reading_positions
from vesalius.images.transforms.spatial import SplineField, resample, spline_weights

SIZES = st.one_of(
    st.tuples(*[st.integers(5, 14)] * 2),
    st.tuples(*[st.integers(4, 9)] * 3),
)
SEEDS = st.integers(0, 2**32 - 1)
SPACINGS = st.sampled_from([None, 1.0, 0.3])


def generator(seed=0):
    return np.random.default_rng(seed)


def sample_of(size, seed=0, spacing=None, labels=4):
    rng = generator(seed)
    sample = {
        "image": torch.from_numpy(rng.standard_normal((2, *size), dtype=np.float32)),
        "mask": torch.from_numpy(rng.integers(0, labels, size=size)),
        "case": "a",
    }
    return sample if spacing is None else {**sample, "spacing": spacing}


def smooth_sample(size, seed=0, sigma=4, spacing=None):
    noise = gaussian_filter(generator(seed).standard_normal(size), sigma)
    image = torch.from_numpy((noise / noise.std())[None].astype(np.float32))
    sample = {"image": image, "mask": (image[0] > 0).long()}
    return sample if spacing is None else {**sample, "spacing": spacing}


def every_spatial(probability=1.0):
    return [
        Flip(probability=0.5 * probability),
        Rotate90(probability=probability),
        Rotate(degrees=(-40, 40), probability=probability),
        Scale(factor=(0.7, 1.4), per_axis=True, probability=probability),
        Elastic(displacement=(1, 3), control_spacing=8, probability=probability),
    ]


@settings(max_examples=40, deadline=None)
@given(size=SIZES, seed=SEEDS)
def test_flipping_twice_is_the_identity(size, seed):
    sample = sample_of(size, seed)
    flip = Flip(probability=1.0)
    once = flip(sample, generator())
    twice = flip(once, generator())
    assert torch.equal(once["image"], sample["image"].flip(tuple(range(1, len(size) + 1))))
    assert torch.equal(twice["image"], sample["image"])
    assert torch.equal(twice["mask"], sample["mask"])


@settings(max_examples=40, deadline=None)
@given(size=SIZES, seed=SEEDS, axis=st.integers(0, 1))
def test_flip_mirrors_only_the_named_axes(size, seed, axis):
    sample = sample_of(size, seed)
    flipped = Flip(probability=1.0, axes=(axis,))(sample, generator())
    assert torch.equal(flipped["mask"], sample["mask"].flip(axis))


@pytest.mark.parametrize(("plane", "size"), [((0, 1), (9, 9)), ((0, 2), (6, 7, 6))])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotating_by_right_angles_equals_torch_rot90(plane, size, turns):
    sample = sample_of(size)
    per_axis = [(0.0, 0.0)] * 3
    per_axis[1] = (90.0 * turns, 90.0 * turns)
    angle = {"degrees": per_axis[1]} if len(size) == 2 else {"per_axis": tuple(per_axis)}
    rotated = Rotate(**angle)(sample, generator())
    expected = torch.rot90(sample["image"], turns, (plane[0] + 1, plane[1] + 1))
    assert torch.equal(rotated["image"], expected)
    assert torch.equal(rotated["mask"], torch.rot90(sample["mask"], turns, plane))


def test_rotate90_draws_all_four_turns_and_is_exact():
    sample = sample_of((7, 7))
    turned = [Rotate90()(sample, generator(seed)) for seed in range(40)]
    expected = [torch.rot90(sample["mask"], k) for k in range(4)]
    seen = {next(k for k in range(4) if torch.equal(t["mask"], expected[k])) for t in turned}
    assert seen == {0, 1, 2, 3}
    for result in turned:
        k = next(k for k in range(4) if torch.equal(result["mask"], expected[k]))
        assert torch.equal(result["image"], torch.rot90(sample["image"], k, (1, 2)))


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_rotate90_keeps_size_and_spacing(seed):
    oblong = sample_of((5, 8))
    stretched = sample_of((6, 6), spacing=(1.0, 2.0))
    for sample in (oblong, stretched):
        turned = Rotate90()(sample, generator(seed))["mask"]
        half = torch.rot90(sample["mask"], 2)
        assert torch.equal(turned, half) or torch.equal(turned, sample["mask"])


@settings(max_examples=40, deadline=None)
@given(size=SIZES, seed=SEEDS)
def test_transforms_of_zero_strength_are_the_identity(size, seed):
    sample = sample_of(size, seed)
    still = [
        Flip(probability=0),
        Rotate(degrees=(0, 0)),
        Scale(factor=(1, 1)),
        Elastic(displacement=(0, 0)),
        *every_spatial(probability=0),
    ]
    result = apply(still, sample, generator(seed))
    assert torch.equal(result["image"], sample["image"])
    assert torch.equal(result["mask"], sample["mask"])
    assert result["case"] == "a"


@settings(max_examples=25, deadline=None)
@given(size=SIZES, seed=SEEDS, interpolation=st.sampled_from(["nearest", "linear"]))
def test_mask_values_stay_in_the_original_set_and_inputs_are_not_written(size, seed, interpolation):
    sample = sample_of(size, seed)
    sample["mask"] = sample["mask"] * 2**40 + 3
    before = {key: sample[key].clone() for key in ("image", "mask")}
    transforms = [
        Rotate(degrees=(-90, 90), mask_interpolation=interpolation, mask_fill=-7),
        Elastic(
            displacement=(1, 3), control_spacing=8, mask_interpolation=interpolation, mask_fill=-7
        ),
    ]
    result = apply(transforms, sample, generator(seed))
    allowed = {*before["mask"].unique().tolist(), -7}
    assert set(result["mask"].unique().tolist()) <= allowed
    assert result["mask"].dtype == torch.int64
    assert result["mask"].shape == size
    assert all(torch.equal(sample[key], before[key]) for key in before)


@settings(max_examples=25, deadline=None)
@given(size=SIZES, seed=SEEDS)
def test_one_seed_gives_one_result(size, seed):
    sample = sample_of(size, seed)
    first = apply(every_spatial(), sample, generator(seed))
    second = apply(every_spatial(), sample, generator(seed))
    assert torch.equal(first["image"], second["image"])
    assert torch.equal(first["mask"], second["mask"])


def test_the_mask_does_not_change_what_is_drawn():
    sample = sample_of((12, 12))
    alone = {key: value for key, value in sample.items() if key != "mask"}
    with_none = {**alone, "mask": None}
    expected = apply(every_spatial(), sample, generator(5))["image"]
    assert torch.equal(apply(every_spatial(), alone, generator(5))["image"], expected)
    result = apply(every_spatial(), with_none, generator(5))
    assert torch.equal(result["image"], expected)
    assert result["mask"] is None


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, dims=st.sampled_from([2, 3]))
def test_image_and_mask_stay_aligned(seed, dims):
    size = (40, 34) if dims == 2 else (18, 20, 16)
    rng = generator(seed)
    labels = (gaussian_filter(rng.standard_normal(size), 3) > 0).astype(np.int64)
    sample = {
        "image": torch.from_numpy(labels[None].astype(np.float32)),
        "mask": torch.tensor(labels),
    }
    moved = apply([t.model_copy() for t in every_spatial()], sample, rng)
    image, mask = moved["image"][0], moved["mask"]
    inside = apply_to_ones(size, seed, labels)
    # Where the linear reading is certain, the nearest one must agree with it.
    certain = inside & ((image < 0.01) | (image > 0.99))
    assert certain.float().mean() > 0.1
    assert torch.equal(mask[certain], image[certain].round().long())


def apply_to_ones(size, seed, labels):
    """Return where the same random move reads inside the image."""
    rng = generator(seed)
    rng.standard_normal(size)
    options = {"padding": "zeros"}
    moves = [
        type(t)(**{**t.model_dump(), **options}) if hasattr(t, "padding") else t
        for t in every_spatial()
    ]
    return apply(moves, {"image": torch.ones(1, *size)}, rng)["image"][0] > 0.999


@pytest.mark.parametrize("factor", [0.6, 1.5])
def test_scaling_a_disc_changes_its_area_by_the_square(factor):
    y, x = np.mgrid[:101, :101] - 50
    disc = torch.from_numpy((y**2 + x**2 <= 28**2).astype(np.int64))
    scaled = Scale(factor=(factor, factor))(
        {"image": disc[None].float(), "mask": disc}, generator()
    )
    assert scaled["mask"].sum() / disc.sum() == pytest.approx(factor**2, rel=0.02)
    assert scaled["image"].sum() / disc.sum() == pytest.approx(factor**2, rel=0.02)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_rotation_keeps_physical_distances_in_anisotropic_volumes(seed):
    spacing = np.array((0.8, 0.8, 2.0))
    size = (41, 41, 17)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in size], indexing="ij"), -1)
    blobs = [np.array(p) for p in ((20, 20, 8), (26, 17, 10), (15, 26, 6))]
    centres = []
    rotate = Rotate(degrees=(-180, 180), padding="zeros")
    for blob in blobs:
        distance = (((grid - blob) * spacing) ** 2).sum(-1)
        image = torch.from_numpy(np.exp(-distance / 8)[None].astype(np.float32))
        moved = rotate({"image": image, "spacing": tuple(spacing)}, generator(seed))["image"][0]
        weight = moved.numpy()[..., None]
        centres.append((grid * spacing * weight).sum((0, 1, 2)) / weight.sum())
    for a in range(3):
        for b in range(a):
            before = np.linalg.norm((blobs[a] - blobs[b]) * spacing)
            assert np.linalg.norm(centres[a] - centres[b]) == pytest.approx(before, abs=0.25)


def test_rotation_in_millimetres_matches_an_independent_affine_resampling():
    spacing = (1.0, 2.5)
    sample = smooth_sample((48, 30), spacing=spacing)
    rotated = Rotate(degrees=(25, 25), padding="zeros")(sample, generator())["image"][0]
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix = np.diag(1 / np.array(spacing)) @ turn @ np.diag(spacing)
    centre = (np.array((48, 30)) - 1) / 2
    index = np.indices((48, 30)).reshape(2, -1)
    source = matrix @ (index - centre[:, None]) + centre[:, None]
    expected = map_coordinates(sample["image"][0].numpy(), source, order=1, mode="grid-constant")
    np.testing.assert_allclose(rotated.numpy().ravel(), expected, atol=2e-5)


@pytest.mark.parametrize(("size", "spacing"), [((30, 42), (1.0, 1.0)), ((14, 20, 9), (1, 1, 2.5))])
def test_elastic_matches_scipys_spline_and_map_coordinates(size, spacing):
    sample = smooth_sample(size, spacing=spacing)
    elastic = Elastic(displacement=(3, 3), control_spacing=8)
    moved = elastic(sample, generator(3))["image"][0].numpy()
    field = elastic.draw(size, np.array(spacing, dtype=float), generator(3))
    index = np.indices(size).reshape(len(size), -1).astype(float)
    in_control = index * np.array(spacing)[:, None] / field.distance + 1
    # Without prefilter scipy's order 3 evaluates the cubic B-spline of the given coefficients.
    shift = np.stack(
        [map_coordinates(c, in_control, order=3, prefilter=False) for c in field.control]
    )
    source = index + shift / np.array(spacing)[:, None]
    expected = map_coordinates(sample["image"][0].numpy(), source, order=1, mode="nearest")
    np.testing.assert_allclose(moved.ravel(), expected, atol=1e-4)
    assert np.abs(shift).max() > 0.5


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, dims=st.sampled_from([2, 3]))
def test_the_strongest_elastic_field_does_not_fold(seed, dims):
    size = (40, 40) if dims == 2 else (16, 16, 16)
    field = Elastic(displacement=(3.2, 3.2), control_spacing=8).draw(
        size, np.ones(dims), generator(seed)
    )
    positions = reading_positions([field], size, np.ones(dims)).numpy()
    gradients = [np.gradient(positions[..., a], axis=b) for a in range(dims) for b in range(dims)]
    jacobian = np.stack(gradients, -1).reshape(*size, dims, dims)
    assert np.linalg.det(jacobian).min() > 0


@settings(max_examples=40, deadline=None)
@given(voxels=st.integers(1, 40), step=st.floats(0.02, 1.0))
def test_spline_weights_are_a_partition_of_unity(voxels, step):
    controls = max(1, int(np.ceil((voxels - 1) * step))) + 3
    weights = spline_weights(voxels, step, controls)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert weights.min() >= 0


def test_a_linear_control_grid_gives_a_linear_field():
    control = np.zeros((2, 8, 8))
    control[0] = np.arange(-1, 7)[:, None] * 4.0
    field = SplineField(control, distance=4.0).displacement((17, 17), np.ones(2))
    np.testing.assert_allclose(field[0], np.broadcast_to(np.arange(17.0)[:, None], (17, 17)))


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 1.6)])
def test_composed_transforms_equal_sequential_ones_on_smooth_images(spacing):
    sample = smooth_sample((80, 80), sigma=6, spacing=spacing)
    moves = [
        Rotate(degrees=(20, 20)),
        Elastic(displacement=(4, 4), control_spacing=16),
        Flip(probability=1.0, axes=(0,)),
        Scale(factor=(1.2, 1.2), per_axis=True),
        Elastic(displacement=(2, 2), control_spacing=12),
    ]
    together = apply(moves, sample, generator(2))
    rng, one_by_one = generator(2), sample
    for move in moves:
        one_by_one = move(one_by_one, rng)
    inner = (slice(20, 60), slice(20, 60))
    difference = (together["image"][0] - one_by_one["image"][0])[inner].abs()
    assert difference.max() < 0.08
    # Five roundings to the nearest voxel move outlines; one does not.
    assert (together["mask"] == one_by_one["mask"])[inner].float().mean() > 0.95
    assert (together["mask"] == (together["image"][0] > 0))[inner].float().mean() > 0.98


def test_composing_blurs_less_than_interpolating_in_turn():
    sample = sample_of((64, 64))
    moves = [Rotate(degrees=(a, a)) for a in (10, 7, -17.0)]
    together = apply(moves, sample, generator())
    rng, one_by_one = generator(), sample
    for move in moves:
        one_by_one = move(one_by_one, rng)
    # The angles cancel: composed, nothing is interpolated; in turn, the noise is blurred.
    torch.testing.assert_close(together["image"], sample["image"], atol=1e-3, rtol=0)
    assert one_by_one["image"].std() < 0.7 * sample["image"].std()


def test_differing_options_are_not_composed():
    sample = smooth_sample((20, 20))
    moves = [Rotate(degrees=(30, 30), padding="zeros"), Scale(factor=(0.5, 0.5), padding="reflect")]
    rng = generator()
    expected = moves[1](moves[0](sample, rng), rng)
    assert torch.equal(apply(moves, sample, generator())["image"], expected["image"])


def test_the_mask_takes_the_fill_beyond_the_edge():
    sample = {"image": torch.ones(1, 20, 20), "mask": torch.ones(20, 20, dtype=torch.int64)}
    for interpolation in ("nearest", "linear"):
        shrink = Scale(factor=(0.5, 0.5), mask_fill=255, mask_interpolation=interpolation)
        mask = shrink(sample, generator())["mask"]
        assert (mask[5:15, 5:15] == 1).all()
        assert (mask == 255).sum() == 300
    border = Scale(factor=(0.5, 0.5))(sample, generator())["image"]
    zeros = Scale(factor=(0.5, 0.5), padding="zeros")(sample, generator())["image"]
    assert border.min() == 1
    assert zeros[0, 0, 0] == 0


@pytest.mark.parametrize("interpolation", ["nearest", "linear"])
@pytest.mark.parametrize("padding", ["border", "reflect", "zeros"])
def test_a_mask_without_fill_is_continued_like_its_image(padding, interpolation):
    mask = torch.from_numpy(np.kron(generator().integers(0, 2, (6, 6)), np.ones((4, 4)))).long()
    options = {"padding": padding, "mask_fill": None, "mask_interpolation": interpolation}
    moves = [Scale(factor=(0.45, 0.45), **options), Rotate(degrees=(25, 25), **options)]
    moved = apply(moves, {"image": mask[None].float(), "mask": mask}, generator())
    certain = (moved["image"][0] - 0.5).abs() > 0.49
    assert certain.float().mean() > 0.4
    assert torch.equal(moved["mask"][certain], moved["image"][0][certain].round().long())


def test_a_resampled_sample_forgets_its_box():
    sample = {**sample_of((8, 8)), "box": ((0, 8), (0, 8))}
    assert "box" not in resample([Flip()], sample, generator())


def test_bad_settings_and_samples_are_refused_with_a_remedy():
    with pytest.raises(ValidationError, match="fold"):
        Elastic(displacement=(0, 20), control_spacing=24)
    with pytest.raises(ValidationError, match="lower bound"):
        Rotate(degrees=(10, -10))
    with pytest.raises(ValidationError, match="above 0"):
        Scale(factor=(0, 1))
    with pytest.raises(RecipeError, match="axis 2 does not exist"):
        Flip(axes=(2,))(sample_of((5, 5)), generator())
    with pytest.raises(RecipeError, match="volumes"):
        Rotate(per_axis=((0, 0), (0, 0), (0, 0)))(sample_of((5, 5)), generator())
    with pytest.raises(DataError, match="Resample the mask"):
        apply([], {**sample_of((5, 5)), "mask": torch.zeros(5, 6)}, generator())
    with pytest.raises(DataError, match="spacing"):
        apply([], {**sample_of((5, 5)), "spacing": (1.0,)}, generator())
