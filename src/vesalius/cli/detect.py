"""`vesalius detect ...`: images to boxes and masks."""

from pathlib import Path
from typing import Literal

from cyclopts import App

from vesalius.cli.departments import Flag, Json, evaluated, shown_recipe, trained
from vesalius.language import say

app = App(
    name="detect",
    help=say("Images to boxes and masks.", "目标检测：由图像得到检测框与实例掩码。"),
    help_format="plaintext",
)

_COLUMNS = ("AP", "AP50", "AP75", "objects", "hits", "false alarms", "precision", "recall")


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
    """Train a detector and write a run folder with weights, scores and a report.

    Parameters
    ----------
    data
        COCO json, Pascal VOC, YOLO, LabelMe, CSV, or images with numbered masks: file or folder.
    overrides
        Changes of the recipe, as key.path=value: epochs=20 model.name=mask_rcnn
    recipe
        A YAML file or a name; see `vesalius detect recipe`.
    valid
        Source of validation images. Default: what the data name, else a random fifth.
    out
        Run folder to make. Default: runs/detect-MODEL-TIME
    resume
        Go on with the run in --out from its last checkpoint.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.detect import commands

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
    to: Literal["coco", "voc", "yolo", "labelme", "csv", "masks"] = "coco",
    min_score: float = 0.0,
    draw: Flag = False,
    device: str = "auto",
    as_json: Json = False,
) -> int:
    """Detect objects in new images, and write boxes and masks in one of the formats.

    Parameters
    ----------
    run
        Folder that `train` wrote, or the name of a model that comes with the package: blood-cells
    data
        Images: a folder, or one file.
    overrides
        Changes of the recipe's predict block: predict.score=0.3
    out
        Folder to make.
    to
        Format to write; coco keeps everything.
    min_score
        Leave out detections below.
    draw
        Also write the images with their detections, into pictures/.
    device
        auto, cpu, cuda, cuda:1, mps
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.cli.app import emit
    from vesalius.detect import commands
    from vesalius.engine.progress import Progress

    with Progress(0, label=say("detecting", "检测"), quiet=as_json) as bar:
        found = commands.predict(
            run,
            data,
            out=out,
            format=to,
            min_score=min_score,
            draw=draw,
            device=device,
            overrides=overrides,
            started=bar.begin,
            progress=bar.advance,
        )
    if as_json:
        counts = {scene.id: scene.count for scene in found.scenes}
        emit({"out": out, "images": counts, "losses": dict(found.losses)})
        return 0
    count, images = sum(scene.count for scene in found.scenes), len(found.scenes)
    print(
        f"{say(f'{count} objects in {images} images', f'{images} 幅图像，{count} 个目标')}: {out}"
    )
    for what, times in found.losses.items():
        print(f"{say('not in this format', '该格式无法表达')}: {what} ({times})")
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
    """Score a trained detector on annotated images.

    Parameters
    ----------
    run
        Folder that `train` wrote, or the name of a model that comes with the package.
    data
        Annotated images, laid out as for `train`. All of them are scored.
    overrides
        Changes of the recipe's predict and score blocks: score.headline=FROC
    held_out
        DATA is what the model was trained on: score only the images that it has not seen.
    out
        Also write the scores to this JSON file.
    device
        auto, cpu, cuda, cuda:1, mps
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.detect import commands

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
    "vesalius.cli.detect_convert:convert",
    help=say("Boxes and masks from one format into another.", "在标注格式之间转换。"),
)


@app.command
def export(
    run: Path, /, *overrides: str, out: Path, half: Flag = False, as_json: Json = False
) -> int:
    """Pass a trained detector on: a folder without names of cases.

    Parameters
    ----------
    run
        Folder that `train` wrote, or the name of a model that comes with the package.
    overrides
        Changes of the recipe's predict block to pass on: predict.score=0.3
    out
        Folder to make.
    half
        Store the weights as float16: half the size.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.cli.app import emit
    from vesalius.detect import commands

    written = commands.export(run, out, half=half, overrides=overrides)
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
    from vesalius.detect.recipe import DetectRecipe

    return shown_recipe(DetectRecipe, name, overrides)


def _show(scores) -> None:
    """Print tables of scores."""
    from rich.console import Console
    from rich.table import Table

    from vesalius.report.tables import format_value

    if scores is None:
        print(say("no validation images: nothing was scored", "没有验证图像，未评分"))
        return
    console = Console(highlight=False)
    overall = Table(say("over all images", "全部图像"), "", "95 %", title_justify="left")
    for name, value in scores.values.items():
        pair = scores.intervals.get(name)
        ends = " – ".join(map(format_value, pair)) if pair else ""
        overall.add_row(name, format_value(value), ends)
    console.print(overall)
    per_class = Table(say("class", "类别"), *_COLUMNS)
    for label, row in scores.labels.items():
        per_class.add_row(label, *(format_value(row.get(name)) for name in _COLUMNS))
    console.print(per_class)
