"""A detector as an ONNX file, checked against the network itself.

Written by torch's default exporter (dynamo). The batch is free, the images' size fixed: how many
candidates a level has follows from it. The file holds the whole way to detections, NMS included, in
standard operators (opset 18); see `vesalius.detect.models.fixed` for its answers.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vesalius import files
from vesalius.detect.models.detector import Detector
from vesalius.detect.models.fixed import CANDIDATES, FixedDetector
from vesalius.errors import MissingDependencyError, TrainingError

if TYPE_CHECKING:
    from torch import Tensor

INPUTS = ("images", "proposals")
OPSET = 18
TOLERANCE = 1e-3
"""Largest accepted difference of scores and masks, and of boxes as a share of the image's side."""


def export_onnx(
    network: Detector,
    path: str | Path,
    *,
    examples: Sequence[tuple["Tensor", ...]],
    candidates: int = CANDIDATES,
    metadata: Mapping[str, str] | None = None,
) -> float:
    """Write an ONNX file with a free batch and compare its answers with the network's.

    Args:
        network: Fast, Faster or Mask R-CNN; it is put into evaluation mode.
        path: the file to write; it appears only once the comparison has passed.
        examples: inputs to compare on, images (B, C, *size) of one size, and for Fast R-CNN
            proposals (B, P, 2 * dims); the first has a B of 2 or more and is traced, another should
            have another B.
        candidates: see `FixedDetector`.
        metadata: texts to store in the file.

    Returns:
        The largest difference between onnxruntime's scores and the network's.

    Raises:
        MissingDependencyError: onnx, onnxscript or onnxruntime is not installed.
        RecipeError: the network samples RoIs adaptively.
        TrainingError: the file fails, or answers otherwise than the network.
        StorageError: the file could not be written.
    """
    fixed = FixedDetector(network, candidates=candidates).eval()
    content = to_onnx(fixed, examples[0], metadata=metadata or {})
    worst = max(_difference(content, fixed, inputs) for inputs in examples)
    files.write_bytes(Path(path), content)
    return worst


def to_onnx(
    fixed: FixedDetector, inputs: tuple["Tensor", ...], *, metadata: Mapping[str, str] | None = None
) -> bytes:
    """Return the content of an ONNX file with a free batch, unchecked; see `export_onnx`."""
    onnx = _packages()
    from vesalius.detect.models.graph_loop import greedy_suppression

    free = tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs)
    # The exporter reports operators of packages that are not installed; nothing here needs them.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                fixed,
                inputs,
                dynamo=True,
                dynamic_shapes=free,
                input_names=list(INPUTS[: len(inputs)]),
                output_names=fixed.names,
                opset_version=OPSET,
                custom_translation_table={
                    torch.ops.vesalius.greedy_suppression.default: greedy_suppression
                },
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    proto = program.model_proto
    onnx.helper.set_model_props(proto, dict(metadata or {}))
    return proto.SerializeToString()


def _packages() -> Any:
    try:
        import onnx
        import onnxruntime  # noqa: F401  (needed a moment later: say so before the long export)
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            str(error.name), "ONNX export", "pip install 'vesalius[onnx]'"
        ) from None
    return onnx


def _difference(content: bytes, fixed: FixedDetector, inputs: tuple["Tensor", ...]) -> float:
    """Return the largest difference of scores; refuse other detections than the network's."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    named = dict(zip(INPUTS, (values.numpy() for values in inputs), strict=False))
    shapes = ", ".join(str(tuple(values.shape)) for values in inputs)
    try:
        answers = [torch.from_numpy(answer) for answer in session.run(None, named)]
    except Exception as error:  # onnxruntime's errors have no common base of their own
        raise TrainingError(
            f"the exported file fails on inputs {shapes}; nothing was written: {error}"
        ) from error
    with torch.no_grad():
        expected = fixed(*inputs)
    side = max(inputs[0].shape[2:])
    for found, wanted in zip(fixed.detections(answers), fixed.detections(expected), strict=True):
        if not _same(found, wanted, side=side):
            raise TrainingError(
                f"the exported file finds other objects than the network on inputs {shapes}; "
                "nothing was written"
            )
    return float((answers[1] - expected[1]).abs().max()) if expected[1].numel() else 0.0


def _same(found, wanted, *, side: float) -> bool:
    """Return whether each detection has its like among the other's, whatever the order of ties."""
    if len(found) != len(wanted):
        return False
    if not len(found):
        return True
    gaps = torch.maximum(
        (found.boxes[:, None] - wanted.boxes[None]).abs().amax(dim=2) / side,
        (found.scores[:, None] - wanted.scores[None]).abs(),
    )
    gaps = gaps + (found.labels[:, None] != wanted.labels[None]).to(gaps.dtype)
    if found.masks is not None:
        masks = found.masks.flatten(1)[:, None] - wanted.masks.flatten(1)[None]
        gaps = torch.maximum(gaps, masks.abs().amax(dim=2))
    return bool((gaps.amin(dim=1) <= TOLERANCE).all() and (gaps.amin(dim=0) <= TOLERANCE).all())
