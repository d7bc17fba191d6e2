import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.detect.models.backbone import build_backbone, stages_of
from vesalius.detect.models.blocks import BATCH_NORMS, FrozenBatchNorm
from vesalius.detect.models.pyramid import FeaturePyramid
from vesalius.detect.models.roi_pooling import PyramidPooling
from vesalius.detect.models.roi_sampling import sampled_align
from vesalius.errors import RecipeError

PLAIN = {
    **{"encoder_weights": None, "encoder_options": {"widths": (2, 3, 4, 5, 6)}, "in_channels": 1},
    **{"dims": 2, "pyramid": True, "pyramid_width": 4, "finest_stride": 4, "norm": "batch"},
    **{"head_norm": None, "trainable_stages": None},
}


@pytest.mark.parametrize(
    ("side", "level"),
    [(10, 0), (111.9, 0), (112, 1), (223.9, 1), (224, 2), (447, 2), (448, 3), (5000, 3)],
)
def test_rois_belong_to_the_level_of_their_size(side, level):
    pooling = PyramidPooling(7, strides=(4, 8, 16, 32), dims=2)
    assert pooling.levels(torch.tensor([[3.0, 5, 3 + side, 5 + side]])).tolist() == [level]


def test_volumes_belong_to_the_level_of_their_mean_side():
    pooling = PyramidPooling(7, strides=(4, 8, 16), dims=3, canonical_size=32.0)
    found = pooling.levels(torch.tensor([[0.0, 0, 0, 8, 8, 8], [0, 0, 0, 64, 64, 8]]))
    assert found.tolist() == [0, 2]


