import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import DataError, RecipeError
from vesalius.text import augment
from vesalius.text.augmenters import inflection
from vesalius.text.augmenters.base import apply
from vesalius.text.augmenters.english import Spelling, contractions, expansions
from vesalius.text.augmenters.typing_errors import NEIGHBOURS
from vesalius.text.augmenters.wordnet import DEBIAN, find, synonyms


def applied(text, edits):
    return apply(text, sorted(edits))


# Contractions


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("They're tired.", "They are tired."),
        ("It won't help.", "It will not help."),
        ("I'm well and you’ll see.", "I am well and you will see."),
        ("Can't sleep.", "Cannot sleep."),
        ("She should've come.", "She should have come."),
        ("DON'T move", "DO NOT move"),
        ("Let's wait.", "Let us wait."),
    ],
)
def test_contractions_with_one_reading_are_expanded(short, long):
    assert applied(short, expansions(short)) == long


@pytest.mark.parametrize(
    "text",
    [
        "He's tired.",  # is
        "She's had surgery.",  # has
        "The patient's wife.",  # neither
        "I'd gone.",  # had
        "They'd like to.",  # would
        "Can't you sleep?",  # not before its subject
        "ain't",  # am, is, are, has, have
        "患者's",
    ],
)
def test_ambiguous_contractions_stay(text):
    assert list(expansions(text)) == []


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("He is tired.", "He's tired."),
        ("They have been ill.", "They've been ill."),
        ("It does not help.", "It doesn't help."),
        ("I am sure we will go.", "I'm sure we'll go."),
    ],
)
def test_auxiliaries_are_contracted(long, short):
    assert applied(long, contractions(long)) == short


@pytest.mark.parametrize(
    "text",
    [
        "Yes, he is.",
        "I know where he is now.",
        "They have a cough.",
        "She is, however, well.",
        "He have been ill.",
    ],
)
def test_auxiliaries_that_cannot_be_contracted_stay(text):
    assert list(contractions(text)) == []


@given(st.lists(st.sampled_from(["They are", "we will", "I am", "you have been", "do not"])))
def test_expanding_undoes_contracting(parts):
    text = " ".join(f"{part} here," for part in parts)
    short = applied(text, contractions(text))
    assert applied(short, expansions(short)) == text
    assert ("'" in short) == bool(parts)


def test_a_negation_keeps_its_wording_unless_protection_is_off():
    text = "She does not have a fever."
    assert augment(text, "contraction") == []
    assert augment(text, "contraction", protect=False) == ["She doesn't have a fever."]


def test_contraction_goes_one_way_when_asked():
    text = "They are tired and you're well."
    out = augment(text, "contraction", direction="expand", strength=1.0)
    assert out == ["They are tired and you are well."]
    with pytest.raises(RecipeError, match="direction"):
        augment(text, "contraction", direction="up")


# Misspellings


def test_words_become_misspellings_of_themselves_in_their_case():
    outputs = augment("Received immediately", "spelling", n=5, strength=1.0)
    assert "Recieved immediatly" in outputs or "Recieved imediately" in outputs


def test_no_misspelling_in_the_list_is_a_correct_word_of_it():
    wrong = Spelling()._wrong
    assert len(wrong) > 400
    for word, others in wrong.items():
        assert word not in others
        assert not set(others) & set(wrong), word


