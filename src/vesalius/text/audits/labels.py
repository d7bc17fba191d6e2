"""How often each label stands, which hardly ever, and which look like one disease spelt twice."""

import re
import unicodedata
from collections import Counter

from vesalius.language import say
from vesalius.text.audits.entries import Collection
from vesalius.text.audits.findings import Finding, Table

HEAD, TAIL = 0.5, 0.05
"""Head: the commonest labels, which make half of all assignments. Tail: the rarest twentieth."""


def audit(records: Collection, expected: tuple[str, ...]) -> tuple[list[Finding], list[Table]]:
    """Count labels.

    Args:
        records: what to look at.
        expected: labels that ought to exist; one that no record has is reported.
    """
    counts = Counter(name for entry in records.entries for name in entry.labels or ())
    findings = [*_rare(counts), *_absent(counts, expected), *_unlabelled(records)]
    findings += _spellings(counts)
    parts = parts_of(counts)
    total = max(1, len(records.labelled))
    rows = tuple(
        (name, number, round(number / total, 4), parts[name])
        for name, number in counts.most_common()
    )
    header = (
        say("label", "标签"),
        say("records", "病历数"),
        say("share", "占比"),
        say("part", "分段"),
    )
    return findings, [Table("labels", say("labels", "标签频率"), header, rows)]


def parts_of(counts: Counter[str]) -> dict[str, str]:
    """Return "head", "middle" or "tail" for each label."""
    total, seen, parts = sum(counts.values()), 0, {}
    for name, number in counts.most_common():
        before = seen / max(1, total)
        parts[name] = "head" if before < HEAD else "tail" if before >= 1 - TAIL else "middle"
        seen += number
    return parts


def _rare(counts: Counter[str]) -> list[Finding]:
    single = sorted(name for name, number in counts.items() if number == 1)
    if not single:
        return []
    return [
        Finding(
            "warns",
            "labels-with-one-case",
            say(
                f"{len(single)} labels have a single record: {_some(single)}.",
                f"{len(single)} 个标签只有一份病历：{_some(single)}。",
            ),
            say(
                "Merge them into a broader label, drop them, or collect more; no split can both "
                "train and test them.",
                "合并到更大的类、删除或补充病历；任何划分都无法同时训练与测试它们。",
            ),
            {"labels": single},
        )
    ]


def _absent(counts: Counter[str], expected: tuple[str, ...]) -> list[Finding]:
    absent = sorted(set(expected) - set(counts))
    unexpected = sorted(set(counts) - set(expected)) if expected else []
    findings = []
    if absent:
        message = say(
            f"{len(absent)} expected labels have no record: {_some(absent)}.",
            f"{len(absent)} 个预期标签没有病历：{_some(absent)}。",
        )
        remedy = say(
            "Leave them out of the macro scores, or collect records.",
            "从宏平均中去掉，或补充病历。",
        )
        findings.append(
            Finding("warns", "labels-without-cases", message, remedy, {"labels": absent})
        )
    if unexpected:
        message = say(
            f"{len(unexpected)} labels are not among the expected ones: {_some(unexpected)}.",
            f"{len(unexpected)} 个标签不在预期之中：{_some(unexpected)}。",
        )
        remedy = say("Rename or merge them by a rule file.", "用规则文件改名或合并。")
        details = {"labels": unexpected}
        findings.append(Finding("warns", "unexpected-labels", message, remedy, details))
    return findings


def _unlabelled(records: Collection) -> list[Finding]:
    without = [entry.id for entry in records.entries if not entry.labels]
    if not without:
        return []
    return [
        Finding(
            "notes",
            "records-without-labels",
            say(
                f"{len(without)} of {len(records.entries)} records have no label.",
                f"{len(records.entries)} 份病历中 {len(without)} 份没有标签。",
            ),
            say("Make sure that they are meant to have none.", "请确认确实没有诊断。"),
            {"records": without[:100]},
        )
    ]


def _spellings(counts: Counter[str]) -> list[Finding]:
    pairs = similar_names(sorted(counts))
    if not pairs:
        return []
    shown = _some([f"{one} ~ {other}" for one, other, _ in pairs])
    return [
        Finding(
            "warns",
            "label-spellings",
            say(
                f"{len(pairs)} pairs of labels look alike: {shown}.",
                f"{len(pairs)} 对标签名相近：{shown}。",
            ),
            say(
                "Merge those that mean the same; keep those that do not (type 1 and type 2).",
                "含义相同的请合并，不同的保留（如1型与2型）。",
            ),
            {"pairs": [{"labels": [one, other], "why": why} for one, other, why in pairs]},
        )
    ]


def similar_names(names: list[str]) -> list[tuple[str, str, str]]:
    """Return pairs of names with the reason: "same", "edit" or "contained".

    "same": equal but for width, case, spaces and signs. "edit": one edit apart in names of at
    least four characters, or two in ten; names that differ in a digit or a Roman numeral alone are
    different diseases and left out. "contained": one begins or ends with the other (急性支气管炎,
    支气管炎).
    """
    bare = {name: _bare(name) for name in names}
    pairs = []
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            why = _alike(bare[one], bare[other])
            if why:
                pairs.append((one, other, why))
    return pairs


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).lower())


def _alike(one: str, other: str) -> str | None:
    if one == other:
        return "same"
    short, long = sorted((one, other), key=len)
    if len(short) >= 3 and (long.startswith(short) or long.endswith(short)):
        return "contained"
    allowed = 2 if len(short) >= 10 else 1 if len(short) >= 4 else 0
    if len(long) - len(short) > allowed or re.sub(r"[\divx一二三四]", "", one) == re.sub(
        r"[\divx一二三四]", "", other
    ):
        return None
    return "edit" if allowed and edit_distance(one, other, allowed) <= allowed else None


def edit_distance(one: str, other: str, limit: int) -> int:
    """Return the Levenshtein distance, or `limit` + 1 where it is greater."""
    previous = list(range(len(other) + 1))
    for row, character in enumerate(one, 1):
        current = [row]
        for column, against in enumerate(other, 1):
            change = previous[column - 1] + (character != against)
            current.append(min(previous[column] + 1, current[-1] + 1, change))
        if min(current) > limit:
            return limit + 1
        previous = current
    return min(previous[-1], limit + 1)


def _some(names: list[str], count: int = 5) -> str:
    rest = len(names) - count
    return say(", ", "、").join(names[:count]) + (
        say(f" and {rest} more", f" 等另 {rest} 个") if rest > 0 else ""
    )
