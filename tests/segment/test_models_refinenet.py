import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vesalius.errors import RecipeError
from vesalius.segment.models import build
from vesalius.segment.models.refinenet import (
    ChainedResidualPooling,
    MultiResolutionFusion,
    ResidualConvUnit,
)

NAMES = ("refinenet", "light_weight_refinenet")
SMALL = {"encoder": "resnet18", "width": 4}


@pytest.fixture(scope="module", params=NAMES)
def small(request):
    """One small model for all tests that do not change it."""
    torch.manual_seed(0)
    return build(request.param, in_channels=1, classes=3, **SMALL).eval()


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(name, **options):
    with torch.device("meta"):
        return build(name, in_channels=3, classes=21, **options)


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("refinenet", {}, 118_052_437),
        ("refinenet", {"encoder": "resnet50"}, 99_060_309),
        ("refinenet", {"encoder": "resnet152"}, 133_696_085),
        ("light_weight_refinenet", {}, 27_357_525),
        ("light_weight_refinenet", {"encoder": "resnet101"}, 46_349_653),
        ("light_weight_refinenet", {"encoder": "resnet152"}, 61_993_301),
    ],
)
def test_models_have_the_parameters_of_the_released_code(name, options, count):
    assert parameters(on_meta(name, **options)) == count


def test_every_part_has_the_parameters_of_the_released_code():
    model = on_meta("refinenet")
    coarsest, *others = model.decoder.blocks
    assert parameters(model.encoder) == 42_500_160
    assert parameters(model.decoder) == 75_552_277
    parts = (coarsest.reduce, coarsest.adapt, coarsest.pooling, coarsest.output)
    assert [parameters(part) for part in parts] == [9_437_184, 9_438_208, 9_437_184, 14_157_312]
    assert coarsest.fusion is None
    for block in others:
        parts = (block.adapt, block.fusion.fine, block.pooling, block.output)
        assert [parameters(part) for part in parts] == [2_359_808, 589_824, 2_359_296, 3_539_712]
    assert parameters(model.decoder.head) == 48_405


def test_the_papers_form_has_two_pooling_stages_and_one_output_unit_but_in_the_finest_block():
    model = on_meta("refinenet", pooling_stages=2, output_units=1)
    blocks = model.decoder.blocks
    assert [len(block.pooling.convolutions) for block in blocks] == [2, 2, 2, 2]
    assert [len(block.output) for block in blocks] == [1, 1, 1, 3]
    pools = 2 * 9 * (512**2 + 3 * 256**2)
    units = 2 * (2 * 9 * (512**2 + 2 * 256**2) + 512 + 2 * 256)
    assert parameters(on_meta("refinenet")) - parameters(model) == pools + units


def test_no_layer_of_the_decoder_is_normalised():
    for name in NAMES:
        decoder = on_meta(name).decoder
        assert not any(isinstance(part, nn.BatchNorm2d) for part in decoder.modules())


def test_only_the_first_convolution_of_a_unit_and_the_classifier_have_a_bias():
    keys = on_meta("refinenet").decoder.state_dict()
    biased = {key for key in keys if key.endswith(".bias")}
    assert biased == {"head.bias", *(key for key in keys if key.endswith(".first.bias"))}
    assert sum(key.endswith(".first.weight") for key in keys) == len(biased) - 1 == 20


@pytest.mark.parametrize("dims", [2, 3])
def test_pooling_is_chained_so_that_windows_grow_from_stage_to_stage(dims):
    pooling = ChainedResidualPooling(1, stages=4, kernel=1, dims=dims)
    for convolution in pooling.convolutions:
        nn.init.ones_(convolution.weight)
    image = torch.zeros(1, 1, *[19] * dims)
    centre = (0, 0, *[9] * dims)
    image[centre] = 1
    line = pooling(image)[centre[:-1]]
    # Stage n reaches 2 n pixels. Parallel stages would all reach 2, where they would sum to 4.
    expected = [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0]
    torch.testing.assert_close(line, torch.tensor(expected).float())


def test_pooling_adds_the_answers_of_the_chain_and_not_of_parallel_stages():
    torch.manual_seed(0)
    pooling = ChainedResidualPooling(3, stages=3, kernel=3, dims=2)
    image = torch.randn(2, 3, 11, 13)
    chained, parallel, context = image, image, image
    for convolution in pooling.convolutions:
        context = convolution(F.max_pool2d(context, 5, stride=1, padding=2))
        chained = chained + context
        parallel = parallel + convolution(F.max_pool2d(image, 5, stride=1, padding=2))
    torch.testing.assert_close(pooling(image), chained)
    assert (chained - parallel).abs().max() > 0.1


def test_a_unit_rectifies_before_each_convolution_and_keeps_its_input():
    torch.manual_seed(0)
    unit = ResidualConvUnit(3, dims=2)
    image = torch.randn(1, 3, 7, 6)
    before = image.clone()
    hidden = F.conv2d(image.clamp(min=0), unit.first.weight, unit.first.bias, padding=1)
    expected = image + F.conv2d(hidden.clamp(min=0), unit.second.weight, padding=1)
    torch.testing.assert_close(unit(image), expected)
    assert torch.equal(image, before)
    assert (unit(-image.abs()) != -image.abs()).any()  # the bias acts where nothing passes


