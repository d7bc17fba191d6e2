"""Pass a trained segmentation on: a folder for others, or an ONNX file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vesalius.errors import RecipeError

if TYPE_CHECKING:
    from vesalius.engine.run import Run


def export(
    run: "Run | str | Path",
    out: str | Path,
    *,
    onnx: bool = False,
    half: bool = False,
    overrides: Sequence[str] = (),
) -> Path:
    """Export a trained model.

    Args:
        run: a run, its folder, or the name of a model that comes with the package.
        out: folder to make (recipe, weights, card, scores; no names of cases), or with `onnx` the
            .onnx file to write: images (B, C, *size) of any size, prepared as the recipe says, to
            logits (B, classes, *size). Its metadata hold recipe and task as JSON.
        onnx: write an ONNX file; it is compared with the network before it appears.
        half: store the folder's weights as float16.
        overrides: changes of the recipe's `predict` block to pass on: ["predict.mirror=true"].

    Returns:
        What was written.

    Raises:
        RecipeError: `out` exists or its name does not fit, or `half` is asked of an ONNX file.
        MissingDependencyError: onnx, onnxscript or onnxruntime is missing.
        TrainingError: the ONNX file would answer otherwise than the network.
    """
    from vesalius.engine.shipped import export_run
    from vesalius.segment.commands import opened

    run = opened(run, overrides)
    out = Path(out)
    if not onnx and out.suffix == ".onnx":
        raise RecipeError(f"{out}: for an ONNX file say onnx; folders are not named .onnx")
    if not onnx:
        return export_run(run, out, half=half)
    if half:
        raise RecipeError("half is for folders of weights; ONNX files are written in float32")
    if out.suffix != ".onnx":
        raise RecipeError(f"{out}: give an ONNX file a name that ends in .onnx")
    if out.exists():
        raise RecipeError(f"{out} exists already; choose another name")
    _write_onnx(run, out)
    return out


def _write_onnx(run: "Run", out: Path) -> None:
    import torch

    from vesalius.engine.onnx import export_onnx
    from vesalius.engine.run import to_json

    facts = run.task.facts
    # Two sizes, one of them odd: what the tracer took for constant shows at the second.
    sizes = [tuple(min(side, 64) for side in facts.patch)]
    sizes.append(tuple(side + 1 + 2 * axis for axis, side in enumerate(sizes[0])))
    draw = torch.Generator().manual_seed(0)
    examples = [
        torch.randn(2 - index, facts.channels, *size, generator=draw)
        for index, size in enumerate(sizes)
    ]
    metadata = {
        "vesalius": to_json(run.config["task"]),
        "recipe": run.recipe.to_yaml(),
        "labels": ", ".join(facts.labels),
    }
    export_onnx(run.model(), out, examples=examples, metadata=metadata)
