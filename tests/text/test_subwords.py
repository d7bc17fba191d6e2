"""Subword units."""

import json

import pytest

from vesalius.errors import DataError, RecipeError
from vesalius.text.subwords import SPECIAL, Subwords, train_subwords

TEXTS = [
    "患者慢性阻塞性肺疾病10年，2型糖尿病5年，否认高血压。",
    "白细胞12.3×10⁹/L，血压120/80mmHg。",
    "Patient denies chest pain, takes aspirin 100 mg daily.",
    "The patient was treated for pneumonia and pneumothorax.",
] * 20
KINDS = ("wordpiece", "bpe", "unigram")


@pytest.fixture(scope="module", params=KINDS)
def trained(request) -> Subwords:
    return train_subwords(TEXTS, kind=request.param, size=200)


def test_special_tokens_have_the_first_ids(trained):
    assert [trained.ids[token] for token in SPECIAL] == [0, 1, 2, 3, 4]


def test_a_text_stands_between_cls_and_sep(trained):
    ids = trained.encode("慢性肺疾病")
    assert (ids[0], ids[-1]) == (2, 3)
    assert ids[1:-1] == trained.encode("慢性肺疾病", special=False)


def test_chinese_characters_are_never_joined(trained):
    for token in trained.tokenizer.get_vocab():
        assert sum("\u4e00" <= character <= "\u9fff" for character in token) <= 1
    assert [unit for unit in trained.tokens("慢性肺疾病") if unit != "▁"] == list("慢性肺疾病")


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_frequent_latin_words_become_one_unit(kind):
    assert len(train_subwords(TEXTS, kind=kind, size=250).tokens("patient")) == 1


def test_the_marks_of_wordpiece_are_no_special_tokens():
    subwords = train_subwords(TEXTS, size=200)
    assert subwords.tokens("##a")[0] != "##a"


def test_an_exponent_is_not_a_digit(trained):
    assert trained.encode("10⁹") != trained.encode("109")


def test_a_character_never_seen_is_unknown(trained):
    assert 1 in trained.encode("犇")


def test_offsets_name_the_characters_of_each_unit(trained):
    text = "2型糖尿病，aspirin"
    covered = {place for start, end in trained.offsets(text) for place in range(start, end)}
    assert covered == set(range(len(text)))


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_bpe_and_unigram_give_the_text_back(kind):
    subwords = train_subwords(TEXTS, kind=kind, size=300, lowercase=False)
    for text in TEXTS[:4]:
        assert subwords.decode(subwords.encode(text)) == text


def test_truncation_keeps_the_end_mark(trained):
    ids = trained.encode(TEXTS[0], max_length=7)
    assert len(ids) == 7
    assert ids[-1] == 3
    assert ids[:6] == trained.encode(TEXTS[0])[:6]
    assert trained.encode(TEXTS[0], special=False, max_length=5) == ids[1:6]


def test_transformers_loads_the_saved_folder(trained, tmp_path):
    from transformers import AutoTokenizer

    trained.save(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.pad_token_id == 0
    assert loaded.mask_token_id == 4
    assert loaded.model_max_length == 512
    for text in TEXTS[:4]:
        assert loaded(text)["input_ids"] == trained.encode(text)
        assert trained.hugging_face()(text)["input_ids"] == trained.encode(text)


def test_a_saved_folder_loads_with_the_same_ids(trained, tmp_path):
    trained.save(tmp_path / "a")
    again = Subwords.load(tmp_path / "a")
    assert again.encode_all(TEXTS[:4]) == trained.encode_all(TEXTS[:4])
    again.save(tmp_path / "b")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_training_is_deterministic(kind):
    one, two = (train_subwords(TEXTS, kind=kind, size=150) for _ in range(2))
    assert json.loads(one.tokenizer.to_str()) == json.loads(two.tokenizer.to_str())


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_more_than_a_thousand_characters_are_learnt(kind):
    characters = [chr(0x4E00 + number) for number in range(3000)]
    subwords = train_subwords([*characters, *characters], kind=kind, size=4000)
    assert 1 not in subwords.encode("".join(characters))


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_is_an_upper_bound(kind):
    assert len(train_subwords(TEXTS, kind=kind, size=60)) <= 60


def test_wrong_arguments_are_named():
    with pytest.raises(RecipeError, match="'letters'"):
        train_subwords(TEXTS, kind="letters")
    with pytest.raises(RecipeError, match="size 5"):
        train_subwords(TEXTS, size=5)
    with pytest.raises(DataError, match="no text"):
        train_subwords(["", " "])
    with pytest.raises(DataError, match="text 1 is a int"):
        train_subwords(["a", 3])


def test_a_broken_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="not a tokenizer folder"):
        Subwords.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="not a tokenizer"):
        Subwords.load(tmp_path)
