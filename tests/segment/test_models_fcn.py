import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vesalius.errors import DataError, RecipeError
from vesalius.images import encoders
from vesalius.segment.models import build
from vesalius.segment.models.fcn import Doubling, bilinear_kernel

NAMES = ("fcn32s", "fcn16s", "fcn8s")
SMALL = {"widths": (4, 4, 8, 8, 8), "classifier_width": 16}
VGG16 = 138_357_544  # torchvision's count, with its classifier of 1000
SCORES = 4096 * 21 + 21 - (4096 * 1000 + 1000)


def wake(model):
    """Draw the score layers, which start at zero."""
    for score in (model.score, *model.skip_scores):
        nn.init.normal_(score.weight)
    return model


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("fcn32s", VGG16 + SCORES),
        ("fcn16s", VGG16 + SCORES + 512 * 21 + 21 + 21 * 21 * 16),
        ("fcn8s", VGG16 + SCORES + 512 * 21 + 21 + 256 * 21 + 21 + 2 * 21 * 21 * 16),
    ],
)
def test_parameters_are_those_of_vgg_with_scores_for_its_classifier(name, count):
    with torch.device("meta"):
        model = build(name, in_channels=3, classes=21)
    found = sum(parameter.numel() for parameter in model.parameters())
    assert found == count
    assert round(found / 1e6) == 134  # Long et al. 2015, table 1


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None)
@given(size=st.tuples(*[st.integers(1, 70)] * 2), classes=st.integers(1, 3))
def test_logits_have_the_size_of_the_images_for_any_size(name, size, classes):
    model = wake(build(name, in_channels=2, classes=classes, **SMALL)).eval()
    with torch.no_grad():
        logits = model(torch.randn(1, 2, *size))
    assert logits.shape == (1, classes, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_transposed_convolution_with_the_bilinear_kernel_interpolates(factor):
    x = torch.randn(1, 1, 6, 5)
    kernel = bilinear_kernel(factor)[None, None]
    enlarged = F.conv_transpose2d(x, kernel, stride=factor, padding=factor // 2)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear")
    inside = (..., *[slice(factor, -factor)] * 2)
    torch.testing.assert_close(enlarged[inside], expected[inside])


@given(height=st.integers(1, 9), width=st.integers(1, 9), channels=st.integers(1, 4))
def test_doubling_starts_as_interpolation_of_every_channel_up_to_the_edge(height, width, channels):
    x = torch.randn(2, channels, height, width)
    expected = F.interpolate(x, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(Doubling(channels)(x), expected)


def test_fcn8s_adds_the_scores_of_the_poolings_by_the_formula():
    torch.manual_seed(0)
    model = wake(build("fcn8s", in_channels=3, classes=2, **SMALL)).eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps = [F.max_pool2d(x, 2) for x in model.encoder(images)]
        x = F.relu(F.conv2d(maps[4], model.fc6.weight, model.fc6.bias, padding=3))
        x = F.relu(F.conv2d(x, model.fc7.weight, model.fc7.bias))
        x = F.interpolate(model.score(x), scale_factor=2, mode="bilinear")
        x = F.interpolate(x + model.skip_scores[0](maps[3]), scale_factor=2, mode="bilinear")
        x = F.interpolate(x + model.skip_scores[1](maps[2]), scale_factor=8, mode="bilinear")
        torch.testing.assert_close(model(images), x)


def test_scores_start_at_zero_and_coarser_nets_have_fewer():
    for name, skips in zip(NAMES, (0, 1, 2), strict=True):
        model = build(name, in_channels=1, classes=2, **SMALL)
        assert len(model.skip_scores) == len(model.doublings) == skips
        assert not any(score.weight.any() for score in (model.score, *model.skip_scores))


def test_an_image_of_any_size_is_answered_as_its_crop_of_a_padded_one_far_from_the_edge():
    # Cells are aligned to the first pixel, so what is added at the far edge moves nothing.
    torch.manual_seed(0)
    model = wake(build("fcn8s", in_channels=1, classes=2, **SMALL)).double().eval()
    images = torch.randn(1, 1, 300, 40).double()
    with torch.no_grad():
        torch.testing.assert_close(model(images[:, :, :293])[:, :, :60], model(images)[:, :, :60])


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name):
    model = wake(build(name, in_channels=1, classes=3, dropout=0.0, **SMALL)).train()
    model(torch.randn(2, 1, 70, 64)).square().mean().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_fit_a_square(name):
    torch.manual_seed(0)
    target = torch.zeros(2, 1, 64, 64)
    target[..., :32, 32:] = 1
    images = torch.randn(2, 1, 64, 64) * 0.1 + target
    options = {"widths": (4, 8, 8, 8, 8), "classifier_width": 16, "dropout": 0.0}
    model = build(name, in_channels=1, classes=1, encoder="vgg16_bn", **options).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(model(images), target).backward()
        optimiser.step()
    assert ((model(images) > 0) == target.bool()).float().mean() > 0.9


def vgg_file(path, *, widths, with_classifier):
    """Write a file as torchvision's, of these widths, and return its state."""
    state = encoders.build("vgg16", widths=widths).state_dict()
    if with_classifier:
        state["classifier.0.weight"] = torch.randn(4096, widths[-1] * 49)
        state["classifier.0.bias"] = torch.randn(4096)
        state["classifier.3.weight"] = torch.randn(4096, 4096)
        state["classifier.3.bias"] = torch.randn(4096)
        state["classifier.6.weight"] = torch.randn(10, 4096)
    torch.save(state, path)
    return state


def test_the_classifier_of_a_weight_file_becomes_fc6_and_fc7(tmp_path):
    widths = (2, 2, 2, 2, 1)
    state = vgg_file(tmp_path / "vgg16.pth", widths=widths, with_classifier=True)
    options = {"widths": widths, "encoder_weights": str(tmp_path / "vgg16.pth")}
    model = build("fcn32s", in_channels=3, classes=2, **options)
    assert torch.equal(model.encoder.features[0].weight, state["features.0.weight"])
    # On one 7 x 7 map the convolution's centre answers what the linear layer does.
    x = torch.randn(1, 1, 7, 7)
    with torch.no_grad():
        linear = F.linear(x.flatten(1), state["classifier.0.weight"], state["classifier.0.bias"])
        torch.testing.assert_close(model.fc6(x)[:, :, 3, 3], linear, rtol=1e-4, atol=1e-4)
    assert torch.equal(model.fc7.weight[:, :, 0, 0], state["classifier.3.weight"])


def test_a_file_without_a_classifier_loads_and_a_wrong_one_is_named(tmp_path):
    widths = (2, 2, 2, 2, 1)
    state = vgg_file(tmp_path / "features.pth", widths=widths, with_classifier=False)
    options = {"widths": widths, "encoder_weights": str(tmp_path / "features.pth")}
    model = build("fcn32s", in_channels=3, classes=2, **options)
    assert torch.equal(model.encoder.features[0].weight, state["features.0.weight"])
    torch.save({**state, "classifier.0.weight": torch.zeros(8, 4)}, tmp_path / "features.pth")
    with pytest.raises(DataError, match=r"features\.pth: classifier\.0\.weight has the shape"):
        build("fcn32s", in_channels=3, classes=2, **options)
    # A narrower fc6 cannot take the classifier, so nothing of it is read.
    build("fcn32s", in_channels=3, classes=2, classifier_width=8, **options)


@pytest.mark.parametrize("name", NAMES)
def test_what_an_fcn_cannot_be_is_answered_with_a_remedy(name):
    with pytest.raises(RecipeError, match=f"'{name}' exists for dims=2 only. For volumes use unet"):
        build(name, in_channels=1, classes=1, dims=3)
    with pytest.raises(RecipeError, match=f"'{name}' stands on vgg16 or vgg16_bn, not on 'resnet"):
        build(name, in_channels=1, classes=1, encoder="resnet18")
