"""A task of labels without a model, for tests of what works on predictions alone."""

import numpy as np

from vesalius.engine.task import Case, Prediction, Scores

LABELS = ("a", "b", "c")


class LabelTask:
    """Scores probabilities of labels by thresholds of one half.

    Args:
        labels: names.
        kind: "cases": the headline is the mean share of right labels per case; "pooled": macro F1,
            which no mean over cases gives; "error": the share of wrong labels, lower is better.
    """

    department = "labels"

    def __init__(self, labels=LABELS, kind="cases"):
        self.label_names, self.kind, self.calls = list(labels), kind, 0

    def score(self, cases, predictions):
        """Compare with the truth."""
        self.calls += 1
        by_id = {case.id: case for case in cases}
        found = {item.id: item for item in predictions}
        assert found.keys() == by_id.keys()
        assert len(by_id) == len(cases)
        truth = np.array([[name in by_id[i].target for name in self.label_names] for i in found])
        said = np.array([np.asarray(item.probabilities) >= 0.5 for item in found.values()])
        assert not np.isnan([item.probabilities for item in found.values()]).any()
        right = (truth == said).mean(1)
        if self.kind == "pooled":
            tp = (truth & said).sum(0)
            f1 = 2 * tp / np.maximum(truth.sum(0) + said.sum(0), 1)
            return Scores("macro_f1", {"macro_f1": float(f1.mean())})
        if self.kind == "error":
            rows = {i: {"wrong": float(1 - r)} for i, r in zip(found, right, strict=True)}
            mean = {"wrong": float(1 - right.mean())}
            return Scores("wrong", mean, cases=rows, higher_is_better=False)
        rows = {i: {"right": float(r)} for i, r in zip(found, right, strict=True)}
        return Scores("right", {"right": float(right.mean())}, cases=rows)


def labelled(number=80, *, seed=0, groups=False):
    """Return cases whose targets are names of labels."""
    rng = np.random.default_rng(seed)
    truth = rng.random((number, 3)) < 0.4
    return [
        Case(f"c{k}", None, tuple(np.array(LABELS)[row]), f"g{k // 2}" if groups else None)
        for k, row in enumerate(truth)
    ]


def answers(cases, noise, *, seed, labels=LABELS):
    """Return predictions: the truth as log-odds of +-1, with noise."""
    rng = np.random.default_rng(seed)
    found = []
    for case in cases:
        signal = np.array([1.0 if name in case.target else -1.0 for name in LABELS])
        odds = signal + rng.normal(0, noise, 3)
        own = dict(zip(LABELS, 1 / (1 + np.exp(-odds)), strict=True))
        found.append(Prediction(case.id, np.array([own.get(name, 0.5) for name in labels])))
    return found
