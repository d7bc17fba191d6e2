import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vesalius.errors import RecipeError
from vesalius.segment.models import Outputs, build
from vesalius.segment.models.pspnet import PyramidPooling, region_means

SMALL = {"encoder": "resnet18", "width": 16}


@pytest.fixture(scope="module")
def model():
    """Drawn once: a ResNet takes a while to draw."""
    return build("pspnet", in_channels=2, classes=3, **SMALL)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        # ResNet-101, four reductions with norms, the joining convolution, the classifier.
        (
            {"auxiliary": False},
            42_500_160 + 4 * (2048 * 512 + 1024) + 4096 * 512 * 9 + 1024 + 513 * 21,
        ),
        # In addition a head on layer 3, as torchvision's segmentation models have one.
        ({}, 65_584_725 + 1024 * 256 * 9 + 512 + 257 * 21),
    ],
)
def test_parameters_are_those_of_the_parts(options, count):
    with torch.device("meta"):
        model = build("pspnet", in_channels=3, classes=21, **options)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@settings(max_examples=10, deadline=None)
@given(size=st.tuples(*[st.integers(1, 70)] * 2))
def test_logits_have_the_size_of_the_images_for_any_size(model, size):
    with torch.no_grad():
        logits = model.eval()(torch.randn(1, 2, *size))
    assert logits.shape == (1, 3, *size)
    assert logits.isfinite().all()


def test_volumes_pass_through():
    model = build("pspnet", in_channels=1, classes=2, dims=3, **SMALL).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 1, 17, 20, 9)).shape == (1, 2, 17, 20, 9)


@pytest.mark.parametrize(("encoder", "output_stride"), [("efficientnet_lite0", 32), ("vgg16", 16)])
def test_other_encoders_serve_at_the_output_strides_that_they_have(encoder, output_stride):
    options = {"encoder": encoder, "output_stride": output_stride, "width": 16}
    model = build("pspnet", in_channels=1, classes=2, **options).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 1, 45, 38)).shape == (1, 2, 45, 38)


def test_the_pyramid_joins_the_map_with_its_means_over_ever_more_regions():
    torch.manual_seed(0)
    pyramid = PyramidPooling(8, bins=(1, 2, 3, 6), dims=2).eval()
    for unit in pyramid.units:
        nn.init.uniform_(unit.norm.running_mean, -0.1, 0.1)
        nn.init.uniform_(unit.norm.running_var, 0.5, 1.5)
    x = torch.randn(1, 8, 12, 18)
    expected = [x]
    with torch.no_grad():
        for unit, bins in zip(pyramid.units, (1, 2, 3, 6), strict=True):
            # Regions of 12 / bins x 18 / bins, averaged by hand.
            means = x.reshape(1, 8, bins, 12 // bins, bins, 18 // bins).mean(dim=(3, 5))
            reduced = F.conv2d(means, unit.convolution.weight)
            mean, deviation = unit.norm.running_mean, (unit.norm.running_var + 1e-5).sqrt()
            reduced = F.relu((reduced - mean[:, None, None]) / deviation[:, None, None])
            expected.append(F.interpolate(reduced, size=(12, 18), mode="bilinear"))
        assert expected[1].shape[1] == 2
        torch.testing.assert_close(pyramid(x), torch.cat(expected, dim=1))
    assert pyramid.out_channels == 16


@given(size=st.lists(st.integers(1, 13), min_size=2, max_size=3), bins=st.integers(1, 7))
def test_means_over_regions_are_torchs_adaptive_pooling_for_any_size(size, bins):
    x = torch.randn(2, 3, *size)
    pool = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}[len(size)]
    torch.testing.assert_close(region_means(x, bins), pool(x, bins))


def test_training_returns_both_heads_with_the_papers_weights_and_evaluation_the_first(model):
    images = torch.randn(2, 2, 41, 30)
    outputs = model.train()(images)
    assert isinstance(outputs, Outputs)
    assert [tuple(logits.shape) for logits in outputs.logits] == [(2, 3, 41, 30)] * 2
    assert outputs.weights == (1.0, 0.4)
    assert isinstance(model.eval()(images), torch.Tensor)
    alone = build("pspnet", in_channels=2, classes=3, auxiliary=False, **SMALL).train()
    assert isinstance(alone(images), torch.Tensor)


def test_the_second_head_sees_the_stage_before_the_last(model):
    images = torch.randn(2, 2, 48, 32)
    model.eval()
    with torch.no_grad():
        expected = model.auxiliary(model.encoder(images)[3])
        assert expected.shape[2:] == (6, 4)
        # Norms and dropout in evaluation, the model itself in training.
        model.training = True
        second = model(images).logits[1]
    model.eval()
    torch.testing.assert_close(second, F.interpolate(expected, size=(48, 32), mode="bilinear"))


@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_reach_every_parameter_also_in_a_batch_of_one(model, batch):
    model.train().zero_grad(set_to_none=True)
    outputs = model(torch.randn(batch, 2, 40, 49))
    sum(logits.square().mean() for logits in outputs.logits).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


def test_a_few_steps_fit_a_square():
    torch.manual_seed(0)
    target = torch.zeros(2, 1, 32, 32)
    target[..., :16, 16:] = 1
    images = torch.randn(2, 1, 32, 32) * 0.1 + target
    model = build("pspnet", in_channels=1, classes=1, **SMALL).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(10):
        optimiser.zero_grad()
        outputs = model(images)
        losses = [F.binary_cross_entropy_with_logits(x, target) for x in outputs.logits]
        sum(w * loss for w, loss in zip(outputs.weights, losses, strict=True)).backward()
        optimiser.step()
    assert ((model(images).logits[0] > 0) == target.bool()).float().mean() > 0.9


def test_bad_bins_are_answered_with_a_remedy():
    with pytest.raises(RecipeError, match="each at least 1"):
        build("pspnet", in_channels=1, classes=1, bins=(1, 0), **SMALL)
