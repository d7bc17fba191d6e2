import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import nn

from vesalius.errors import RecipeError
from vesalius.images.encoders import ENCODERS
from vesalius.segment import model_blocks
from vesalius.segment.losses import PresenceLoss
from vesalius.segment.models import Outputs, build
from vesalius.segment.models.blocks import ConvUnit, InstanceNorm, resize
from vesalius.segment.models.unet_3_plus import UNet3Plus

SMALL = {"unet": {"widths": (4, 6, 8)}, "unet_3_plus": {"widths": (4, 6, 8), "skip_width": 3}}
GUIDED = {"widths": (4, 6, 8), "skip_width": 3, "classification_guided": True}


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def set_presence(model, present):
    """Make the classification-guided module say this, class by class, whatever the image."""
    nn.init.zeros_(model.presence.convolution.weight)
    pairs = [[0.0, 1.0] if is_there else [1.0, 0.0] for is_there in present]
    model.presence.convolution.bias.data = torch.tensor(pairs).flatten()


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("unet", {}, 39_396_033),
        ("unet_3_plus", {}, 26_971_777),
        ("unet_3_plus", {"deep_supervision": True}, 26_989_637),
        ("unet_3_plus", {"deep_supervision": True, "classification_guided": True}, 26_991_687),
    ],
)
def test_models_have_the_parameters_of_the_paper(name, options, count):
    with torch.device("meta"):
        model = build(name, in_channels=3, classes=1, **options)
    assert parameters(model) == count


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=15, deadline=None)
@given(
    size=st.lists(st.integers(1, 37), min_size=2, max_size=3),
    classes=st.integers(1, 3),
    normalisation=st.sampled_from(["batch", "instance", "group"]),
)
def test_logits_have_the_size_of_the_images_for_any_size(name, size, classes, normalisation):
    model = build(
        name,
        in_channels=2,
        classes=classes,
        dims=len(size),
        normalisation=normalisation,
        **SMALL[name],
    ).eval()
    with torch.no_grad():
        logits = model(torch.randn(1, 2, *size))
    assert logits.shape == (1, classes, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("encoder", ["resnet18", "vgg16", "efficientnet_lite0"])
def test_encoders_take_the_place_of_the_plain_one(name, encoder):
    options = {"widths": (4, 4, 8, 8, 8)} if name == "unet" else {"skip_width": 4}
    model = build(name, in_channels=1, classes=2, encoder=encoder, **options).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 1, 45, 38)).shape == (1, 2, 45, 38)


@pytest.mark.parametrize("name", SMALL)
def test_volumes_pass_through_a_named_encoder(name):
    options = {"widths": (4, 4, 8, 8, 8)} if name == "unet" else {"skip_width": 4}
    model = build(name, in_channels=1, classes=2, dims=3, encoder="resnet18", **options).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 1, 17, 20, 9)).shape == (1, 2, 17, 20, 9)


@pytest.mark.parametrize("name", SMALL)
def test_encoder_weights_are_loaded_and_not_drawn_anew(tmp_path, name):
    state = ENCODERS["resnet18"]().state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    options = {"encoder": "resnet18", "encoder_weights": str(tmp_path / "resnet18.pth")}
    model = build(name, in_channels=3, classes=1, **options)
    loaded = model.encoder.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("dims", [2, 3])
def test_gradients_reach_every_parameter(name, dims):
    options = {"deep_supervision": True}
    model = build(name, in_channels=1, classes=3, dims=dims, **SMALL[name], **options).train()
    outputs = Outputs.of(model(torch.randn(2, 1, *[12] * dims)))
    sum(logits.square().mean() for logits in outputs.logits).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", SMALL)
def test_a_few_steps_fit_a_square(name):
    torch.manual_seed(0)
    images = torch.randn(2, 1, 24, 24) * 0.1
    target = torch.zeros(2, 1, 24, 24)
    target[..., 6:17, 4:15] = 1
    images = images + target
    model = build(name, in_channels=1, classes=1, **SMALL[name]).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    criterion = nn.BCEWithLogitsLoss()
    for _ in range(40):
        optimiser.zero_grad()
        criterion(model(images), target).backward()
        optimiser.step()
    assert ((model(images) > 0) == target.bool()).float().mean() > 0.98


def test_deep_supervision_returns_all_heads_in_training_and_the_finest_in_evaluation():
    torch.manual_seed(0)
    options = {"deep_supervision": True, "normalisation": "instance", **SMALL["unet_3_plus"]}
    model = build("unet_3_plus", in_channels=1, classes=2, **options)
    images = torch.randn(2, 1, 21, 30)
    heads = model.train()(images)
    assert [logits.shape for logits in heads] == [(2, 2, 21, 30)] * 3
    torch.testing.assert_close(model.eval()(images), heads[0])


