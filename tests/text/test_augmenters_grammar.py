import pickle
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vesalius.errors import MissingDependencyError, RecipeError
from vesalius.text import augment
from vesalius.text.augmenters.base import apply
from vesalius.text.augmenters.grammar import BaBei, Passive
from vesalius.text.augmenters.passive_chinese import VOICES, parse, render, rewordings
from vesalius.text.augmenters.passive_english import to_active, to_passive

# English

PAIRS = [
    ("The doctor treated the patient.", "The patient was treated by the doctor."),
    ("She examined him yesterday.", "He was examined by her yesterday."),
    ("The nurse is giving the injection.", "The injection is being given by the nurse."),
    ("The nurses were monitoring us.", "We were being monitored by the nurses."),
    ("You must take the tablets.", "The tablets must be taken by you."),
    ("They have reviewed the films.", "The films have been reviewed by them."),
    ("The team had seen the letter.", "The letter had been seen by the team."),
    (
        "On Monday, the surgeon repaired the hernia.",
        "On Monday, the hernia was repaired by the surgeon.",
    ),
    (
        "The surgeon removed the cyst from the left ovary.",
        "The cyst was removed from the left ovary by the surgeon.",
    ),
    (
        "The doctor treated the patient with antibiotics.",
        "The patient was treated with antibiotics by the doctor.",
    ),
    (
        "The CT scan showed a mass in the right lobe of the liver.",
        "A mass in the right lobe of the liver was shown by the CT scan.",
    ),
    (
        "Dr. Smith will review the results of the blood tests on Monday.",
        "The results of the blood tests will be reviewed by Dr. Smith on Monday.",
    ),
    (
        "Physical examination revealed a heart murmur.",
        "A heart murmur was revealed by physical examination.",
    ),
    (
        "The surgeon drained the infected wound at 8 am.",
        "The infected wound was drained by the surgeon at 8 am.",
    ),
    (
        "A nurse and a doctor have immediately helped us.",
        "We have immediately been helped by a nurse and a doctor.",
    ),
]


@pytest.mark.parametrize(("active", "passive"), PAIRS)
def test_active_becomes_passive(active, passive):
    assert to_passive(active) == passive


@pytest.mark.parametrize(("active", "passive"), PAIRS[:-1])
def test_passive_becomes_active_again(active, passive):
    assert to_active(passive) == active


@pytest.mark.parametrize(
    "sentence",
    [
        "The doctor examined the patient with diabetes.",  # who is with whom
        "The patient treated yesterday showed improvement.",  # two verbs
        "The doctor orders test results.",  # orders or test
        "The nurse gave the patient a drug.",  # two objects
        "The doctor did not treat the patient.",  # the scope would move
        "The patient denied chest pain.",
        "His doctor treated the patient.",  # whose
        "The patient injured her arm.",
        "The doctor treated the patient and discharged him.",
        "The surgeon removed the tumour, and the patient recovered.",
        "The doctor stopped the drug because it caused nausea.",
        "The patient who had fever saw the doctor.",
        "The doctor asked the patient to stop smoking.",
        "The doctor told the patient that the tumour was benign.",
        "The patient has diabetes.",
        "The patient underwent surgery.",
        "The patient weighed 50 kg.",
        "The nurse gave 5 mg of morphine.",
        "The doctor discharged the patient home.",
        "Did the doctor treat the patient?",
        "The patient was admitted yesterday.",
        "Smith treated the patient.",  # a name or a plural without an article
        "Treat the patient.",
        "The patient started walking slowly.",
        "The cream made the skin smoother.",
        "The best film I've read.",
        "The doctor's treated the patient.",
        "WE FOUND THE NURSE.",
        "患者服用阿司匹林。",
        "",
    ],
)
def test_sentences_of_uncertain_structure_are_declined(sentence):
    assert to_passive(sentence) is None


@pytest.mark.parametrize(
    "sentence",
    [
        "The tumour was removed by 5 mm.",
        "The wound was closed by hand.",
        "The drug was taken by mouth.",
        "The patient was seen by the end of the day.",
        "A mass was seen by ultrasound.",
        "He was not seen by the doctor.",
        "The patient was treated by reducing the dose.",
        "The patient was treated.",
    ],
)
def test_what_stands_after_by_must_have_done_it(sentence):
    assert to_active(sentence) is None


PERSONS = ["the doctor", "a nurse", "the surgeons", "they", "Dr. Smith", "our team"]
VERBS = [
    "examined",
    "has treated",
    "will see",
    "is monitoring",
    "took",
    "must inform",
    "had helped",
]
OBJECTS = ["the patient", "the two children", "him", "a woman", "the results of the test"]
ENDS = ["", " yesterday", " on Monday", " after the operation", " in 2019"]


@given(*map(st.sampled_from, (PERSONS, VERBS, OBJECTS, ENDS)))
@settings(deadline=None)
def test_the_way_there_and_back_gives_the_sentence(person, verb, patient, end):
    if person in ("the surgeons", "they"):
        verb = verb.replace("has ", "have ").replace("is ", "are ")
    sentence = f"{person[0].upper()}{person[1:]} {verb} {patient}{end}."
    passive = to_passive(sentence)
    assert passive is not None
    assert to_passive(passive) is None
    assert to_active(passive) == sentence


