import numpy as np
import pytest

from vesalius.diagnose.model_blocks import SentenceBlock, TfidfBlock
from vesalius.diagnose.models import sentence
from vesalius.diagnose.models.sentence import SentenceVectors, vectors
from vesalius.diagnose.models.tfidf import TfidfFeatures, TfidfLinear, solve
from vesalius.errors import DataError
from vesalius.text import embedded

TEXTS = ["高血压三年，头晕", "hypertension for three years", "left femur fracture", "左股骨骨折"]
BLOCK = SentenceBlock()


def test_vectors_are_those_of_the_embedded_encoder():
    np.testing.assert_allclose(vectors(TEXTS, BLOCK), embedded.embed(TEXTS), atol=2e-3)


def test_a_text_that_was_seen_is_not_encoded_again(monkeypatch):
    first = vectors(TEXTS, BLOCK)
    monkeypatch.setattr(sentence, "_encoder", lambda block: pytest.fail("encoded again"))
    np.testing.assert_array_equal(vectors(TEXTS[::-1], BLOCK), first[::-1])


def test_a_long_text_is_read_to_its_end():
    start = "无特殊。" * 400
    plain, ends = vectors([start, start + "左股骨骨折" * 100], BLOCK)
    assert plain @ ends < 0.999


def test_training_vectors_are_centred_and_have_the_weight_as_mean_square():
    fitted = SentenceVectors(SentenceBlock(weight=2.5)).fit(TEXTS)
    matrix = fitted.matrix(TEXTS)
    np.testing.assert_allclose(matrix.mean(0), 0, atol=1e-5)
    assert np.square(matrix).sum(1).mean() == pytest.approx(2.5, rel=1e-4)
    with pytest.raises(DataError, match="fit"):
        SentenceVectors(BLOCK).matrix(TEXTS)


def test_features_survive_their_file_and_feed_the_linear_model():
    block = TfidfBlock(least=1, sentence=BLOCK)
    features = TfidfFeatures(block).fit(TEXTS)
    again = TfidfFeatures.from_json(features.to_json())
    ours, theirs = features.matrix(TEXTS).toarray(), again.matrix(TEXTS).toarray()
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert ours.shape[1] == features.size == len(features.names())
    truth = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    model = TfidfLinear(labels=2, vocabulary=features.size)
    model.load_state_dict(solve(features.matrix(TEXTS), truth, block=block))
    numbers, values = features.transform(TEXTS)
    import torch

    inputs = {"tokens": torch.tensor(numbers), "weights": torch.tensor(values)}
    logits = model({**inputs, "mask": torch.ones(numbers.shape, dtype=torch.bool)})
    np.testing.assert_array_equal(logits.detach().numpy() > 0, truth.astype(bool))


def test_one_language_helps_the_other():
    block = TfidfBlock(least=1, sentence=SentenceBlock(weight=20.0))
    train = ["hypertension, raised blood pressure", "fracture of the left femur"] * 2
    features = TfidfFeatures(block).fit(train)
    weights = solve(features.matrix(train), np.array([[1], [0], [1], [0]]), block=block)
    rows = features.matrix(["高血压病史", "股骨骨折"])
    margins = rows @ weights["embedding.weight"].numpy() + weights["bias"].numpy()
    assert margins[0, 0] > margins[1, 0]
