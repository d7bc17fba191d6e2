import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vesalius.errors import RecipeError
from vesalius.segment.models import Outputs, build
from vesalius.segment.models.unet import UpBlock

SMALL = {"widths": (4, 6, 8, 10)}


def small(*, classes=2, **options):
    return build("unet_plus_plus", in_channels=1, classes=classes, **{**SMALL, **options})


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "count"), [({}, 47_176_132), ({"deep_supervision": False}, 47_176_132 - 3 * 65)]
)
def test_the_model_has_the_parameters_of_the_papers_table(options, count):
    with torch.device("meta"):
        model = build("unet_plus_plus", in_channels=3, classes=1, **options)
    assert parameters(model) == count


def test_a_column_has_one_node_less_than_the_one_to_its_left():
    assert [len(column) for column in small().columns] == [3, 2, 1]


def test_a_node_joins_the_coarser_node_with_all_nodes_to_its_left():
    torch.manual_seed(0)
    model = small().eval()
    x00, x10, x20, x30 = model.encoder(torch.randn(1, 1, 24, 16))
    first, second, third = model.columns

    def node(part, coarse, *left):
        joined = torch.cat([part.up(coarse), *left], dim=1)
        return part.convolutions(joined)

    x01, x11, x21 = node(first[0], x10, x00), node(first[1], x20, x10), node(first[2], x30, x20)
    x02, x12 = node(second[0], x11, x00, x01), node(second[1], x21, x10, x11)
    x03 = node(third[0], x12, x00, x01, x02)
    for found, expected in zip(model._nest([x00, x10, x20, x30]), (x01, x02, x03), strict=True):
        torch.testing.assert_close(found, expected)


def test_evaluation_answers_with_the_mean_of_the_heads_of_all_columns():
    torch.manual_seed(0)
    model = small(normalisation="instance")
    images = torch.randn(2, 1, 21, 30)
    heads = model.train()(images)
    assert [logits.shape for logits in heads] == [(2, 2, 21, 30)] * 3
    assert len(Outputs.of(heads).logits) == 3
    torch.testing.assert_close(model.eval()(images), sum(heads) / 3)


def test_the_first_head_is_the_last_columns():
    torch.manual_seed(0)
    model = small(normalisation="instance").train()
    images = torch.randn(1, 1, 16, 16)
    before = model(images)
    nn.init.zeros_(model.columns[-1][0].convolutions[-1].convolution.weight)
    after = model(images)
    assert not torch.equal(before[0], after[0])
    assert all(torch.equal(x, y) for x, y in zip(before[1:], after[1:], strict=True))


def test_without_deep_supervision_there_is_one_head_and_one_answer():
    model = small(deep_supervision=False).train()
    assert len(model.heads) == 1
    assert model(torch.randn(2, 1, 16, 16)).shape == (2, 2, 16, 16)


@settings(max_examples=20, deadline=None)
@given(
    size=st.lists(st.integers(1, 37), min_size=2, max_size=3),
    classes=st.integers(1, 3),
    normalisation=st.sampled_from(["batch", "instance", "group"]),
)
def test_logits_have_the_size_of_the_images_for_any_size(size, classes, normalisation):
    model = small(classes=classes, dims=len(size), normalisation=normalisation).eval()
    with torch.no_grad():
        logits = model(torch.randn(1, 1, *size))
    assert logits.shape == (1, classes, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("size", [(97, 129), (33, 47)])
def test_odd_sizes_pass_in_training_too(size):
    assert [tuple(x.shape[2:]) for x in small().train()(torch.randn(1, 1, *size))] == [size] * 3


@pytest.mark.parametrize("widths", [(5, 7), (16, 32, 64, 128, 256), (2, 3, 4, 5, 6, 7)])
def test_any_number_of_levels_can_be_chosen(widths):
    model = small(widths=widths)
    assert len(model.heads) == len(widths) - 1
    with torch.no_grad():
        assert model.eval()(torch.randn(1, 1, 40, 33)).shape == (1, 2, 40, 33)
        heads = Outputs.of(model.train()(torch.randn(2, 1, 64, 64))).logits
    assert len(heads) == len(widths) - 1


@pytest.mark.parametrize("encoder", ["resnet18", "vgg16", "efficientnet_lite0"])
def test_encoders_take_the_place_of_the_plain_one(encoder):
    model = small(encoder=encoder, widths=(4, 4, 8, 8, 8)).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 1, 45, 38)).shape == (1, 2, 45, 38)


