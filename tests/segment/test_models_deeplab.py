import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vesalius.errors import RecipeError
from vesalius.images.encoders import ENCODERS
from vesalius.segment.models import build
from vesalius.segment.models.atrous import ASPP, ImageContext, SeparableUnit, scale_rates
from vesalius.segment.models.blocks import BatchNormUnit, PooledBatchNorm

V1 = {"widths": (4, 4, 8, 8, 8), "classifier_width": 16}
SMALL = {
    "deeplab_v1": V1,
    "deeplab_v2": {"encoder": "resnet18"},
    "deeplab_v3": {"encoder": "resnet18", "width": 16},
    "deeplab_v3_plus": {"encoder": "resnet18", "width": 16, "low_level_width": 8},
}
ON_RESNETS = tuple(name for name in SMALL if name != "deeplab_v1")
RESNET101 = 42_500_160
# A conv without bias and its norm; torchvision's second classifier on layer 3, 21 classes.
AUXILIARY = 1024 * 256 * 9 + 2 * 256 + 256 * 21 + 21
EXTRA = 256 * 256 * 9 + 2 * 256


@pytest.fixture(scope="module")
def models():
    """One of each, drawn once: a ResNet takes a while to draw."""
    return {name: build(name, in_channels=2, classes=3, **SMALL[name]) for name in SMALL}


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        # 20.5 M in Chen et al. 2015: VGG-16's convolutions, fc6, fc7, fc8.
        ("deeplab_v1", {}, 14_714_688 + 512 * 9216 + 1024 + 1024 * 1025 + 1025 * 21),
        ("deeplab_v2", {}, RESNET101 + 4 * (2048 * 9 + 1) * 21),
        # Torchvision's deeplabv3_resnet101 and _resnet50 less their second classifiers.
        ("deeplab_v3", {"extra_convolution": True, "output_stride": 8}, 60_996_202 - AUXILIARY),
        (
            "deeplab_v3",
            {"extra_convolution": True, "output_stride": 8, "encoder": "resnet50"},
            42_004_074 - AUXILIARY,
        ),
        ("deeplab_v3", {"multi_grid": (1, 2, 4)}, 60_996_202 - AUXILIARY - EXTRA),
        (
            "deeplab_v3_plus",
            {},
            60_996_202 - AUXILIARY + 256 * 48 + 2 * 48 + 304 * 256 * 9 + 2 * 256,
        ),
    ],
)
def test_models_have_the_parameters_of_the_papers_and_of_torchvision(name, options, count):
    with torch.device("meta"):
        model = build(name, in_channels=3, classes=21, **options)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_counts_in_the_docstrings_are_those_of_the_models():
    expected = {
        "deeplab_v1": 20_505_429,
        "deeplab_v2": 44_048_532,
        "deeplab_v3": 58_040_661,
        "deeplab_v3_plus": 59_344_309,
    }
    for name, count in expected.items():
        with torch.device("meta"):
            model = build(name, in_channels=3, classes=21)
        assert sum(parameter.numel() for parameter in model.parameters()) == count
    with torch.device("meta"):
        model = build("deeplab_v3_plus", in_channels=3, classes=21, separable=True)
    assert sum(parameter.numel() for parameter in model.parameters()) == 45_688_261


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=8, deadline=None)
@given(size=st.tuples(*[st.integers(1, 70)] * 2))
def test_logits_have_the_size_of_the_images_for_any_size(models, name, size):
    with torch.no_grad():
        logits = models[name].eval()(torch.randn(1, 2, *size))
    assert logits.shape == (1, 3, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", ON_RESNETS)
def test_volumes_pass_through(name):
    model = build(name, in_channels=1, classes=2, dims=3, **SMALL[name]).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 1, 17, 20, 9)).shape == (1, 2, 17, 20, 9)


@pytest.mark.parametrize("name", ["deeplab_v3", "deeplab_v3_plus"])
@pytest.mark.parametrize(
    ("encoder", "output_stride"), [("efficientnet_lite0", 32), ("vgg16", 16), ("resnet18", 8)]
)
def test_other_encoders_serve_at_the_output_strides_that_they_have(name, encoder, output_stride):
    options = {**SMALL[name], "encoder": encoder, "output_stride": output_stride}
    model = build(name, in_channels=1, classes=2, **options).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 1, 45, 38)).shape == (1, 2, 45, 38)


