import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vesalius.errors import RecipeError
from vesalius.images.encoders import ENCODERS
from vesalius.segment.models import build
from vesalius.segment.models.segnet import unpool

SMALL = {"widths": (4, 6, 8, 8, 8)}


def test_parameters_are_those_of_vgg_its_mirror_and_a_plain_classifier():
    with torch.device("meta"):
        model = build("segnet", in_channels=3, classes=21)
    count = {
        part: sum(p.numel() for p in getattr(model, part).parameters())
        for part in ("encoder", "decoder", "head")
    }
    # torchvision's vgg16_bn less its classifier.
    assert count["encoder"] == 138_365_992 - 123_642_856
    # The mirror of all convolutions but the first (3 -> 64); where an encoder's convolution has
    # biases and norms for its outputs, the mirror's has them for its inputs: the last 512 lack.
    assert count["decoder"] == count["encoder"] - 3 * 64 * 9 - 3 * 512
    assert count["head"] == 64 * 21 * 9 + 21
    assert sum(count.values()) == 29_455_125


@settings(max_examples=25, deadline=None)
@given(size=st.tuples(*[st.integers(1, 70)] * 2), classes=st.integers(1, 3))
def test_logits_have_the_size_of_the_images_for_any_size(size, classes):
    model = build("segnet", in_channels=2, classes=classes, **SMALL).eval()
    with torch.no_grad():
        logits = model(torch.randn(1, 2, *size))
    assert logits.shape == (1, classes, *size)
    assert logits.isfinite().all()


@given(size=st.tuples(*[st.integers(1, 12)] * 2), seed=st.integers(0, 99))
def test_unpooling_puts_values_back_where_they_came_from(size, seed):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed))
    pooled, indices = F.max_pool2d(x, 2, stride=2, ceil_mode=True, return_indices=True)
    back = unpool(pooled, indices, size)
    kept = back != 0
    assert torch.equal(back[kept], x[kept])
    assert kept.sum() == pooled.numel()
    again = F.max_pool2d(back.masked_fill(~kept, -torch.inf), 2, stride=2, ceil_mode=True)
    assert torch.equal(again, pooled)
    torch.testing.assert_close(back, F.max_unpool2d(pooled, indices, 2, output_size=size))


def test_the_encoder_is_vgg16_with_batch_normalisation(tmp_path):
    state = ENCODERS["vgg16_bn"]().state_dict()
    torch.save(state, tmp_path / "vgg16_bn.pth")
    options = {"encoder_weights": str(tmp_path / "vgg16_bn.pth")}
    model = build("segnet", in_channels=3, classes=2, **options)
    loaded = model.encoder.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_the_decoder_mirrors_the_encoder_with_weights_of_its_own():
    model = build("segnet", in_channels=1, classes=2, widths=(4, 6, 8, 10, 12))
    shapes = [
        [(unit.convolution.in_channels, unit.convolution.out_channels) for unit in stage]
        for stage in reversed(model.decoder)
    ]
    assert shapes == [
        [(12, 12), (12, 12), (12, 10)],
        [(10, 10), (10, 10), (10, 8)],
        [(8, 8), (8, 8), (8, 6)],
        [(6, 6), (6, 4)],
        [(4, 4)],
    ]
    convolutions = [part for part in model.modules() if isinstance(part, nn.Conv2d)]
    assert len({id(part.weight) for part in convolutions}) == len(convolutions) == 26


def test_logits_can_be_negative_and_positive():
    torch.manual_seed(0)
    assert isinstance(
        list(build("segnet", in_channels=1, classes=2, **SMALL).modules())[-1], nn.Conv2d
    )
    logits = build("segnet", in_channels=1, classes=2, **SMALL)(torch.randn(2, 1, 32, 32))
    assert logits.min() < 0 < logits.max()


def test_gradients_reach_every_parameter():
    model = build("segnet", in_channels=1, classes=3, **SMALL).train()
    model(torch.randn(2, 1, 45, 64)).square().mean().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    assert all(unit.convolution.weight.grad.any() for stage in model.decoder for unit in stage)


def test_a_few_steps_fit_a_square():
    torch.manual_seed(0)
    target = torch.zeros(2, 1, 32, 32)
    target[..., 6:21, 4:18] = 1
    images = torch.randn(2, 1, 32, 32) * 0.1 + target
    model = build("segnet", in_channels=1, classes=1, **SMALL).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(model(images), target).backward()
        optimiser.step()
    assert ((model(images) > 0) == target.bool()).float().mean() > 0.98


def test_volumes_and_bad_widths_are_answered_with_a_remedy():
    with pytest.raises(
        RecipeError, match=r"'segnet' exists for dims=2 only\. For volumes use unet"
    ):
        build("segnet", in_channels=1, classes=1, dims=3)
    with pytest.raises(RecipeError, match="five positive numbers"):
        build("segnet", in_channels=1, classes=1, widths=(4, 8))
