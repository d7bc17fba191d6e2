"""`vesalius text audit` and `vesalius text deidentify`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from vesalius.language import say

Flag = Annotated[bool, Parameter(negative=())]
Json = Annotated[bool, Parameter(name="--json", negative=())]


def audit(
    source: Path,
    /,
    *,
    id_column: Annotated[str | None, Parameter(name="--id")] = None,
    label: str | None = None,
    group: str | None = None,
    fields: str | None = None,
    labels: Path | None = None,
    parts: str | None = None,
    limit: int = 512,
    tokenizer: str | None = None,
    out: Path | None = None,
    strict: Flag = False,
    seed: int = 0,
    as_json: Json = False,
) -> int:
    """Look for label errors, leakage, contradictions, long and personal texts in labelled records.

    Parameters
    ----------
    source
        Records: .json, .jsonl, .csv, .tsv, .xlsx or a folder.
    id_column
        Column with the record's id. Default: id, emr_id, 病历号 ... where present
    label
        Column with the labels. Default: labels, diseases, 诊断 ... where present
    group
        Column with the patient. Default: patient_id, group ... where present
    fields
        Columns with text, with commas between. Default: the headings of admission notes, or all
    labels
        File with the expected labels, one a line.
    parts
        What to ask, with commas between: labels, lengths, duplicates, errors, leakage, personal.
    limit
        Tokens that the model reads.
    tokenizer
        Folder or name of a Hugging Face tokenizer that counts tokens. Default: an estimate
    out
        Write the audit to this .md or .json file.
    strict
        Exit with status 1 if a finding blocks training.
    seed
        Of folds, permutations and samples.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.diagnose import records
    from vesalius.diagnose.record_schema import Schema
    from vesalius.errors import RecipeError
    from vesalius.text import auditing

    if out is not None and out.suffix not in (".md", ".json"):
        raise RecipeError(f"--out {out}: write a .md or a .json file")
    schema = Schema(id=id_column, label=label, group=group, fields=_listed(fields))
    found = auditing.audit(
        records.read(source, schema),
        parts=_listed(parts) or auditing.PARTS,
        labels=_lines(labels),
        limit=limit,
        count_tokens=_counter(tokenizer),
        seed=seed,
    )
    _write(found, out)
    if as_json:
        from vesalius.cli.app import emit

        emit(found.to_dict())
    else:
        found.show(_console())
    return 1 if strict and found.worst == "blocks" else 0


def deidentify(
    source: Path,
    /,
    *,
    out: Path | None = None,
    fields: str | None = None,
    patient: str | None = None,
    names: str | None = None,
    keep: str | None = None,
    mode: Literal["surrogate", "mask", "tag"] = "surrogate",
    salt_file: Path | None = None,
    seed: int = 0,
    workers: int | None = None,
    cluster: Flag = False,
    as_json: Json = False,
) -> int:
    """Take names, numbers, addresses and dates out of the texts of a file.

    No rule finds everything: read a sample before you give the result away.

    Parameters
    ----------
    source
        File with one text a line (.txt), or .jsonl, .csv, .tsv; .gz behind it is understood.
    out
        File to write, with the suffix of the input. Default: beside it, as NAME.deidentified.SUFFIX
    fields
        Fields to work on, with commas between. Default: text
    patient
        Column that says whose a record is: dates of a patient move together. Default: one shift
    names
        Columns that hold persons' names, with commas between; found in the texts too.
    keep
        Kinds that stay, with commas between, as hospital,ward,age.
    mode
        surrogate: invented values; mask: one * a character; tag: the kind, as [name].
    salt_file
        File with a secret; the same one gives the same surrogates. Without it they can be guessed.
    seed
        Another seed gives other surrogates.
    workers
        Number of processes. Default: the cores, one for small files
    cluster
        Work with Ray.
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from collections import Counter

    from vesalius.text.identifiers.files import deidentify_file
    from vesalius.text.personal import Deidentifier

    stem, _, suffixes = source.name.partition(".")
    out = out or source.with_name(f"{stem}.deidentified.{suffixes}")
    chosen = Deidentifier(seed=seed, salt=_secret(salt_file), keep=_listed(keep) or (), mode=mode)
    counts: Counter[str] = Counter()

    def gather(note: Mapping[str, Any]) -> None:
        counts.update(note["kinds"])

    settings = {} if patient or names else {"workers": workers, "cluster": cluster}
    summary = deidentify_file(
        source,
        chosen,
        out=out,
        fields=_listed(fields),
        patient=patient,
        names=_listed(names) or (),
        gather=gather,
        **settings,
    )
    return _report(
        summary, counts, out, unsalted=salt_file is None and mode == "surrogate", as_json=as_json
    )


def _report(
    summary: Any, counts: Mapping[str, int], out: Path, *, unsalted: bool, as_json: bool
) -> int:
    from vesalius.text.personal import KINDS

    found = {kind: counts[kind] for kind in KINDS if counts.get(kind)}
    if unsalted:
        print(
            say(
                "warning: without --salt-file anybody can compute the same surrogates",
                "警告：未给出 --salt-file，任何人都能算出同样的替换值",
            ),
            file=sys.stderr,
        )
    if as_json:
        from vesalius.cli.app import emit

        numbers = {"read": summary.read, "written": summary.written, "rejected": summary.rejected}
        emit(numbers | {"found": found, "out": str(out)})
        return 0
    listed = ", ".join(f"{kind} {count}" for kind, count in found.items()) or "-"
    print(
        say(
            "{} records read, {} written to {}; found: {}", "读入 {} 条，写出 {} 条：{}；发现：{}"
        ).format(summary.read, summary.written, out, listed)
    )
    if summary.rejected:
        print(
            say("{} rejected, see {}", "{} 条被拒，见 {}").format(summary.rejected, summary.rejects)
        )
    return 0


def _listed(value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    return tuple(part.strip() for part in value.replace("，", ",").split(",") if part.strip())


def _lines(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    return tuple(line.strip() for line in _content(path).splitlines() if line.strip())


def _secret(path: Path | None) -> str:
    from vesalius.errors import RecipeError

    if path is None:
        return ""
    secret = _content(path).strip()
    if not secret:
        raise RecipeError(
            f"--salt-file {path}: the file is empty; write a long random text into it"
        )
    return secret


def _content(path: Path) -> str:
    from vesalius.errors import DataError

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text: {error}") from None


def _counter(tokenizer: str | None) -> Any:
    if tokenizer is None:
        return None
    from transformers import AutoTokenizer

    from vesalius.errors import DataError

    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError) as error:
        raise DataError(f"--tokenizer {tokenizer}: cannot be loaded: {error}") from None
    return lambda text: len(loaded(text, add_special_tokens=False)["input_ids"])


def _write(found: Any, out: Path | None) -> None:
    from vesalius import files
    from vesalius.engine.run import to_json

    if out is not None:
        files.write_text(out, found.markdown() if out.suffix == ".md" else to_json(found.to_dict()))


def _console() -> Any:
    from rich.console import Console

    # A file or a pipe has no width of its own, and wrapped numbers are hard to search.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 120)