def test_a_list_of_ones_own_replaces_it(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("syncope: syncopy sincope\n")
    assert augment("The syncope", "spelling", path=str(path), protect=False)[0] in (
        "The syncopy",
        "The sincope",
    )


@pytest.mark.parametrize("content", ["- a\n", "", "a: [b]\n", "a: {\n", "a:\n"])
def test_a_list_that_is_no_mapping_is_an_error(tmp_path, content):
    path = tmp_path / "own.yaml"
    path.write_text(content)
    with pytest.raises(DataError, match=r"misspellings|must map"):
        Spelling(path=str(path))


# QWERTY


def test_neighbours_are_mutual_and_letters_only():
    assert len(NEIGHBOURS) == 26
    for key, others in NEIGHBOURS.items():
        assert others.isalpha()
        assert all(key in NEIGHBOURS[other] for other in others)
    assert NEIGHBOURS["g"] == "bfhtvy"


@given(st.integers(0, 500), st.floats(0.05, 1.0))
@settings(max_examples=40, deadline=None)
def test_a_typing_error_changes_one_letter_of_a_word_into_a_neighbour(seed, strength):
    text = "Yesterday CT and B12 were normal 5mg 患者walking slowly xx"
    for output in augment(text, "qwerty", strength=strength, seed=seed, protect=False):
        assert len(output) == len(text)
        for word, other in zip(text.split(), output.split(), strict=True):
            slips = [(a, b) for a, b in zip(word, other, strict=True) if a != b]
            assert len(slips) <= 1
            assert all(b.lower() in NEIGHBOURS[a.lower()] for a, b in slips)
            assert all(a.isupper() == b.isupper() for a, b in slips)
        assert "CT and B12" in output
        assert "5mg" in output


def test_typing_errors_spare_numbers_units_and_terms():
    text = "Severe headache for three days, aspirin 100 mg given, no fever, walking slowly."
    outputs = augment(text, "qwerty", n=20, strength=1.0)
    assert outputs
    for output in outputs:
        assert "aspirin 100 mg" in output
        assert "no fever" in output
        assert "headache" in output


def test_a_chinese_text_without_latin_words_has_no_qwerty_errors():
    assert augment("患者自行服药后来我院就诊", "qwerty") == []


# Inflection


@pytest.mark.parametrize(
    ("base", "third", "past", "participle", "gerund"),
    [
        ("treat", "treats", "treated", "treated", "treating"),
        ("admit", "admits", "admitted", "admitted", "admitting"),
        ("apply", "applies", "applied", "applied", "applying"),
        ("take", "takes", "took", "taken", "taking"),
        ("write", "writes", "wrote", "written", "writing"),
        ("begin", "begins", "began", "begun", "beginning"),
        ("tie", "ties", "tied", "tied", "tying"),
        ("wash", "washes", "washed", "washed", "washing"),
        ("see", "sees", "saw", "seen", "seeing"),
        ("cut", "cuts", "cut", "cut", "cutting"),
    ],
)
def test_verbs_have_their_forms(base, third, past, participle, gerund):
    forms = inflection.verb_forms(base)
    assert list(forms.values()) == [base, third, past, participle, gerund]


@pytest.mark.parametrize(
    ("noun", "expected"),
    {
        "results": True,
        "children": True,
        "diagnoses": True,
        "diabetes": False,
        "mass": False,
        "diagnosis": False,
        "pneumonia": False,
        "virus": False,
    }.items(),
)
def test_nouns_tell_their_number(noun, expected):
    assert inflection.is_plural(noun) is expected


# WordNet, on a database of a few synsets in WordNet's own format

SYNSETS = {
    "noun": [["physician", "doctor", "medico"], ["rest"], ["symptom"]],
    "verb": [["examine", "analyse", "study"], ["rest"], ["begin", "get", "start"]],
    "adj": [["sudden", "abrupt(p)"]],
    "adv": [["quickly", "at_speed", "rapidly"]],
}
TYPES = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wordnet")
    for part, synsets in SYNSETS.items():
        data, index = "  1 a licence\n", {}
        for words in synsets:
            offset = len(data.encode())
            fields = " ".join(f"{word} 0" for word in words)
            data += f"{offset:08d} 00 {TYPES[part]} {len(words):02x} {fields} 000 | a gloss\n"
            for word in words:
                index.setdefault(word.split("(")[0], []).append(offset)
        (folder / f"data.{part}").write_text(data)
        lines = [
            f"{word} {TYPES[part]} {len(places)} 0 {len(places)} 0 "
            + " ".join(f"{place:08d}" for place in places)
            for word, places in sorted(index.items())
        ]
        (folder / f"index.{part}").write_text("  1 a licence\n" + "\n".join(lines) + "\n")
    (folder / "verb.exc").write_text("began begin\nbegun begin\ngot get\nstudied study\n")
    return str(folder)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("physician", {"doctor", "medico"}),
        ("physicians", {"doctors"}),  # the plural of a noun in -o is not sure
        ("examined", {"analysed", "studied"}),  # "studied" is listed, and as the rules say
        ("examines", {"analyses", "studies"}),
        ("studying", {"examining", "analysing"}),
        ("sudden", {"abrupt"}),
        ("quickly", {"rapidly", "at speed"}),
        ("began", {"started"}),  # "get" is irregular in ways that the rules do not know
        ("rest", set()),  # noun or verb
        ("symptom", set()),  # no synonym
        ("unheard", set()),
    ],
)
def test_synonyms_have_the_form_of_the_word(wordnet, word, expected):
    assert set(synonyms(word, folder=wordnet)) == expected


def test_synonyms_come_in_the_case_of_the_word(wordnet):
    outputs = augment("Physician wrote", "wordnet", n=4, folder=wordnet, protect=False)
    assert set(outputs) == {"Doctor wrote", "Medico wrote"}


def test_a_zip_file_of_nltk_serves(wordnet, tmp_path):
    with zipfile.ZipFile(tmp_path / "wordnet.zip", "w") as archive:
        for path in Path(wordnet).iterdir():
            archive.write(path, f"wordnet/{path.name}")
    assert synonyms("sudden", folder=str(tmp_path / "wordnet.zip")) == ("abrupt",)


def test_a_folder_without_wordnet_is_an_error_with_the_remedy(tmp_path):
    with pytest.raises(DataError, match="apt-get install wordnet-base"):
        find(str(tmp_path))


def test_a_broken_index_is_an_error_that_names_the_line(wordnet, tmp_path):
    for path in Path(wordnet).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "index.noun").write_text("  1 a licence\ndoctor n x\n")
    with pytest.raises(DataError, match=r"index\.noun, line 2"):
        synonyms("doctor", folder=str(tmp_path))


def test_the_real_wordnet_knows_physicians():
    if not DEBIAN.is_dir():
        pytest.skip("Debian's wordnet-base is not installed")
    assert "doctors" in synonyms("physicians", folder=str(DEBIAN))


def test_every_kind_repeats_with_its_seed(wordnet):
    text = "Yesterday they are examined and received treatment immediately because of weakness."
    for kind, options in [("qwerty", {}), ("spelling", {}), ("wordnet", {"folder": wordnet})]:
        first = augment(text, kind, n=3, seed=4, strength=0.5, **options)
        assert first
        assert augment(text, kind, n=3, seed=4, strength=0.5, **options) == first
