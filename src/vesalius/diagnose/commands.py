"""What a user does with a diagnosis; the command line is a thin shell around these functions."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vesalius.errors import DataError, RecipeError

if TYPE_CHECKING:
    from vesalius.engine.run import Run
    from vesalius.engine.task import Case, Scores

_OPEN = ("decide.never_empty", "decide.max_labels", "decide.rules", "data.predict_length")
"""What may be changed of a trained model: what needs no fitting."""
_NAME = "vesalius.diagnose.train"


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
    """Train a model of records and write a run folder with a report.

    Args:
        source: records with labels: JSON, JSONL, CSV, TSV, Excel, a `datasets` folder, or a folder
            of train, valid and test files; see `vesalius.diagnose.records.read`.
        recipe: YAML file, name of a preset, mapping, or None for the default.
        out: run folder to make; None: runs/diagnose-MODEL-TIME.
        valid: source of validation records; None: what the source names, else a random share.
        resume: go on with the run in `out`.
        quiet: show no progress.
        command: how the run was started, for the report; None: the Python call.
        overrides: changes of the recipe as the command line writes them: ["epochs=20"].
        changes: the same as keywords: `epochs=20`, or `**{"model.name": "tfidf"}`.

    Returns:
        The run, with `.predict(source)`, `.evaluate(source)` and `.scores`.

    Raises:
        DataError, RecipeError, TrainingError, StorageError: each names the place and the remedy.
    """
    from vesalius.diagnose.recipe import DiagnoseRecipe
    from vesalius.diagnose.task import DiagnoseTask, load_task
    from vesalius.engine import distributed, run, starting
    from vesalius.engine.loop import fit

    items = starting.items(overrides, changes)
    if resume:
        before = starting.existing(out)
        recipe = before.folder / "recipe.yaml" if recipe is None else recipe
    chosen = DiagnoseRecipe.load(recipe, items)
    # A model that is solved has no checkpoint to go on from: it is solved again, to the same.
    anew = not resume or chosen.model.name == "tfidf"
    if anew:
        task = DiagnoseTask(chosen)
    else:
        task = load_task(chosen, before.config["task"], before.assets)
        task.decider = None
    folder = starting.run_folder(out, f"diagnose-{chosen.model.name}", resume=resume)
    training, held, how = _split(task, source, valid, chosen)
    if anew:
        task.learn(training)
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
    made = fit(task, training, held, chosen, folder, resume=resume, quiet=quiet, extra=extra)
    if distributed.is_first():
        if held:
            task.fit_decision(held, made.predictions(held))
            run.write_assets(made.folder, task.assets())
        made = run.Run(made.folder)
        report(made, held)
    return made


def _split(task, source, valid, chosen) -> tuple[list["Case"], list["Case"], str]:
    """Return training and validation records and how they were parted."""
    from vesalius.engine.splits import split_cases

    data = chosen.data
    cases = task.cases(source)
    if valid is None:
        return split_cases(cases, data.valid_share, chosen.seed, folds=data.folds, fold=data.fold)
    if data.folds is not None:
        raise RecipeError("data.folds holds records of the source out; leave it, or valid, out")
    training = [case for case in cases if case.extra.get("split") in (None, "train")]
    held = task.cases(valid)
    both = {case.id for case in training} & {case.id for case in held}
    same = {_text(case) for case in training} & {_text(case) for case in held}
    if both or same:
        raise DataError(
            f"{len(both)} validation record(s) have the id, and {len(same)} the text, of a "
            "training record: their scores would mean nothing",
            sorted(both)[:20],
        )
    return training, held, f"{valid}"


def _text(case: "Case") -> str:
    return "\n".join(case.input.values())


def report(run: "Run", cases: Sequence["Case"]) -> Path:
    """Write report.html and README.md of a run, with highlighted evidence of a few records."""
    from vesalius import files
    from vesalius.diagnose.reporting import sections
    from vesalius.report import model_card, report_run

    path = report_run(run.folder, sections=sections(run, cases))
    files.write_text(run.folder / "README.md", model_card(run.folder))
    return path


def opened(run: "Run | str | Path", overrides: Sequence[str]) -> "Run":
    """Open a run; only what a trained model leaves open may be changed."""
    from vesalius.engine import starting

    return starting.opened(run, overrides, free=_OPEN)


def predict(
    run: "Run | str | Path",
    source: str | Path,
    *,
    out: str | Path,
    evidence: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    overrides: Sequence[str] = (),
    started: Callable[[int], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Predict the diseases of every record of a source.

    Args:
        run: a run, or its folder.
        source: as for `train`; labels are not needed, and not looked at.
        out: file to write: .json in the contest's form {"ZY000001": ["高血压"]}, or .jsonl with
            probabilities (and evidence).
        evidence: also find the sentences that carried each disease; one more prediction for every
            sentence of a record, so it takes its time. Needs a .jsonl file.
        overwrite: replace a file that is there already.
        device: auto, cpu, cuda, ...
        overrides: changes of `decide.never_empty`, `decide.max_labels`, `decide.rules` and
            `data.predict_length`.
        started: called with the number of records once they are known.
        progress: called with the number of records done since the last call.

    Returns:
        The file.

    Raises:
        DataError: a record cannot be read.
        RecipeError: the file exists, or cannot hold what is asked for.
    """
    from vesalius.diagnose import answers

    run, out = opened(run, overrides), Path(out)
    if out.suffix not in (".json", ".jsonl"):
        raise RecipeError(f"{out}: answers are written as .json (the contest's form) or .jsonl")
    if evidence and out.suffix != ".jsonl":
        raise RecipeError(f"{out}: evidence is written to .jsonl files")
    if out.exists() and not overwrite:
        raise RecipeError(f"{out} exists already; choose another name, or say overwrite")
    task = run.task
    cases = task.cases(source, labels=False)
    if started:
        started(len(cases))
    found = list(run.predictions(cases, device=device, progress=None if evidence else progress))
    names = task.answers(cases, found)
    shown = None
    if evidence:
        shown = _evidence(run, task, cases, names, device, progress)
    made = answers.answers(
        [case.id for case in cases],
        names,
        names=task.label_names,
        probabilities=[item.probabilities for item in found],
        evidence=shown,
    )
    answers.write(made, out, ids=[case.id for case in cases])
    return out


