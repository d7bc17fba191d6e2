"""Tiny Hugging Face models with random weights, made here; nothing is downloaded."""

import gzip
import json
import pickle
import struct
import subprocess
import sys
from random import Random

import numpy as np
import pytest
import torch

from vesalius.errors import DataError, RecipeError
from vesalius.text import augment
from vesalius.text.augmenters.base import Piece, apply
from vesalius.text.augmenters.embeddings import EmbeddingNeighbours, read_vectors
from vesalius.text.augmenters.generation import ConditionalGeneration, fine_tune, prompt
from vesalius.text.augmenters.models import MaskedLanguageModel
from vesalius.text.augmenters.translation import BackTranslation, Translator

WORDS = "the patient doctor nurse felt was very tired calm quiet walked slowly home today"
ENGLISH = WORDS.split()
CHINESE = list("患者自行服药后来我院就诊步入今日精神尚可医生护")
TEXT = "the patient felt very tired today"


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """A BERT of two layers whose WordPiece vocabulary has words, characters and pieces."""
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*specials, *ENGLISH, *dict.fromkeys(CHINESE), "##ing", "##院", "7", "."]
    (folder / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def causal(tmp_path_factory):
    """A GPT-2 of one layer over words and Chinese characters."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("gpt2")
    tokenizer = word_tokenizer([*ENGLISH, *dict.fromkeys(CHINESE), "A", "B", ":", ","])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=2, n_positions=64)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def translating(tmp_path_factory):
    """A T5 of one layer."""
    from transformers import T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("t5")
    tokenizer = word_tokenizer(ENGLISH)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=16,
        d_kv=8,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return str(folder)


def word_tokenizer(words):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def pieces_of(text, words):
    pieces, start = [], 0
    for word in words:
        at = text.index(word, start)
        if at > start:
            pieces.append(Piece(start, at, text[start:at], False))
        pieces.append(Piece(at, at + len(word), word, False))
        start = at + len(word)
    return pieces


# Masked language models


def test_a_masked_word_becomes_another_whole_word_of_the_vocabulary(masked):
    outputs = augment(TEXT, "masked-lm", n=8, strength=0.2, model=masked, protect=False)
    assert len(outputs) > 2
    for output in outputs:
        changed = [a for a, b in zip(output.split(), TEXT.split(), strict=True) if a != b]
        assert len(changed) == 1
        assert changed[0] in ENGLISH


def test_chinese_words_keep_their_length_and_their_script(masked):
    text = "患者自行服药后来我院就诊"
    for output in augment(text, "masked-lm", n=8, strength=0.3, model=masked, protect=False):
        assert len(output) == len(text)
        assert set(output) <= set(CHINESE)


def test_the_log_of_a_masked_replacement_leads_to_its_text(masked):
    words = TEXT.split()
    proposal = MaskedLanguageModel(model=masked).propose(
        TEXT, pieces_of(TEXT, words), Random(0), 1.0
    )
    assert len(proposal.edits) == len(words)
    assert apply(TEXT, proposal.edits) == proposal.text


def test_the_draw_follows_the_models_probabilities(masked):
    # An independent computation: the token with the highest logit among whole words.
    from transformers import BertForMaskedLM, BertTokenizerFast

    model, tokenizer = (
        BertForMaskedLM.from_pretrained(masked),
        BertTokenizerFast.from_pretrained(masked),
    )
    encoded = tokenizer("the patient [MASK] very tired today", return_tensors="pt")
    place = encoded["input_ids"][0].tolist().index(tokenizer.mask_token_id)
    with torch.inference_mode():
        scores = model.eval()(**encoded).logits[0, place]
    words = [word for word in ENGLISH if word != "felt"]
    best = max(words, key=lambda word: scores[tokenizer.convert_tokens_to_ids(word)])
    augmenter = MaskedLanguageModel(model=masked, top=1)
    assert augmenter.replacement(TEXT, 12, 16, Random(0)) == best


def test_long_texts_are_seen_through_a_window_around_the_mask(masked):
    text = " ".join([TEXT] * 30)
    start = text.index("felt", len(text) // 2)
    assert MaskedLanguageModel(model=masked).replacement(text, start, start + 4, Random(0))


def test_one_seed_gives_one_replacement(masked):
    first = augment(TEXT, "masked-lm", seed=3, model=masked, protect=False)
    assert augment(TEXT, "masked-lm", seed=3, model=masked, protect=False) == first


def test_protected_facts_are_never_masked(masked):
    text = "the patient felt very tired for 7 days"
    for output in augment(text, "masked-lm", n=8, strength=1.0, model=masked):
        assert "7 days" in output


def test_a_model_without_a_mask_is_an_error(causal):
    with pytest.raises(DataError, match=r"cannot be opened|no mask token"):
        MaskedLanguageModel(model=causal)


def test_a_folder_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(DataError, match="cannot be opened"):
        MaskedLanguageModel(model=str(tmp_path))


def test_it_travels_between_processes_without_its_weights(masked):
    content = pickle.dumps(MaskedLanguageModel(model=masked))
    assert len(content) < 1000
    assert pickle.loads(content).replacement(TEXT, 12, 16, Random(0))


# Embedding neighbours

VECTORS = {
    "tired": [1.0, 0.0, 0.0],
    "weary": [0.9, 0.1, 0.0],
    "calm": [0.0, 1.0, 0.0],
    "quiet": [0.1, 0.9, 0.1],
    "疲倦": [1.0, 0.05, 0.0],
    "乏力": [0.95, 0.0, 0.1],
    "TIRED": [1.0, 0.0, 0.01],
    "x7": [1.0, 0.0, 0.0],
}


def write_text(path, *, header=True, opener=open):
    with opener(path, "wt", encoding="utf-8") as file:
        if header:
            file.write(f"{len(VECTORS)} 3\n")
        for word, vector in VECTORS.items():
            file.write(f"{word} {' '.join(map(str, vector))}\n")


def write_binary(path, *, breaks):
    with open(path, "wb") as file:
        file.write(f"{len(VECTORS)} 3\n".encode())
        for word, vector in VECTORS.items():
            file.write(word.encode() + b" " + struct.pack("<3f", *vector) + b"\n" * breaks)


@pytest.fixture(params=["text", "glove", "gzip", "binary", "binary with line breaks"])
def vector_file(request, tmp_path):
    if request.param == "gzip":
        path = tmp_path / "vectors.txt.gz"
        write_text(path, opener=gzip.open)
    elif request.param.startswith("binary"):
        path = tmp_path / "vectors.bin"
        write_binary(path, breaks="breaks" in request.param)
    else:
        path = tmp_path / "vectors.txt"
        write_text(path, header=request.param == "text")
    return str(path)


def test_every_format_gives_the_same_vectors(vector_file):
    words, matrix = read_vectors(vector_file)
    assert words == list(VECTORS)
    np.testing.assert_allclose(matrix, np.array(list(VECTORS.values())), rtol=1e-6)


def test_neighbours_are_sorted_by_cosine_and_keep_their_script(vector_file):
    augmenter = EmbeddingNeighbours(vectors=vector_file, min_similarity=-0.99, top=3)
    near = augmenter.neighbours("tired")
    assert [word for word, _ in near] == ["weary", "quiet", "calm"]
    assert near[0][1] == pytest.approx(0.9 / np.hypot(0.9, 0.1))
    assert [word for word, _ in augmenter.neighbours("疲倦")] == ["乏力"]


def test_words_are_replaced_by_neighbours_in_the_same_case(vector_file):
    assert augment("Tired and calm", "embedding", n=4, strength=1.0, vectors=vector_file) == [
        "Weary and quiet"
    ]


def test_only_the_first_words_are_read_when_asked(vector_file):
    assert read_vectors(vector_file, max_words=2)[0] == ["tired", "weary"]


def test_input_embeddings_of_a_model_serve_as_vectors(masked):
    augmenter = EmbeddingNeighbours(model=masked, min_similarity=-0.99)
    near = [word for word, _ in augmenter.neighbours("patient")]
    assert near
    assert set(near) <= set(ENGLISH) - {"patient"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("2 3\na 1 2 3\nb 1 x 3\n", "line 3"),
        ("2 3\na 1 2\n", "line 2"),
        ("", "no word vectors"),
    ],
)
def test_broken_vectors_are_errors_that_name_the_line(tmp_path, content, message):
    path = tmp_path / "broken.txt"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        EmbeddingNeighbours(vectors=str(path))


def test_a_binary_file_that_ends_early_is_an_error(tmp_path):
    path = tmp_path / "vectors.bin"
    write_binary(path, breaks=False)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match="ends within word 8 of 8"):
        read_vectors(str(path))


def test_vectors_and_model_exclude_each_other(masked):
    with pytest.raises(RecipeError, match="one of them"):
        EmbeddingNeighbours(vectors="a.txt", model=masked)


# Back translation


def test_any_two_functions_translate_back():
    chain = [
        lambda text: text.replace("felt", "sentait"),
        lambda text: text.replace("sentait", "was"),
    ]
    assert augment(TEXT, "back-translation", chain=chain) == [TEXT.replace("felt", "was")]


def test_chains_may_have_several_languages_and_run_in_order():
    seen = []

    def step(name):
        def translate(text):
            seen.append(name)
            return text + name

        return translate

    BackTranslation(chain=[step("a"), step("b"), step("c")]).propose("x", (), Random(0), 1.0)
    assert seen == ["a", "b", "c"]


def test_a_translation_that_changes_a_number_is_rejected():
    chain = [lambda text: text.replace("7", "8"), lambda text: text]
    assert augment("tired for 7 days", "back-translation", chain=chain) == []
    assert augment("tired for 7 days", "back-translation", chain=chain, protect=False) == [
        "tired for 8 days"
    ]


def test_only_whole_sentences_change_and_the_log_says_which():
    text = "患者步入病房。体温36.5度。 He walked home. He slept."
    chain = [str.upper, str.title]
    proposal = BackTranslation(chain=chain).propose(text, (), Random(1), 1.0)
    assert [edit.old for edit in proposal.edits] == ["He walked home.", "He slept."]
    assert apply(text, proposal.edits) == proposal.text


def test_a_model_that_answers_nothing_leaves_the_sentence():
    chain = [lambda text: " ", lambda text: pytest.fail("there is nothing to translate back")]
    assert BackTranslation(chain=chain).propose(TEXT, (), Random(0), 1.0).text == TEXT


def test_two_models_translate_back(translating):
    step = {"model": translating, "num_beams": 1, "max_new_tokens": 4}
    proposal = BackTranslation(chain=[step, step]).propose(TEXT, (), Random(0), 1.0)
    assert set(proposal.text.split()) <= {*ENGLISH, "<unk>"}


def test_drawn_translations_repeat_with_the_seed(translating):
    translator = Translator(translating, sample=True, num_beams=1, max_new_tokens=8)
    drawn = {translator(TEXT, Random(seed)) for seed in range(4)}
    assert len(drawn) > 1
    assert translator(TEXT, Random(1)) == translator(TEXT, Random(1))


def test_an_unknown_target_language_is_an_error(translating):
    with pytest.raises(DataError, match="does not know the language 'xx'"):
        Translator(translating, target="xx")


@pytest.mark.parametrize("chain", [[str.upper], [], "folder", [str.upper, 3], [str.upper, {}]])
def test_a_chain_that_does_not_come_back_is_an_error(chain):
    with pytest.raises(RecipeError, match="chain"):
        BackTranslation(chain=chain)


# Conditional generation


def test_fine_tuning_teaches_the_label_of_a_text(causal, tmp_path):
    torch.manual_seed(0)
    records = [(["A"], "patient felt tired"), (["B"], "nurse walked home")] * 16
    out = tmp_path / "tuned"
    losses = fine_tune(records, model=causal, out=out, epochs=30, learning_rate=0.02, batch_size=16)
    assert losses[-1] < 0.3 * losses[0]
    generator = ConditionalGeneration(model=str(out), max_new_tokens=4, top_p=0.5)
    assert generator.generate(["A"], n=3, seed=1).count("patient felt tired") >= 2
    assert generator.generate(["B"], n=3, seed=1).count("nurse walked home") >= 2
    assert json.loads((out / "config.json").read_text())["model_type"] == "gpt2"
    assert [path.name for path in tmp_path.iterdir()] == ["tuned"]


def test_fine_tuning_leaves_the_model_that_it_starts_from(causal, tmp_path):
    generator = ConditionalGeneration(model=causal, max_new_tokens=6)
    before = generator.generate(["A"], seed=5)
    fine_tune([(["A"], "home")], model=causal, out=tmp_path / "new", epochs=1, learning_rate=0.1)
    assert generator.generate(["A"], seed=5) == before


def test_generated_records_begin_with_the_first_words_of_the_text(causal):
    outputs = augment(
        TEXT, "generate", n=3, model=causal, labels=("A",), new_facts=True, max_new_tokens=5
    )
    assert len(outputs) == 3
    assert all(output.startswith("the patient felt") for output in outputs)


def test_generation_repeats_with_the_seed_and_leaves_torchs_own(causal):
    generator = ConditionalGeneration(model=causal, max_new_tokens=6)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = generator.generate(["A", "B"], n=2, seed=1)
    torch.testing.assert_close(torch.rand(3), expected)
    assert generator.generate(["B", "A"], n=2, seed=1) == first
    assert generator.generate(["A", "B"], n=2, seed=2) != first


def test_labels_stand_sorted_in_front():
    assert prompt(["肺气肿", "高血压"]) == "肺气肿, 高血压: "


def test_records_without_text_or_label_are_listed_at_once(causal, tmp_path):
    with pytest.raises(DataError) as caught:
        fine_tune([(["A"], " "), ([], "home")], model=causal, out=tmp_path / "new")
    assert caught.value.problems == ["record 1: no text", "record 2: no label"]


def test_a_model_is_not_overwritten(causal, tmp_path):
    with pytest.raises(DataError, match="exists"):
        fine_tune([(["A"], "home")], model=causal, out=tmp_path)


def test_generation_without_labels_is_an_error(causal):
    with pytest.raises(RecipeError, match="labels"):
        augment(TEXT, "generate", model=causal)


def test_importing_the_kinds_imports_no_torch():
    names = ("models", "embeddings", "translation", "generation")
    imports = ", ".join(f"vesalius.text.augmenters.{name}" for name in names)
    code = f"import sys, {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
