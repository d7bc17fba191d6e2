"""Vocabularies and n-grams."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.errors import DataError, RecipeError
from vesalius.text.ngrams import BOS, EOS, count_ngrams, ngrams
from vesalius.text.vocabulary import Vocabulary

SOME = st.sampled_from(["咳嗽", "发热", "pain", "3", "天"])
WORDS = st.lists(st.lists(SOME, max_size=8), max_size=8)


def test_unknown_is_zero_and_padding_one():
    made = Vocabulary.build([["b", "a", "b"]])
    assert made.words == ("[UNK]", "[PAD]", "b", "a")
    assert made.encode(["a", "never"], length=4) == [3, 0, 1, 1]
    assert made.encode(["a", "b"], length=1) == [3]
    assert made.decode([3, 0, 1]) == ["a", "[UNK]"]


@given(WORDS, st.randoms())
def test_the_order_of_texts_does_not_matter(texts, rng):
    shuffled = rng.sample(texts, len(texts))
    assert Vocabulary.build(texts) == Vocabulary.build(shuffled)


@given(WORDS)
def test_known_words_come_back(texts):
    made = Vocabulary.build(texts)
    assert [made.decode(made.encode(text)) for text in texts] == texts
    assert list(made.counts.values()) == sorted(made.counts.values(), reverse=True)


def test_rare_words_and_those_beyond_the_size_are_unknown():
    texts = [["a"] * 3 + ["b"] * 2 + ["c"] * 2 + ["d"]]
    assert Vocabulary.build(texts, min_count=2).words[2:] == ("a", "b", "c")
    assert Vocabulary.build(texts, max_size=4).words[2:] == ("a", "b")
    assert Vocabulary.build(texts, special=["[BOS]"], max_size=4).words[2:] == ("[BOS]", "a")


def test_a_saved_vocabulary_is_read_again(tmp_path):
    made = Vocabulary.build([["咳嗽", "发热", "咳嗽"]])
    made.save(tmp_path / "v.json")
    again = Vocabulary.load(tmp_path / "v.json")
    assert (again.words, again.counts) == (made.words, made.counts)


def test_what_is_no_vocabulary_is_refused(tmp_path):
    path = tmp_path / "v.json"
    with pytest.raises(DataError, match="There is no vocabulary"):
        Vocabulary.load(path)
    for content in ("{", "[]", '{"words": []}'):
        path.write_text(content)
        with pytest.raises(DataError, match="not a vocabulary"):
            Vocabulary.load(path)
    path.write_text(
        json.dumps({"format": "vesalius-vocabulary-1", "words": ["a", "a"], "counts": {}})
    )
    with pytest.raises(DataError, match=r"must begin with(?s:.*)twice: a"):
        Vocabulary.load(path)


def test_wrong_arguments_are_named():
    with pytest.raises(RecipeError, match="cut texts"):
        Vocabulary.build(["a b"])
    with pytest.raises(RecipeError, match="max_size 1"):
        Vocabulary.build([], max_size=1)
    with pytest.raises(DataError, match="0 to 1"):
        Vocabulary.build([]).decode([2])


def test_ngrams_have_marks_of_begin_and_end():
    assert list(ngrams("痛热", 3)) == [(BOS, BOS, "痛"), (BOS, "痛", "热"), ("痛", "热", EOS)]
    assert list(ngrams(["a"], 1)) == [("a",), (EOS,)]
    assert list(ngrams("abc", 2, marks=False)) == [("a", "b"), ("b", "c")]
    assert list(ngrams("a", 2, marks=False)) == []
    with pytest.raises(RecipeError, match="n 0"):
        ngrams("a", 0)


@given(st.lists(st.text("痛热咳", max_size=10), max_size=10), st.integers(1, 4))
def test_every_unit_and_end_is_predicted_once(texts, n):
    counts = count_ngrams(texts, n)
    assert sum(counts.values()) == sum(map(len, texts)) + len(texts)
    assert counts.forgotten == 0


@given(st.lists(st.text("痛热咳晕麻", max_size=12), max_size=12))
def test_a_bounded_table_misses_at_most_what_it_says(texts):
    exact, bounded = count_ngrams(texts, 2), count_ngrams(texts, 2, most=5)
    assert len(bounded) <= 5
    for gram, count in exact.items():
        assert count - bounded.forgotten <= bounded[gram] <= count


def test_several_lengths_are_counted_together():
    counts = count_ngrams(["ab", "ab"], (1, 2), marks=False, min_count=2)
    assert counts == Counter({("a",): 2, ("a", "b"): 2, ("b",): 2})
    assert list(counts) == [("a",), ("a", "b"), ("b",)]
