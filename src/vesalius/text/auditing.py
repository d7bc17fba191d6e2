"""Look at labelled records before anything is trained on them.

    found = audit(records)          # mappings {"id", "fields", "labels", "group"}
    print(found.markdown())         # findings with remedies, then tables
    found.worst                     # "blocks", "warns", "notes" or None

Asked are: which labels are probably wrong, rare, or spelt twice; which copies contradict each
other; how long the fields are; what besides medicine predicts the labels; and whether personal data
are in the text. One module of `audits/` for each.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vesalius.errors import RecipeError
from vesalius.language import say
from vesalius.text.audits.findings import SEVERITIES, Finding, Severity, Table

if TYPE_CHECKING:
    from rich.console import Console

    from vesalius.text.audits.entries import Collection
    from vesalius.text.audits.label_errors import Suspect

PARTS = ("labels", "lengths", "duplicates", "errors", "leakage", "personal")
_PERSONAL_SAMPLE = 500


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        records: number of records.
        findings: the most serious first.
        tables: the numbers behind them.
        suspects: all labels that are probably wrong, the most suspicious first.
    """

    records: int
    findings: tuple[Finding, ...]
    tables: tuple[Table, ...]
    suspects: "tuple[Suspect, ...]" = field(default=(), repr=False)

    @property
    def worst(self) -> Severity | None:
        """The severity of the most serious finding; None without findings."""
        return self.findings[0].severity if self.findings else None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        from dataclasses import asdict

        return {
            "records": self.records,
            "worst": self.worst,
            "findings": [finding.to_dict() for finding in self.findings],
            "tables": {table.name: table.to_dict() for table in self.tables},
            "suspects": [asdict(suspect) for suspect in self.suspects],
        }

    def markdown(self) -> str:
        """Return a page with the findings and the tables."""
        lines = [say("# Audit", "# 数据审查"), "", self._summary(), ""]
        for finding in self.findings:
            lines.append(
                f"- **{severity_word(finding.severity)}** {finding.message} {finding.remedy}"
            )
        for table in filter(lambda table: table.rows, self.tables):
            lines += ["", f"## {table.title}", "", _markdown_row(table.header)]
            lines += [_markdown_row(["---"] * len(table.header)), *map(_markdown_row, table.rows)]
        return "\n".join(lines) + "\n"

    def show(self, console: "Console") -> None:
        """Print the findings and the first rows of the tables."""
        from rich.markup import escape
        from rich.table import Table as RichTable

        console.print(self._summary())
        for finding in self.findings:
            word = severity_word(finding.severity)
            console.print(f"[bold]{word}[/bold] {escape(finding.message)}")
            console.print(f"    {escape(finding.remedy)}")
        for table in filter(lambda table: table.rows, self.tables):
            shown = RichTable(*table.header, title=escape(table.title), title_justify="left")
            for row in table.rows[:20]:
                shown.add_row(*(escape(str(cell)) for cell in row))
            console.print(shown)

    def _summary(self) -> str:
        counts = Counter(finding.severity for finding in self.findings)
        said = ", ".join(f"{counts[name]} {severity_word(name)}" for name in SEVERITIES)
        return say(f"{self.records} records: {said}.", f"{self.records} 份病历：{said}。")


def severity_word(severity: Severity) -> str:
    """Return the severity in the user's language."""
    words = {"blocks": "阻断", "warns": "警告", "notes": "提示"}
    return say(severity, words[severity])


def _markdown_row(cells: Iterable[Any]) -> str:
    return (
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
    )


def audit(
    records: Iterable[Any],
    *,
    parts: Sequence[str] = PARTS,
    labels: Sequence[str] = (),
    limit: int = 512,
    count_tokens: Callable[[str], int] | None = None,
    similar: float = 0.9,
    permutations: int = 99,
    most: int = 20_000,
    seed: int = 0,
) -> Audit:
    """Audit labelled records.

    Args:
        records: mappings {"id", "fields", "labels", "group"} or objects with these attributes, as
            `vesalius.diagnose.records.Record`. `labels` None: not labelled; `group`: the patient.
        parts: what to ask, of `PARTS`.
        labels: the labels that are expected; missing and additional ones are reported.
        limit: tokens that the model reads.
        count_tokens: counts the tokens of a text; None: an estimate.
        similar: Jaccard index of character 5-grams from which two records are copies.
        permutations: of the null of every leakage probe.
        most: labelled records beyond this number are left out of the search for label errors (a
            random sample is searched, and a finding says so).
        seed: of folds, permutations and samples.

    Raises:
        DataError: records that cannot be audited, all at once.
        RecipeError: an unknown part, or a number out of range.
    """
    from vesalius.text.audits import entries

    _check(parts, limit, similar, permutations)
    collection = entries.collect(records)
    run = {
        "labels": lambda: _labels(collection, tuple(labels)),
        "lengths": lambda: _lengths(collection, limit, count_tokens),
        "duplicates": lambda: _duplicates(collection, similar, seed),
        "errors": lambda: _errors(collection, most, seed),
        "leakage": lambda: _leakage(collection, permutations, seed),
        "personal": lambda: _personal(collection, seed),
    }
    found = [run[part]() for part in PARTS if part in parts]
    findings = [finding for each in found for finding in each[0]]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    tables = tuple(table for each in found for table in each[1])
    suspects = tuple(suspect for each in found for suspect in each[2])
    return Audit(len(collection.entries), tuple(findings), tables, suspects)


