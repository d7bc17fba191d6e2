"""`vesalius text clean`: unify characters without changing a value."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from vesalius.language import say

if TYPE_CHECKING:
    from vesalius.text.cleaning import CleanOptions
    from vesalius.text.cleaning_work import Report
    from vesalius.text.streams import Summary

Flag = Annotated[bool, Parameter(negative=())]


def clean(
    data: Path,
    /,
    *options: str,
    out: Path,
    fields: str | None = None,
    rules: Path | None = None,
    punctuation: Literal["keep", "chinese", "ascii"] | None = None,
    encoding: str | None = None,
    rejects: Path | None = None,
    workers: int | None = None,
    cluster: Flag = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Clean the texts of a file; values keep their meaning. Prints what changed, with examples.

    Parameters
    ----------
    data
        .txt (one text per line), .jsonl, .csv or .tsv, also with .gz behind.
    options
        What to do, as key=value: html=false repeats=3 case=lower stop_words=true simplified=false
        urls=false width=false mojibake=false control=false whitespace=false
    out
        File to write, of the same kind, in UTF-8.
    fields
        Fields to clean, with commas: 主诉,现病史. Default: text
    rules
        YAML file with replacements of your own: pattern, replace, flags, name.
    punctuation
        chinese (default): marks beside Chinese characters become Chinese; ascii; keep.
    encoding
        Of the input, where it is not recognised: utf-8, gb18030, big5, utf-16
    rejects
        File for lines that could not be read. Default: NAME.rejects.jsonl beside --out
    workers
        Number of processes. Default: one per core for files above 8 MiB.
    cluster
        Work on a Ray cluster.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.engine.progress import Progress
    from vesalius.text import formats, streams
    from vesalius.text.cleaning import Cleaner
    from vesalius.text.cleaning_work import Report, Work

    one_line = formats.suffix(data) == ".txt"
    work = Work(Cleaner(_options(options, rules, punctuation)), one_line=one_line)
    report = Report()
    with Progress(0, label=say("cleaning", "清洗"), quiet=as_json) as bar:
        summary = streams.run(
            data,
            work,
            out=out,
            fields=None if fields is None else [name.strip() for name in fields.split(",")],
            workers=workers,
            cluster=cluster,
            rejects=rejects,
            started=bar.begin,
            progress=bar.advance,
            gather=report.add,
            encoding=encoding,
        )
    _show(summary, report, out, as_json=as_json)
    return 0


def _options(given: tuple[str, ...], rules: Path | None, punctuation: str | None) -> "CleanOptions":
    from vesalius.engine.recipe_yaml import apply_override
    from vesalius.text.cleaning import options_from
    from vesalius.text.rules import read_rules

    values: dict = {}
    for item in given:
        values = apply_override(values, item)
    if punctuation is not None:
        values["punctuation"] = punctuation
    if rules is not None:
        values["rules"] = read_rules(rules)
    return options_from(values)


def _show(summary: "Summary", report: "Report", out: Path, *, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        from vesalius.cli.app import emit

        emit({"out": out, **asdict(summary), **report.to_dict()})
        return
    _table(report)
    print(
        say(
            f"{summary.read} records read ({summary.encoding}), {report.texts} texts changed, "
            f"{summary.written} records written to {out}",
            f"读入 {summary.read} 条记录（{summary.encoding}），{report.texts} 段文本有改动，"
            f"{summary.written} 条写入 {out}",
        )
    )
    if summary.rejected:
        print(
            say(
                f"{summary.rejected} records could not be read; see {summary.rejects}",
                f"{summary.rejected} 条记录无法读取，见 {summary.rejects}",
            )
        )


def _table(report: "Report") -> None:
    from rich.console import Console
    from rich.table import Table

    if not report.steps:
        return
    table = Table(
        say("step", "步骤"), say("texts", "文本数"), say("before", "之前"), say("after", "之后")
    )
    for name, found in report.steps.items():
        for place, (before, after) in enumerate(found.examples):
            head = ("", "") if place else (name, str(found.texts))
            # What cannot be seen (spaces, marks) is why a text was changed: show it escaped.
            table.add_row(*head, *(_visible(text) for text in (before, after)))
    width = None if sys.stdout.isatty() else 120
    Console(highlight=False, markup=False, width=width).print(table)


def _visible(text: str) -> str:
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
