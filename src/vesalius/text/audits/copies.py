"""Records that say the same: with other labels, or under another patient."""

import re
import unicodedata
from collections.abc import Sequence

from vesalius.language import say
from vesalius.text.audits.entries import Collection, Entry
from vesalius.text.audits.findings import Finding, Table


def near_pairs(texts: Sequence[str], threshold: float, seed: int) -> list[tuple[int, int, float]]:
    """Return pairs of equal or similar texts as (i, j, Jaccard index), ascending.

    Of many copies of one text each is paired with the first one alone, so that the list stays
    short; similar texts are compared by the first copies.
    """
    from vesalius.text.duplicates import near_duplicates

    first: dict[str, int] = {}
    pairs = []
    for index, text in enumerate(texts):
        key = re.sub(r"\W+", "", unicodedata.normalize("NFKC", text).lower())
        if key and first.setdefault(key, index) != index:
            pairs.append((first[key], index, 1.0))
    kept = sorted(first.values())
    found = near_duplicates([texts[index] for index in kept], threshold=threshold, seed=seed)
    pairs += [(kept[i], kept[j], float(similarity)) for i, j, similarity in found]
    return sorted(pairs)


def audit(
    records: Collection, *, threshold: float, seed: int, shown: int = 20
) -> tuple[list[Finding], list[Table]]:
    """Compare the labels and the patients of records with the same text."""
    entries = records.entries
    pairs = near_pairs([entry.text for entry in entries], threshold, seed)
    both = [(entries[i], entries[j], similarity) for i, j, similarity in pairs]
    contrary = [
        pair
        for pair in both
        if pair[0].labels is not None and pair[1].labels is not None
        and set(pair[0].labels) != set(pair[1].labels)
    ]  # fmt: skip
    across = [pair for pair in both if _other_patients(*pair[:2])]
    findings = [
        *_copies(len(both), len(entries)),
        *_contrary(contrary, len(both)),
        *_across(across),
    ]
    rows = tuple(
        (one.id, other.id, round(similarity, 3), _only(one, other), _only(other, one))
        for one, other, similarity in sorted(contrary, key=lambda pair: -pair[2])[:shown]
    )
    header = ("record", "like", "jaccard", "only in record", "only in like")
    title = say("same text, other labels", "文本相同而标签不同")
    return findings, [Table("contradictions", title, header, rows)]


def _other_patients(one: Entry, other: Entry) -> bool:
    return one.group is not None and other.group is not None and one.group != other.group


def _only(one: Entry, other: Entry) -> str:
    return "; ".join(sorted(set(one.labels or ()) - set(other.labels or ())))


def _ids(pairs: list[tuple[Entry, Entry, float]]) -> list[dict]:
    return [{"records": [a.id, b.id], "jaccard": round(s, 4)} for a, b, s in pairs[:100]]


def _copies(number: int, total: int) -> list[Finding]:
    if not number:
        return []
    return [
        Finding(
            "notes",
            "duplicates",
            say(
                f"{number} pairs of the {total} records are copies.",
                f"{total} 份病历中有 {number} 对重复。",
            ),
            say(
                "Keep copies on one side of a split: `vesalius text deduplicate`, or give them one "
                "group.",
                "划分时让重复病历在同一侧：去重或设为同一组。",
            ),
            {"pairs": number},
        )
    ]


def _contrary(pairs: list, copies: int) -> list[Finding]:
    if not pairs:
        return []
    return [
        Finding(
            "warns",
            "contradictory-duplicates",
            say(
                f"{len(pairs)} of {copies} pairs of copies carry different labels.",
                f"{copies} 对重复病历中 {len(pairs)} 对标签不一致。",
            ),
            say("Decide which labels are right and merge the records.", "确认正确的标签并合并。"),
            {"pairs": _ids(pairs)},
        )
    ]


def _across(pairs: list) -> list[Finding]:
    if not pairs:
        return []
    return [
        Finding(
            "blocks",
            "duplicates-across-groups",
            say(
                f"{len(pairs)} pairs of copies stand under different patients.",
                f"{len(pairs)} 对重复病历属于不同患者。",
            ),
            say(
                "Correct the patient's number or remove the copy: splitting by patient would still "
                "put the same text on both sides.",
                "更正患者编号或删除重复，否则按患者划分仍会泄漏。",
            ),
            {"pairs": _ids(pairs)},
        )
    ]
