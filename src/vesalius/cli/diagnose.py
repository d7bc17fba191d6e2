"""`vesalius diagnose ...`: medical records to diseases."""

from pathlib import Path

from cyclopts import App

from vesalius.cli.departments import Flag, Json, evaluated, shown_recipe, trained
from vesalius.language import say

app = App(
    name="diagnose",
    help=say("Medical records to diseases.", "由病历判断疾病（多标签）。"),
    help_format="plaintext",
)

_COLUMNS = ("support", "f1", "precision", "recall", "auprc")
_FIRST = ("macro_f1", "micro_f1", "weighted_f1", "samples_f1", "macro_auroc", "macro_auprc",
          "subset_accuracy", "hamming", "head_macro_f1", "middle_macro_f1", "tail_macro_f1",
          "mean_labels", "mean_predicted_labels", "empty_answers")  # fmt: skip
_ROWS = 30


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
        Records with labels: .json, .jsonl, .csv, .tsv, .xlsx, or a folder of train, valid and
        test files.
    overrides
        Changes of the recipe, as key.path=value: epochs=20 model.name=lstm
    recipe
        A YAML file or a name; see `vesalius diagnose recipe`.
    valid
        Source of validation records. Default: what the data names, else a random fifth.
    out
        Run folder to make. Default: runs/diagnose-MODEL-TIME
    resume
        Go on with the run in --out from its last checkpoint.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.diagnose import commands

    return trained(commands.train, data, overrides, _show, as_json=as_json,
                   recipe=recipe, valid=valid, out=out, resume=resume)  # fmt: skip


@app.command
def pretrain(
    data: Path,
    /,
    *overrides: str,
    recipe: str | None = None,
    out: Path | None = None,
    resume: Flag = False,
    as_json: Json = False,
) -> int:
    """Pre-train an encoder on text without labels; train from it with start=FOLDER.

    Parameters
    ----------
    data
        Records, with or without labels, as for `train`; or a .txt file, one text a line.
    overrides
        Changes of the recipe, as key.path=value: epochs=5 model.layers=6
    recipe
        A YAML file.
    out
        Run folder to make. Default: runs/diagnose-pretrain-MODEL-TIME
    resume
        Go on with the run in --out from its last checkpoint.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.diagnose import commands

    return trained(commands.pretrain, data, overrides, _show, as_json=as_json,
                   recipe=recipe, out=out, resume=resume)  # fmt: skip


@app.command
def predict(
    run: Path,
    data: Path,
    /,
    *overrides: str,
    out: Path,
    evidence: Flag = False,
    overwrite: Flag = False,
    device: str = "auto",
    as_json: Json = False,
) -> int:
    """Predict the diseases of new records.

    Parameters
    ----------
    run
        Folder that `train` wrote.
    data
        Records, as for `train`; labels are not needed.
    overrides
        Changes of what a trained model leaves open: decide.never_empty=false
    out
        File to write: .json, {"ZY000001": ["高血压"]}, or .jsonl with probabilities.
    evidence
        Also find the sentences that carried each disease (.jsonl); slower.
    overwrite
        Replace a file that is there already.
    device
        auto, cpu, cuda, cuda:1, mps
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.cli.app import emit
    from vesalius.diagnose import commands
    from vesalius.engine.progress import Progress

    with Progress(0, label=say("predicting", "预测"), quiet=as_json) as bar:
        written = commands.predict(
            run,
            data,
            out=out,
            evidence=evidence,
            overwrite=overwrite,
            device=device,
            overrides=overrides,
            started=bar.begin,
            progress=bar.advance,
        )
    if as_json:
        emit({"answers": written})
    else:
        print(written)
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
    """Score a trained model on records whose diseases are known.

    Parameters
    ----------
    run
        Folder that `train` wrote.
    data
        Records with labels. All of them are scored.
    overrides
        Changes of what a trained model leaves open: decide.never_empty=false
    held_out
        DATA is what the model was trained on: score only the records that it has not seen.
    out
        Also write the scores to this JSON file.
    device
        auto, cpu, cuda, cuda:1, mps
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.diagnose import commands

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


@app.command
def export(run: Path, /, *, out: Path, half: Flag = False, as_json: Json = False) -> int:
    """Pass a trained model on: a folder without ids of records.

    Parameters
    ----------
    run
        Folder that `train` wrote.
    out
        Folder to make.
    half
        Store the weights as float16: half the size.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.cli.app import emit
    from vesalius.diagnose import commands

    written = commands.export(run, out, half=half)
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
    from vesalius.diagnose.recipe import DiagnoseRecipe

    return shown_recipe(DiagnoseRecipe, name, overrides)


def _show(scores) -> None:
    """Print a table of scores."""
    from rich.console import Console
    from rich.table import Table

    from vesalius.report.tables import format_value

    if scores is None:
        print(say("no validation records: nothing was scored", "没有验证病历，未评分"))
        return
    console = Console(highlight=False)
    overall = Table(say("over all records", "全部病历"), "", "95 %", title_justify="left")
    shown = [name for name in _FIRST if name in scores.values] or list(scores.values)
    for name in shown:
        ends = scores.intervals.get(name)
        interval = "" if ends is None else f"{format_value(ends[0])} – {format_value(ends[1])}"
        overall.add_row(name, format_value(scores.values[name]), interval)
    console.print(overall)
    if not scores.labels:
        return
    per_label = Table(say("label", "标签"), *_COLUMNS)
    for label, row in list(scores.labels.items())[:_ROWS]:
        # Of a label that no record has and none was given there is nothing to score.
        silent = not row.get("support") and not row.get("predicted")
        shown = [None if silent and name != "support" else row.get(name) for name in _COLUMNS]
        per_label.add_row(label, *map(format_value, shown))
    console.print(per_label)
    if len(scores.labels) > _ROWS:
        more = len(scores.labels) - _ROWS
        print(say(f"and {more} more labels; all are in the report", f"另有 {more} 个标签，见报告"))
