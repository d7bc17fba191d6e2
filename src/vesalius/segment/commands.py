"""What a user does with a segmentation; the command line is a thin shell around these functions."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.errors import RecipeError
from vesalius.language import say

if TYPE_CHECKING:
    from vesalius.engine.run import Run
    from vesalius.engine.task import Scores

_SHOWN_CASES = 6
_NAME = "vesalius.segment.train"


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
    """Train a segmentation model and write a run folder with a report.

    Args:
        source: folder (nnU-Net, images/ + masks/), table (.csv, .jsonl) or dataset.json.
        recipe: YAML file, name of a preset, mapping, or None for the default.
        out: run folder to make; None: runs/segment-MODEL-TIME.
        valid: source of validation cases; None: what the source names, else a random share.
        resume: go on with the run in `out`.
        quiet: show no progress.
        command: how the run was started, for the report; None: the Python call.
        overrides: changes of the recipe as the command line writes them: ["epochs=20"].
        changes: the same as keywords: `epochs=20`, or `**{"model.name": "unet"}`.

    Returns:
        The run, with `.predict(source)`, `.evaluate(source)` and `.scores`.

    Raises:
        DataError, RecipeError, TrainingError, StorageError: each names the place and the remedy.
    """
    from vesalius.engine import distributed, starting
    from vesalius.engine.loop import fit
    from vesalius.segment.data import split_cases
    from vesalius.segment.recipe import SegmentRecipe
    from vesalius.segment.task import SegmentTask, load_task

    items = starting.items(overrides, changes)
    if resume:
        before = starting.existing(out)
        recipe = before.folder / "recipe.yaml" if recipe is None else recipe
        chosen = SegmentRecipe.load(recipe, items)
        task = load_task(chosen, before.config["task"])
    else:
        chosen = SegmentRecipe.load(recipe, items)
        task = SegmentTask(chosen)
    if valid is not None and chosen.data.folds is not None:
        raise RecipeError("data.folds holds cases of the source out; leave it, or valid, out")
    folder = starting.run_folder(out, f"segment-{chosen.model.name}", resume=resume)
    cases = task.cases(source)
    if valid is None:
        data = chosen.data
        folds = {"folds": data.folds, "fold": data.fold}
        training, held, how = split_cases(cases, data.valid_share, chosen.seed, **folds)
    else:
        training = starting.usable(cases, source, part="train", lack="mask")
        held = starting.usable(task.cases(valid), valid, part="valid", lack="mask")
        how = f"{valid}"
        starting.check_apart(training, held, lambda case: case.input)
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
    """Write report.html and README.md of a run, with its best, middling and worst cases."""
    from vesalius import files
    from vesalius.report import model_card, report_run

    path = report_run(run.folder, pictures=pictures(run, cases))
    files.write_text(run.folder / "README.md", model_card(run.folder))
    return path


def pictures(run: "Run", cases, *, count: int = _SHOWN_CASES) -> list:
    """Return pictures of a run's worst, middling and best cases, worst first."""
    from vesalius.images.draw import figure_to_png
    from vesalius.report import Picture
    from vesalius.report.tables import format_value

    scores = run.scores
    if scores is None:
        return []
    # The headline per case where it has one (objects: their F1), else Dice.
    name = scores.headline if scores.headline in next(iter(scores.cases.values()), {}) else "dice"
    score = {case.id: _number(scores.cases.get(case.id, {}).get(name)) for case in cases}
    ranked = sorted(cases, key=lambda case: _rank(score[case.id]))
    chosen = _spread(ranked, count)
    task = run.task
    shown = "Dice" if name == "dice" else name
    drawn = []
    for case, found in zip(chosen, run.predictions(chosen), strict=True):
        place = say("rank", "名次")
        value = format_value(score[case.id])
        rank = f"{ranked.index(case) + 1}/{len(ranked)}"
        caption = f"{case.id}: {shown} {value} ({place} {rank})"
        drawn.append(Picture(figure_to_png(task.draw(case, found)), caption, alt=case.id))
    return drawn


