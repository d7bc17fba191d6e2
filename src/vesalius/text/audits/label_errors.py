"""Labels that are probably wrong: confident learning (Northcutt, Jiang and Chuang, JAIR 2021).

With several labels a record, each label is a question of its own (one against the rest). A model
that has not seen a record gives the probability of each label; a record counts as confidently of a
class where this probability reaches the mean over the records that carry the class (their equation
2), and one that is confidently of the other class is a suspect. Suspects are ranked by
self-confidence, the probability of the label that was given.

Deviations: a suspect's label must also have a probability below one half. Labels with fewer than
`MINIMUM` records have no probabilities that mean anything. They are not passed over: records
without the label that are nearer to one with it than `NEAR` are suspects, marked "similarity".
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vesalius.language import say
from vesalius.text.audits.entries import Collection, folds
from vesalius.text.audits.findings import Finding, Table

MINIMUM = 10
"""Records that a label needs for confident learning: two in each of five folds."""
NEAR = 0.8
"""Cosine similarity of TF-IDF vectors above which two records tell the same story."""


@dataclass(frozen=True)
class Suspect:
    """One label of one record that is probably wrong.

    Attributes:
        record: id of the record.
        label: name of the label.
        given: whether the record carries the label now.
        confidence: probability of what is given, in [0, 1]; the lower, the more suspicious. By
            similarity it is 1 minus the cosine similarity to the record that says otherwise.
        how: "confident learning" or "similarity".
        like: by similarity, the id of that record.
    """

    record: str
    label: str
    given: bool
    confidence: float
    how: str = "confident learning"
    like: str | None = None


def features(texts: list[str]) -> Any:
    """Return TF-IDF vectors, (N, words) sparse: characters 1-2 for Chinese, words 1-2 else."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    sample = "".join(texts[:200])
    han = sum("\u3400" <= character <= "\u9fff" for character in sample)
    how = {"analyzer": "char"} if han > 0.2 * len(sample) else {"token_pattern": r"(?u)\b\w+\b"}
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, max_features=30_000, dtype=np.float32, **how
    )
    try:
        return vectorizer.fit_transform(texts)
    except ValueError:  # all texts are empty: one feature that says nothing
        from scipy.sparse import csr_matrix

        return csr_matrix((len(texts), 1), dtype=np.float32)


