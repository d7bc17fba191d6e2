"""`vesalius text words` and `vesalius text deduplicate`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from vesalius.language import say

if TYPE_CHECKING:
    from vesalius.text.streams import Summary
    from vesalius.text.word_files import FileSummary, WordCounts

Flag = Annotated[bool, Parameter(negative=())]
Json = Annotated[bool, Parameter(name="--json", negative=())]
_SHOWN = 20


def words(
    data: Path,
    /,
    *,
    out: Path,
    fields: str | None = None,
    cutter: Literal["rjieba", "jieba", "characters", "whitespace", "regex"] = "rjieba",
    language: Literal["auto", "zh", "en"] = "auto",
    lexicon: Path | None = None,
    separator: str = " ",
    tags: Flag = False,
    vocabulary: Path | None = None,
    min_count: int = 1,
    max_size: int | None = None,
    ngrams: int = 1,
    workers: int | None = None,
    cluster: Flag = False,
    as_json: Json = False,
) -> int:
    """Cut the texts of a file into words; count them.

    Parameters
    ----------
    data
        .txt (one text per line), .jsonl, .csv or .tsv, also with .gz behind.
    out
        File to write, of the same kind, with the words of each text in its place.
    fields
        Fields to cut, with commas. Default: text
    cutter
        rjieba keeps medical terms whole; texts without Chinese are cut by expression.
    language
        auto decides for each text.
    lexicon
        Further terms to keep whole: .txt with one a line, or .yaml with lists.
    separator
        Between the words.
    tags
        Write each word with its part of speech, as 咳嗽/VERB.
    vocabulary
        Write the vocabulary to this JSON file: [UNK] is 0, [PAD] is 1.
    min_count
        Rarer words are not in the vocabulary.
    max_size
        Largest number of words of the vocabulary.
    ngrams
        Count n-grams of this many words.
    workers
        Number of processes. Default: one per core for files above 8 MiB.
    cluster
        Work on a Ray cluster.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.engine.progress import Progress
    from vesalius.errors import RecipeError
    from vesalius.text import streams
    from vesalius.text.vocabulary import Vocabulary
    from vesalius.text.word_files import CutWork, WordCounts
    from vesalius.text.wording import Cutter

    if ngrams < 1:
        raise RecipeError(f"--ngrams {ngrams}: give 1 or more")
    chosen = Cutter(cutter, language=language, lexicon=lexicon)
    work = CutWork(chosen, separator=separator, tags=tags, count=ngrams, lexicon=lexicon)
    found = WordCounts()
    with Progress(0, label=say("cutting", "分词"), quiet=as_json) as bar:
        summary = streams.run(
            data,
            work,
            out=out,
            fields=_names(fields),
            workers=workers,
            cluster=cluster,
            started=bar.begin,
            progress=bar.advance,
            gather=found.add,
        )
    if vocabulary is not None:
        made = Vocabulary.of_counts(found.counts, min_count=min_count, max_size=max_size)
        made.save(vocabulary)
    _show_words(summary, found, out, as_json=as_json)
    return 0


def deduplicate(
    data: Path,
    /,
    *,
    out: Path,
    fields: str | None = None,
    threshold: float = 0.7,
    exact: Flag = False,
    ngram: int = 5,
    log: Path | None = None,
    rejects: Path | None = None,
    encoding: str | None = None,
    seed: int = 0,
    as_json: Json = False,
) -> int:
    """Leave out the records that repeat an earlier one, exactly or nearly. Every pair is verified.

    Parameters
    ----------
    data
        .txt (one text per line), .jsonl, .csv or .tsv, also with .gz behind.
    out
        File to write, of the same kind.
    fields
        Fields to compare, with commas; a record's fields are compared together. Default: text
    threshold
        Smallest Jaccard index of two texts' character n-grams that makes them near duplicates.
    exact
        Leave out equal texts only (but for case, width and idle spaces).
    ngram
        Characters of an n-gram.
    log
        Write which record repeats which to this JSONL file.
    rejects
        File for lines that could not be read. Default: NAME.rejects.jsonl beside --out
    encoding
        Of the input, where it is not recognised: utf-8, gb18030, big5, utf-16
    seed
        Of the sketches that propose pairs.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.text.word_files import deduplicate_file

    summary = deduplicate_file(
        data,
        out=out,
        fields=_names(fields),
        threshold=None if exact else threshold,
        ngram=ngram,
        seed=seed,
        rejects=rejects,
        encoding=encoding,
        progress=_announce,
    )
    if log is not None:
        _write_log(summary, log)
    _show_duplicates(summary, out, as_json=as_json)
    return 0


def _names(fields: str | None) -> list[str] | None:
    return None if fields is None else [name.strip() for name in fields.split(",")]


def _announce(step: str) -> None:
    """Say on a terminal which of the three parts goes on; none of them can be counted ahead."""
    names = {
        "read": say("reading", "读取"),
        "compare": say("comparing", "比较"),
        "write": say("writing", "写出"),
    }
    if sys.stderr.isatty():
        print(f"{names[step]} ...", file=sys.stderr)


def _show_words(summary: "Summary", found: "WordCounts", out: Path, *, as_json: bool) -> None:
    ranked = sorted(found.counts.items(), key=lambda item: (-item[1], item[0]))
    if as_json:
        from dataclasses import asdict

        counts = {"words": found.words, "distinct": len(ranked), "most": dict(ranked[:_SHOWN])}
        _emit({"out": out, **asdict(summary), **counts})
        return
    print(
        say(
            f"{summary.read} records read, {found.words} words, {len(ranked)} distinct, written "
            f"to {out}",
            f"读入 {summary.read} 条记录，共 {found.words} 词，{len(ranked)} 种，写入 {out}",
        )
    )
    print("  ".join(f"{word} {count}" for word, count in ranked[:_SHOWN]))
    _show_rejects(summary.rejected)


def _show_duplicates(summary: "FileSummary", out: Path, *, as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        _emit({"out": out, **asdict(summary)})
        return
    equal = sum(drop.similarity == 1 for drop in summary.dropped)
    near = len(summary.dropped) - equal
    print(
        say(
            f"{summary.read} records read, {equal} equal and {near} near duplicates left out, "
            f"{summary.written} written to {out}",
            f"读入 {summary.read} 条记录，去除相同 {equal} 条、近似 {near} 条，"
            f"{summary.written} 条写入 {out}",
        )
    )
    for drop in summary.dropped[:_SHOWN]:
        print(
            say(
                f"  line {drop.line} repeats line {drop.duplicate_of} ({drop.similarity:.3f})",
                f"  第 {drop.line} 行与第 {drop.duplicate_of} 行重复（{drop.similarity:.3f}）",
            )
        )
    _show_rejects(summary.rejected)


def _show_rejects(rejected: int) -> None:
    if rejected:
        print(
            say(
                f"{rejected} records could not be read; see the rejects file",
                f"{rejected} 条记录无法读取，见 rejects 文件",
            )
        )


def _write_log(summary: "FileSummary", log: Path) -> None:
    from dataclasses import asdict

    from vesalius import files

    files.write_text(log, "".join(json.dumps(asdict(drop)) + "\n" for drop in summary.dropped))


def _emit(value: dict[str, Any]) -> None:
    from vesalius.cli.app import emit

    emit(value)
