"""U-Net 3+ convolves coarser maps before it interpolates them; that must change no number."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses import FakeTensorMode

from vesalius.segment import models
from vesalius.segment.models import resized
from vesalius.segment.models.blocks import resize
from vesalius.segment.models.resized import ResizingConvolution, convolve_resized

CONVOLVE = {2: F.conv2d, 3: F.conv3d}
SMALL = {"widths": (4, 6, 8, 10), "skip_width": 3, "deep_supervision": True}


def example(low, *, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    x = torch.randn(2, 4, *low, dtype=dtype)
    return x, torch.randn(5, 4, *[3] * len(low), dtype=dtype), torch.randn(5, dtype=dtype)


def plain(x, size, weight, bias):
    return CONVOLVE[x.ndim - 2](resize(x, size), weight, bias, padding=1)


def results(function, x, size, weight, bias):
    leaves = [part.detach().clone().requires_grad_() for part in (x, weight, bias)]
    answer = function(leaves[0], size, *leaves[1:])
    loss = (answer * torch.linspace(-1, 2, answer.numel(), dtype=x.dtype).view(answer.shape)).sum()
    return [answer, *torch.autograd.grad(loss, leaves)]


@settings(max_examples=40, deadline=None)
@given(
    sides=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 75)), min_size=2, max_size=2),
    seed=st.integers(0, 1000),
)
def test_convolving_before_interpolating_gives_the_same_map_and_gradients(sides, seed):
    low, size = [a for a, _ in sides], [a + more for a, more in sides]
    x, weight, bias = example(low, seed=seed)
    ours = results(convolve_resized, x, size, weight, bias)
    for a, b in zip(ours, results(plain, x, size, weight, bias), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(sides=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), min_size=3, max_size=3))
def test_so_it_is_in_volumes(sides):
    low, size = [a for a, _ in sides], [a + more for a, more in sides]
    arguments = example(low)
    ours = results(convolve_resized, arguments[0], size, *arguments[1:])
    theirs = results(plain, arguments[0], size, *arguments[1:])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_an_axis_of_several_tiles_is_whole():
    size = (2 * resized.TILE + 7, resized.TILE)
    x, weight, bias = example((resized.TILE + 3, 9))
    torch.testing.assert_close(
        convolve_resized(x, size, weight, bias), plain(x, size, weight, bias)
    )


def test_first_and_second_derivatives_are_slopes():
    x, weight, bias = (part.requires_grad_() for part in example((2, 3)))
    arguments = (x[:1, :2], weight[:2, :2], bias[:2])
    assert torch.autograd.gradcheck(
        lambda x, w, b: convolve_resized(x, (5, 6), w, b), arguments, fast_mode=True
    )
    assert torch.autograd.gradgradcheck(
        lambda x, w, b: convolve_resized(x, (5, 6), w, b), arguments, fast_mode=True
    )


def test_half_precision_is_as_close_to_single_as_the_plain_order_is():
    x, weight, bias = example((6, 7), dtype=torch.float32)
    exact = plain(x, (24, 28), weight, bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = convolve_resized(x, (24, 28), weight, bias)
        theirs = plain(x, (24, 28), weight, bias)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    assert (ours - exact).abs().mean() < 2 * (theirs - exact).abs().mean()


def plainly(monkeypatch):
    """Make the model interpolate first, as the paper writes it."""
    monkeypatch.setattr(
        ResizingConvolution,
        "forward",
        lambda self, x, size=None: plain(x, size or x.shape[2:], self.weight, self.bias),
    )


@pytest.mark.parametrize("size", [(48, 48), (37, 53), (1, 6), (10, 11, 17)])
@pytest.mark.parametrize("normalisation", ["batch", "instance", "group"])
def test_the_model_gives_the_numbers_of_the_plain_order(monkeypatch, size, normalisation):
    torch.manual_seed(0)
    options = {**SMALL, "dims": len(size), "normalisation": normalisation}
    model = models.build("unet_3_plus", in_channels=1, classes=2, **options).double()
    images = torch.randn(2, 1, *size, dtype=torch.float64)

    def step():
        model.zero_grad()
        heads = model.train()(images)
        sum((head**2).mean() for head in heads).backward()
        slopes = [parameter.grad.clone() for parameter in model.parameters()]
        return [*(head.detach() for head in heads), *slopes, model.eval()(images).detach()]

    state = {name: value.clone() for name, value in model.state_dict().items()}
    ours = step()
    model.load_state_dict(state)
    plainly(monkeypatch)
    for a, b in zip(ours, step(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_less_is_kept_for_the_backward_pass(monkeypatch):
    torch.manual_seed(0)
    model = models.build("unet_3_plus", in_channels=1, classes=1, **SMALL).train()
    images = torch.randn(1, 1, 64, 64)

    def kept():
        storages = {}

        def note(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            answer = model(images)
        del answer
        return sum(storages.values())

    ours = kept()
    plainly(monkeypatch)
    assert ours < 0.8 * kept()


def test_a_captured_graph_holds_plain_operations_and_the_same_numbers():
    torch.manual_seed(0)
    model = models.build("unet_3_plus", in_channels=1, classes=2, **SMALL).eval()
    images = torch.randn(1, 1, 32, 48)
    program = torch.export.export(model, (images,))
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert "aten.upsample_bilinear2d.vec" in called
    with torch.no_grad():
        torch.testing.assert_close(program.module()(images), model(images), rtol=1e-4, atol=1e-5)


def test_tiles_made_under_inference_mode_serve_training():
    resized._tiles.cache_clear()
    torch.manual_seed(0)
    model = models.build("unet_3_plus", in_channels=1, classes=1, **SMALL)
    with torch.inference_mode():
        model.eval()(torch.randn(1, 1, 40, 40))
    heads = model.train()(torch.randn(1, 1, 40, 40))
    sum(head.sum() for head in heads).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_shapes_can_be_inferred_without_spoiling_real_runs():
    resized._tiles.cache_clear()
    model = models.build("unet_3_plus", in_channels=1, classes=1, **SMALL).eval()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        assert model(mode.from_tensor(torch.zeros(1, 1, 32, 32))).shape == (1, 1, 32, 32)
    with torch.no_grad():
        assert model(torch.zeros(1, 1, 32, 32)).isfinite().all()


def test_names_of_the_weights_are_those_of_plain_units():
    model = models.build("unet_3_plus", in_channels=1, classes=1, **SMALL)
    parts = ["convolution.bias", "convolution.weight", "norm.bias", "norm.num_batches_tracked"]
    parts += ["norm.running_mean", "norm.running_var", "norm.weight"]
    assert sorted(model.nodes[0].skips[1].state_dict()) == parts
