import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.diagnose.metrics import score, scores, split_by_frequency
from vesalius.errors import DataError

metrics = pytest.importorskip("sklearn.metrics")


def example(seed=0, records=60, labels=7, *, ties=False):
    rng = np.random.default_rng(seed)
    truth = rng.random((records, labels)) < rng.uniform(0.02, 0.6, labels)
    logits = rng.normal(size=truth.shape) + 1.5 * truth - 1
    probabilities = 1 / (1 + np.exp(-logits))
    return truth, probabilities.round(1) if ties else probabilities


random_data = given(
    seed=st.integers(0, 10_000),
    records=st.integers(1, 40),
    labels=st.integers(2, 9),
    ties=st.booleans(),
)
some = settings(max_examples=25, deadline=None)


@some
@random_data
def test_every_average_is_scikit_learns(seed, records, labels, ties):
    truth, probabilities = example(seed, records, labels, ties=ties)
    found = score(truth, probabilities, resamples=0)
    decided = probabilities >= 0.5
    assert found["values"] == score(truth, decided, resamples=0)["values"] | {
        key: value
        for key, value in found["values"].items()
        if "au" in key or key in ("coverage_error", "ranking_loss", "lrap")
        or key == "labels_without_both_classes"
    }  # fmt: skip
    for name in ("f1", "precision", "recall", "jaccard"):
        function = getattr(metrics, f"{name}_score")
        for average in ("macro", "micro", "weighted", "samples"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = function(truth, decided, average=average, zero_division=0)
            assert found["values"][f"{average}_{name}"] == pytest.approx(expected), average
        expected = function(truth, decided, average=None, zero_division=0)
        assert [row[name] for row in found["labels"].values()] == pytest.approx(list(expected))
    assert found["values"]["hamming"] == pytest.approx(metrics.hamming_loss(truth, decided))
    accuracy = metrics.accuracy_score(truth, decided)
    assert found["values"]["subset_accuracy"] == pytest.approx(accuracy)


@some
@random_data
def test_ranking_scores_are_scikit_learns(seed, records, labels, ties):
    truth, probabilities = example(seed, records, labels, ties=ties)
    values = score(truth, probabilities, resamples=0)["values"]
    for name, function in {
        "coverage_error": metrics.coverage_error,
        "ranking_loss": metrics.label_ranking_loss,
        "lrap": metrics.label_ranking_average_precision_score,
    }.items():
        assert values[name] == pytest.approx(function(truth, probabilities)), name


@some
@random_data
def test_areas_are_scikit_learns_over_labels_with_both_classes(seed, records, labels, ties):
    truth, probabilities = example(seed, records, labels, ties=ties)
    found = score(truth, probabilities, resamples=0)
    both = truth.any(0) & ~truth.all(0)
    assert found["values"]["labels_without_both_classes"] == (~both).sum()
    for name, function in {
        "auroc": metrics.roc_auc_score,
        "auprc": metrics.average_precision_score,
    }.items():
        own = np.array([row[name] for row in found["labels"].values()])
        assert np.isnan(own[~both]).all()
        if not both.any():
            assert np.isnan(found["values"][f"macro_{name}"])
            continue
        for average in ("macro", "weighted"):
            expected = function(truth[:, both], probabilities[:, both], average=average)
            assert found["values"][f"{average}_{name}"] == pytest.approx(expected)
        expected = [function(truth[:, j], probabilities[:, j]) for j in np.flatnonzero(both)]
        assert own[both] == pytest.approx(expected)
        expected = function(truth.ravel(), probabilities.ravel())
        assert found["values"][f"micro_{name}"] == pytest.approx(expected)


def test_the_contests_macro_f1_is_zero_where_it_has_no_value():
    """Label 0: P 1/2, R 1, F1 2/3. Label 1: never predicted. Label 2: nowhere. Mean 2/9."""
    truth = np.array([[1, 1, 0], [0, 1, 0]])
    decided = np.array([[1, 0, 0], [1, 0, 0]])
    values = score(truth, decided)["values"]
    assert values["macro_f1"] == pytest.approx(2 / 9)
    precision, recall = (1 / 2) / 3, 1 / 3
    expected = 2 * precision * recall / (precision + recall)
    assert values["macro_f1_of_means"] == pytest.approx(expected)


def test_numbers_of_labels_are_counted():
    truth = np.array([[1, 1, 0], [0, 0, 0]])
    values = score(truth, np.array([[1, 0, 0], [0, 0, 0]]))["values"]
    assert values["mean_labels"] == 1
    assert values["mean_predicted_labels"] == 0.5
    assert values["empty_answers"] == 0.5


def test_thresholds_may_differ_by_label():
    truth, probabilities = example()
    thresholds = np.linspace(0.1, 0.9, 7)
    expected = score(truth, probabilities >= thresholds, resamples=0)["values"]["macro_f1"]
    found = score(truth, probabilities, threshold=thresholds, resamples=0)["values"]["macro_f1"]
    assert found == expected


def test_float32_probabilities_keep_their_ties():
    truth, probabilities = example(ties=True)
    single = score(truth, probabilities.astype(np.float32), resamples=0)["values"]
    assert (
        single["macro_auroc"] == score(truth, probabilities, resamples=0)["values"]["macro_auroc"]
    )


def test_labels_are_split_into_thirds_by_frequency():
    assert split_by_frequency([5, 100, 7, 1, 50, 2]).tolist() == [1, 0, 1, 2, 0, 2]
    assert split_by_frequency([1]).tolist() == [0]
    truth, probabilities = example()
    found = score(truth, probabilities, training_counts=[7, 6, 5, 4, 3, 2, 1], resamples=0)
    f1 = [row["f1"] for row in found["labels"].values()]
    assert [row["part"] for row in found["labels"].values()] == (
        ["head"] * 3 + ["middle"] * 2 + ["tail"] * 2
    )
    assert found["values"]["tail_macro_f1"] == pytest.approx(np.mean(f1[5:]))


# Intervals


def test_intervals_hold_the_estimate_and_shrink_with_more_records():
    truth, probabilities = example(records=100)
    few = score(truth, probabilities)
    many = score(np.tile(truth, (16, 1)), np.tile(probabilities, (16, 1)))
    for name, (low, high) in few["intervals"].items():
        assert low <= few["values"][name] <= high
        a, b = many["intervals"][name]
        assert (b - a) == pytest.approx((high - low) / 4, rel=0.35), name
    for label, ends in few["label_intervals"].items():
        for name, (low, high) in ends.items():
            assert low - 1e-9 <= few["labels"][label][name] <= high + 1e-9


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Macro F1 of 300 records with rare labels, 150 studies; plain percentiles would lie low."""
    rng = np.random.default_rng(1)
    shares = np.array([0.3, 0.1, 0.03, 0.02])

    def draw(records):
        truth = rng.random((records, 4)) < shares
        return truth, rng.random(truth.shape) < np.where(truth, 0.7, shares / 3)

    expected = score(*draw(400_000), resamples=0)["values"]["macro_f1"]
    ends = [score(*draw(300), resamples=300)["intervals"]["macro_f1"] for _ in range(150)]
    covered = np.mean([low <= expected <= high for low, high in ends])
    assert 0.88 <= covered <= 0.99


def test_intervals_hold_the_estimate_where_most_labels_are_rare():
    """86 labels on 200 records: resamples lose many labels, which once pulled them all below."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        shares = np.clip(0.3 / np.arange(1, 87), 0.004, 1)
        truth = rng.random((200, 86)) < shares
        decided = rng.random(truth.shape) < np.where(truth, 0.7, shares / 5)
        found = score(truth, decided, resamples=300)
        for name in ("macro_f1", "tail_macro_f1", "macro_jaccard"):
            low, high = found["intervals"][name]
            assert low < found["values"][name] < high
            assert 0.02 < high - low < 0.4


def test_patients_not_records_are_resampled():
    truth, probabilities = example(records=50)
    truth, probabilities = np.repeat(truth, 4, 0), np.repeat(probabilities, 4, 0)
    groups = [f"patient {i // 4}" for i in range(200)]
    alone = score(truth, probabilities)["intervals"]["macro_f1"]
    grouped = score(truth, probabilities, groups=groups)["intervals"]["macro_f1"]
    assert np.diff(grouped) > 1.6 * np.diff(alone)


def test_intervals_are_the_same_for_the_same_seed_and_missing_for_one_record():
    truth, probabilities = example()
    first, again = (score(truth, probabilities, seed=3)["intervals"] for _ in range(2))
    assert first == again
    lonely = score(truth[:1], probabilities[:1])["intervals"]["macro_f1"]
    assert np.isnan(lonely).all()


# The engine's form


def test_scores_are_the_engines():
    truth, probabilities = example()
    decided = probabilities >= 0.4
    ids = [f"ZY{i:06}" for i in range(len(truth))]
    labels = ["高血压", "糖尿病", "肺气肿", "肺炎", "胃炎", "贫血", "哮喘"]
    found = scores(ids, truth, probabilities, decided, labels)
    assert found.headline == "macro_f1"
    assert found.best == pytest.approx(metrics.f1_score(truth, decided, average="macro"))
    assert list(found.labels) == labels
    assert found.labels["高血压"]["support"] == truth[:, 0].sum()
    assert found.cases["ZY000003"]["wrong"] == (truth[3] ^ decided[3]).sum()
    assert set(found.label_intervals["贫血"]) == {"f1", "precision", "recall"}
    assert type(found).from_dict(found.to_dict()).values == found.values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truth": np.zeros((0, 3))}, "at least one"),
        ({"truth": np.full((4, 3), 2)}, "0 and 1"),
        ({"predicted": np.full((4, 3), 1.5)}, "sigmoid"),
        ({"predicted": np.full((4, 3), np.nan)}, "NaN"),
        ({"predicted": np.zeros((4, 2))}, "shape"),
        ({"predicted": np.zeros((4, 2), bool)}, "shape"),
        ({"decisions": np.zeros((3, 3), bool)}, "shape"),
        ({"labels": ["a", "a", "b"]}, "names"),
        ({"training_counts": [1, 2]}, "counts"),
        ({"groups": [1, 2]}, "groups"),
        ({"resamples": 5}, "resamples"),
        ({"predicted": np.zeros((4, 3), bool), "decisions": np.zeros((4, 3))}, "twice"),
    ],
)
def test_wrong_inputs_are_named(change, message):
    arguments = {"truth": np.eye(4, 3, dtype=bool), "predicted": np.full((4, 3), 0.4)} | change
    truth, predicted = arguments.pop("truth"), arguments.pop("predicted")
    with pytest.raises(DataError, match=message):
        score(truth, predicted, **arguments)
