"""Weights of the reference implementations, under our names.

| source                         | their repository and class                               |
|--------------------------------|----------------------------------------------------------|
| drsleep-refinenet              | DrSleep/refinenet-pytorch: RefineNet                     |
| drsleep-light-weight-refinenet | DrSleep/light-weight-refinenet: ResNetLW                 |
| zju-unet                       | ZJUGiveLab/UNet-Version: UNet                            |
| zju-unet-plus-plus             | UNet_2Plus                                               |
| zju-unet-3-plus                | UNet_3Plus, UNet_3Plus_DeepSup, UNet_3Plus_DeepSup_CGM   |

`key_map` has the names. With them our logits are theirs, on sizes that they accept, but for this:

- RefineNets: theirs are our `coarse_logits`; `forward` interpolates them to the size of the images.
- U-Nets: theirs apply the sigmoid inside the network.
- UNet_2Plus with `is_ds=True`, its default, is our model with deep supervision, with `is_ds=False`
  our model without.
- UNet_3Plus_DeepSup_CGM multiplies the logits of an image that it finds empty by 0, so that its
  probabilities are 0.5 there; ours are 0. It also compares sigmoids, which can tie where the logits
  under them, which ours compares, do not. Its one gate is copied for every foreground class.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from vesalius.errors import DataError, RecipeError
from vesalius.images.encoders import ENCODERS, unknown_name
from vesalius.images.encoders.resnet import ResNet
from vesalius.images.encoders.weights import read_state
from vesalius.segment.models.light_weight_refinenet import LightWeightRefineNet
from vesalius.segment.models.refinenet import RefineNet
from vesalius.segment.models.unet import UNet
from vesalius.segment.models.unet_3_plus import UNet3Plus
from vesalius.segment.models.unet_plus_plus import UNetPlusPlus

SOURCES: dict[str, type[nn.Module]] = {
    "drsleep-refinenet": RefineNet,
    "drsleep-light-weight-refinenet": LightWeightRefineNet,
    "zju-unet": UNet,
    "zju-unet-plus-plus": UNetPlusPlus,
    "zju-unet-3-plus": UNet3Plus,
}
"""The sources, and the model that each is for."""

NORM_TENSORS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
LISTED = 10

Pairs = Iterator[tuple[str, str]]


def load(model: nn.Module, weights: str | Path | Mapping[str, Tensor], *, source: str) -> None:
    """Load weights of a reference implementation into one of our models, strictly.

    Heads of deep supervision that the model was built without are left out; nothing else is.

    Args:
        model: the model of the source, built with default widths, as many channels and classes as
            the weights have and, for the RefineNets, the encoder of the weights.
        weights: a `.pth` or `.safetensors` file with a plain state dict, or a state dict.
        source: one of `SOURCES`.

    Raises:
        RecipeError: unknown source, or a model of another kind.
        DataError: the file is missing or damaged, or the weights do not fit; the message lists the
            tensors that are missing, unknown, or of another shape.
    """
    _check_source(source)
    if not isinstance(model, SOURCES[source]):
        raise RecipeError(
            f"Weights of '{source}' are for {SOURCES[source].__name__}; "
            f"the model is {type(model).__name__}."
        )
    is_file = isinstance(weights, str | Path)
    state = convert(read_state(Path(weights)) if is_file else weights, source=source)
    state = _without_spare_heads(state, model)
    problems = _misfits(state, model.state_dict())
    if problems:
        place = str(weights) if is_file else f"The state dict of '{source}'"
        raise DataError(
            f"{place} does not fit the model. Build the model with the channels, classes, encoder "
            "and options of the weights.",
            problems,
        )
    model.load_state_dict(state)


def convert(state: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """Return a state dict of a reference implementation under our names; its tensors are shared.

    The prefix "module." of `nn.DataParallel` is dropped. Batch norms without
    `num_batches_tracked`, as torch before 0.4.1 wrote them, get 0; it has no effect on results.

    Args:
        state: their state dict; RefineNets with any ResNet.
        source: one of `SOURCES`.

    Raises:
        RecipeError: unknown source.
        DataError: the state dict is not of this source; the message lists the keys that are
            missing and those that are unknown.
    """
    _check_source(source)
    state = {key.removeprefix("module."): value for key, value in state.items()}
    names = _names_in(state, source)
    counters = {key for key in names if key.endswith(NORM_TENSORS[-1])}
    problems = _listing(
        {
            "missing": [key for key in names if key not in state and key not in counters],
            "unknown": [key for key in state if key not in names],
        }
    )
    if problems:
        raise DataError(
            f"These are not the weights of a '{source}'. Give the whole state dict, or name "
            f"another source ({', '.join(SOURCES)}).",
            problems,
        )
    converted = {
        ours: state[theirs] if theirs in state else torch.zeros((), dtype=torch.long)
        for theirs, ours in names.items()
    }
    if "presence.convolution.bias" in converted:
        _repeat_gate(converted)
    return converted


def key_map(
    source: str,
    *,
    encoder: str = "resnet101",
    deep_supervision: bool = True,
    classification_guided: bool = True,
) -> dict[str, str]:
    """Return what each tensor of a reference implementation is called here.

    Args:
        source: one of `SOURCES`.
        encoder: a ResNet, for the RefineNets.
        deep_supervision: with the coarse heads, for U-Net 3+.
        classification_guided: with the classification-guided module, for U-Net 3+.

    Returns:
        Their key to ours, in the order of the network.

    Raises:
        RecipeError: unknown source.
    """
    _check_source(source)
    if source == "drsleep-refinenet":
        return dict([*_resnet(encoder), *_refine_blocks(with_units=True)])
    if source == "drsleep-light-weight-refinenet":
        return dict([*_resnet(encoder), *_refine_blocks(with_units=False)])
    if source == "zju-unet":
        return dict(_unet())
    if source == "zju-unet-plus-plus":
        return dict(_unet_plus_plus())
    pairs = [*_unet_3_plus(heads=5 if deep_supervision else 1)]
    if classification_guided:
        pairs += _layer("cls.1", "presence.convolution")
    return dict(pairs)


def _check_source(source: str) -> None:
    if source not in SOURCES:
        raise unknown_name("source of weights", source, SOURCES)


def _names_in(state: Mapping[str, Tensor], source: str) -> dict[str, str]:
    """Return the map of the variant that a state dict is of."""
    if source.startswith("drsleep"):
        return key_map(source, encoder=_encoder_in(state))
    coarse_heads = tuple(f"outconv{number}." for number in range(2, 6))
    return key_map(
        source,
        deep_supervision=any(key.startswith(coarse_heads) for key in state),
        classification_guided=any(key.startswith("cls.") for key in state),
    )


def _encoder_in(state: Mapping[str, Tensor]) -> str:
    """Name the ResNet of a state dict by the number and kind of its blocks."""
    depths = tuple(
        len({key.split(".")[1] for key in state if key.startswith(f"layer{stage}.")})
        for stage in range(1, 5)
    )
    bottleneck = any(key.startswith("layer") and ".conv3." in key for key in state)
    for name, encoder in ENCODERS.items():
        if getattr(encoder, "func", None) is ResNet:
            options = encoder.keywords
            if (options["depths"], options.get("bottleneck", False)) == (depths, bottleneck):
                return name
    raise DataError(
        f"These weights have {depths} residual blocks in layer1 to layer4; no ResNet here has. "
        "Give the whole state dict of a network with ResNet-18, 34, 50, 101 or 152."
    )


def _layer(theirs: str, ours: str, *, tensors: Iterable[str] = ("weight", "bias")) -> Pairs:
    for tensor in tensors:
        yield f"{theirs}.{tensor}", f"{ours}.{tensor}"


def _resnet(encoder: str) -> Pairs:
    with torch.device("meta"):
        for key in ENCODERS[encoder]().state_dict():
            yield key, f"encoder.{key}"


def _refine_blocks(*, with_units: bool) -> Pairs:
    """Their "stage" and "g" number the blocks, and their "outl" the maps, from the coarsest."""
    weight = {"tensors": ["weight"]}
    for number in range(1, 5):
        block = f"decoder.blocks.{number - 1}"
        yield from _layer(f"p_ims1d2_outl{number}_dimred", f"{block}.reduce", **weight)
        if with_units:
            yield from _units(f"adapt_stage{number}_b.0", f"{block}.adapt", count=2)
        if number > 1:
            theirs = f"adapt_stage{number}_b2_joint_varout_dimred"
            yield from _layer(theirs, f"{block}.fusion.fine", **weight)
            # They count this convolution to the end of the coarser block.
            theirs = f"mflow_conv_g{number - 1}_b3_joint_varout_dimred"
            yield from _layer(theirs, f"{block}.fusion.coarse", **weight)
        for stage in range(1, 5):
            theirs = f"mflow_conv_g{number}_pool.0.{stage}_outvar_dimred"
            yield from _layer(theirs, f"{block}.pooling.convolutions.{stage - 1}", **weight)
        if with_units:
            yield from _units(f"mflow_conv_g{number}_b.0", f"{block}.output", count=3)
    yield from _layer("clf_conv", "decoder.head")


def _units(theirs: str, ours: str, *, count: int) -> Pairs:
    for unit in range(1, count + 1):
        yield from _layer(f"{theirs}.{unit}_conv", f"{ours}.{unit - 1}.first")
        second = f"{theirs}.{unit}_conv_relu_varout_dimred"
        yield from _layer(second, f"{ours}.{unit - 1}.second", tensors=["weight"])


def _double_conv(theirs: str, ours: str, *, norm: bool) -> Pairs:
    for unit in range(2):
        yield from _layer(f"{theirs}.conv{unit + 1}.0", f"{ours}.{unit}.convolution")
        if norm:
            their_norm = f"{theirs}.conv{unit + 1}.1"
            yield from _layer(their_norm, f"{ours}.{unit}.norm", tensors=NORM_TENSORS)


def _unet() -> Pairs:
    for level, stage in enumerate(("conv1", "conv2", "conv3", "conv4", "center")):
        yield from _double_conv(stage, f"encoder.stages.{level}", norm=True)
    for level in reversed(range(4)):
        theirs, ours = f"up_concat{level + 1}", f"decoder.{level}"
        yield from _layer(f"{theirs}.up", f"{ours}.up")
        yield from _double_conv(f"{theirs}.conv", f"{ours}.convolutions", norm=False)
    yield from _layer("outconv1", "head")


def _unet_plus_plus() -> Pairs:
    """Theirs is "up_concat<level><column>"; our heads count from the last column."""
    for level in range(5):
        yield from _double_conv(f"conv{level}0", f"encoder.stages.{level}", norm=True)
    for column in range(1, 5):
        for level in range(5 - column):
            theirs, ours = f"up_concat{level}{column}", f"columns.{column - 1}.{level}"
            yield from _layer(f"{theirs}.up", f"{ours}.up")
            yield from _double_conv(f"{theirs}.conv", f"{ours}.convolutions", norm=False)
    for column in range(1, 5):
        yield from _layer(f"final_{column}", f"heads.{4 - column}")


def _unet_3_plus(*, heads: int) -> Pairs:
    """Theirs name a skip by both ends: pooled (PT), of the same level (Cat) or enlarged (UT)."""
    for level in range(1, 6):
        yield from _double_conv(f"conv{level}", f"encoder.stages.{level - 1}", norm=True)
    for node in range(4, 0, -1):
        for level in range(1, 6):
            origin = f"h{level}_PT" if level < node else f"hd{level}_UT"
            theirs = f"h{node}_Cat_hd{node}" if level == node else f"{origin}_hd{node}"
            ours = f"nodes.{node - 1}.skips.{level - 1}"
            yield from _layer(f"{theirs}_conv", f"{ours}.convolution")
            yield from _layer(f"{theirs}_bn", f"{ours}.norm", tensors=NORM_TENSORS)
        ours = f"nodes.{node - 1}.fusion"
        yield from _layer(f"conv{node}d_1", f"{ours}.convolution")
        yield from _layer(f"bn{node}d_1", f"{ours}.norm", tensors=NORM_TENSORS)
    for head in range(heads):
        yield from _layer(f"outconv{head + 1}", f"heads.{head}")


def _repeat_gate(state: dict[str, Tensor]) -> None:
    """Copy the one pair (absent, present) for every foreground class."""
    foreground = max(len(state["heads.0.bias"]) - 1, 1)
    for tensor in ("weight", "bias"):
        key = f"presence.convolution.{tensor}"
        gate = state[key]
        state[key] = gate.repeat(foreground, *[1] * (gate.ndim - 1))


def _without_spare_heads(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    if not isinstance(model, UNetPlusPlus | UNet3Plus):
        return state
    spare = tuple(f"heads.{head}." for head in range(len(model.heads), 5))
    return {key: value for key, value in state.items() if not key.startswith(spare)}


def _misfits(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    return _listing(
        {
            "missing": [key for key in wanted if key not in state],
            "unknown": [key for key in state if key not in wanted],
            "of another shape": [
                f"{key} {tuple(state[key].shape)}, in the model {tuple(wanted[key].shape)}"
                for key in wanted
                if key in state and state[key].shape != wanted[key].shape
            ],
        }
    )


def _listing(keys: Mapping[str, list[str]]) -> list[str]:
    return [
        f"{len(found)} {kind}: {'; '.join(found[:LISTED])}{'; ...' if len(found) > LISTED else ''}"
        for kind, found in keys.items()
        if found
    ]