@pytest.mark.parametrize("name", ON_RESNETS)
def test_encoder_weights_are_loaded_and_not_drawn_anew(tmp_path, name):
    state = ENCODERS["resnet18"]().state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    options = {**SMALL[name], "encoder_weights": str(tmp_path / "resnet18.pth")}
    loaded = build(name, in_channels=3, classes=1, **options).encoder.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_reach_every_parameter_also_in_a_batch_of_one(models, name, batch):
    model = models[name].train()
    model.zero_grad(set_to_none=True)
    model(torch.randn(batch, 2, 40, 49)).square().mean().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize(
    ("name", "options", "rate", "steps"),
    [
        (
            "deeplab_v1",
            {**V1, "widths": (4, 8, 8, 8, 8), "encoder": "vgg16_bn", "rate": 1, "dropout": 0.0},
            0.02,
            30,
        ),
        ("deeplab_v2", {**SMALL["deeplab_v2"], "rates": (1, 2)}, 1e-3, 8),
        (
            "deeplab_v3",
            {**SMALL["deeplab_v3"], "rates": (1, 2), "output_stride": 8, "dropout": 0.0},
            2e-3,
            10,
        ),
        (
            "deeplab_v3_plus",
            {**SMALL["deeplab_v3_plus"], "rates": (1, 2), "dropout": 0.0},
            2e-3,
            10,
        ),
    ],
)
def test_a_few_steps_fit_a_square(name, options, rate, steps):
    torch.manual_seed(0)
    target = torch.zeros(2, 1, 32, 32)
    target[..., :16, 16:] = 1
    images = torch.randn(2, 1, 32, 32) * 0.1 + target
    model = build(name, in_channels=1, classes=1, **options).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(model(images), target).backward()
        optimiser.step()
    assert ((model(images) > 0) == target.bool()).float().mean() > 0.9


