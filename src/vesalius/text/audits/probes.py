"""Does something that is not medicine predict the labels? Small probes against a permutation null.

A probe is a ridge regression of all labels on a few features, scored out of fold. It is linear in
the labels, so the scores of a hundred permuted label tables cost little more than those of one. The
null hypothesis is that features and labels are independent: whole groups (patients) of label rows
change places, since records of one patient share labels anyway.
"""

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vesalius.text.audits.entries import Collection, Entry

_BINS = 10


@dataclass(frozen=True)
class Probe:
    """What one probe scored.

    Attributes:
        name: what it looked at, as "id number" or "field 主诉".
        auroc: macro-AUROC over the labels, out of fold; 0.5 is chance.
        f1: macro-F1 where as many records are called positive as there are.
        null_auroc: mean of the same under permutation.
        p: one-sided, of a normal distribution fitted to the permuted scores (the mean over labels
            is close to normal; counting permutations could not go below 1 in their number).
        p_holm: corrected for the number of probes (Holm 1979).
    """

    name: str
    auroc: float
    f1: float
    null_auroc: float
    null_f1: float
    p: float
    p_holm: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def auroc(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of each label, (labels,), ties counted half.

    By the rank sum (Mann and Whitney 1947). NaN where a label has no positive or no negative.

    Args:
        scores: (N, labels) floats.
        truth: (N, labels) bool.
    """
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=0)
    positives = truth.sum(axis=0)
    negatives = len(truth) - positives
    with np.errstate(invalid="ignore", divide="ignore"):
        return ((ranks * truth).sum(0) - positives * (positives + 1) / 2) / (positives * negatives)


def f1_at_prevalence(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the F1 of each label, (labels,), with the highest scores called positive, as many as
    there are positives; precision and recall are then the same number."""
    hits = np.empty(truth.shape[1])
    for label in range(truth.shape[1]):
        count = int(truth[:, label].sum())
        top = np.argpartition(-scores[:, label], count - 1)[:count]
        hits[label] = truth[top, label].mean()
    return hits


class Ridge:
    """Out-of-fold ridge regression with fixed features, for any table of targets.

    Args:
        features: (N, F) floats, F small.
        fold: (N,) fold numbers.
        penalty: of the squared weights; features are standardised first.
    """

    def __init__(self, features: np.ndarray, fold: np.ndarray, penalty: float = 10.0):
        self._parts = []
        for held_out in np.unique(fold):
            train, test = np.flatnonzero(fold != held_out), np.flatnonzero(fold == held_out)
            centre, scale = features[train].mean(0), features[train].std(0)
            scale[scale < 1e-9] = 1
            inside = (features[train] - centre) / scale
            solve = np.linalg.inv(inside.T @ inside + penalty * np.eye(inside.shape[1])) @ inside.T
            self._parts.append((train, test, solve, (features[test] - centre) / scale))

    def scores(self, truth: np.ndarray) -> np.ndarray:
        """Return out-of-fold scores of the targets, (N, labels).

        The mean of the training part is left out: it differs from fold to fold against the held-out
        labels and would pull the AUROC of a useless probe below one half.
        """
        result = np.zeros(truth.shape)
        for train, test, solve, outside in self._parts:
            centred = truth[train] - truth[train].mean(axis=0)
            result[test] = outside @ (solve @ centred)
        return result


def probe(
    name: str,
    features: np.ndarray,
    truth: np.ndarray,
    groups: np.ndarray,
    fold: np.ndarray,
    *,
    permutations: int = 99,
    seed: int = 0,
) -> Probe:
    """Score one set of features against the permutation null.

    Args:
        name: of the probe.
        features: (N, F).
        truth: (N, labels) bool, every label with positives and negatives.
        groups: (N,) group numbers that are not torn apart.
        fold: (N,) fold numbers.
        permutations: of the null.
        seed: of the permutations.
    """
    from scipy.stats import norm

    ridge, generator = Ridge(features, fold), np.random.default_rng(seed)
    found = _scored(ridge, truth)
    null = np.array(
        [_scored(ridge, _permuted(truth, groups, generator)) for _ in range(permutations)]
    )
    mean, deviation = null.mean(axis=0), null.std(axis=0, ddof=1)
    p = float(norm.sf((found[0] - mean[0]) / max(deviation[0], 1e-9)))
    # The fit says nothing about tails as far out as this.
    return Probe(name, *map(float, found), *map(float, mean), max(p, 1e-12))


def _scored(ridge: Ridge, truth: np.ndarray) -> tuple[float, float]:
    scores = ridge.scores(truth)
    return float(np.mean(auroc(scores, truth))), float(np.mean(f1_at_prevalence(scores, truth)))


def _permuted(truth: np.ndarray, groups: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return the label rows with whole groups in another order."""
    by_group = np.argsort(groups, kind="stable")
    rank = generator.permutation(groups.max() + 1)
    moved = by_group[np.argsort(rank[groups[by_group]], kind="stable")]
    permuted = np.empty_like(truth)
    permuted[by_group] = truth[moved]
    return permuted


def one_hot(values: np.ndarray) -> np.ndarray:
    """Return quantile bins of a number as indicators, (N, at most 10), so that any shape of the
    relation shows."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, values, side="right")
    return np.eye(len(edges) + 1)[bins]


def id_features(entries: list[Entry]) -> dict[str, np.ndarray]:
    """Return what there is to know of a record without reading it, each (N, F)."""
    ids = [entry.id for entry in entries]
    digits = [re.findall(r"\d+", name) for name in ids]
    features: dict[str, np.ndarray] = {
        "id number": one_hot(
            np.array([float(found[-1][-15:]) if found else -1.0 for found in digits])
        ),
        "id last digit": np.eye(11)[[int(found[-1][-1]) if found else 10 for found in digits]],
        "id prefix": _categories([re.match(r"\D*", name)[0] or name[:2] for name in ids]),
        "id length": one_hot(np.array([len(name) for name in ids], dtype=float)),
        "id n-grams": _hashed(ids),
        "order": one_hot(np.arange(len(ids), dtype=float)),
        "record length": one_hot(np.array([len(entry.text) for entry in entries], dtype=float)),
        "number of fields": one_hot(
            np.array([sum(map(bool, entry.fields.values())) for entry in entries], dtype=float)
        ),
    }
    return {name: values for name, values in features.items() if np.ptp(values, axis=0).any()}


def _categories(values: list[str], most: int = 30) -> np.ndarray:
    from collections import Counter

    kept = [value for value, _ in Counter(values).most_common(most)]
    places = {value: place for place, value in enumerate(kept)}
    return np.eye(len(kept) + 1)[[places.get(value, len(kept)) for value in values]]


def _hashed(ids: list[str]) -> np.ndarray:
    from sklearn.feature_extraction.text import HashingVectorizer

    vectors = HashingVectorizer(analyzer="char", ngram_range=(1, 3), n_features=128, norm=None)
    return vectors.transform(ids).toarray()


def dense(vectors: Any, seed: int, width: int = 64) -> np.ndarray:
    """Return sparse text features in few dimensions (truncated SVD), (N, width at most)."""
    from sklearn.decomposition import TruncatedSVD

    width = min(width, min(vectors.shape) - 1)
    if width < 1:
        return np.zeros((vectors.shape[0], 1))
    return TruncatedSVD(width, random_state=seed).fit_transform(vectors)


def field_features(
    records: Collection, rows: list[int], vectorise: Callable[[list[str]], Any], seed: int
) -> dict[str, np.ndarray]:
    """Return the features of every single field; none where there is one field only."""
    if len(records.fields) < 2:
        return {}
    entries = [records.entries[row] for row in rows]
    return {
        f"field {name}": dense(vectorise([entry.fields.get(name, "") for entry in entries]), seed)
        for name in records.fields
    }
