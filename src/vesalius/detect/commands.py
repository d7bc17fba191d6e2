"""What a user does with a detection; the command line is a thin shell around these functions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.errors import RecipeError
from vesalius.language import say

if TYPE_CHECKING:
    from vesalius.detect.scene import Scene
    from vesalius.engine.run import Run
    from vesalius.engine.task import Scores

_SHOWN_CASES = 6
_NAME = "vesalius.detect.train"


def train(
    source: str | Path,
    *,
    recipe: str | Path | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    valid: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    command: str | None = None,
    overrides: Sequence[str] = (),
    **changes: Any,
) -> "Run":
    """Train a detector and write a run folder with a report.

    Args:
        source: data set in one of the formats of `vesalius.detect.formats` (COCO, Pascal VOC,
            YOLO, LabelMe, CSV, instance masks).
        recipe: YAML file, name of a preset, mapping, or None for the default.
        out: run folder to make; None: runs/detect-MODEL-TIME.
        valid: source of validation cases; None: what the source names, else a random share.
        resume: go on with the run in `out`.
        quiet: show no progress.
        command: how the run was started, for the report; None: the Python call.
        overrides: changes of the recipe as the command line writes them: ["epochs=20"].
        changes: the same as keywords: `epochs=20`, or `**{"model.name": "mask_rcnn"}`.

    Returns:
        The run, with `.predict(source)`, `.evaluate(source)` and `.scores`.

    Raises:
        DataError, RecipeError, TrainingError, StorageError: each names the place and the remedy.
    """
    from vesalius.detect.recipe import DetectRecipe
    from vesalius.detect.task import DetectTask, load_task
    from vesalius.engine import distributed, splits, starting
    from vesalius.engine.loop import fit

    items = starting.items(overrides, changes)
    if resume:
        before = starting.existing(out)
        recipe = before.folder / "recipe.yaml" if recipe is None else recipe
        chosen = DetectRecipe.load(recipe, items)
        task = load_task(chosen, before.config["task"])
    else:
        chosen = DetectRecipe.load(recipe, items)
        task = DetectTask(chosen)
    if valid is not None and chosen.data.folds is not None:
        raise RecipeError("data.folds holds cases of the source out; leave it, or valid, out")
    folder = starting.run_folder(out, f"detect-{chosen.model.name}", resume=resume)
    cases = task.cases(source)
    if valid is None:
        data = chosen.data
        usable = [case for case in cases if case.extra.get("split") != "test"]
        training, held, how = splits.split_cases(
            usable, data.valid_share, chosen.seed, folds=data.folds, fold=data.fold
        )
    else:
        training = starting.usable(cases, source, part="train", lack="annotation")
        held = starting.usable(task.cases(valid), valid, part="valid", lack="annotation")
        how = f"{valid}"
        starting.check_apart(training, held, lambda case: [case.input])
    extra = {
        "data": str(source),
        "split": {
            "how": how,
            "train": [case.id for case in training],
            "valid": [case.id for case in held],
        },
        "command": command or starting.as_python(_NAME, source, recipe, changes),
        "labels": task.label_names,
        "model": chosen.model.name,
        "seed": chosen.seed,
    }
    run = fit(task, training, held, chosen, folder, resume=resume, quiet=quiet, extra=extra)
    if distributed.is_first():
        report(run, held)
    return run


def report(run: "Run", cases) -> Path:
    """Write report.html and README.md of a run, with a contact sheet of its worst images."""
    from vesalius import files
    from vesalius.report import model_card, report_run

    path = report_run(run.folder, pictures=pictures(run, cases))
    files.write_text(run.folder / "README.md", model_card(run.folder))
    return path


def pictures(run: "Run", cases, *, count: int = _SHOWN_CASES) -> list:
    """Return pictures of the images with the most misses and false alarms, worst first."""
    from vesalius.images.draw import figure_to_png
    from vesalius.report import Picture

    scores = run.scores
    if scores is None:
        return []
    wrong = {name: row["misses"] + row["false alarms"] for name, row in scores.cases.items()}
    ranked = sorted(cases, key=lambda case: -wrong.get(case.id, 0))[:count]
    task, drawn = run.task, []
    for case, found in zip(ranked, run.predictions(ranked), strict=True):
        row = scores.cases[case.id]
        counts = say(
            f"{row['hits']:.0f} found, {row['misses']:.0f} missed, {row['false alarms']:.0f} wrong",
            f"检出 {row['hits']:.0f}，漏检 {row['misses']:.0f}，误检 {row['false alarms']:.0f}",
        )
        picture = figure_to_png(task.draw(case, found))
        drawn.append(Picture(picture, f"{case.id}: {counts}", alt=case.id))
    return drawn


@dataclass(frozen=True)
class Predicted:
    """What was detected.

    Attributes:
        scenes: one `Scene` with scores per image.
        losses: what the format could not express -> how many objects or images it concerned.
    """

    scenes: "list[Scene]"
    losses: Mapping[str, int]


def predict(
    run: "Run | str | Path",
    source: str | Path,
    *,
    out: str | Path,
    format: str = "coco",  # noqa: A002 - the word users know
    min_score: float = 0.0,
    draw: bool = False,
    device: str = "auto",
    overrides: Sequence[str] = (),
    started: Callable[[int], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> "Predicted":
    """Detect objects in images and write them in one of the formats.

    Args:
        run: a run, its folder, or the name of a model that comes with the package ("blood-cells").
        source: an image, a folder of images, or a data set; annotations are not needed.
        out: folder to make; it holds the annotations and, with `draw`, pictures/.
        format: coco, voc, yolo, labelme, csv or masks; what it cannot express is told in the
            result, coco keeps all.
        min_score: detections below are left out.
        draw: also write each image with its detections (above `predict.score`) as PNG.
        device: auto, cpu, cuda, ...
        overrides: changes of the recipe's `predict` block: ["predict.score=0.3"].
        started: called with the number of images once they are known.
        progress: called with the number of images done since the last call.

    Returns:
        The scenes, and what the format could not express.

    Raises:
        DataError: an image cannot be read, or is of another kind than the training images.
        RecipeError: the folder is there already; an unknown format.
        StorageError: something cannot be written.
    """
    from vesalius import files
    from vesalius.detect.formats import write
    from vesalius.images.draw import figure_to_png

    run, out = opened(run, overrides), Path(out)
    if out.exists():
        raise RecipeError(f"{out} exists already; choose another folder")
    task = run.task
    cases = task.cases(source, objects=False)
    by_id = {case.id: case for case in cases}
    if started:
        started(len(cases))
    scenes, drawn = [], {}
    for found in run.predictions(cases, device=device):
        case = by_id[found.id]
        scenes.append(task.scene(case, found, min_score=min_score))
        if draw:
            drawn[found.id] = figure_to_png(task.draw(case, found))
        if progress:
            progress(1)
    written = write(scenes, out, format=format, classes=task.label_names)
    for name, picture in drawn.items():
        files.write_bytes(out / "pictures" / f"{name}.png", picture)
    return Predicted(scenes, written.losses)


def opened(run: "Run | str | Path", overrides: Sequence[str]) -> "Run":
    """Open a run; only what a trained model leaves open may be changed."""
    from vesalius.engine import starting

    return starting.opened(run, overrides, free=("predict.", "score."))


def evaluate(
    run: "Run | str | Path",
    source: str | Path,
    *,
    held_out: bool = False,
    out: str | Path | None = None,
    device: str = "auto",
    overrides: Sequence[str] = (),
    started: Callable[[int], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> "Scores":
    """Score a run on annotated images; with `out`, write the scores there as JSON.

    Images that a source marks as training or validation are scored like all others. With `held_out`
    the source is the one that the run was trained on, and only what it held out is scored.
    `overrides` are changes of the recipe's `predict` and `score` blocks.

    Raises:
        DataError: an image has no annotation; or, with `held_out`, the source is not what the run
            was trained on, or nothing was held out.
    """
    from vesalius import files
    from vesalius.engine import starting
    from vesalius.engine.run import to_json

    run = opened(run, overrides)
    cases = starting.held_out(run, run.task.cases(source), source) if held_out else None
    scores = run.evaluate(source, cases=cases, device=device, started=started, progress=progress)
    if out is not None:
        files.write_text(Path(out), to_json({**scores.to_dict(), "data": str(source)}))
    return scores


def export(
    run: "Run | str | Path", out: str | Path, *, half: bool = False, overrides: Sequence[str] = ()
) -> Path:
    """Write a trained detector as a folder for others, without the names of cases.

    Args:
        run: a run, its folder, or the name of a model that comes with the package.
        out: folder to make: recipe, weights, card, scores.
        half: store the weights as float16.
        overrides: changes of the recipe's `predict` block to pass on: ["predict.score=0.3"].

    Returns:
        The folder.

    Raises:
        RecipeError: `out` exists.
        StorageError: it cannot be written; nothing is left behind.
    """
    from vesalius.engine.shipped import export_run

    return export_run(opened(run, overrides), Path(out), half=half)
