"""Products of experts over sequences (Hinton 2002): several models' log-probabilities are added."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vesalius.errors import DataError


def product_of_experts(
    log_probabilities: ArrayLike, *, weights: Sequence[float] | None = None
) -> NDArray[np.float64]:
    """Return the normalised product of distributions over letters.

    Args:
        log_probabilities: (experts, ..., letters), (experts, L, 20) for proteins; natural
            logarithms, -inf for letters that an expert excludes.
        weights: exponent of each expert, not negative. None: 1 each, so that experts that agree
            become surer; exponents that sum to 1 give the geometric mean, one expert with
            exponent 1 / T that expert at temperature T.

    Returns:
        (..., letters) log-probabilities, whose exponentials sum to 1.

    Raises:
        DataError: no expert, NaN or +inf, weights that do not fit, or a position whose every
            letter some expert excludes.
    """
    table = np.asarray(log_probabilities, np.float64)
    if table.ndim < 2 or 0 in table.shape or np.isnan(table).any() or (table == np.inf).any():
        raise DataError(
            f"Log-probabilities of shape {table.shape}: give (experts, ..., letters), without NaN "
            "and +inf."
        )
    exponents = _exponents(weights, len(table))
    used = exponents > 0  # 0 * -inf is NaN
    total = np.tensordot(exponents[used], table[used], axes=1)
    best = total.max(-1, keepdims=True)
    if not np.isfinite(best).all():
        places = np.argwhere(~np.isfinite(best[..., 0])).tolist()
        raise DataError(f"The experts exclude every letter at position(s) {places[:10]}.")
    return total - best - np.log(np.exp(total - best).sum(-1, keepdims=True))


def _exponents(weights: Sequence[float] | None, experts: int) -> NDArray[np.float64]:
    array = np.ones(experts) if weights is None else np.asarray(weights, np.float64)
    if array.shape != (experts,):
        raise DataError(f"There are {array.size} exponents for {experts} experts; give one each.")
    if not np.isfinite(array).all() or (array < 0).any() or not array.any():
        raise DataError(f"Exponents are not negative and not all 0; these are {array.tolist()}.")
    return array
