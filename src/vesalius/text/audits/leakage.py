"""Leakage: answers that will not be there when the model is used.

Three questions: does the id, the order or the form of a record predict its labels (`probes`); does
a field hold the label's own words (the discharge diagnosis copied into the history); do labels
drift along the order of the file, so that a random split tests something easier than the future.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from vesalius.language import say
from vesalius.text.audits import probes
from vesalius.text.audits.entries import Collection, folds, holm
from vesalius.text.audits.findings import Finding, Table

_MOST_RECORDS, _MOST_LABELS, _FEWEST = 4000, 30, 10
LEVEL = 0.01
"""Significance after Holm's correction."""


def audit(
    records: Collection, *, seed: int, permutations: int, vectorise: Any
) -> tuple[list[Finding], list[Table]]:
    """Ask the three questions."""
    findings, tables = _literal(records)
    rows, truth = _chosen(records, seed)
    if truth.shape[1] == 0 or len(rows) < 50:
        findings.append(_too_few())
        return findings, tables
    found = run_probes(records, rows, truth, seed, permutations, vectorise)
    typical = float(np.median([one.auroc for one in found if _is_field(one)] or [0.5]))
    findings += [finding for one in found if (finding := _verdict(one, typical))]
    tables.append(_probe_table(found))
    findings += _drift(rows, truth)
    return findings, tables


def _chosen(records: Collection, seed: int) -> tuple[list[int], np.ndarray]:
    """Return places in `entries` of the records to probe, in order, and their common labels."""
    rows = np.arange(len(records.labelled))
    if len(rows) > _MOST_RECORDS:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:_MOST_RECORDS])
    truth = records.truth[rows]
    counts = truth.sum(axis=0)
    usable = (counts >= _FEWEST) & (counts <= len(rows) - _FEWEST)
    columns = [c for c in np.argsort(-counts, kind="stable") if usable[c]][:_MOST_LABELS]
    return rows.tolist(), truth[:, columns]


def run_probes(
    records: Collection,
    rows: list[int],
    truth: np.ndarray,
    seed: int,
    permutations: int,
    vectorise: Any,
) -> list[probes.Probe]:
    """Return all probes with p-values corrected for their number.

    Args:
        records: what to look at.
        rows: places among the labelled records.
        truth: (N, labels) bool of these records.
        seed: of folds and permutations.
        permutations: of each null.
        vectorise: turns texts into sparse features.
    """
    places = [records.labelled[row] for row in rows]
    entries = [records.entries[place] for place in places]
    groups = np.unique(records.groups[rows], return_inverse=True)[1]
    fold = folds(truth, groups, 5, seed)
    features = probes.id_features(entries)
    features |= probes.field_features(records, places, vectorise, seed)
    found = [
        probes.probe(name, values, truth, groups, fold, permutations=permutations, seed=seed)
        for name, values in features.items()
    ]
    adjusted = holm([one.p for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, adjusted, strict=True)]


def _is_field(one: probes.Probe) -> bool:
    return one.name.startswith("field ")


def _verdict(one: probes.Probe, typical: float) -> Finding | None:
    """Return what a probe means; `typical` is the median AUROC of the fields."""
    if one.p_holm >= LEVEL:
        return None
    if _is_field(one):
        return _field_finding(one, typical)
    severity = "blocks" if one.auroc >= 0.75 else "warns" if one.auroc >= 0.6 else "notes"
    form = one.name in ("record length", "number of fields")
    remedy = say(
        "Find out how it was made. Give records random ids, shuffle them, split by time or "
        "hospital, or leave this part out.",
        "查明来源：随机编号、打乱顺序、按时间或医院划分，或去掉该部分。",
    )
    # The length of a text is part of the text: a model may learn from it, and should not have to.
    severity = "warns" if form and severity == "blocks" else severity
    topic = "form-leakage" if form else "id-leakage"
    return Finding(severity, topic, _numbers(one), remedy, one.to_dict())


def _field_finding(one: probes.Probe, typical: float) -> Finding | None:
    """Fields are there to predict labels; one that nearly always does, and alone, is suspicious."""
    if one.auroc < 0.98 or one.f1 < 0.9:
        return None
    remedy = say(
        "Check whether the field was written after the diagnosis; leave it out if so.",
        "核对该字段是否在诊断之后书写，若是则去掉。",
    )
    severity = "warns" if one.auroc - typical > 0.05 else "notes"
    return Finding(severity, "field-leakage", _numbers(one), remedy, one.to_dict())


def _numbers(one: probes.Probe) -> str:
    numbers = (
        f"macro-AUROC {one.auroc:.3f} ({one.null_auroc:.3f}), "
        f"macro-F1 {one.f1:.3f} ({one.null_f1:.3f}), p {one.p_holm:.1e}"
    )
    return say(
        f"'{one.name}' alone predicts the labels: {numbers}; by chance in brackets.",
        f"仅凭“{one.name}”即可预测标签：{numbers}；括号内为随机水平。",
    )


