"""Augmentations that learn: UDA's formula, the noises' distribution, crossover of equal labels."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesalius.errors import DataError, RecipeError
from vesalius.text.augmenters.corpus import BlankNoise, Crossover, TfIdf, UnigramNoise
from vesalius.text.lexicons import Lexicon, default
from vesalius.text.pieces import cut

CORPUS = ["the cat sat", "the dog ran", "the bird sang loudly"]


def propose(augmenter, text, strength=0.5, seed=0, lexicon=None):
    pieces = cut(text, lexicon or Lexicon([]))
    return augmenter.propose(text, pieces, random.Random(seed), strength)


def test_the_probabilities_are_those_of_the_uda_formula():
    fitted = TfIdf(corpus=CORPUS)
    scores = [0.0, math.log(3) / 3, math.log(3) / 3]
    top = max(scores)
    total = sum(top - score for score in scores)
    expected = [min(1.0, 0.2 * 3 * (top - score) / total) for score in scores]
    assert fitted.probabilities(["the", "cat", "sat"], 0.2) == pytest.approx(expected)


def test_a_probability_is_capped_at_one():
    assert TfIdf(corpus=CORPUS).probabilities(["the", "cat", "sat"], 0.9)[0] == 1.0


def test_words_that_are_all_worth_the_same_are_replaced_with_p():
    assert TfIdf(corpus=CORPUS).probabilities(["cat", "sat"], 0.2) == [0.2, 0.2]
    assert TfIdf(corpus=["one"]).probabilities(["one"], 0.2) == [0.2]


@given(st.lists(st.sampled_from(["the", "cat", "sat", "unknown"]), min_size=1, max_size=9))
def test_probabilities_add_up_to_at_most_p_times_the_length(tokens):
    chances = TfIdf(corpus=CORPUS).probabilities(tokens, 0.3)
    assert all(0 <= chance <= 1 for chance in chances)
    assert sum(chances) <= 0.3 * len(tokens) + 1e-9


def test_words_that_say_much_are_never_inserted_and_facts_neither_go_nor_come():
    fitted = TfIdf(corpus=["患者发热3天来诊", "患者咳嗽来诊", "患者头痛，无发热，来院"])
    seen = {
        edit.new for seed in range(40)
        for edit in propose(fitted, "患者发热5天去看病", 0.9, seed, default()).edits
    }  # fmt: skip
    assert seen
    assert not seen & {"发热", "咳嗽", "头痛", "3", "无"}


def test_unigram_noise_draws_by_frequency():
    fitted = UnigramNoise(corpus=["often often often rarely"])
    drawn = Counter(
        edit.new for seed in range(800) for edit in propose(fitted, "x y z", 0.5, seed).edits
    )
    assert abs(drawn["often"] / drawn.total() - 0.75) < 0.05
    assert abs(drawn.total() / 2400 - 0.5) < 0.05


def test_blank_noise_blanks_the_share_of_words():
    blanks = sum(propose(BlankNoise(), "a b c d", 0.3, seed).text.count("_") for seed in range(500))
    assert abs(blanks / 2000 - 0.3) < 0.05
    assert propose(BlankNoise(blank="[MASK]"), "a", 1.0).text == "[MASK]"
    with pytest.raises(RecipeError, match="blank is empty"):
        BlankNoise(blank="")


def test_what_has_learned_nothing_says_so():
    for kind in (TfIdf(), UnigramNoise(), Crossover()):
        with pytest.raises(RecipeError, match="learned from nothing"):
            propose(kind, "a b")
    with pytest.raises(DataError, match="without a fact"):
        UnigramNoise(corpus=["发热"])
    with pytest.raises(DataError, match="no corpus"):
        TfIdf(corpus="none.txt")


def test_crossover_joins_whole_sentences_of_texts_with_equal_labels():
    texts = ["甲来。乙去。", "丙留。丁走。", "戊坐。己站。"]
    fitted = Crossover().fit(texts, ["a", "a", "b"])
    made = propose(fitted, texts[0], seed=1)
    assert {propose(fitted, texts[0], seed=seed).text for seed in range(9)} == {
        texts[0], "甲来。丁走。"
    }  # fmt: skip
    assert made.reference in (None, made.text)
    assert propose(fitted, texts[2]).text == texts[2]
    english = Crossover(partners=["She came. She left."])
    assert propose(english, "He sat. He ran.").text == "He sat. She left."


@pytest.mark.parametrize(
    ("text", "partner"),
    [("有发热。来院。", "入院。无发热。"), ("男性患者。来院。", "入院。为女性。")],
)
def test_a_partner_that_contradicts_is_not_taken(text, partner):
    assert propose(Crossover(partners=[partner]), text).text == text
