"""The numeric core of folds."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import DataError, RecipeError
from vesalius.study.stratifying import _deal, _targets, _water_fill, assign, label_table


def surplus(table: np.ndarray, fold: np.ndarray, folds: int) -> np.ndarray:
    """Return what each fold has of each label above an equal part, (folds, L)."""
    counts = np.stack([table[fold == number].sum(0) for number in range(folds)])
    return counts - table.sum(0) / folds


def drawn(seed: int, cases: int, labels: int, *, share: float = 0.2) -> np.ndarray:
    """Return labels with correlations through a few hidden causes."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(cases, 3)) @ rng.normal(size=(3, labels))
    return hidden + rng.normal(size=(cases, labels)) > np.quantile(np.append(hidden, 0), 1 - share)


tables = st.builds(
    drawn,
    st.integers(0, 2**16),
    st.integers(12, 150),
    st.integers(0, 12),
    share=st.floats(0.01, 0.7),
)
seeds = st.integers(0, 2**32)


@settings(max_examples=30, deadline=None)
@given(tables, st.integers(2, 6), seeds)
def test_sizes_differ_by_one_at_most_and_the_draw_is_deterministic(table, folds, seed):
    fold = assign(table, folds=folds, seed=seed)
    sizes = np.bincount(fold, minlength=folds)
    assert len(fold) == len(table)
    assert len(sizes) == folds
    assert sizes.max() - sizes.min() <= 1
    assert np.array_equal(fold, assign(table, folds=folds, seed=seed))


@settings(max_examples=30, deadline=None)
@given(tables, st.integers(2, 4), seeds, st.data())
def test_groups_stay_whole_and_no_fold_is_empty(table, folds, seed, data):
    groups = np.array(
        data.draw(st.lists(st.integers(0, 30), min_size=len(table), max_size=len(table)))
    )
    groups[:folds] = np.arange(folds) + 100  # at least as many groups as folds
    fold = assign(table, folds=folds, groups=groups, seed=seed)
    assert all(len(set(fold[groups == group])) == 1 for group in np.unique(groups))
    assert set(fold) == set(range(folds))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=10, max_size=200), st.integers(2, 5), seeds)
def test_one_label_per_case_is_spread_perfectly(classes, folds, seed):
    table = label_table([[number] for number in classes])
    fold = assign(table, folds=folds, seed=seed)
    assert (np.abs(surplus(table, fold, folds)) < 1).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**16), st.integers(2, 5), st.floats(0.05, 0.6))
def test_label_shares_of_many_cases_are_within_two_cases(seed, folds, share):
    table = drawn(seed, 600, 12, share=share)
    fold = assign(table, folds=folds, seed=seed)
    assert np.abs(surplus(table, fold, folds)).max() <= 3
    assert np.abs(surplus(table, fold, folds)).mean() < 0.8


def test_small_problems_are_as_even_as_the_best_of_all_divisions():
    table = drawn(4, 10, 5, share=0.4)

    def unevenness(fold: np.ndarray) -> float:
        return float((surplus(table, fold, 2) ** 2).sum())

    halves = itertools.combinations(range(10), 5)
    best = min(unevenness(np.isin(np.arange(10), half).astype(int)) for half in halves)
    found = [unevenness(assign(table, folds=2, seed=seed)) for seed in range(20)]
    assert min(found) == best
    assert np.mean(found) <= best + 2


def test_exchanges_never_leave_it_less_even_than_the_dealing():
    for seed in range(10):
        table = drawn(seed, 200, 10, share=0.4)
        units = np.ones((200, 11), np.float32)
        units[:, :-1] = table
        targets = _targets(units.sum(0), 4, None)
        dealt, _ = _deal(units, targets, np.random.default_rng(seed))
        fold = assign(table, folds=4, seed=seed)
        before, after = surplus(table, dealt, 4), surplus(table, fold, 4)
        assert (after**2).sum() <= (before**2).sum()


def test_a_dealt_label_meets_its_surplus_while_dealing():
    # What _deal says the folds have too much is what they have too much.
    table = drawn(1, 120, 6)
    units = np.ones((120, 7), np.float32)
    units[:, :-1] = table
    fold, found = _deal(units, _targets(units.sum(0), 3, None), np.random.default_rng(0))
    np.testing.assert_allclose(found[:, :-1], surplus(table, fold, 3), atol=1e-4)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-20, 40), min_size=2, max_size=6),
    st.integers(1, 60),
    st.integers(1, 5),
    seeds,
)
def test_a_water_level_is_what_one_at_a_time_gives(want, items, amount, seed):
    tie = np.random.default_rng(seed).random(len(want))
    counts = np.zeros(len(want), int)
    for _ in range(items):
        rest = np.array(want) - counts * amount
        counts[np.lexsort((tie, rest))[-1]] += 1
    assert np.array_equal(_water_fill(np.array(want), amount, items, tie), counts)