def test_volumes_pass_through_a_named_encoder():
    model = small(encoder="resnet18", widths=(4, 4, 8, 8, 8), dims=3).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 1, 17, 20, 9)).shape == (1, 2, 17, 20, 9)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("options", [{}, {"deep_supervision": False}])
def test_gradients_reach_every_parameter(dims, options):
    torch.manual_seed(0)
    model = small(classes=3, dims=dims, **options).train()
    outputs = Outputs.of(model(torch.randn(2, 1, *[16] * dims)))
    sum(logits.square().mean() for logits in outputs.logits).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        if not (key.startswith("encoder") and key.endswith("convolution.bias")):
            # A shift before a batch norm cannot matter; everything else does.
            assert parameter.grad.abs().sum() > 0, key


def test_an_image_is_judged_alike_alone_and_in_a_batch():
    torch.manual_seed(0)
    model = small().eval()
    images = torch.randn(3, 1, 20, 31)
    with torch.no_grad():
        together = model(images)
        alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_model():
    answers = []
    for _ in range(2):
        torch.manual_seed(7)
        answers.append(small(dropout=0.5).train()(torch.ones(2, 1, 16, 16))[0])
    assert torch.equal(*answers)


def test_dropout_acts_on_the_deepest_map_in_training_alone():
    model = small(dropout=0.9, normalisation="instance")
    images = torch.randn(1, 1, 32, 32)
    before, after = model.train()(images), model(images)
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[-1], after[-1])  # the first column's finest node sees two levels
    assert torch.equal(model.eval()(images), model(images))


def test_nests_are_normalised_on_request_alone():
    assert not any(isinstance(part, nn.BatchNorm2d) for part in small().columns.modules())
    nests = small(decoder_normalisation=True).columns
    assert sum(isinstance(part, nn.BatchNorm2d) for part in nests.modules()) == 2 * 6


def test_a_node_cuts_what_its_upsampling_has_too_much():
    torch.manual_seed(0)
    node = UpBlock(3, 2, 4, normalisation=None, dims=2)
    coarse, skip = torch.randn(1, 3, 3, 4), torch.randn(1, 2, 5, 7)
    up = F.conv_transpose2d(coarse, node.up.weight, node.up.bias, stride=2, padding=1)
    expected = node.convolutions(torch.cat([up[..., :5, :7], skip], dim=1))
    torch.testing.assert_close(node(coarse, skip), expected)


def test_a_few_steps_fit_a_square():
    torch.manual_seed(0)
    target = torch.zeros(2, 1, 24, 24)
    target[..., 6:17, 4:15] = 1
    images = target + 0.1 * torch.randn(2, 1, 24, 24)
    model = small(classes=1).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        optimiser.zero_grad()
        sum(F.binary_cross_entropy_with_logits(x, target) for x in model(images)).backward()
        optimiser.step()
    assert ((model(images)[0] > 0) == target.bool()).float().mean() > 0.98


def test_weights_are_drawn_as_the_reference_draws_them():
    torch.manual_seed(0)
    node = small(widths=(64, 96)).columns[0][0]
    weight = node.convolutions[0].convolution.weight
    assert weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"widths": (8,)}, "at least two"),
        ({"normalisation": "batchnorm"}, "Did you mean 'batch'"),
        ({"encoder": "resnet18", "widths": (8, 16)}, "has 5 levels; widths has 2"),
        ({"encoder": "vgg16", "dims": 3, "widths": (4,) * 5}, "dims=2 only"),
        ({"encoder_weights": "a.pth"}, "needs an encoder"),
        ({"skip_width": 4}, "option of the model 'unet_plus_plus'"),
    ],
)
def test_bad_options_are_answered_with_a_remedy(options, part):
    with pytest.raises(RecipeError, match=part):
        small(**options)