def test_fusion_adds_both_maps_and_puts_coarse_corners_on_fine_corners():
    fusion = MultiResolutionFusion(1, 1, kernel=1, dims=2)
    for convolution in (fusion.fine, fusion.coarse):
        nn.init.ones_(convolution.weight)
    coarse = torch.tensor([[0.0, 4.0], [8.0, 12.0]]).view(1, 1, 2, 2)
    fused = fusion(torch.full((1, 1, 3, 5), 100.0), coarse)
    expected = [[100, 101, 102, 103, 104], [104, 105, 106, 107, 108], [108, 109, 110, 111, 112]]
    torch.testing.assert_close(fused[0, 0], torch.tensor(expected).float())


@settings(max_examples=15, deadline=None)
@given(size=st.lists(st.integers(1, 75), min_size=2, max_size=2))
def test_logits_have_the_size_of_the_images_for_any_size(small, size):
    with torch.no_grad():
        images = torch.randn(1, 1, *size)
        logits = small(images)
        assert logits.shape == (1, 3, *size)
        assert logits.isfinite().all()
        assert small.coarse_logits(images).shape[2:] == tuple(-(-side // 4) for side in size)


@pytest.mark.parametrize("size", [(97, 129), (33, 47)])
def test_logits_are_the_coarse_ones_interpolated_without_aligned_corners(small, size):
    images = torch.randn(2, 1, *size)
    with torch.no_grad():
        coarse = small.coarse_logits(images)
        expected = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        torch.testing.assert_close(small(images), expected)


def test_an_image_is_judged_alike_alone_and_in_a_batch(small):
    images = torch.randn(3, 1, 40, 51)
    with torch.no_grad():
        together = small(images)
        alone = torch.cat([small(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encoder", ["vgg16", "vgg16_bn", "efficientnet_lite0", "resnet50"])
def test_every_kind_of_encoder_fits(name, encoder):
    model = build(name, in_channels=4, classes=2, encoder=encoder, width=4).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 4, 45, 38)).shape == (1, 2, 45, 38)


@pytest.mark.parametrize("name", NAMES)
def test_volumes_pass_through_resnets(name):
    model = build(name, in_channels=1, classes=2, dims=3, **SMALL).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 1, 17, 20, 9)).shape == (1, 2, 17, 20, 9)
    with pytest.raises(RecipeError, match=r"dims=2 only.*resnet"):
        build(name, in_channels=1, classes=2, dims=3, encoder="efficientnet_lite0")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("encoder", ["resnet18", "efficientnet_lite0"])
def test_gradients_reach_every_parameter(name, encoder):
    torch.manual_seed(0)
    model = build(name, in_channels=1, classes=3, encoder=encoder, width=8).train()
    model(torch.randn(2, 1, 49, 64)).square().mean().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_model_and_the_same_dropout(name):
    answers = []
    for _ in range(2):
        torch.manual_seed(7)
        model = build(name, in_channels=1, classes=2, **SMALL).train()
        answers.append(model(torch.ones(2, 1, 40, 40)))
    assert torch.equal(*answers)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_acts_in_training_alone(name):
    model = build(name, in_channels=1, classes=2, dropout=0.9, **SMALL).train()
    for part in model.encoder.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    images = torch.randn(1, 1, 64, 64)
    assert not torch.equal(model(images), model(images))
    assert torch.equal(model.eval()(images), model(images))


@pytest.mark.parametrize(("name", "final"), [("refinenet", 0.3), ("light_weight_refinenet", 0.0)])
def test_dropout_stands_on_the_two_coarsest_maps_and_in_refinenet_before_the_classifier(
    name, final
):
    decoder = build(name, in_channels=1, classes=2, dropout=0.3, **SMALL).decoder.train()
    assert (decoder.dropout.p, decoder.final_dropout.p) == (0.3, final)
    seen = []
    decoder.dropout.register_forward_hook(lambda part, inputs, answer: seen.append(inputs[0]))
    maps = [torch.randn(1, width, 8, 8) for width in (64, 64, 128, 256, 512)]
    decoder(maps)
    assert [x.shape[1] for x in seen] == [512, 256]


@pytest.mark.parametrize("name", NAMES)
def test_encoder_weights_are_loaded_and_not_drawn_anew(tmp_path, name):
    state = build(name, in_channels=3, classes=1, **SMALL).encoder.state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    weights = str(tmp_path / "resnet18.pth")
    model = build(name, in_channels=3, classes=1, encoder_weights=weights, **SMALL)
    loaded = model.encoder.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_fit_a_square(name):
    torch.manual_seed(0)
    target = torch.zeros(2, 1, 48, 48)
    target[..., 8:32, 12:36] = 1
    images = target + 0.1 * torch.randn(2, 1, 48, 48)
    options = {"encoder": "resnet18", "width": 16, "dropout": 0.0}
    model = build(name, in_channels=1, classes=1, **options).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(15):
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(model(images), target).backward()
        optimiser.step()
    assert ((model(images) > 0) == target.bool()).float().mean() > 0.95


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"encoder": "resnet19"}, "Unknown encoder 'resnet19'"),
        ({"encoder": None}, "Unknown encoder 'None'"),
        ({"width": 0}, "width is 0; it must be at least 1"),
        ({"pooling_stages": -1}, "pooling_stages is -1"),
        ({"dropout": 1.0}, r"dropout is 1\.0"),
        ({"widths": (8, 16)}, "Did you mean 'width'"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_bad_options_are_answered_with_a_remedy(name, options, part):
    with pytest.raises(RecipeError, match=part):
        build(name, in_channels=1, classes=1, **options)


def test_a_negative_number_of_output_units_is_refused():
    with pytest.raises(RecipeError, match="output_units is -1"):
        build("refinenet", in_channels=1, classes=1, output_units=-1)
