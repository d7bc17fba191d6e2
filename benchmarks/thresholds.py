"""Thresholds: what they report, what they really score, and the best that was possible.

    python benchmarks/thresholds.py [--seeds 10] [--records 2000] [--labels 50] [--skew] [--peer]

A simulation in which the truth is known. Labels have Zipf frequencies, 3 per record on average,
and calibrated probabilities. Each method is fitted to the records, and its macro F1 is then
measured on 60,000 others. "reported" is `cross_fitted_score`; "in-sample" is the score on the
records that the thresholds were fitted to; "oracle" has the best threshold of each label on an
endless sample. Two goals: reported - true at most 0.005, and true at most 0.005 below the oracle.
With `--skew` probabilities are wrong (log-odds times 0.6, plus 0.8), and the plug-in is also tried
behind each calibration. With `--peer` scikit-learn's own tuner is tried too, where installed, on
the first seed (it takes seconds per label).
"""

import argparse
import time

import numpy as np
from scipy.special import expit, logit

from vesalius.diagnose.crossfitting import cross_fitted_score, macro_f1
from vesalius.diagnose.decisions import Decision
from vesalius.diagnose.thresholds import (
    CrossFittedThreshold,
    FixedThreshold,
    GlobalThreshold,
    PerLabelThreshold,
    PlugInThreshold,
    ShrunkThreshold,
    Thresholds,
    TopK,
)
from vesalius.engine.calibration import IsotonicBlock, PlattBlock, TemperatureBlock

TEST, PER_RECORD = 60_000, 3.0


def population(labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return centres and spreads of the labels' log-odds.

    Frequencies are Zipf's with `PER_RECORD` labels a record; some labels are easy to tell (a wide
    spread), others hard, so that no single threshold suits all.
    """
    spreads = np.random.default_rng(7).uniform(2, 7, labels)
    shares = 1 / np.arange(1, labels + 1)
    shares = np.minimum(shares * PER_RECORD / shares.sum(), 0.9)
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    low, high = np.full(labels, -40.0), np.full(labels, 40.0)
    for _ in range(60):
        middle = (low + high) / 2
        mean = (expit(middle[:, None] + spreads[:, None] * nodes) * weights).sum(1) / weights.sum()
        low, high = np.where(mean < shares, middle, low), np.where(mean < shares, high, middle)
    return middle, spreads


def draw(rng: np.random.Generator, records: int, labels: tuple[np.ndarray, np.ndarray]):
    """Return calibrated probabilities and a truth drawn from them."""
    probabilities = expit(labels[0] + labels[1] * rng.normal(size=(records, len(labels[0]))))
    return probabilities, rng.random(probabilities.shape) < probabilities


def skewed(probabilities: np.ndarray) -> np.ndarray:
    """Return probabilities of a model that is not calibrated."""
    return expit(0.6 * logit(np.clip(probabilities, 1e-12, 1 - 1e-12)) + 0.8)


def methods(skew: bool) -> dict[str, object]:
    """Return what is compared."""
    found = {
        "fixed 0.5": FixedThreshold(),
        "top 3": TopK(k=3),
        "global": GlobalThreshold(),
        "per label": PerLabelThreshold(),
        "shrunk": ShrunkThreshold(),
        "cross-fitted": CrossFittedThreshold(),
        "plug-in": PlugInThreshold(),
    }
    calibrations = {
        "temperature": TemperatureBlock(),
        "Platt": PlattBlock(),
        "isotonic": IsotonicBlock(),
    }
    if skew:
        for name, block in calibrations.items():
            found[f"{name}, plug-in"] = Decision(calibration=block, never_empty=False)
    return found


def scikit_learn(probabilities, truth, test) -> float | None:
    """Return macro F1 of scikit-learn's tuner, label by label, since it refuses several at once."""
    try:
        from sklearn.base import BaseEstimator, ClassifierMixin
        from sklearn.model_selection import TunedThresholdClassifierCV
    except ImportError:
        print("scikit-learn is missing: pip install scikit-learn to compare with it")
        return None

    class Given(ClassifierMixin, BaseEstimator):
        """A classifier whose input is its answer."""

        def fit(self, x, y):
            self.classes_ = np.unique(y)
            return self

        def predict_proba(self, x):
            return np.hstack([1 - x, x])

    decided = np.zeros(test[1].shape, bool)
    for j in range(truth.shape[1]):
        if truth[:, j].sum() >= 5:
            tuner = TunedThresholdClassifierCV(Given(), scoring="f1", cv=5)
            tuner.fit(probabilities[:, [j]], truth[:, j].astype(int))
            decided[:, j] = tuner.predict(test[0][:, [j]]) == 1
        else:
            decided[:, j] = test[0][:, j] >= 0.5
    return macro_f1(test[1], decided)


def main() -> None:
    """Print one row per method: means over seeds, standard errors in brackets."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--labels", type=int, default=50)
    parser.add_argument("--skew", action="store_true")
    parser.add_argument("--peer", action="store_true")
    options = parser.parse_args()
    labels = population(options.labels)
    endless, _ = draw(np.random.default_rng(99), 400_000, labels)
    best = PlugInThreshold().fit(endless).values
    rows: dict[str, list] = {}
    seconds: dict[str, float] = {}
    for seed in range(options.seeds):
        rng = np.random.default_rng(seed)
        fit, test = draw(rng, options.records, labels), draw(rng, TEST, labels)
        oracle = macro_f1(test[1], Thresholds("oracle", best).apply(test[0]))
        if options.skew:
            fit, test = (skewed(fit[0]), fit[1]), (skewed(test[0]), test[1])
        for name, method in methods(options.skew).items():
            start = time.process_time()
            found = cross_fitted_score(method, *fit, seed=seed)
            seconds[name] = seconds.get(name, 0) + time.process_time() - start
            true = macro_f1(test[1], found.fitted.apply(test[0]))
            rows.setdefault(name, []).append((found.in_sample, found.score, true, oracle))
        if options.peer and seed == 0:
            start = time.process_time()
            true = scikit_learn(*fit, test)
            if true is not None:
                seconds["scikit-learn tuner"] = time.process_time() - start
                rows["scikit-learn tuner"] = [(np.nan, np.nan, true, oracle)]
    show(rows, seconds, options)


def show(rows, seconds, options) -> None:
    """Print the table."""
    print(f"{options.records} records to fit, {TEST} to test, {options.seeds} seeds")
    print(f"{'method':22} in-sample reported   true  reported-true      oracle-true    CPU s")
    for name, values in rows.items():
        table = np.array(values)
        inside, reported, true, oracle = table.mean(0)
        gap, lost = table[:, 1] - table[:, 2], table[:, 3] - table[:, 2]
        root = len(table) ** 0.5
        print(
            f"{name:22} {inside:8.4f} {reported:8.4f} {true:7.4f} "
            f"{gap.mean():+8.4f} ({gap.std() / root:.4f}) {lost.mean():+8.4f} "
            f"({lost.std() / root:.4f}) {seconds[name] / len(values):8.2f}"
        )
    print(f"{'oracle':22} {'':17} {oracle:7.4f}")


if __name__ == "__main__":
    main()
