"""Which device and which precision a run uses."""

from contextlib import AbstractContextManager, nullcontext

import torch

from vesalius.errors import RecipeError

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """Return the device for `name`: "auto", "cpu", "cuda", "cuda:1", "mps".

    "auto" takes CUDA where a GPU answers, else the CPU. Apple's "mps" is taken only when named:
    some operations of the 3D models are missing there.

    Raises:
        RecipeError: the device is unknown or not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise RecipeError(f"device '{name}' is unknown; use auto, cpu, cuda, cuda:1 or mps")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RecipeError("device 'cuda': no CUDA GPU answers here. Use device=auto or device=cpu.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise RecipeError(f"device '{name}': there are {torch.cuda.device_count()} GPUs here")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise RecipeError("device 'mps' is not available here. Use device=auto or device=cpu.")
    return device


def cpu_has_bfloat16() -> bool:
    """Tell whether this processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX).

    oneDNN also "supports" bfloat16 on plain AVX512, by emulation that is slower than float32.
    Builds without oneDNN (macOS) have neither.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose_precision(name: str, device: torch.device) -> str:
    """Return "float32", "bfloat16" or "float16" for `name`, which may be "auto".

    "auto": bfloat16 on GPUs and CPUs that compute it in hardware, float16 with loss scaling on
    older GPUs, float32 elsewhere.

    Raises:
        RecipeError: float16 asked for on a device that cannot train with it.
    """
    if name == "auto":
        if device.type == "cuda":
            return "bfloat16" if torch.cuda.is_bf16_supported(False) else "float16"
        return "bfloat16" if device.type == "cpu" and cpu_has_bfloat16() else "float32"
    if name == "float16" and device.type != "cuda":
        raise RecipeError(f"precision=float16 needs a CUDA GPU, the device is '{device.type}'")
    return name


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """Return the context in which a forward pass runs."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[precision])
