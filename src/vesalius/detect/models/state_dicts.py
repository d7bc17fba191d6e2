"""Weights of torchvision's detection networks in ours.

Our modules carry torchvision's names, so a state dict is ours already but for three things:

- Files from before torchvision 0.13 name the layers of pyramid, proposals and masks otherwise
  (`inner_blocks.0.weight`, `rpn.head.conv.weight`, `mask_head.mask_fcn1.weight`).
- `num_batches_tracked` stands beside normal batch normalisations and not beside frozen ones; it has
  no effect on results and is left out or set to 0 as the model needs it.
- The frozen normalisations of torchvision's own COCO weights of the first version add nothing to
  the variance, those of all other networks 1e-5. No file says which; see `load`.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from vesalius.detect.models.blocks import FrozenBatchNorm
from vesalius.detect.models.detector import Detector
from vesalius.errors import DataError
from vesalius.images.encoders.weights import read_state

COUNTER = "num_batches_tracked"
DEFAULT_EPS = 1e-5
LISTED = 10

OLD_NAMES = (
    (re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"^(rpn\.head\.conv)\.(weight|bias)$"), r"\1.0.0.\2"),
    (
        re.compile(r"^(roi_heads\.mask_head)\.mask_fcn(\d+)\.(weight|bias)$"),
        lambda found: f"{found[1]}.{int(found[2]) - 1}.0.{found[3]}",
    ),
)


def load(
    model: Detector,
    weights: str | Path | Mapping[str, Tensor],
    *,
    frozen_eps: float | None = None,
) -> None:
    """Load a state dict of torchvision into a network, strictly.

    Args:
        model: a network of the same kind, see `vesalius.detect.models.PRESETS`.
        weights: a `.pth` or `.safetensors` file with a plain state dict, or a state dict.
        frozen_eps: what the model's frozen normalisations add to the variance from now on. 0 for
            torchvision's COCO_V1 weights of the two first networks and for what was trained on
            from them. None keeps what the model has (1e-5).

    Raises:
        DataError: the file is missing or damaged, or the weights do not fit; the message lists the
            tensors that are missing, unknown, or of another shape.
    """
    is_file = isinstance(weights, str | Path)
    state = migrate(read_state(Path(weights)) if is_file else weights)
    expected = model.state_dict()
    state = _with_counters(state, expected)
    problems = list(_misfits(state, expected))
    if problems:
        place = str(weights) if is_file else "The state dict"
        raise DataError(
            f"{place} does not fit the model. Build the preset that the weights were made for, "
            "with as many classes.",
            problems,
        )
    model.load_state_dict(state)
    if frozen_eps is not None:
        set_frozen_eps(model, frozen_eps)


def migrate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict under today's names; the tensors are shared."""
    migrated = {}
    for key, value in state.items():
        for pattern, replacement in OLD_NAMES:
            key = pattern.sub(replacement, key)
        migrated[key] = value
    return migrated


def set_frozen_eps(model: torch.nn.Module, eps: float) -> None:
    """Set what all frozen normalisations of a model add to the variance."""
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm):
            module.eps = eps


def _with_counters(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    kept = {
        key: value for key, value in state.items() if not key.endswith(COUNTER) or key in expected
    }
    missing = [key for key in expected if key.endswith(COUNTER) and key not in kept]
    return kept | {key: torch.zeros((), dtype=torch.long) for key in missing}


def _misfits(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Iterator[str]:
    groups = {
        "missing": [key for key in expected if key not in state],
        "unknown": [key for key in state if key not in expected],
        "of another shape": [
            f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
            for key in expected
            if key in state and state[key].shape != expected[key].shape
        ],
    }
    for kind, keys in groups.items():
        if keys:
            more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
            yield f"{kind}: {', '.join(keys[:LISTED])}{more}"
