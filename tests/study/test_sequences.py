"""Products of experts over letters."""

import numpy as np
import pytest
from scipy.special import log_softmax

from vesalius.errors import DataError
from vesalius.study.sequences import product_of_experts


def test_probabilities_are_multiplied_and_scaled():
    experts = np.array([[[0.5, 0.3, 0.2]], [[0.1, 0.6, 0.3]]])
    product = experts.prod(0)
    np.testing.assert_allclose(
        np.exp(product_of_experts(np.log(experts))), product / product.sum(-1, keepdims=True)
    )


def test_exponents_are_those_of_the_weighted_sum_of_logits():
    logits = np.random.default_rng(0).normal(size=(3, 30, 20)) * 5
    experts = log_softmax(logits, -1)
    wanted = log_softmax(np.tensordot([0.5, 2, 1], logits, 1), -1)
    np.testing.assert_allclose(product_of_experts(experts, weights=[0.5, 2, 1]), wanted)
    np.testing.assert_allclose(product_of_experts(experts[:1]), experts[0])


def test_a_letter_that_one_expert_excludes_is_out_unless_it_has_no_say():
    experts = np.log(np.array([[[0.5, 0.5]], [[1.0, 1e-300]]]))
    experts[1, 0, 1] = -np.inf
    assert np.exp(product_of_experts(experts))[0].tolist() == [1, 0]
    np.testing.assert_allclose(product_of_experts(experts, weights=[1, 0]), experts[0])
    experts[0, 0, 0] = -np.inf
    with pytest.raises(DataError, match="exclude every letter"):
        product_of_experts(experts)


def test_exponents_and_numbers_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="exponents"):
        product_of_experts(np.zeros((2, 3, 4)), weights=[1])
    with pytest.raises(DataError, match="NaN"):
        product_of_experts(np.full((2, 3, 4), np.nan))