def test_a_decoder_node_gathers_pooled_finer_own_and_interpolated_coarser_maps():
    torch.manual_seed(0)
    options = {"widths": (4, 6, 8, 10), "skip_width": 3}
    model = build("unet_3_plus", in_channels=1, classes=1, **options).eval()
    finest, fine, own, deepest = model.encoder(torch.randn(1, 1, 32, 32))
    skips = model.nodes[2].skips
    expected = torch.cat(
        [
            skips[0](nn.functional.max_pool2d(finest, 4)),
            skips[1](nn.functional.max_pool2d(fine, 2)),
            skips[2](own),
            skips[3](nn.functional.interpolate(deepest, scale_factor=2, mode="bilinear")),
        ],
        dim=1,
    )
    node = model.nodes[2]([finest, fine, own, deepest])
    torch.testing.assert_close(node, model.nodes[2].fusion(expected))
    # The finest node takes the encoder's finest map and the coarser nodes, not encoder maps.
    assert [skip.convolution.in_channels for skip in model.nodes[0].skips] == [4, 12, 12, 10]


@pytest.mark.parametrize("dims", [2, 3])
def test_presence_logits_come_back_in_training_and_can_be_learnt(dims):
    torch.manual_seed(0)
    model = build("unet_3_plus", in_channels=1, classes=3, dims=dims, **GUIDED).train()
    target = torch.zeros(2, *[8] * dims, dtype=torch.long)
    target[0, 2:5] = 2
    outputs = model(torch.randn(2, 1, *[8] * dims))
    assert isinstance(outputs, Outputs)
    assert len(outputs.logits) == 1
    assert outputs.presence.shape == (2, 2)
    PresenceLoss()(outputs.presence, target).backward()
    assert model.presence.convolution.weight.grad.abs().sum() > 0
    assert model.encoder.stages[0][0].convolution.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_an_image_without_the_organ_has_probability_exactly_zero(dtype):
    model = build("unet_3_plus", in_channels=1, classes=1, **GUIDED).eval()
    set_presence(model, [False])
    with torch.no_grad():
        logits = model(torch.randn(1, 1, 16, 16)).to(dtype)
    assert (torch.sigmoid(logits) == 0).all()


def test_absent_classes_have_softmax_exactly_zero_and_the_others_share_the_rest():
    model = build("unet_3_plus", in_channels=1, classes=4, **GUIDED).eval()
    images = torch.randn(2, 1, 16, 16)
    with torch.no_grad():
        set_presence(model, [True, True, True])
        free = model(images)
        set_presence(model, [True, False, True])
        probabilities = model(images).softmax(dim=1)
    assert (probabilities[:, 2] == 0).all()
    torch.testing.assert_close(probabilities[:, [0, 1, 3]], free[:, [0, 1, 3]].softmax(dim=1))


def test_the_gate_is_decided_image_by_image():
    torch.manual_seed(0)
    model = build("unet_3_plus", in_channels=1, classes=1, **GUIDED).eval()
    images = torch.randn(8, 1, 16, 16) * torch.linspace(0.1, 4, 8).view(-1, 1, 1, 1)
    with torch.no_grad():
        scores = model.presence(model.encoder(images)[-1])[:, 0]
        model.presence.convolution.bias[0] += scores.median()
        logits = model(images)
    absent = (logits == -1e4).flatten(1).all(dim=1)
    torch.testing.assert_close(absent, scores - scores.median() <= 0)


def test_weights_are_drawn_as_the_reference_draws_them():
    torch.manual_seed(0)
    unit = build("unet", in_channels=3, classes=1).encoder.stages[2][1]
    assert unit.convolution.weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)
    assert unit.norm.weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert unit.norm.weight.mean().item() == pytest.approx(1, abs=0.01)
    assert (unit.norm.bias == 0).all()


@pytest.mark.parametrize("dims", [2, 3])
def test_deep_supervision_of_unet_adds_heads_in_training_and_changes_no_evaluation(dims):
    options = {"decoder_normalisation": True, **SMALL["unet"]}
    torch.manual_seed(0)
    plain = build("unet", in_channels=1, classes=2, dims=dims, **options)
    supervised = build(
        "unet", in_channels=1, classes=2, dims=dims, deep_supervision=True, **options
    )
    supervised.load_state_dict(plain.state_dict(), strict=False)
    images = torch.randn(2, 1, *[13] * dims)
    with torch.no_grad():
        assert torch.equal(supervised.eval()(images), plain.eval()(images))
        answers = supervised.train()(images)
    assert [tuple(x.shape) for x in answers] == [(2, 2, *[13] * dims)] * 2


def test_a_normalised_decoder_of_unet_follows_the_encoder():
    options = {"normalisation": "instance", "decoder_normalisation": True, **SMALL["unet"]}
    model = build("unet", in_channels=1, classes=1, **options)
    assert sum(isinstance(part, InstanceNorm) for part in model.decoder.modules()) == 4