@pytest.mark.parametrize("dims", [2, 3])
def test_every_roi_is_pooled_from_its_own_level_and_image(dims):
    pooling = PyramidPooling(2, strides=(4, 8, 16), dims=dims, canonical_size=32.0)
    # Constant maps, different for each level and image, say where a RoI came from.
    maps = [
        torch.tensor([10.0, 20.0]).view(2, 1, *[1] * dims).expand(2, 1, *[16 // 2**i] * dims) + i
        for i in range(3)
    ]
    sides = torch.tensor([32.0, 8, 16, 8])
    boxes = torch.cat([torch.zeros(4, dims), sides[:, None].expand(-1, dims)], dim=1)
    pooled = pooling(maps, boxes, torch.tensor([0, 1, 0, 0]))
    assert pooled.shape == (4, 1, *[2] * dims)
    assert pooled.flatten(1).unique(dim=1).flatten().tolist() == [12, 20, 11, 10]
    nothing = pooling(maps, boxes[:0], torch.zeros(0, dtype=torch.int64))
    assert nothing.shape == (0, 1, *[2] * dims)


@settings(max_examples=20, deadline=None)
@given(dims=st.sampled_from([2, 3]), seed=st.integers(0, 10_000), ratio=st.integers(1, 3))
def test_looking_up_samples_gives_what_roi_align_gives(dims, seed, ratio):
    draw = torch.Generator().manual_seed(seed)
    maps = [torch.randn(2, 3, *[side] * dims, generator=draw) for side in (13, 7, 4)]
    low = torch.rand(9, dims, generator=draw) * 70 - 10
    boxes = torch.cat([low, low + torch.rand(9, dims, generator=draw) * 60], dim=1)
    owners = torch.randint(0, 2, (9,), generator=draw)
    pooling = PyramidPooling(
        3, strides=(4, 8, 16), dims=dims, canonical_size=48.0, sampling_ratio=ratio
    )
    found = sampled_align(
        maps,
        boxes,
        owners,
        pooling.levels(boxes),
        strides=(4, 8, 16),
        bins=(3,) * dims,
        ratio=ratio,
    )
    assert torch.allclose(found, pooling(maps, boxes, owners), atol=1e-5)


def test_the_pyramid_adds_the_coarser_level_to_the_finer_one():
    pyramid = FeaturePyramid((1, 1), width=1)
    for block in (*pyramid.inner_blocks, *pyramid.layer_blocks):
        torch.nn.init.zeros_(block[0].weight)
        block[0].weight.data[..., block[0].kernel_size[0] // 2, block[0].kernel_size[0] // 2] = 1
    fine, coarse = torch.rand(1, 1, 5, 7), torch.rand(1, 1, 3, 4)
    levels = pyramid([fine, coarse])
    expected = fine + F.interpolate(coarse, size=(5, 7), mode="nearest")
    assert torch.allclose(levels[0], expected)
    assert torch.allclose(levels[1], coarse)
    assert torch.equal(levels[2], levels[1][..., ::2, ::2])


@settings(max_examples=10, deadline=None)
@given(size=st.tuples(st.integers(3, 70), st.integers(3, 70)))
def test_maps_of_any_image_have_the_sides_that_the_strides_say(size):
    backbone = build_backbone(None, **PLAIN).eval()
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 1, *size))
    assert backbone.strides == (4, 8, 16, 32)
    assert backbone.roi_levels == 3
    for features, stride in zip(maps, backbone.strides, strict=True):
        assert tuple(features.shape[2:]) == tuple(math.ceil(side / stride) for side in size)


@pytest.mark.parametrize(
    ("encoder", "channels"), [("resnet18", 512), ("vgg16", 512), ("efficientnet_lite0", 112)]
)
def test_without_a_pyramid_there_is_one_map_at_stride_16_and_no_idle_weight(encoder, channels):
    options = {**PLAIN, "in_channels": 3, "encoder_options": None, "pyramid": False}
    backbone = build_backbone(encoder, **options)
    (features,) = backbone(torch.rand(2, 3, 40, 33))
    assert features.shape == (2, channels, 3, 3)
    assert backbone.width == channels
    features.sum().backward()
    idle = [name for name, value in backbone.named_parameters() if value.grad is None]
    assert not idle


@pytest.mark.parametrize(
    ("encoder", "stages"), [("resnet18", 5), ("vgg16_bn", 5), ("efficientnet_lite0", 5), (None, 5)]
)
def test_frozen_stages_have_no_gradient_and_constant_statistics(encoder, stages):
    options = {**PLAIN, "in_channels": 3, "trainable_stages": 2}
    if encoder is not None:
        options["encoder_options"] = None
    backbone = build_backbone(encoder, **options)
    found = stages_of(backbone.body)
    assert len(found) == stages
    for index, modules in enumerate(found):
        trained = index >= stages - 2
        parts = [part for module in modules for part in module.modules()]
        norms = [part for part in parts if isinstance(part, tuple(BATCH_NORMS.values()))]
        assert bool(norms) == trained
        for module in modules:
            assert all(value.requires_grad == trained for value in module.parameters())
    stem = {"resnet18": "bn1", "efficientnet_lite0": "_bn0"}.get(encoder)
    if stem is not None:
        assert isinstance(getattr(backbone.body, stem), FrozenBatchNorm)


def test_frozen_normalisation_is_batch_normalisation_in_evaluation():
    norm = torch.nn.BatchNorm2d(3, eps=1e-3).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        torch.nn.init.normal_(tensor)
    torch.nn.init.uniform_(norm.running_var)
    x = torch.randn(2, 3, 4, 5)
    frozen = FrozenBatchNorm.of(norm).train()
    assert torch.allclose(frozen(x), norm(x), atol=1e-5)
    assert not list(frozen.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "layer"}, "normalisation 'layer'"),
        ({"finest_stride": 3}, "finest_stride is 3"),
        ({"finest_stride": 16}, "two of them"),
        ({"trainable_stages": 6}, "trainable_stages is 6"),
        ({"encoder_weights": "imagenet"}, "needs an encoder"),
        ({"norm": "group", "encoder_weights": "imagenet"}, "exclude each other"),
        ({"encoder_options": {"depth": 3}}, "the option widths alone"),
        ({"encoder_options": {"widths": (4, 0)}}, "positive numbers"),
    ],
)
def test_backbones_that_cannot_be_built_are_refused(changes, message):
    with pytest.raises(RecipeError, match=message):
        build_backbone(None, **{**PLAIN, **changes})