def out_of_fold(vectors: Any, truth: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return the probability of each label by models that did not see the record, (N, labels).

    Logistic regression on TF-IDF, one label against the rest; a label without a positive in a
    fold's training part gets its frequency there.
    """
    from sklearn.linear_model import LogisticRegression

    probabilities = np.zeros(truth.shape)
    for held_out in np.unique(fold):
        test, train = fold == held_out, fold != held_out
        for label in range(truth.shape[1]):
            target = truth[train, label]
            if target.all() or not target.any():
                probabilities[test, label] = target.mean()
                continue
            model = LogisticRegression(C=10, solver="liblinear", random_state=0)
            model.fit(vectors[train], target)
            probabilities[test, label] = model.predict_proba(vectors[test])[:, 1]
    return probabilities


def confident_suspects(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return which labels are confidently the opposite of what is given, (N, labels) bool.

    Args:
        probabilities: out-of-fold, (N, labels).
        truth: as given, (N, labels) bool; every label with at least one and not all records.
    """
    with np.errstate(invalid="ignore"):
        yes = (probabilities * truth).sum(0) / truth.sum(0)
        no = ((1 - probabilities) * ~truth).sum(0) / (~truth).sum(0)
    surely_yes, surely_no = probabilities >= yes, 1 - probabilities >= no
    # Where both thresholds are reached the likelier class counts (equation 1).
    likelier = probabilities >= 0.5
    says_yes = surely_yes & (~surely_no | likelier)
    says_no = surely_no & (~surely_yes | ~likelier)
    return (truth & says_no) | (~truth & says_yes)


def suspects(records: Collection, *, seed: int = 0, vectors: Any = None) -> list[Suspect]:
    """Return the labels that are probably wrong, the most suspicious first.

    Args:
        records: those without labels (None) are left out.
        seed: of the folds.
        vectors: features of the labelled records, if they have been made already.
    """
    if not records.labels:
        return []
    texts = [records.entries[index].text for index in records.labelled]
    vectors = features(texts) if vectors is None else vectors
    counts = records.truth.sum(axis=0)
    common = (counts >= MINIMUM) & (counts <= len(records.truth) - MINIMUM)
    return _by_model(records, vectors, np.flatnonzero(common), seed) + _by_similarity(
        records, vectors, np.flatnonzero(counts < MINIMUM)
    )


def _by_model(records: Collection, vectors: Any, columns: np.ndarray, seed: int) -> list[Suspect]:
    if not len(columns):
        return []
    truth = records.truth[:, columns]
    probabilities = out_of_fold(vectors, truth, folds(truth, records.groups, 5, seed))
    given = np.where(truth, probabilities, 1 - probabilities)
    places = np.argwhere(confident_suspects(probabilities, truth) & (given < 0.5))
    found = [
        Suspect(
            records.entries[records.labelled[row]].id,
            records.labels[columns[column]],
            bool(truth[row, column]),
            round(float(given[row, column]), 4),
        )
        for row, column in places
    ]
    return sorted(found, key=lambda one: (one.confidence, one.record, one.label))


def _by_similarity(records: Collection, vectors: Any, columns: np.ndarray) -> list[Suspect]:
    """Return records that read like one with a rare label and do not carry it."""
    found = []
    for column in columns:
        having = np.flatnonzero(records.truth[:, column])
        likeness = (vectors @ vectors[having].T).toarray()  # TF-IDF rows have length 1
        likeness[having] = 0
        for row in np.flatnonzero(likeness.max(axis=1) >= NEAR):
            nearest = having[likeness[row].argmax()]
            found.append(
                Suspect(
                    records.entries[records.labelled[row]].id,
                    records.labels[column],
                    False,
                    round(max(0.0, 1 - float(likeness[row].max())), 4),
                    "similarity",
                    records.entries[records.labelled[nearest]].id,
                )
            )
    return sorted(found, key=lambda one: (one.confidence, one.record, one.label))


def audit(
    records: Collection, *, seed: int, vectors: Any, shown: int = 20
) -> tuple[list[Finding], list[Table], list[Suspect]]:
    """List suspects; say which labels are too rare to be checked by a model."""
    found = suspects(records, seed=seed, vectors=vectors)
    findings = []
    if found:
        share = len({one.record for one in found}) / max(1, len(records.labelled))
        findings.append(_suspect_finding(found, share))
    rare = [
        name
        for name, count in zip(records.labels, records.truth.sum(0), strict=True)
        if count < MINIMUM
    ]
    if rare:
        findings.append(_rare_finding(rare))
    header = ("record", "label", "given", "confidence", "how")
    rows = tuple(
        (s.record, s.label, "+" if s.given else "-", s.confidence, s.how) for s in found[:shown]
    )
    return (
        findings,
        [Table("label_errors", say("suspicious labels", "可疑标签"), header, rows)],
        found,
    )


def _suspect_finding(found: list[Suspect], share: float) -> Finding:
    return Finding(
        "warns" if share > 0.02 else "notes",
        "label-errors",
        say(
            f"{len(found)} labels are probably wrong, in {share:.1%} of the records.",
            f"{len(found)} 个标签可能有误，涉及 {share:.1%} 的病历。",
        ),
        say(
            "Read the list from the top and correct what is wrong; do not remove records unread: "
            "hard cases stand among them.",
            "从上到下核对并改正；不要不看就删除，其中也有疑难病例。",
        ),
        {"suspects": [asdict(one) for one in found[:100]], "total": len(found)},
    )


def _rare_finding(rare: list[str]) -> Finding:
    return Finding(
        "notes",
        "labels-too-rare-to-check",
        say(
            f"{len(rare)} labels have fewer than {MINIMUM} records: no model can check them, only "
            "records that read alike were compared.",
            f"{len(rare)} 个标签少于 {MINIMUM} 份病历：无法用模型核对，只比较了相似病历。",
        ),
        say("Have a clinician read these records.", "请医生人工核对这些病历。"),
        {"labels": rare},
    )