_Found = tuple[list[Finding], list[Table], "list[Suspect]"]


def _labels(collection: "Collection", expected: tuple[str, ...]) -> _Found:
    from vesalius.text.audits import labels

    return (*labels.audit(collection, expected), [])


def _lengths(collection: "Collection", limit: int, count: Callable[[str], int] | None) -> _Found:
    from vesalius.text.audits import lengths

    return (*lengths.audit(collection, limit, count), [])


def _duplicates(collection: "Collection", similar: float, seed: int) -> _Found:
    from vesalius.text.audits import copies

    return (*copies.audit(collection, threshold=similar, seed=seed), [])


def _errors(collection: "Collection", most: int, seed: int) -> _Found:
    from vesalius.text.audits import entries, label_errors

    number = len(collection.labelled)
    if number < 2 or not collection.labels:
        return [], [], []
    if number > most:
        kept = sorted(random.Random(seed).sample(collection.labelled, most))
        collection = entries.Collection(tuple(collection.entries[index] for index in kept))
    texts = [collection.entries[index].text for index in collection.labelled]
    vectors = label_errors.features(texts)
    found = label_errors.audit(collection, seed=seed, vectors=vectors)
    return (found[0] + _sampled(number, most), *found[1:])


def _sampled(number: int, most: int) -> list[Finding]:
    if number <= most:
        return []
    message = say(
        f"Label errors were searched in {most} of {number} records.",
        f"标签错误只在 {number} 份病历中的 {most} 份里查找。",
    )
    remedy = say("Raise `most` to search all of them.", "增大 most 可检查全部。")
    return [Finding("notes", "sampled", message, remedy, {"searched": most, "of": number})]


def _leakage(collection: "Collection", permutations: int, seed: int) -> _Found:
    from vesalius.text.audits import label_errors, leakage

    if not collection.labels:
        return [], [], []
    findings, tables = leakage.audit(
        collection, seed=seed, permutations=permutations, vectorise=label_errors.features
    )
    return findings, tables, []


def _personal(collection: "Collection", seed: int) -> _Found:
    """Count personal data in a sample of the records."""
    from vesalius.text.personal import counted, find_personal

    entries = collection.entries
    number = min(len(entries), _PERSONAL_SAMPLE)
    sample = random.Random(seed).sample(range(len(entries)), number)
    spans = [find_personal(entries[index].text) for index in sample]
    counts = counted(span for found in spans for span in found)
    if not counts:
        return [], [], []
    touched = sum(map(bool, spans)) / number
    listed = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    message = say(
        f"{touched:.0%} of {number} sampled records hold personal data: {listed}.",
        f"抽查 {number} 份病历，{touched:.0%} 含个人信息：{listed}。",
    )
    remedy = say("Run `vesalius text deidentify` first.", "先运行 vesalius text deidentify。")
    return [Finding("warns", "personal-data", message, remedy, dict(counts))], [], []


def _check(parts: Sequence[str], limit: int, similar: float, permutations: int) -> None:
    unknown = [part for part in parts if part not in PARTS]
    if isinstance(parts, str) or unknown:
        raise RecipeError(f"parts: {parts!r} is unknown; give a list of {', '.join(PARTS)}")
    if limit < 1:
        raise RecipeError(f"limit is {limit} tokens; give 1 or more")
    if not 0 < similar <= 1:
        raise RecipeError(f"similar is {similar}; give a Jaccard index above 0 and at most 1")
    if permutations < 19:
        raise RecipeError(f"permutations is {permutations}; a null needs at least 19")
