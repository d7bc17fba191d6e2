"""`vesalius text augment`: variations of the texts of a file, with their facts unchanged."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from vesalius.language import say

if TYPE_CHECKING:
    from vesalius.text.augmenting import Augmentation

Flag = Annotated[bool, Parameter(negative=())]
Json = Annotated[bool, Parameter(name="--json", negative=())]


def augment(
    source: Path | None = None,
    /,
    *,
    kind: str = "eda",
    n: int = 1,
    strength: float = 0.1,
    out: Path | None = None,
    fields: str | None = None,
    keep: Flag = False,
    seed: int = 0,
    lexicon: Path | None = None,
    unprotected: Flag = False,
    option: tuple[str, ...] = (),
    corpus: Path | None = None,
    label: str | None = None,
    log: Path | None = None,
    workers: int | None = None,
    cluster: Flag = False,
    kinds: Flag = False,
    as_json: Json = False,
) -> int:
    """Write variations of texts; numbers, negations and medical terms stay as they are.

    Parameters
    ----------
    source
        File with one text a line (.txt), or .jsonl, .csv, .tsv; .gz behind it is understood.
    kind
        What to do; --kinds lists them. "duplicate" is the control to compare with.
    n
        Variations per text; a text that has fewer gives fewer.
    strength
        Share of the words that change, in (0, 1].
    out
        File to write, with the suffix of the input. Default: beside it, as NAME.KIND.SUFFIX
    fields
        Fields to change, with commas between. Default: text
    keep
        Write each original before its variations.
    seed
        The same seed gives the same file.
    lexicon
        Further terms to protect: .txt with one a line, or .yaml with lists.
    unprotected
        Let numbers, negations and terms change.
    option
        An option of the kind, as NAME=VALUE; may be given several times.
    corpus
        What tf-idf, unigram-noise and crossover learn from. Default: the input
    label
        For crossover: the field with the label that two texts must share.
    log
        Write the edits and the certificate of every variation to this JSONL file.
    workers
        Number of processes. Default: the cores, one for small files
    cluster
        Work with Ray.
    kinds
        List the kinds and stop.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.errors import RecipeError
    from vesalius.text.augmenting import Augmentation, AugmentWork

    if kinds:
        return _show_kinds(as_json)
    if source is None:
        raise RecipeError("give a file: vesalius text augment notes.txt --kind eda")
    if n < 1:
        raise RecipeError(f"--n {n}: give at least 1")
    named = [field.strip() for field in fields.split(",")] if fields else None
    made = Augmentation(
        kind, strength=strength, protect=not unprotected, lexicon=lexicon, **_options(option)
    )
    _fit(made, corpus or source, None if corpus else named, label)
    out = out or source.with_name(_beside(source, kind))
    work = AugmentWork(made, n=n, keep=keep, log=log is not None)
    summary = _run(
        source, work, log, out=out, fields=named, seed=seed, workers=workers, cluster=cluster
    )
    return _report(summary | {"kind": kind, "seed": seed, "out": str(out)}, as_json)


def _beside(source: Path, kind: str) -> str:
    stem, _, suffixes = source.name.partition(".")
    return f"{stem}.{kind}.{suffixes}"


