"""Two or more runs side by side on one page."""

from collections.abc import Sequence
from pathlib import Path

from vesalius.errors import DataError
from vesalius.language import say
from vesalius.report.folder import RunFolder, read_run_folder
from vesalius.report.page import Code, Curves, Details, Picture, Section, Table, Text, write_page
from vesalius.report.run import gallery, limits, series

NamedRuns = Sequence[tuple[str, RunFolder]]


def report_comparison(
    path: str | Path,
    *,
    title: str,
    runs: Sequence[tuple[str, str | Path]],
    pictures: Sequence[Picture] = (),
    introduction: Sequence[str] = (),
) -> Path:
    """Write one page that compares runs, and return its path.

    Args:
        path: the HTML file.
        title: of the page.
        runs: (name, run folder) of each run; names differ.
        pictures: of the same cases by each run, for example.
        introduction: paragraphs of plain text that stand first (what the data are and show).

    Raises:
        DataError: names repeat, or a folder is no run folder.
        StorageError: the page cannot be written.
    """
    sections = comparison(runs, pictures=pictures, introduction=introduction)
    subtitle = " · ".join(name for name, _ in runs)
    return write_page(path, title=title, subtitle=subtitle, sections=sections)


def comparison(
    runs: Sequence[tuple[str, str | Path]],
    *,
    title: str = "",
    pictures: Sequence[Picture] = (),
    introduction: Sequence[str] = (),
    sections: Sequence[Section] = (),
) -> list[Section]:
    """Return the sections that compare runs, for a page of one's own.

    Args:
        runs, pictures, introduction: as for `report_comparison`.
        title: heading of the whole, where the page compares other runs too.
        sections: what else is shown, after the pictures.

    Raises:
        DataError: names repeat, or a folder is no run folder.
    """
    names = [name for name, _ in runs]
    if len(set(names)) != len(names) or not names:
        raise DataError(f"A comparison needs at least one run and different names; got {names}.")
    read = [(name, read_run_folder(folder)) for name, folder in runs]
    return [
        *([Text(list(introduction), title=title)] if introduction or title else []),
        *_remarks(read),
        _table(read),
        *_curves(read),
        *_labels(read),
        *gallery(pictures),
        *sections,
        *_recipes(read),
        limits(*(run for _, run in read)),
    ]


def _remarks(runs: NamedRuns) -> list[Section]:
    lines = [f"{name}: {line}" for name, run in runs for line in run.remarks]
    return [Text(lines, title=say("Remarks", "说明"))] if lines else []


def _table(runs: NamedRuns) -> Section:
    scores = list(dict.fromkeys(score for _, run in runs for score in run.values))
    headlines = {run.headline for _, run in runs}
    scores.sort(key=lambda score: score not in headlines)
    parameters, each, total = (
        say("parameters", "参数量"),
        say("seconds per step", "每步秒数"),
        say("seconds in all", "总秒数"),
    )
    rows = [
        [
            name,
            *(run.values.get(score) for score in scores),
            run.fact("parameters", "num_parameters"),
            run.seconds_per_step,
            run.seconds,
        ]
        for name, run in runs
    ]
    first = runs[0][1]
    highlight = {s: "max" if first.higher_is_better(s) else "min" for s in scores}
    columns = [say("run", "运行"), *scores, parameters, each, total]
    caption = say(
        "Bold: the best of each column. One run per row: differences within the spread between "
        "seeds mean nothing, and this table does not show that spread.",
        "粗体：该列最好的。每行只是一次运行：小于不同随机种子之间波动的差别没有意义，而本表不反映这种波动。",
    )
    return Table(say("Side by side", "并列比较"), columns, rows, caption, highlight | {each: "min"})


def _curves(runs: NamedRuns) -> list[Section]:
    step = say("step", "步")
    scores = list(dict.fromkeys(s for _, run in runs for s in (run.headline,) if s))
    charts = [
        Curves(
            say("Training loss", "训练损失"),
            {name: series(run.train, "loss") for name, run in runs},
            step,
            say("loss", "损失"),
        ),
        *(
            Curves(
                f"{say('Validation', '验证')}: {score}",
                {name: series(run.valid, "scores", score) for name, run in runs},
                step,
            )
            for score in scores
        ),
    ]
    charts = [chart for chart in charts if any(chart.series.values())]
    heading = Text((), title=say("Learning curves", "学习曲线"))
    return [heading, *charts] if charts else []


def _labels(runs: NamedRuns) -> list[Section]:
    """Return the headline's metric (or the first one) per label and run."""
    tables = [(name, run.scores.get("labels") or {}) for name, run in runs]
    labels = list(dict.fromkeys(label for _, table in tables for label in table))
    metrics = list(dict.fromkeys(m for _, t in tables for row in t.values() for m in row))
    if not labels:
        return []
    headline = runs[0][1].headline
    metric = headline if headline in metrics else metrics[0]
    rows = [[label, *(t.get(label, {}).get(metric) for _, t in tables)] for label in labels]
    title = f"{say('By label', '各标签')}: {metric}"
    return [Table(title, [say("label", "标签"), *(name for name, _ in runs)], rows)]


def _recipes(runs: NamedRuns) -> list[Section]:
    return [
        Details(f"{say('Complete recipe', '完整配方')}: {name}", [Code("recipe.yaml", run.recipe)])
        for name, run in runs
        if run.recipe
    ]
