"""STAPLE: an EM step by hand, recovered raters, and SimpleITK where it is installed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vesalius.errors import DataError
from vesalius.study.masks import staple


def test_one_step_by_hand():
    # Three raters, four pixels; one E and one M step, then the final E step.
    masks = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]])
    p = q = 0.9
    prior = masks.mean()
    w = []
    for column in masks.T:
        a = prior * np.prod([p if d else 1 - p for d in column])
        b = (1 - prior) * np.prod([1 - q if d else q for d in column])
        w.append(a / (a + b))
    w = np.array(w)
    sensitivity = (masks * w).sum(1) / w.sum()
    specificity = ((1 - masks) * (1 - w)).sum(1) / (1 - w).sum()
    found = staple(masks, iterations=1, start=0.9)
    np.testing.assert_allclose(found.confusion[:, 1, 1], sensitivity)
    np.testing.assert_allclose(found.confusion[:, 0, 0], specificity)
    a = prior * np.prod(np.where(masks, sensitivity[:, None], 1 - sensitivity[:, None]), 0)
    b = (1 - prior) * np.prod(np.where(masks, 1 - specificity[:, None], specificity[:, None]), 0)
    np.testing.assert_allclose(found.probabilities[1], a / (a + b))


@pytest.mark.parametrize("classes", [2, 3])
def test_recovers_the_raters_and_beats_the_majority(classes):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, (60, 60))
    quality = [0.95, 0.9, 0.6, 0.6, 0.6]
    masks = np.stack(
        [
            np.where(rng.random(truth.shape) < own, truth, rng.integers(0, classes, truth.shape))
            for own in quality
        ]
    )
    found = staple(masks, classes=classes)
    assert found.converged
    for rater, mask in enumerate(masks):
        for true in range(classes):
            share = (mask[truth == true] == true).mean()
            assert found.confusion[rater, true, true] == pytest.approx(share, abs=0.05)
    counts = np.stack([(masks == k).sum(0) for k in range(classes)])
    assert (found.classes == truth).mean() > (counts.argmax(0) == truth).mean()


@settings(max_examples=40)
@given(arrays.arrays(np.int64, (3, 4, 3), elements=st.integers(0, 2)))
def test_answers_are_probabilities_whatever_the_masks(masks):
    found = staple(masks, classes=3, iterations=20)
    np.testing.assert_allclose(found.probabilities.sum(0), 1)
    np.testing.assert_allclose(found.confusion.sum(2), 1)


def test_raters_that_agree_are_believed():
    mask = np.array([[0, 1], [1, 0]])
    assert (staple(np.stack([mask, mask])).classes == mask).all()


def test_the_same_decisions_get_the_same_posterior_whatever_the_order():
    rng = np.random.default_rng(3)
    masks = rng.integers(0, 2, (4, 50))
    order = rng.permutation(50)
    np.testing.assert_allclose(
        staple(masks).probabilities[:, order], staple(masks[:, order]).probabilities
    )


def test_equals_simple_itk():
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is the peer of this test")
    rng = np.random.default_rng(0)
    truth = rng.random((20, 20)) < 0.3
    masks = [(truth ^ (rng.random(truth.shape) < e)).astype(np.uint8) for e in (0.05, 0.1, 0.2)]
    images = [sitk.GetImageFromArray(mask) for mask in masks]
    theirs = sitk.GetArrayFromImage(sitk.STAPLE(images, 1.0))
    np.testing.assert_allclose(staple(np.stack(masks)).probabilities[1], theirs, atol=1e-3)


def test_what_is_no_mask_is_refused():
    with pytest.raises(DataError, match="class indices"):
        staple(np.full((2, 3), 0.5))
    with pytest.raises(DataError, match="two raters"):
        staple(np.zeros((1, 3), int))
    with pytest.raises(DataError, match="no 2 classes"):
        staple(np.full((2, 3), 2), classes=2)
    with pytest.raises(DataError, match="prior"):
        staple(np.eye(3, dtype=int), prior=[1, 1, 1])