def test_groups_and_labels_are_balanced_at_once():
    rng = np.random.default_rng(0)
    table = drawn(0, 1500, 15)
    groups = rng.integers(0, 500, 1500)
    balanced = surplus(table, assign(table, folds=5, groups=groups), 5)
    blind = surplus(table, assign(table[:, :0], folds=5, groups=groups), 5)
    assert np.abs(balanced).mean() < 0.25 * np.abs(blind).mean()
    sizes = np.bincount(assign(table, folds=5, groups=groups))
    assert sizes.max() - sizes.min() <= 6


def test_it_is_at_least_as_even_as_iterative_stratification():
    peer = pytest.importorskip(
        "iterstrat.ml_stratifiers", reason="iterative-stratification is not installed"
    ).MultilabelStratifiedKFold
    for seed, share in itertools.product(range(3), (0.05, 0.3)):
        table = drawn(seed, 400, 20, share=share)
        theirs = np.empty(400, int)
        splits = peer(5, shuffle=True, random_state=seed).split(table, table)
        for number, (_, held) in enumerate(splits):
            theirs[held] = number
        ours = assign(table, folds=5, seed=seed)
        assert np.abs(surplus(table, ours, 5)).mean() <= np.abs(surplus(table, theirs, 5)).mean()


def test_class_counts_are_those_of_scikit_learn():
    from sklearn.model_selection import StratifiedKFold

    classes = np.random.default_rng(1).choice(4, 203, p=[0.6, 0.25, 0.1, 0.05])
    table = label_table([[number] for number in classes])
    theirs = np.empty(203, int)
    folds = StratifiedKFold(5, shuffle=True, random_state=0).split(classes, classes)
    for number, (_, held) in enumerate(folds):
        theirs[held] = number
    ours, peers = (surplus(table, fold, 5) for fold in (assign(table, folds=5), theirs))
    np.testing.assert_allclose(np.sort(ours, axis=0), np.sort(peers, axis=0), atol=1e-9)


def test_every_fold_is_as_likely_for_a_case():
    table = label_table([[0], [0, 1], [1], [], [0], [0, 1], [1], [], [0], [0, 1]])
    folds = np.stack([assign(table, folds=5, seed=seed) for seed in range(300)])
    shares = np.stack([(folds == number).mean(0) for number in range(5)])
    # Binomial, 300 draws of 1/5: standard deviation 0.023.
    assert np.abs(shares - 0.2).max() < 0.1


@settings(max_examples=25, deadline=None)
@given(tables, seeds, st.floats(0.1, 0.4), st.floats(0.1, 0.4))
def test_parts_may_be_of_unequal_size(table, seed, second, third):
    shares = np.array([1 - second - third, second, third])
    fold = assign(table, folds=3, proportions=shares, seed=seed)
    sizes = np.bincount(fold, minlength=3)
    assert (sizes > 0).all()
    assert (np.abs(sizes - shares * len(table)) <= 1 + 1e-6).all()


def test_targets_of_unequal_parts_are_whole_and_complete():
    found = _targets(np.array([7, 2, 10], np.float32), 2, np.array([0.8, 0.2]))
    assert found.tolist() == [[6, 2, 8], [1, 0, 2]]


def test_leave_one_out_is_the_limit():
    assert sorted(assign(drawn(0, 30, 3), folds=30)) == list(range(30))


def test_heavy_groups_do_not_leave_a_fold_empty():
    groups = np.array([0] * 95 + [1, 2, 3, 4, 5])
    table = drawn(0, 100, 4, share=0.5)
    assert set(assign(table, folds=5, groups=groups)) == set(range(5))


def test_more_than_64_labels_are_dealt_too():
    table = drawn(2, 800, 150, share=0.03)
    assert np.abs(surplus(table, assign(table, folds=4), 4)).max() <= 3


def test_label_numbers_become_columns():
    assert label_table([[1], [], [0, 2]]).tolist() == [
        [False, True, False],
        [False, False, False],
        [True, False, True],
    ]


def test_wrong_arguments_say_what_to_do():
    table = drawn(0, 20, 2)
    with pytest.raises(RecipeError, match="at least 2"):
        assign(table, folds=1)
    with pytest.raises(DataError, match="20 cases cannot be cut into 21 folds"):
        assign(table, folds=21)
    with pytest.raises(DataError, match=r"2 groups .* cannot be cut into 3 folds"):
        assign(table, folds=3, groups=[0, 1] * 10)
    with pytest.raises(DataError, match="3 groups for 20 cases"):
        assign(table, folds=2, groups=[0, 1, 2])
    with pytest.raises(RecipeError, match="not negative"):
        assign(table, folds=2, seed=-1)
    with pytest.raises(RecipeError, match="2 numbers above 0"):
        assign(table, folds=2, proportions=[1, 0])
    with pytest.raises(DataError, match="one column per label"):
        assign(table[:, 0], folds=2)
    with pytest.raises(DataError, match="numbered from 0"):
        assign([[-1], [0]], folds=2)
