"""`vesalius segment ...`: images to masks."""

from pathlib import Path

from cyclopts import App

from vesalius.cli.departments import Flag, Json, evaluated, shown_recipe, trained
from vesalius.language import say

app = App(
    name="segment",
    help=say("Images to masks.", "图像分割：由图像得到掩码。"),
    help_format="plaintext",
)

_COLUMNS = ("dice", "iou", "precision", "recall")


@app.command
def train(
    data: Path,
    /,
    *overrides: str,
    recipe: str | None = None,
    valid: Path | None = None,
    out: Path | None = None,
    resume: Flag = False,
    as_json: Json = False,
) -> int:
    """Train a model and write a run folder with weights, scores and a report.

    Parameters
    ----------
    data
        Folder (nnU-Net layout, or images/ beside masks/), table (.csv, .tsv, .jsonl) or
        dataset.json.
    overrides
        Changes of the recipe, as key.path=value: epochs=20 model.name=unet
    recipe
        A YAML file or a name; see `vesalius segment recipe`.
    valid
        Source of validation cases. Default: what the data names, else a random fifth.
    out
        Run folder to make. Default: runs/segment-MODEL-TIME
    resume
        Go on with the run in --out from its last checkpoint.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.segment import commands

    return trained(
        commands.train,
        data,
        overrides,
        _show,
        as_json=as_json,
        recipe=recipe,
        out=out,
        valid=valid,
        resume=resume,
    )


@app.command
def predict(
    run: Path,
    data: Path,
    /,
    *overrides: str,
    out: Path,
    probabilities: Flag = False,
    overwrite: Flag = False,
    device: str = "auto",
    as_json: Json = False,
) -> int:
    """Predict the masks of new images, in the format that came in.

    Parameters
    ----------
    run
        Folder that `train` wrote, or the name of a model that comes with the package: nuclei
    data
        Images: a folder, a table, or one file.
    overrides
        Changes of the recipe's predict block: predict.mirror=true
    out
        Folder for the masks.
    probabilities
        Also write the probabilities of all labels.
    overwrite
        Replace masks that are there already.
    device
        auto, cpu, cuda, cuda:1, mps
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.cli.app import emit
    from vesalius.engine.progress import Progress
    from vesalius.segment import commands

    with Progress(0, label=say("predicting", "预测"), quiet=as_json) as bar:
        written = commands.predict(
            run,
            data,
            out=out,
            probabilities=probabilities,
            overwrite=overwrite,
            device=device,
            overrides=overrides,
            started=bar.begin,
            progress=bar.advance,
        )
    if as_json:
        emit({"masks": written})
    else:
        print(f"{len(written)} {say('masks in', '个掩码，位于')} {out}")
    return 0


@app.command
def evaluate(
    run: Path,
    data: Path,
    /,
    *overrides: str,
    held_out: Flag = False,
    out: Path | None = None,
    device: str = "auto",
    as_json: Json = False,
) -> int:
    """Score a trained model on images whose masks are known.

    Parameters
    ----------
    run
        Folder that `train` wrote, or the name of a model that comes with the package.
    data
        Images with masks, laid out as for `train`. All of them are scored.
    overrides
        Changes of the recipe's predict block: predict.mirror=true
    held_out
        DATA is what the model was trained on: score only the cases that it has not seen.
    out
        Also write the scores to this JSON file.
    device
        auto, cpu, cuda, cuda:1, mps
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.segment import commands

    return evaluated(
        commands.evaluate,
        run,
        data,
        _show,
        as_json=as_json,
        held_out=held_out,
        out=out,
        device=device,
        overrides=overrides,
    )


app.command(
    "vesalius.cli.segment_metrics:metrics",
    help=say(
        "Score predicted masks against true ones: overlap, distances, objects, with intervals.",
        "用真值为预测掩码评分：重叠、距离、实例，附置信区间。",
    ),
)
app.command(
    "vesalius.cli.segment_metrics:compare",
    help=say(
        "Compare two models by their predictions of the same cases, paired.",
        "在相同病例上配对比较两个模型的预测。",
    ),
)


@app.command
def export(
    run: Path,
    /,
    *overrides: str,
    out: Path,
    onnx: Flag = False,
    half: Flag = False,
    as_json: Json = False,
) -> int:
    """Pass a trained model on: a folder without names of cases, or an ONNX file.

    Parameters
    ----------
    run
        Folder that `train` wrote, or the name of a model that comes with the package.
    overrides
        Changes of the recipe's predict block to pass on: predict.mirror=true
    out
        Folder to make, or with --onnx the .onnx file to write.
    onnx
        Write an ONNX file for images of any size; it is compared with the network first.
    half
        Store the folder's weights as float16: half the size.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.cli.app import emit
    from vesalius.segment.exports import export as write

    written = write(run, out, onnx=onnx, half=half, overrides=overrides)
    if as_json:
        emit({"written": written})
    else:
        print(written)
    return 0


@app.command
def recipe(name: str | None = None, /, *overrides: str) -> int:
    """Print a complete, commented recipe, or list the named ones.

    Parameters
    ----------
    name
        A name or a YAML file; without it the names are listed.
    overrides
        Changes, as key.path=value.
    """
    from vesalius.segment.recipe import SegmentRecipe

    return shown_recipe(SegmentRecipe, name, overrides)


def _show(scores) -> None:
    """Print a table of scores."""
    from rich.console import Console
    from rich.table import Table

    from vesalius.report.tables import format_value

    if scores is None:
        print(say("no validation cases: nothing was scored", "没有验证病例，未评分"))
        return
    console = Console(highlight=False)
    overall = Table(say("over all cases", "全部病例"), "", title_justify="left")
    for name, value in scores.values.items():
        overall.add_row(name, format_value(value))
    console.print(overall)
    per_label = Table(say("label", "标签"), *_COLUMNS)
    for label, row in scores.labels.items():
        per_label.add_row(label, *(format_value(row[name]) for name in _COLUMNS))
    console.print(per_label)
