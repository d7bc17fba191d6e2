import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from vesalius.errors import DataError, RecipeError
from vesalius.images.transforms import (
    CentreCrop,
    CropForeground,
    Flip,
    PadTo,
    RandomCrop,
    TransformBlock,
    apply,
    put_back,
)
from vesalius.images.transforms.crop import read_window

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.one_of(st.tuples(*[st.integers(1, 12)] * 2), st.tuples(*[st.integers(1, 8)] * 3))
MODES = {"zeros": "constant", "border": "edge", "reflect": "symmetric"}


def generator(seed=0):
    return np.random.default_rng(seed)


def sample_of(size, seed=0):
    rng = generator(seed)
    mask = torch.from_numpy(rng.integers(0, 3, size=size))
    return {"image": torch.from_numpy(rng.random((2, *size), dtype=np.float32)) + 1, "mask": mask}


@settings(max_examples=40, deadline=None)
@given(
    size=SIZES,
    reach=st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 12)), min_size=3, max_size=3),
    padding=st.sampled_from(sorted(MODES)),
)
def test_a_window_equals_numpys_pad_and_slice(size, reach, padding):
    image = sample_of(size)["image"]
    box = tuple((start, start + length) for start, length in reach[: len(size)])
    window = read_window(image, box, padding)
    wide = np.pad(image.numpy(), [(0, 0), *[(32, 32)] * len(size)], mode=MODES[padding])
    expected = wide[(slice(None), *(slice(a + 32, b + 32) for a, b in box))]
    np.testing.assert_array_equal(window.numpy(), expected)


@settings(max_examples=40, deadline=None)
@given(size=SIZES, seed=SEEDS)
def test_crops_have_the_asked_size_and_say_where_they_lie(size, seed):
    sample = sample_of(size, seed)
    wanted = tuple(generator(seed).integers(1, 11, size=len(size)).tolist())
    for crop in (RandomCrop(size=wanted), CentreCrop(size=wanted)):
        result = crop(sample, generator(seed))
        assert tuple(result["image"].shape) == (2, *wanted)
        assert tuple(result["mask"].shape) == wanted
        assert torch.equal(result["image"], read_window(sample["image"], result["box"]))
        for (start, stop), n in zip(result["box"], size, strict=True):
            # Inside where it can be, around the whole axis where it cannot.
            assert (start >= 0 and stop <= n) or (start <= 0 and stop >= n)


@settings(max_examples=40, deadline=None)
@given(size=SIZES, seed=SEEDS)
def test_predictions_return_to_their_place_after_several_crops(size, seed):
    sample = sample_of(size, seed)
    sample["image"][:, :1] = 0
    steps = [
        CropForeground(margin=1, threshold=0.5),
        PadTo(multiple=4),
        CentreCrop(size=tuple(n + 3 for n in size)),
    ]
    result = apply(steps, sample, generator(seed))
    returned = put_back(result["mask"].numpy(), result["box"], size, fill=-1)
    kept = returned != -1
    np.testing.assert_array_equal(returned[kept], sample["mask"].numpy()[kept])
    channels = put_back(result["image"].numpy(), result["box"], size)
    np.testing.assert_array_equal(channels, sample["image"].numpy())


def test_crop_foreground_is_the_bounding_box_with_its_margin():
    image = torch.zeros(2, 12, 15, 9)
    image[1, 3:6, 4, 0] = 2.0
    sample = {"image": image, "mask": (image[1] > 0).long()}
    assert CropForeground()(sample, generator())["box"] == ((3, 6), (4, 5), (0, 1))
    assert CropForeground(margin=2)(sample, generator())["box"] == ((1, 8), (2, 7), (0, 3))
    assert CropForeground(threshold=3)(sample, generator())["box"] == ((0, 12), (0, 15), (0, 9))