def functional_unit(unit, x, *, dilation=1):
    """Convolve, normalise by the running statistics and rectify, from the tensors alone."""
    weight, norm = unit.convolution.weight, unit.norm
    x = F.conv2d(x, weight, padding=dilation * (weight.shape[-1] // 2), dilation=dilation)
    shape = (1, -1, 1, 1)
    x = (x - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + norm.eps).sqrt()
    return (x * norm.weight.view(shape) + norm.bias.view(shape)).clamp(min=0)


def awake(module):
    """Give norms statistics and scales that change something."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.running_mean, part.running_var, part.weight, part.bias):
                nn.init.uniform_(tensor, 0.5, 1.5)
    return module.eval()


def test_aspp_is_a_point_three_rates_and_the_mean_joined_and_fused():
    torch.manual_seed(0)
    aspp = awake(ASPP(6, rates=(1, 2, 5), width=4, dropout=0.5, dims=2))
    x = torch.randn(2, 6, 9, 11)
    point, *dilated, context = aspp.branches
    with torch.no_grad():
        branches = [functional_unit(point, x)]
        for unit, rate in zip(dilated, (1, 2, 5), strict=True):
            branches.append(functional_unit(unit, x, dilation=rate))
        mean = functional_unit(context.unit, x.mean((2, 3), keepdim=True))
        branches.append(mean.repeat(1, 1, 9, 11))
        expected = functional_unit(aspp.fusion, torch.cat(branches, dim=1))
        torch.testing.assert_close(aspp(x), expected)


def test_at_a_rate_beyond_the_map_a_3x3_convolution_is_its_centre():
    unit = BatchNormUnit(3, 2, dilation=12, dims=2).eval()
    x = torch.randn(1, 3, 7, 9)
    point = F.conv2d(x, unit.convolution.weight[:, :, 1:2, 1:2])
    torch.testing.assert_close(unit.convolution(x), point)


def test_a_separable_unit_filters_each_channel_and_then_mixes_them():
    torch.manual_seed(0)
    unit = awake(SeparableUnit(3, 5, dilation=2, dims=2))
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        each = [
            F.conv2d(x[:, [c]], unit.depthwise.weight[[c]], padding=2, dilation=2) for c in range(3)
        ]
        filtered = F.relu(unit.norm(torch.cat(each, dim=1)))
        torch.testing.assert_close(unit(x), functional_unit(unit.pointwise, filtered))


def test_deeplab_v2_adds_its_classifiers(models):
    model = models["deeplab_v2"].eval()
    images = torch.randn(1, 2, 65, 49)
    with torch.no_grad():
        x = model.encoder(images)[-1]
        assert x.shape[2:] == (9, 7)
        parts = [
            F.conv2d(x, part.weight, part.bias, padding=rate, dilation=rate)
            for part, rate in zip(model.classifiers, (6, 12, 18, 24), strict=True)
        ]
        expected = F.interpolate(torch.stack(parts).sum(0), size=(65, 49), mode="bilinear")
        torch.testing.assert_close(model(images), expected)


def test_deeplab_v1_has_a_wide_field_of_view_at_stride_8():
    model = build("deeplab_v1", in_channels=1, classes=2, **V1).double().eval()
    assert model.encoder.strides == (1, 2, 4, 8, 8)
    assert (model.fc6.dilation, model.fc6.kernel_size) == ((12, 12), (3, 3))
    images = torch.randn(1, 1, 321, 321).double().requires_grad_()
    assert model.encoder(images)[-1].shape[2:] == (41, 41)  # 321 -> 41 in the paper's code
    model(images)[0, 0, 160, 160].backward()
    seen = images.grad[0, 0].abs().sum(1).nonzero()
    # fc6 looks 12 cells of 8 pixels to both sides; the paper counts 224 pixels.
    assert seen.max() - seen.min() > 192


def test_deeplab_v3_plus_joins_the_map_at_stride_4(models):
    model = models["deeplab_v3_plus"].eval()
    images = torch.randn(1, 2, 64, 48)
    with torch.no_grad():
        features = model.encoder(images)
        assert features[-1].shape[2:] == (4, 3)
        coarse = F.interpolate(model.aspp(features[-1]), scale_factor=4, mode="bilinear")
        x = torch.cat([coarse, functional_unit(model.low_level, features[1])], dim=1)
        for unit in model.decoder:
            x = functional_unit(unit, x)
        expected = F.interpolate(model.head(x), scale_factor=4, mode="bilinear")
        torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize(("output_stride", "rates"), [(32, [3, 6, 9]), (8, [12, 24, 36])])
def test_rates_are_doubled_where_the_output_stride_is_halved(output_stride, rates):
    assert scale_rates((6, 12, 18), output_stride) == rates
    model = build(
        "deeplab_v3", in_channels=1, classes=2, output_stride=output_stride, **SMALL["deeplab_v3"]
    )
    found = [branch.convolution.dilation[0] for branch in list(model.aspp.branches)[1:4]]
    assert found == rates


@given(batch=st.integers(1, 3), side=st.integers(1, 3), training=st.booleans())
def test_pooled_norm_is_torchs_where_that_works_and_its_evaluation_where_not(batch, side, training):
    ours, theirs = PooledBatchNorm(2), nn.BatchNorm2d(2)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(batch, 2, side, side)
    single = batch * side * side == 1
    expected = theirs.train(training and not single)(x)
    torch.testing.assert_close(ours.train(training)(x), expected)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    assert ours.num_batches_tracked == theirs.num_batches_tracked


def test_the_image_context_trains_on_one_image_and_passes_gradients():
    context = ImageContext(3, 2, dims=2).train()
    nn.init.ones_(context.unit.norm.bias)
    x = torch.rand(1, 3, 4, 4, requires_grad=True)
    answer = context(x)
    assert answer.shape == (1, 2, 4, 4)
    answer.sum().backward()
    assert x.grad.any()
    volume = ImageContext(3, 2, dims=3).train()(torch.rand(2, 3, 4, 5, 6))
    assert volume.shape == (2, 2, 4, 5, 6)


@pytest.mark.parametrize(
    ("name", "options", "part"),
    [
        ("deeplab_v1", {"dims": 3}, "exists for dims=2 only"),
        ("deeplab_v1", {"encoder": "resnet18"}, "stands on vgg16 or vgg16_bn"),
        ("deeplab_v1", {"rate": 0}, "rate is 0"),
        ("deeplab_v2", {"encoder": "efficientnet_lite0"}, "EfficientNet-Lite has 32 only"),
        ("deeplab_v2", {"rates": ()}, "give at least one"),
        ("deeplab_v3", {"rates": (6, 0)}, "each at least 1"),
        ("deeplab_v3", {"output_stride": 4}, "a ResNet has 8, 16 or 32"),
        ("deeplab_v3", {"multi_grid": (1, 2, 4)}, "give 2 positive numbers"),
        ("deeplab_v3_plus", {"encoder": "vgg16", "dims": 3}, "dims=2 only"),
    ],
)
def test_what_a_deeplab_cannot_be_is_answered_with_a_remedy(name, options, part):
    with pytest.raises(RecipeError, match=part):
        build(
            name,
            **{"in_channels": 1, "classes": 1, "encoder": "resnet18", **options}
            if name != "deeplab_v1"
            else {"in_channels": 1, "classes": 1, **options},
        )
