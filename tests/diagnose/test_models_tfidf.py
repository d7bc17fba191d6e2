import numpy as np
import pytest
import torch

from vesalius.diagnose.model_blocks import TfidfBlock
from vesalius.diagnose.models.tfidf import TfidfFeatures, TfidfLinear, cut, solve
from vesalius.errors import DataError

pytest.importorskip("sklearn")
pytest.importorskip("rjieba")

TEXTS = [
    "患者有高血压病史5年，否认糖尿病。",
    "反复咳嗽、咳痰10年，加重伴气促3天，诊断慢性阻塞性肺疾病。",
    "BP 180/110 mmHg, denies chest pain.",
    "白细胞12.3×10⁹/L，发热3天，咳嗽。",
    "The patient has had hypertension for 5 years; chest pain today.",
    "高血压 3 年，胸痛 1 天。",
    "糖尿病10年，咳嗽2天。",
    "Cough and fever for three days.",
]
TARGETS = np.array(
    [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 1, 1], [0, 1, 0]]
)


def tensors(features: TfidfFeatures, texts):
    numbers, values = map(torch.from_numpy, features.transform(texts))
    return {"tokens": numbers, "weights": values, "mask": values != 0}


@pytest.mark.parametrize("solver", ["logistic", "svm"])
def test_it_decides_as_scikit_learns_own_pipeline(solver):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.svm import LinearSVC

    block = TfidfBlock(solver=solver, least=1, C=3.0)
    features = TfidfFeatures(block).fit(TEXTS)
    state = solve(features.matrix(TEXTS), TARGETS, block=block)
    model = TfidfLinear(labels=3, vocabulary=features.size).double()
    model.load_state_dict(state)
    shared = {"C": 3.0, "class_weight": "balanced", "random_state": 0}
    linear = {
        "logistic": lambda: LogisticRegression(
            solver="liblinear", dual=True, max_iter=1000, **shared
        ),
        "svm": lambda: LinearSVC(**shared),
    }[solver]()
    words = TfidfVectorizer(
        tokenizer=cut, token_pattern=None, lowercase=False, ngram_range=(1, 2), sublinear_tf=True
    )
    characters = TfidfVectorizer(
        analyzer="char", ngram_range=(1, 4), sublinear_tf=True, strip_accents=None
    )
    theirs = make_pipeline(make_union(words, characters), OneVsRestClassifier(linear))
    theirs.fit(TEXTS, TARGETS)
    new = ["发热咳嗽3天", "hypertension and chest pain", *TEXTS]
    with torch.no_grad():
        found = model(tensors(features, new)).numpy()
    np.testing.assert_allclose(found, theirs.decision_function(new), atol=1e-5)


def test_labels_that_all_or_none_have_get_their_log_odds():
    features = TfidfFeatures(TfidfBlock(least=1)).fit(TEXTS)
    targets = np.stack([np.ones(8), np.zeros(8), TARGETS[:, 0]], 1)
    state = solve(features.matrix(TEXTS), targets)
    assert state["bias"][0] == pytest.approx(np.log(8.5 / 0.5))
    assert state["bias"][1] == pytest.approx(np.log(0.5 / 8.5))
    assert not state["embedding.weight"][:, :2].any()
    assert state["embedding.weight"][:, 2].any()


def test_features_survive_json():
    features = TfidfFeatures(TfidfBlock(least=1, most=50)).fit(TEXTS)
    again = TfidfFeatures.from_json(features.to_json())
    assert (features.matrix(TEXTS) != again.matrix(TEXTS)).nnz == 0
    assert again.names() == features.names()
    assert len(again.names()) == again.size


def test_one_text_and_many_agree():
    features = TfidfFeatures(TfidfBlock(least=1)).fit(TEXTS)
    numbers, values = features.transform(TEXTS)
    for row, text in enumerate(TEXTS):
        one, weight = features.one(text)
        assert numbers[row, : len(one)].tolist() == one.tolist()
        np.testing.assert_array_equal(values[row, : len(one)], weight)
        assert not values[row, len(one) :].any()


def test_a_text_without_a_known_n_gram_gives_the_bias():
    features = TfidfFeatures(TfidfBlock(least=1)).fit(TEXTS)
    model = TfidfLinear(labels=2, vocabulary=features.size)
    torch.nn.init.normal_(model.embedding.weight)
    with torch.no_grad():
        model.bias += torch.tensor([1.0, -2.0])
        assert torch.equal(model(tensors(features, ["", "ÄÖ"]))[0], model.bias)


def test_chinese_is_cut_into_words_and_numbers_stay_whole():
    words = cut("患者否认糖尿病，WBC 12.3×10^9/L; x-ray doesn't show")
    assert {"患者", "糖尿病", "wbc", "12.3", "x-ray", "doesn't"} <= set(words)
    assert "，" not in words


def test_words_or_characters_alone():
    words = TfidfFeatures(TfidfBlock(characters=None, least=1)).fit(TEXTS)
    characters = TfidfFeatures(TfidfBlock(words=None, least=1)).fit(TEXTS)
    both = TfidfFeatures(TfidfBlock(least=1)).fit(TEXTS)
    assert words.size + characters.size == both.size


def test_problems_are_explained():
    with pytest.raises(DataError, match="fit"):
        TfidfFeatures().transform(TEXTS)
    with pytest.raises(DataError, match=r"model\.least"):
        TfidfFeatures(TfidfBlock(characters=None)).fit(["。", "，"])
    features = TfidfFeatures(TfidfBlock(least=1)).fit(TEXTS)
    with pytest.raises(DataError, match="shape"):
        solve(features.matrix(TEXTS), TARGETS[:3])
    with pytest.raises(ValueError, match="both null"):
        TfidfBlock(words=None, characters=None)