def test_random_crop_seeks_rare_classes_uniformly():
    mask = torch.zeros(60, 60, dtype=torch.int64)
    mask[5:45, 5:45] = 1
    mask[55, 55] = 2
    mask[0, 59] = 9
    sample = {"image": mask[None].float(), "mask": mask}
    crop, rng = RandomCrop(size=(6, 6), foreground=1.0, ignore=9), generator()
    crops = [crop(sample, rng)["mask"] for _ in range(300)]
    assert all((c > 0).any() for c in crops)
    assert sum(bool((c == 2).any()) for c in crops) == pytest.approx(150, abs=40)
    blind = RandomCrop(size=(6, 6), foreground=0.0)
    assert sum(bool((blind(sample, rng)["mask"] == 2).any()) for _ in range(300)) < 20


def test_random_crop_reaches_every_position_alike():
    sample = {"image": torch.arange(6.0).reshape(1, 1, 6)}
    crop, rng = RandomCrop(size=(1, 4)), generator()
    starts = [crop(sample, rng)["box"][1][0] for _ in range(600)]
    assert np.bincount(starts).tolist() == pytest.approx([200] * 3, abs=45)


@settings(max_examples=40, deadline=None)
@given(size=SIZES, multiple=st.integers(1, 8))
def test_padding_is_even_and_never_crops(size, multiple):
    sample = sample_of(size)
    padded = PadTo(multiple=multiple, mask_fill=255)(sample, generator())
    shape = padded["mask"].shape
    assert all(
        n % multiple == 0 and m <= n < m + multiple for n, m in zip(shape, size, strict=True)
    )
    assert (padded["mask"] == 255).sum() == np.prod(shape) - np.prod(size)
    assert all(
        abs(-start - (stop - m)) <= 1 for (start, stop), m in zip(padded["box"], size, strict=True)
    )
    assert padded["image"].sum() == pytest.approx(float(sample["image"].sum()), rel=1e-5)
    wide = PadTo(size=tuple(20 for _ in size))(sample, generator())
    assert tuple(wide["mask"].shape) == (20,) * len(size)


@pytest.mark.parametrize("padding", sorted(MODES))
def test_a_mask_without_fill_is_continued_like_its_image(padding):
    mask = sample_of((5, 7))["mask"]
    sample = {"image": mask[None].float(), "mask": mask}
    padded = PadTo(size=(12, 12), padding=padding, mask_fill=None)(sample, generator())
    assert torch.equal(padded["mask"].float(), padded["image"][0])


def test_bad_settings_are_refused_with_a_remedy():
    with pytest.raises(ValidationError, match="either size or multiple"):
        PadTo()
    with pytest.raises(ValidationError, match="greater than 0"):
        RandomCrop(size=(0, 4))
    with pytest.raises(RecipeError, match="Give one per axis"):
        RandomCrop(size=(4, 4, 4))(sample_of((9, 9)), generator())
    with pytest.raises(DataError, match="does not fill"):
        put_back(np.zeros((3, 3)), ((0, 4), (0, 4)), (9, 9))


def test_a_recipe_chooses_transforms_by_name_and_survives_a_round_trip():
    adapter = TypeAdapter(list[TransformBlock])
    blocks = adapter.validate_python(
        [{"name": "flip", "axes": [0]}, {"name": "random_crop", "size": [8, 8]}]
    )
    assert blocks == [Flip(axes=(0,)), RandomCrop(size=(8, 8))]
    assert adapter.validate_json(adapter.dump_json(blocks)) == blocks
    with pytest.raises(ValidationError, match="flop"):
        adapter.validate_python([{"name": "flop"}])
    with pytest.raises(ValidationError, match="Extra inputs"):
        adapter.validate_python([{"name": "flip", "axis": 0}])


def test_every_setting_of_every_transform_is_described():
    schema = TypeAdapter(TransformBlock).json_schema()
    for block in schema["$defs"].values():
        for key, setting in block["properties"].items():
            assert key in ("name", "probability") or "description" in setting, (block["title"], key)


def test_importing_the_blocks_does_not_import_torch_or_scipy():
    code = "import sys, vesalius.images.transforms; print({'torch', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
