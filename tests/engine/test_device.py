import pytest
import torch

from vesalius.engine import device as engine_device
from vesalius.engine.device import autocast, choose_device, choose_precision
from vesalius.errors import RecipeError

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


@pytest.fixture
def without_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def with_two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_auto_is_the_cpu_where_there_is_no_gpu(without_gpu):
    assert choose_device() == CPU
    assert choose_device("cpu") == CPU


def test_auto_is_cuda_where_a_gpu_answers(with_two_gpus):
    assert choose_device() == CUDA
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(RecipeError, match="'cuda:2': there are 2 GPUs here"):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "meta", "xpu"])
def test_an_unknown_device_is_refused(name):
    with pytest.raises(RecipeError, match=f"device '{name}' is unknown; use auto, cpu, cuda"):
        choose_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there_is_refused_with_the_remedy(without_gpu, name):
    with pytest.raises(RecipeError, match=r"Use device=auto or device=cpu"):
        choose_device(name)


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_named_precision_is_taken(name):
    assert choose_precision(name, CPU) == name


def test_float16_needs_a_gpu():
    with pytest.raises(
        RecipeError, match="precision=float16 needs a CUDA GPU, the device is 'cpu'"
    ):
        choose_precision("float16", CPU)
    assert choose_precision("float16", CUDA) == "float16"


@pytest.mark.parametrize(("hardware", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_auto_is_bfloat16_only_where_the_processor_computes_it(monkeypatch, hardware, precision):
    monkeypatch.setattr(engine_device, "cpu_has_bfloat16", lambda: hardware)
    assert choose_precision("auto", CPU) == precision


@pytest.mark.parametrize(("supported", "precision"), [(True, "bfloat16"), (False, "float16")])
def test_auto_on_a_gpu_depends_on_its_age(monkeypatch, supported, precision):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert choose_precision("auto", CUDA) == precision


def test_auto_elsewhere_is_float32():
    assert choose_precision("auto", torch.device("mps")) == "float32"


def test_a_build_without_onednn_has_no_fast_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert engine_device.cpu_has_bfloat16() is False


def test_autocast_computes_products_in_the_precision_named():
    x = torch.randn(3, 3)
    with autocast("bfloat16", CPU):
        assert (x @ x).dtype == torch.bfloat16
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
    with autocast("float32", CPU):
        assert (x @ x).dtype == torch.float32
        assert not torch.is_autocast_enabled("cpu")