def test_a_tagger_can_veto_a_reading():
    sentence = PAIRS[0][0]
    assert to_passive(sentence, tagger=lambda words: ["DT", "NN", "VBD", "DT", "NN"]) == PAIRS[0][1]
    assert to_passive(sentence, tagger=lambda words: ["NN"] * 5) is None


def test_sentences_change_in_their_text_and_facts_survive():
    text = "Dr. Smith saw the patient on Monday. Temperature 38.5 ℃. She denies chest pain."
    (one,) = augment(text, "passive", log=True)
    assert one.text == (
        "The patient was seen by Dr. Smith on Monday. Temperature 38.5 ℃. She denies chest pain."
    )
    assert [edit.old for edit in one.edits] == ["Dr. Smith saw the patient on Monday."]
    assert one.certificate.ok


def test_direction_limits_the_voice():
    text = "The doctor treated the patient. The nurse was helped by the doctor."
    assert augment(text, "passive", strength=1.0, direction="active") == [
        "The doctor treated the patient. The doctor helped the nurse."
    ]
    with pytest.raises(RecipeError, match="direction"):
        Passive(direction="up")


def test_unknown_taggers_are_errors():
    with pytest.raises(RecipeError, match="not known"):
        Passive(tagger="mine")
    try:
        import spacy  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependencyError, match="pip install spacy"):
            Passive(tagger="spacy:en_core_web_sm")


# Chinese

TRIPLES = [
    ("医生切除了肿瘤", "医生把肿瘤切除了", "肿瘤被医生切除了"),
    ("术后护士及时更换了敷料", "术后护士及时把敷料更换了", "术后敷料及时被护士更换了"),
    ("外科医生已切除病灶", "外科医生已把病灶切除", "病灶已被外科医生切除"),
    ("医生彻底切除了肿瘤", "医生把肿瘤彻底切除了", "肿瘤被医生彻底切除了"),
    ("我院医生控制住了患者的病情", "我院医生把患者的病情控制住了", "患者的病情被我院医生控制住了"),
    ("家属送走了患者", "家属把患者送走了", "患者被家属送走了"),
]


@pytest.mark.parametrize("triple", TRIPLES)
def test_each_voice_gives_the_other_two(triple):
    for sentence in triple:
        assert set(rewordings(sentence)) == set(triple) - {sentence}


@pytest.mark.parametrize(
    "clause",
    [
        "医生切除肿瘤",  # 了 or 已 is missing: 医生把肿瘤切除 is no sentence
        "医生未切除肿瘤",  # the negation's scope would move
        "医生没有切除肿瘤",
        "医生切除了一个肿瘤",  # indefinite
        "医生切除了肿瘤并缝合了伤口",
        "医生治疗了患者",  # not a verb of disposal
        "医生切除了无痛性肿块",  # 无 is a negation
        "患者被车撞伤了",  # 车 is no agent of the list
        "切口被缝合了",  # nobody did it
        "医生把握了时机",  # 把握 is a word
        "患者一把抓住了扶手",
        "肿瘤切除了",
        "医生切除了5cm的肿瘤",
        "",
    ],
)
def test_chinese_clauses_of_uncertain_structure_are_declined(clause):
    assert rewordings(clause) == []


@given(
    st.sampled_from(["医生", "值班护士", "患者家属", "当地医院"]),
    st.sampled_from(["", "已", "及时", "昨天"]),
    st.sampled_from(["切除", "更换", "彻底清洗", "处理好"]),
    st.sampled_from(["伤口", "右下肢的敷料", "引流管"]),
    st.sampled_from(VOICES),
)
@settings(deadline=None)
def test_every_rendering_is_read_back_as_itself(agent, adverb, verb, thing, voice):
    clause = parse(f"{agent}{adverb}{verb}了{thing}")
    assert clause is not None
    again = parse(render(clause, voice))
    assert again is not None
    assert again.voice == voice
    assert (again.agent, again.adverbs, again.verb, again.object) == (agent, adverb, verb, thing)


def test_clauses_change_in_their_text_and_facts_survive():
    text = "术后第3天，医生切除了肿瘤，患者否认糖尿病病史。"
    outputs = augment(text, "ba-bei", n=5, log=True)
    assert {one.text for one in outputs} == {
        "术后第3天，医生把肿瘤切除了，患者否认糖尿病病史。",
        "术后第3天，肿瘤被医生切除了，患者否认糖尿病病史。",
    }
    assert all(one.certificate.ok for one in outputs)


def test_voices_limit_what_comes_out():
    assert augment("医生切除了肿瘤。", "ba-bei", n=5, voices=("bei",)) == ["肿瘤被医生切除了。"]
    with pytest.raises(RecipeError, match="voices"):
        BaBei(voices=("ba", "la"))


def test_the_edit_log_leads_to_the_text():
    text = "医生切除了肿瘤，护士更换了敷料。The doctor treated the patient."
    for augmenter in (BaBei(), Passive()):
        proposal = augmenter.propose(text, (), Random(0), 1.0)
        assert proposal.edits
        assert apply(text, proposal.edits) == proposal.text


def test_augmenters_travel_between_processes():
    text = "The doctor treated the patient."
    again = pickle.loads(pickle.dumps(Passive()))
    assert again.propose(text, (), Random(0), 1.0) == Passive().propose(text, (), Random(0), 1.0)