def test_the_plain_decoder_of_unet_has_no_normalisation():
    model = build("unet", in_channels=1, classes=1, **SMALL["unet"])
    assert not any(isinstance(part, nn.BatchNorm2d) for part in model.decoder.modules())
    assert not any(key.endswith("norm.weight") for key in model.decoder.state_dict())


def test_dropout_acts_in_training_alone():
    options = {"dropout": 0.9, "normalisation": "instance", **SMALL["unet"]}
    model = build("unet", in_channels=1, classes=1, **options)
    images = torch.randn(1, 1, 16, 16)
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))


@given(side=st.integers(2, 9), channels=st.integers(1, 4))
def test_instance_norm_is_torchs_where_that_works(side, channels):
    images = torch.randn(2, channels, side, side)
    ours, theirs = InstanceNorm(channels), nn.InstanceNorm2d(channels, affine=True)
    torch.testing.assert_close(ours(images), theirs(images))
    assert (ours(images[..., :1, :1]) == 0).all()


@pytest.mark.parametrize("factor", [2, 4])
def test_interpolation_by_size_is_that_by_factor(factor):
    x = torch.randn(1, 2, 5, 7)
    expected = nn.functional.interpolate(x, scale_factor=factor, mode="bilinear")
    torch.testing.assert_close(resize(x, (5 * factor, 7 * factor)), expected)


def test_units_convolve_normalise_and_rectify_in_this_order():
    unit = ConvUnit(1, 2, normalisation="batch", dims=2)
    assert [type(part) for part in unit] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert unit.convolution.bias is not None


@pytest.mark.parametrize(
    ("name", "options", "part"),
    [
        ("unet3plus", {}, r"Unknown model 'unet3plus'\. Did you mean 'unet_3_plus'\?"),
        ("unet", {"width": (4, 8)}, r"Did you mean 'widths'\? Known: decoder_normalisation, "),
        ("unet", {"skip_width": 4}, "option of the model 'unet' 'skip_width'"),
        ("unet", {"classes": 0}, "classes is 0"),
        ("unet", {"dims": 4}, "dims is 4"),
        ("unet", {"widths": (8,)}, "at least two"),
        ("unet", {"normalisation": "batchnorm"}, "Did you mean 'batch'"),
        ("unet", {"encoder": "resnet19"}, "Unknown encoder 'resnet19'"),
        ("unet", {"encoder": "resnet18", "widths": (8, 16)}, "has 5 levels; widths has 2"),
        ("unet_3_plus", {"encoder_weights": "a.pth"}, "needs an encoder"),
        ("unet_3_plus", {"encoder": "vgg16", "dims": 3}, "dims=2 only"),
        ("unet", {"dropout": 2}, "dropout is 2"),
        ("unet_3_plus", {"skip_width": 0}, "skip_width is 0"),
        ("fcn8s", {"classifier_width": 0, "dropout": -1}, "dropout is -1"),
        ("deeplab_v3_plus", {"low_level_width": 0}, "low_level_width is 0"),
    ],
)
def test_bad_names_and_options_are_answered_with_a_remedy(name, options, part):
    with pytest.raises(RecipeError, match=part):
        build(name, **{"in_channels": 1, "classes": 1, **options})


def test_blocks_name_every_model_every_option_and_every_encoder():
    blocks = {"unet": model_blocks.UNetBlock, "unet_3_plus": model_blocks.UNet3PlusBlock}
    assert set(model_blocks.EncoderName.__args__) == ENCODERS.keys()
    for name, block in blocks.items():
        model = build(name, in_channels=1, classes=2, **SMALL[name])
        built = block(**SMALL[name]).build(in_channels=1, classes=2)
        assert parameters(built) == parameters(model)
        assert all(field.description for key, field in block.model_fields.items() if key != "name")


def test_a_block_is_chosen_by_name_and_refuses_the_options_of_another():
    adapter = TypeAdapter(model_blocks.ModelBlock)
    options = {"name": "unet_3_plus", "widths": [4, 8], "skip_width": 2, "deep_supervision": True}
    model = adapter.validate_python(options).build(in_channels=1, classes=2, dims=3)
    assert isinstance(model, UNet3Plus)
    assert len(model.heads) == 2
    with pytest.raises(ValidationError, match="skip_width"):
        adapter.validate_python({"name": "unet", "skip_width": 2})
    with pytest.raises(ValidationError, match="needs an encoder"):
        adapter.validate_python({"name": "unet", "encoder_weights": "a.pth"})


def test_recipes_can_be_read_without_torch():
    code = (
        "import sys; import vesalius.segment.model_blocks, vesalius.segment.loss_blocks; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