def _number(value: float | None) -> float:
    return float("nan") if value is None else value  # NaN is null in a file of scores


def _rank(value: float) -> float:
    return float("inf") if value != value else value


def _spread(items: list, count: int) -> list:
    if len(items) <= count:
        return items
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def predict(
    run: "Run | str | Path",
    source: str | Path,
    *,
    out: str | Path,
    probabilities: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    overrides: Sequence[str] = (),
    started: Callable[[int], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Predict every case of a source and write one mask each, in the format that came in.

    Args:
        run: a run, its folder, or the name of a model that comes with the package ("nuclei").
        source: as for `train`; masks are not needed.
        out: folder for the masks: CASE + the suffix of the input (PNG for JPEG, .dcm for DICOM).
        probabilities: also write CASE_probabilities.nii.gz (volumes) or .tif (pictures), float32
            (labels, *size).
        overwrite: replace masks that are there already, of an earlier prediction for example.
        device: auto, cpu, cuda, ...
        overrides: changes of the recipe's `predict` block: ["predict.mirror=true"].
        started: called with the number of cases once they are known.
        progress: called with the number of cases done since the last call.

    Returns:
        The masks' paths.

    Raises:
        DataError: a case cannot be read, or has other channels than the training data; or a mask
            is there already.
        StorageError: a mask cannot be written.
    """
    from vesalius.images.read import read_channels
    from vesalius.images.write import mask_suffix_for, write_dicom_seg, write_image, write_mask

    run = opened(run, overrides)
    task, out = run.task, Path(out)
    cases = task.cases(source, masks=False)
    _check_place(cases, out, overwrite)
    by_id = {case.id: case for case in cases}
    written = []
    if started:
        started(len(cases))
    for found in run.predictions(cases, device=device):
        image = read_channels(by_id[found.id].input)
        labels = task.label_map(found)
        end = mask_suffix_for(image)
        path = out / f"{found.id}{end}"
        if end == ".dcm":
            names = task.mask_names(labels)
            write_dicom_seg(path, labels, like=image, names=names)
        else:
            write_mask(path, labels, like=image)
        if probabilities:
            end = ".tif" if image.dims == 2 else ".nii.gz"
            where = out / f"{found.id}_probabilities{end}"
            write_image(where, found.probabilities, like=image)
        written.append(path)
        if progress:
            progress(1)
    return written


def opened(run: "Run | str | Path", overrides: Sequence[str]) -> "Run":
    """Open a run; only what a trained model leaves open may be changed."""
    from vesalius.engine import starting

    return starting.opened(run, overrides, free=("predict.",))


def _check_place(cases, out: Path, overwrite: bool) -> None:
    """Refuse to replace files: they may be masks that a person has drawn, or the images."""
    from vesalius.images.layout import listed
    from vesalius.images.read import format_of
    from vesalius.images.write import MASK_SUFFIX

    masks = [out / f"{case.id}{MASK_SUFFIX[format_of(case.input[0])]}" for case in cases]
    images = {Path(path).resolve() for case in cases for path in case.input}
    lost = [f"{path}" for path in masks if path.resolve() in images]
    if lost:
        raise listed(f"predictions in {out} would replace the images; choose another folder", lost)
    there = [] if overwrite else [f"{path}" for path in masks if path.exists()]
    if there:
        raise listed(
            f"{out} holds masks of these cases already; choose another folder, or say overwrite",
            there,
        )


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
    """Score a run on cases whose masks are known; with `out`, write scores.json there.

    Cases that a source marks as training or validation cases are scored like all others: give
    the folder that you want scored. With `held_out` the source is the one that the run was trained
    on, and only the cases that the run held out are scored; a run that was passed on without the
    names of its cases draws them again by its recipe. `overrides` are changes of the recipe's
    `predict` block.

    Raises:
        DataError: a case has no mask; or, with `held_out`, the source is not what the run was
            trained on, or nothing was held out.
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