def _probe_table(found: list[probes.Probe]) -> Table:
    def scores(one: probes.Probe) -> tuple[float, ...]:
        return one.auroc, one.null_auroc, one.f1, one.null_f1

    rows = tuple(
        (one.name, *(round(value, 3) for value in scores(one)), f"{one.p_holm:.1e}")
        for one in found
    )
    header = ("alone", "macro-AUROC", "by chance", "macro-F1", "F1 by chance", "p (Holm)")
    return Table(
        "probes", say("what predicts the labels by itself", "单独预测标签的能力"), header, rows
    )


def _too_few() -> Finding:
    return Finding(
        "notes",
        "leakage-not-probed",
        say(
            f"Leakage was not probed: it needs 50 labelled records and a label with {_FEWEST}.",
            f"未做泄漏探测：至少需要 50 份有标签病历和一个有 {_FEWEST} 例的标签。",
        ),
        say("Collect more records.", "补充病历。"),
    )


def _literal(records: Collection) -> tuple[list[Finding], list[Table]]:
    """Look for the labels' own words in each field."""
    rows = [row for name in records.fields if (row := literal_row(records, name))]
    header = ("field", "positives with the name", "negatives with the name", "lift", "precision")
    table = Table("literal", say("label names in the text", "文本中的标签名"), header, tuple(rows))
    return [finding for row in rows if (finding := _literal_finding(row))], [table]


def literal_row(records: Collection, field: str) -> tuple[str, float, float, float, float] | None:
    """Return (field, recall, false positive rate, lift, precision) of "the text holds the name".

    Over all pairs of a record that has the field and a label: the share of positive pairs, and of
    negative ones, whose text holds the label's name; their ratio; and the share of mentions that
    are positive. None without positive pairs.
    """
    names = [name.lower() for name in records.labels]
    mentioned = positive = both = pairs = 0
    for row, index in enumerate(records.labelled):
        text = records.entries[index].fields.get(field, "").lower()
        if not text:
            continue
        held = np.fromiter((name in text for name in names), bool, len(names))
        truth = records.truth[row]
        mentioned, positive = mentioned + int(held.sum()), positive + int(truth.sum())
        both, pairs = both + int((held & truth).sum()), pairs + len(names)
    if not positive:
        return None
    recall = both / positive
    false = (mentioned - both) / max(1, pairs - positive)
    lift = recall / false if false else float("inf") if both else 0.0
    return (
        field,
        round(recall, 4),
        round(false, 5),
        round(lift, 1),
        round(both / max(1, mentioned), 4),
    )


def _literal_finding(row: tuple[str, float, float, float, float]) -> Finding | None:
    field, recall, _, lift, precision = row
    if recall < 0.2 or precision < 0.5:
        return None
    severity = "blocks" if recall >= 0.5 and precision >= 0.8 else "warns"
    return Finding(
        severity,
        "answer-in-text",
        say(
            f"'{field}' holds the label's own words in {recall:.0%} of the positive cases, and "
            f"{precision:.0%} of such mentions are positive.",
            f"“{field}”中 {recall:.0%} 的阳性病例直接出现标签名，出现时 {precision:.0%} 为阳性。",
        ),
        say(
            "Leave the field out, or remove the diagnosis from it, unless it will be there when "
            "the model is used.",
            "去掉该字段或删除其中的诊断，除非实际使用时也有。",
        ),
        {"field": field, "recall": recall, "lift": lift, "precision": precision},
    )


def _drift(rows: list[int], truth: np.ndarray) -> list[Finding]:
    """Compare the frequencies of labels in ten parts of the file (chi-squared, Holm)."""
    from scipy.stats import chi2_contingency

    parts = np.minimum(np.arange(len(rows)) * 10 // len(rows), 9)
    p_values = []
    for label in range(truth.shape[1]):
        have = np.bincount(parts[truth[:, label]], minlength=10)
        table = np.array([have, np.bincount(parts, minlength=10) - have])
        p_values.append(float(chi2_contingency(table).pvalue))
    drifting = sum(p < LEVEL for p in holm(p_values))
    if not drifting:
        return []
    return [
        Finding(
            "warns" if drifting > 0.2 * truth.shape[1] else "notes",
            "drift",
            say(
                f"{drifting} of {truth.shape[1]} labels change their frequency along the file.",
                f"{truth.shape[1]} 个标签中 {drifting} 个的频率随文件顺序变化。",
            ),
            say(
                "If the order is time or place, test on the last part; else shuffle.",
                "若顺序代表时间或来源，用最后一段测试；否则打乱。",
            ),
            {"labels": drifting, "of": int(truth.shape[1])},
        )
    ]
