"""Exact and near duplicates."""

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import DataError, RecipeError
from vesalius.text.duplicates import deduplicate, duplicates, groups, jaccard, near_duplicates
from vesalius.text.minhash import Sketches, candidates, layout
from vesalius.text.shingles import normal_forms, shingles

SENTENCES = [
    "既往{}病史{}年，规律服药，控制可。",
    "{}天前受凉后出现{}，伴乏力。",
    "否认{}病史，否认{}史。",
    "查体：体温{}℃，{}压痛。",
    "家族史：父亲患{}，母亲{}岁。",
]
FILLINGS = [
    *("高血压", "糖尿病", "冠心病", "咳嗽", "腹痛", "胸闷", "肝炎", "结核", "头晕", "左侧", "右侧"),
    *map(str, range(30)),
]


def strings(text: str, ngram: int = 5) -> set[str]:
    """Return the shingles of a text in its normal form, as Python strings."""
    if len(text) < ngram:
        return {text} if text else set()
    return {text[i : i + ngram] for i in range(len(text) - ngram + 1)}


def true_jaccard(left: set, right: set) -> float:
    return len(left & right) / len(left | right)


def records(count: int, seed: int, sentences: int = 12) -> list[str]:
    """Return templated records; a tenth of them are changed copies of others."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        if made and rng.random() < 0.1:
            text = list(rng.choice(made))
            for _ in range(rng.randrange(1, max(2, len(text) // 40))):
                text[rng.randrange(len(text))] = rng.choice("痛热咳晕0123456789")
            made.append("".join(text))
        else:
            frames = rng.choices(SENTENCES, k=sentences)
            made.append("".join(frame.format(*rng.sample(FILLINGS, 2)) for frame in frames))
    return made


@pytest.mark.parametrize("sentences", [1, 8])
def test_near_duplicates_are_those_of_a_comparison_of_all_pairs(sentences, monkeypatch):
    monkeypatch.setattr("vesalius.text.duplicates._ALL_PAIRS", 0)
    texts = records(250, seed=sentences, sentences=sentences)
    sets = [strings(text.lower()) for text in texts]
    every = ((i, j, true_jaccard(sets[i], sets[j])) for i, j in combinations(range(250), 2))
    exact = {(i, j): share for i, j, share in every if share >= 0.7}
    found = near_duplicates(texts)
    assert all(exact[i, j] == pytest.approx(share) for i, j, share in found)
    assert len(found) >= 0.97 * len(exact) - 1
    assert found == sorted(found)
    assert found == near_duplicates(texts)


@pytest.mark.parametrize("size", [8, 40, 150, 600])
def test_pairs_exactly_at_the_threshold_are_found(size):
    """One copy of each of 250 random texts shares 0.7 to 0.75 of the shingles."""
    rng = np.random.default_rng(size)
    texts = []
    for _ in range(250):
        shared, own = round(size * 0.84), round(size * 0.16)
        codes = rng.integers(0x4E00, 0x9000, shared + 2 * own)
        left, right = codes[: shared + own], np.concatenate([codes[:shared], codes[shared + own :]])
        texts += ["".join(map(chr, left)), "".join(map(chr, right))]
    expected = true_jaccard(set(texts[0]), set(texts[1]))
    assert 0.6 < expected < 0.78
    found = near_duplicates(texts, threshold=expected - 0.01, ngram=1)
    pairs = {(i, j) for i, j, _ in found}
    planted = {(i, i + 1) for i in range(0, len(texts), 2)}
    assert len(pairs & planted) >= 0.95 * len(planted)


@given(st.lists(st.text("痛热咳 abA，", max_size=12), max_size=12), st.sampled_from([1, 2, 5]))
@settings(deadline=None, max_examples=50)
def test_small_corpora_are_compared_exactly(texts, ngram):
    normal = [normalised(text) for text in texts]
    expected = {
        (i, j): true_jaccard(strings(normal[i], ngram), strings(normal[j], ngram))
        for i, j in combinations(range(len(texts)), 2)
        if normal[i] and normal[j]
    }
    found = near_duplicates(texts, threshold=0.5, ngram=ngram)
    assert {(i, j): share for i, j, share in found} == pytest.approx(
        {pair: share for pair, share in expected.items() if share >= 0.5}
    )


def normalised(text: str) -> str:
    codes, (start,), (end,) = next(normal_forms([text]))
    return "".join(map(chr, codes[start:end]))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  BP  １２０／80 mmHg ", "bp 120/80 mmhg"),
        ("患者 发热\n3 天", "患者发热3 天".replace(" ", "")),
        ("a \u3000 b", "a b"),
        ("ＡＢ，c", "ab,c"),
        ("10⁹与109", "10⁹与109"),
        ("İstanbul", "İstanbul"),
        ("\ud83d", "\ud83d"),
        ("   ", ""),
        ("", ""),
    ],
)
def test_the_normal_form(text, normal):
    assert normalised(text) == normal


@given(st.text(max_size=60))
@settings(deadline=None)
def test_the_normal_form_of_a_normal_form_is_itself(text):
    assert normalised(normalised(text)) == normalised(text)


@given(st.lists(st.text("痛热 ab", max_size=20), min_size=1, max_size=8), st.integers(1, 7))
@settings(deadline=None)
def test_shingle_sets_have_the_sizes_of_sets_of_strings(texts, ngram):
    sets = shingles(texts, ngram=ngram)
    assert sets.sizes.tolist() == [len(strings(normalised(text), ngram)) for text in texts]
    for index in range(len(texts)):
        assert (np.diff(sets.of(index)) > 0).all()


def test_batches_do_not_change_the_sets(monkeypatch):
    texts = records(60, seed=1)
    whole = shingles(texts)
    monkeypatch.setattr("vesalius.text.shingles._BATCH", 300)
    parts = shingles(texts)
    assert np.array_equal(whole.hashes, parts.hashes)
    assert np.array_equal(whole.starts, parts.starts)


def test_jaccard_of_pairs_is_that_of_python_sets():
    texts = records(40, seed=2)
    sets = shingles(texts)
    pairs = np.array(list(combinations(range(40), 2)))
    expected = [true_jaccard(strings(texts[i]), strings(texts[j])) for i, j in pairs]
    assert jaccard(sets, pairs) == pytest.approx(expected)


@pytest.mark.parametrize(("size", "bins"), [(4, 1), (20, 4), (60, 16), (200, 64), (900, 256)])
def test_sketches_estimate_the_jaccard_index_without_bias(size, bins):
    rng = np.random.default_rng(bins)
    texts = []
    for _ in range(150):
        codes = rng.integers(0x4E00, 0x9000, 4 * size)
        texts += ["".join(map(chr, codes[: 3 * size])), "".join(map(chr, codes[size:]))]
    sets = shingles(texts, ngram=1)
    sketch = Sketches.of(sets, np.arange(300), bins=bins, seed=0)
    left, right = np.arange(0, 300, 2), np.arange(1, 300, 2)
    true = jaccard(sets, np.stack([left, right], axis=1))
    assert sketch.agreement(left, right).mean() == pytest.approx(true.mean(), abs=0.015)
    assert sketch.bit_agreement(left, right).mean() == pytest.approx(
        (1 + true.mean()) / 2, abs=0.01
    )
    alone = [len(set(sets.of(i)) ^ set(sets.of(j))) for i, j in zip(left, right, strict=True)]
    assert (sketch.surely_different(left, right) <= alone).all()


def test_templates_get_longer_bands_than_unlike_texts():
    unlike, alike = np.full(1000, 0.02), np.full(1000, 0.45)
    assert layout(alike, 20_000, 0.7)[0] > layout(unlike, 20_000, 0.7)[0]


def test_candidates_of_templates_are_few():
    texts = records(600, seed=5)
    sets = shingles(texts)
    pairs = candidates(sets, threshold=0.7, seed=0)
    assert len(pairs) < 20 * len(texts)
    assert (pairs[:, 0] < pairs[:, 1]).all()


def test_the_first_of_equal_texts_is_kept():
    found = deduplicate(["发热", "BP 120", "发 热", "bp １２０", "发热"], threshold=None)
    assert found.kept == (0, 1)
    assert found.duplicate_of == {2: 0, 3: 1, 4: 0}
    assert set(found.similarity.values()) == {1.0}


def test_a_text_is_dropped_for_a_kept_text_alone():
    """b resembles a, c resembles b but not a: c stays."""
    a = "".join(chr(0x4E00 + i) for i in range(40))
    b = a[8:] + "".join(chr(0x5E00 + i) for i in range(8))
    c = b[8:] + "".join(chr(0x6E00 + i) for i in range(8))
    pairs = {(i, j) for i, j, _ in near_duplicates([a, b, c], threshold=0.6, ngram=1)}
    assert pairs == {(0, 1), (1, 2)}
    found = deduplicate([a, b, c], threshold=0.6, ngram=1)
    assert found.kept == (0, 2)
    assert groups(near_duplicates([a, b, c], threshold=0.6, ngram=1), 3) == [(0, 1, 2)]


@given(st.lists(st.text("痛热咳ab", max_size=8), max_size=25))
@settings(deadline=None)
def test_every_dropped_text_resembles_its_kept_one_and_no_kept_ones_do(texts):
    found = deduplicate(texts, threshold=0.6, ngram=2)
    assert sorted([*found.kept, *found.duplicate_of]) == list(range(len(texts)))
    assert set(found.duplicate_of.values()) <= set(found.kept)
    kept = [texts[index] for index in found.kept]
    assert near_duplicates(kept, threshold=0.6, ngram=2) == []
    for index, first in found.duplicate_of.items():
        assert first < index
        assert found.similarity[index] >= 0.6


def test_blocks_drop_what_a_comparison_of_all_drops(monkeypatch):
    texts = records(200, seed=9, sentences=2)
    whole = deduplicate(texts)
    monkeypatch.setattr("vesalius.text.duplicates._FEW", 40)
    monkeypatch.setattr("vesalius.text.duplicates._MANY_PARTNERS", -1)
    monkeypatch.setattr("vesalius.text.duplicates._ALL_PAIRS", 10**9)
    assert deduplicate(texts).kept == pytest.approx(whole.kept)


def test_duplicates_are_groups_of_equal_normal_forms():
    assert duplicates(["a b", "A  B", "ab", "", "  "]) == [(0, 1), (3, 4)]
    assert duplicates([]) == []


@pytest.mark.parametrize("threshold", [0.05, 0.3, 1.0])
def test_extreme_thresholds_work(threshold):
    texts = [*records(230, seed=3), *records(20, seed=3)]
    found = near_duplicates(texts, threshold=threshold)
    assert {(i, 230 + i) for i in range(20)} <= {(i, j) for i, j, _ in found}
    assert all(share >= threshold for *_, share in found)


def test_groups_are_connected_components():
    assert groups([(4, 2), (2, 7), (0, 1)], 9) == [(0, 1), (2, 4, 7)]


def test_wrong_arguments_are_named():
    for threshold in (0, -1, 1.5, float("nan")):
        with pytest.raises(RecipeError, match="threshold"):
            near_duplicates(["a"], threshold=threshold)
    with pytest.raises(RecipeError, match="ngram 0"):
        near_duplicates(["a"], ngram=0)
    with pytest.raises(DataError, match="text 1 is a int"):
        near_duplicates(["a", 2])
    assert near_duplicates([]) == []
    assert near_duplicates(["", "", "a"]) == []
