"""A trained network as an ONNX file, checked against the network itself.

Batch and spatial size stay free (`torch.onnx`'s dynamo exporter with dynamic shapes). The file
takes and gives what the network does, so its metadata should say how inputs are prepared.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vesalius import files
from vesalius.errors import MissingDependencyError, TrainingError

if TYPE_CHECKING:
    from torch import Tensor, nn

INPUT, OUTPUT = "images", "logits"
TOLERANCE = 1e-4
"""Largest difference that is accepted, as a share of the largest absolute logit (at least 1) among
those that differ at all: constants such as the logit of a blanked class say nothing of the rest."""


def export_onnx(
    model: "nn.Module",
    path: str | Path,
    *,
    examples: Sequence["Tensor"],
    metadata: Mapping[str, str] | None = None,
) -> float:
    """Write an ONNX file with free batch and spatial sizes and compare it with the network.

    Args:
        model: a network in evaluation mode that maps inputs (B, C, *size) to logits.
        path: the file to write; it appears only once the comparison has passed.
        examples: batches of at least two different sizes; the first one is traced, all are
            compared.
        metadata: texts to store in the file.

    Returns:
        The largest absolute difference between onnxruntime's logits and the network's.

    Raises:
        MissingDependencyError: onnx, onnxscript or onnxruntime is not installed.
        TrainingError: the file fails, or answers otherwise than the network.
        StorageError: the file could not be written.
    """
    content = _exported(model, examples[0], metadata or {})
    worst = _difference(content, model, examples)
    files.write_bytes(Path(path), content)
    return worst


def _exported(model: "nn.Module", batch: "Tensor", metadata: Mapping[str, str]) -> bytes:
    import torch
    from torch.export import Dim

    try:
        import onnx
        import onnxruntime  # noqa: F401  (needed a moment later: say so before the long export)
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"ONNX export needs {error.name}; install it with: pip install 'vesalius[onnx]'"
        ) from None
    free = {axis: Dim.DYNAMIC for axis in range(batch.ndim) if axis != 1}
    # The exporter reports operators of packages that are not installed; nothing here needs them.
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (batch,),
                dynamo=True,
                dynamic_shapes=(free,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
    proto = program.model_proto
    onnx.helper.set_model_props(proto, dict(metadata))
    return proto.SerializeToString()


def _difference(content: bytes, model: "nn.Module", examples: Sequence["Tensor"]) -> float:
    import numpy as np
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in examples:
        try:
            (answer,) = session.run(None, {INPUT: batch.numpy()})
        except Exception as error:  # onnxruntime's errors have no common base of their own
            raise TrainingError(
                f"the exported file fails on inputs {tuple(batch.shape)}; nothing was written: "
                f"{error}"
            ) from error
        with torch.inference_mode():
            expected = model(batch).numpy()
        if answer.shape != expected.shape:
            raise TrainingError(
                f"the exported file answers inputs {tuple(batch.shape)} with {answer.shape}, the "
                f"network with {expected.shape}; nothing was written"
            )
        if not np.isfinite(expected).all():
            raise TrainingError(
                f"the network answers inputs {tuple(batch.shape)} with values that are NaN or "
                "infinite, so its file cannot be checked; nothing was written. Train again."
            )
        differ = answer != expected  # true for NaN, too
        gap = float(np.abs(answer - expected)[differ].max(initial=0))
        # A gap of NaN is within no tolerance.
        if not gap <= TOLERANCE * float(np.abs(expected)[differ].max(initial=1)):
            raise TrainingError(
                f"the exported file differs from the network by {gap:.2g} on inputs "
                f"{tuple(batch.shape)}; nothing was written"
            )
        worst = max(worst, gap)
    return worst