def _options(given: tuple[str, ...]) -> dict[str, Any]:
    from vesalius.errors import RecipeError

    found = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals:
            raise RecipeError(f"--option {item}: write NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:  # a plain word
            found[name] = value
    return found


def _fit(made: "Augmentation", source: Path, fields: list[str] | None, label: str | None) -> None:
    """Let a kind that learns from texts learn."""
    from vesalius.errors import RecipeError

    fit = getattr(made.augmenter, "fit", None)
    if fit is None:
        if label:
            raise RecipeError("--label belongs to --kind crossover")
        return
    if getattr(made.augmenter, "labelled", False):
        if not label:
            raise RecipeError("crossover needs --label: the field that two texts must share")
        pairs = list(_texts(source, fields or ["text"], label))
        fit(
            [text for *texts, _ in pairs for text in texts],
            [given for *texts, given in pairs for _ in texts],
        )
        return
    fit(text for texts in _texts(source, fields) for text in texts if text.strip())


def _texts(source: Path, fields: list[str] | None, label: str | None = None) -> Iterator[list[str]]:
    """Yield the texts of each record that can be read, "" where a field is missing.

    With `label` the record's labels come last, as one string; they may be a list in the file.
    """
    from vesalius.errors import DataError
    from vesalius.text import encodings, formats

    encoding = encodings.detect(source)
    with encodings.open_binary(source) as binary:
        file = encodings.decoded(binary, encoding, newline=formats.newline_of(source))
        form = formats.format_of(source, file, fields)
        for raw in form.records(file):
            try:
                found: Mapping[str | None, str] = form.texts(raw.content)  # type: ignore[arg-type]
            except DataError:  # streams.run writes it to the rejects with its reason
                continue
            given = [found.get(field, "") for field in form.fields]
            yield given if label is None else [*given, _labels(form, raw.content, label)]


def _labels(form: Any, content: Any, label: str) -> str:
    """Return the labels of a record as one string that equal labels share."""
    from vesalius.errors import RecipeError

    if label not in form.known(content):
        raise RecipeError(f"--label {label}: the records have {', '.join(form.known(content))}")
    if isinstance(content, list):
        return content[form.columns.index(label)]
    value = json.loads(content)[label]
    return "|".join(sorted(map(str, value))) if isinstance(value, list) else str(value)


def _run(source: Path, work: Any, log: Path | None, **settings: Any) -> dict[str, Any]:
    """Stream the file with a progress bar; return the counts."""
    from rich.progress import Progress

    from vesalius.files import replacing
    from vesalius.text import streams

    made = 0
    with ExitStack() as stack:
        lines = None
        if log is not None:
            lines = stack.enter_context(
                stack.enter_context(replacing(log)).open("w", encoding="utf-8")
            )

        def gather(note: Mapping[str, Any]) -> None:
            nonlocal made
            made += 1
            if lines:
                kept = {key: value for key, value in note.items() if key != "made"}
                lines.write(json.dumps(kept, ensure_ascii=False) + "\n")

        bar = stack.enter_context(Progress(transient=True, disable=not sys.stderr.isatty()))
        task = bar.add_task(say("augmenting", "增强"), total=None)
        summary = streams.run(
            source,
            work,
            started=lambda size: bar.update(task, total=size),
            progress=lambda done: bar.advance(task, done),
            gather=gather,
            **settings,
        )
    counts = {"read": summary.read, "written": summary.written, "rejected": summary.rejected}
    rejects = {"rejects": str(summary.rejects)} if summary.rejects else {}
    return counts | {"variations": made} | rejects


def _report(summary: dict[str, Any], as_json: bool) -> int:
    if as_json:
        from vesalius.cli.app import emit

        emit(summary)
        return 0
    counts = (summary["read"], summary["variations"], summary["written"], summary["out"])
    print(
        say(
            "{} texts read, {} variations made, {} records written to {}",
            "读入 {} 条，生成 {} 条变体，写出 {} 条记录：{}",
        ).format(*counts)
    )
    if summary["rejected"]:
        print(
            say("{} rejected, see {}", "{} 条被拒，见 {}").format(
                summary["rejected"], summary["rejects"]
            )
        )
    return 0


def _show_kinds(as_json: bool) -> int:
    from vesalius.text.augmenting import kinds

    rows = [
        {
            "name": kind.name,
            "language": kind.language,
            "does": kind.description,
            "needs": kind.needs,
            "paper": kind.paper,
        }
        for kind in kinds()
    ]
    if as_json:
        from vesalius.cli.app import emit

        emit({"kinds": rows})
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(*rows[0])
    for row in rows:
        table.add_row(*row.values())
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(table)
    return 0