def _evidence(run: "Run", task, cases, names, device: str, progress) -> list[list]:
    from vesalius.diagnose.evidence import as_written, explain
    from vesalius.engine.device import choose_device

    model, found = run.model(choose_device(device)), []
    for case, labels in zip(cases, names, strict=True):
        found.append([as_written(item, case) for item in explain(task, model, case, labels)[0]])
        if progress:
            progress(1)
    return found


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
    """Score a run on records whose diseases are known; with `out`, write scores.json there.

    All records of the source are scored, those too that it marks as training records: give the
    file that you want scored. With `held_out` the source is the one that the run was trained on,
    and only the records that it held out are scored, each by thresholds that were fitted to the
    others. Labels that the model does not know count for nothing.
    """
    from vesalius import files
    from vesalius.engine.run import to_json

    run = opened(run, overrides)
    if held_out:
        scores = _on_held_out(run, source, device=device, started=started, progress=progress)
    else:
        scores = run.evaluate(source, device=device, started=started, progress=progress)
    if out is not None:
        files.write_text(Path(out), to_json({**scores.to_dict(), "data": str(source)}))
    return scores


def _on_held_out(run: "Run", source, *, device, started, progress) -> "Scores":
    from vesalius.engine import starting

    task = run.task
    cases = starting.held_out(run, task.cases(source), source)
    task.decider = None  # it was fitted to these records, so its score would flatter
    if started:
        started(len(cases))
    return task.score(cases, run.predictions(cases, device=device, progress=progress))


def export(run: "Run | str | Path", out: str | Path, *, half: bool = False) -> Path:
    """Write a run folder to pass on: no ids of records, no path of the data.

    Args:
        run: a run, or its folder.
        out: folder to make.
        half: store the weights as float16.

    Raises:
        RecipeError: the folder exists already.
    """
    from vesalius.engine.shipped import export_run

    return export_run(opened(run, ()), out, half=half)


def pretrain(
    source: str | Path,
    *,
    recipe: str | Path | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    command: str | None = None,
    overrides: Sequence[str] = (),
    **changes: Any,
) -> "Run":
    """Pre-train an encoder on text without labels (masked language model); a run folder.

    Train from it with `start=FOLDER` and the same model block. Arguments as for `train`; the
    records need no labels.
    """
    from vesalius.diagnose.pretraining.recipe import PretrainRecipe
    from vesalius.diagnose.pretraining.task import PretrainTask, load_task
    from vesalius.engine import distributed, starting
    from vesalius.engine.loop import fit
    from vesalius.engine.splits import split_cases
    from vesalius.report import report_run

    items = starting.items(overrides, changes)
    if resume:
        before = starting.existing(out)
        recipe = before.folder / "recipe.yaml" if recipe is None else recipe
        chosen = PretrainRecipe.load(recipe, items)
        task = load_task(chosen, before.config["task"], before.assets)
    else:
        chosen = PretrainRecipe.load(recipe, items)
        task = PretrainTask(chosen)
    name = f"diagnose-pretrain-{chosen.model.name}"
    folder = starting.run_folder(out, name, resume=resume)
    training, held, how = split_cases(task.cases(source), chosen.data.valid_share, chosen.seed)
    if not resume:
        task.learn(training)
    extra = {
        "data": str(source),
        "split": {"how": how, "train": len(training), "valid": len(held)},
        "command": command
        or starting.as_python("vesalius.diagnose.pretrain", source, recipe, changes),
        "model": chosen.model.name,
        "seed": chosen.seed,
    }
    made = fit(task, training, held, chosen, folder, resume=resume, quiet=quiet, extra=extra)
    if distributed.is_first():
        report_run(made.folder)
    return made
