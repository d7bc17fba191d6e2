"""Exact and near duplicates, with every reported pair verified.

MinHash only proposes pairs (`text/minhash.py`); the Jaccard index of each is then computed on the
whole shingle sets, so nothing is reported that is below the threshold. In templated medical records
unverified proposals are wrong 99 times out of 100.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesalius.errors import RecipeError
from vesalius.text.minhash import candidates
from vesalius.text.shingles import Shingles, check_texts, normal_forms, shingles

Pair = tuple[int, int, float]
_ALL_PAIRS = 20_000
"""Up to this number of pairs all are compared: quicker than sketches, and nothing is missed."""
_COMPARED_AT_ONCE = 4096
_FEW, _DRAWN, _MANY_PARTNERS = 4096, 8192, 10


@dataclass(frozen=True)
class Deduplicated:
    """What is kept of N texts.

    Attributes:
        kept: indices of the texts that stay, ascending.
        duplicate_of: index of each dropped text -> the kept text that it repeats.
        similarity: index of each dropped text -> its Jaccard index with that text (1.0: equal
            normal forms or equal shingle sets).
    """

    kept: tuple[int, ...]
    duplicate_of: dict[int, int]
    similarity: dict[int, float]


def duplicates(texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the groups of texts that are equal in their normal form, each ascending.

    The normal form (see `text/shingles.py`) ignores case, width of ASCII characters and idle white
    space, and nothing else.

    Examples:
        >>> duplicates(["BP 120/80", "发热 3天", "bp  １２０/80", "发热3天", "BP 120/90"])
        [(0, 2), (1, 3)]
    """
    groups: dict[int, list[int]] = {}
    for index, first in enumerate(_first_copies(texts)):
        groups.setdefault(first, []).append(index)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _first_copies(texts: Sequence[str]) -> list[int]:
    """Return for each text the index of the first one with the same normal form."""
    check_texts(texts)
    seen: dict[bytes, int] = {}
    firsts: list[int] = []
    for codes, starts, ends in normal_forms(texts):
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            firsts.append(seen.setdefault(codes[start:end].tobytes(), len(firsts)))
    return firsts


def near_duplicates(
    texts: Sequence[str], *, threshold: float = 0.7, ngram: int = 5, seed: int = 0
) -> list[Pair]:
    """Return all pairs of texts whose sets of character n-grams are similar.

    Args:
        texts: N texts. They are compared in their normal form; empty ones are in no pair.
        threshold: smallest Jaccard index |A ∩ B| / |A ∪ B| of a pair, above 0 and at most 1.
        ngram: characters of a shingle.
        seed: of the sketches. The result is the same for the same seed.

    Returns:
        (i, j, jaccard) with i < j, ascending. No pair is below the threshold (the index is
        computed on the sets themselves); of the pairs at the threshold about 0.97 are found, of
        more similar ones more. Small corpora are compared completely. The list has n(n-1)/2
        entries for n copies of one text, and the time grows with them: `deduplicate` is for such
        corpora.

    Raises:
        RecipeError: threshold or ngram out of range.
        DataError: something in `texts` is not a string.
    """
    sets = shingles(texts, ngram=_checked(threshold, ngram))
    pairs, similarity = _verified(sets, threshold, seed)
    return [(i, j, s) for (i, j), s in zip(pairs.tolist(), similarity.tolist(), strict=True)]


def groups(pairs: Sequence[tuple[int, int] | Pair], count: int) -> list[tuple[int, ...]]:
    """Return the connected components with two or more of `count` texts (union-find).

    The members of a group are linked by a chain of pairs; the ends of the chain may be less similar
    than the threshold. Records of one group belong in one fold.

    Examples:
        >>> groups([(0, 3, 0.9), (3, 4, 0.8), (1, 2, 1.0)], 6)
        [(0, 3, 4), (1, 2)]
    """
    parent = list(range(count))
    for left, right, *_ in pairs:
        # The smaller index becomes the root, so a group is named by its first text.
        low, high = sorted((_root(parent, left), _root(parent, right)))
        parent[high] = low
    members: dict[int, list[int]] = {}
    for index in range(count):
        members.setdefault(_root(parent, index), []).append(index)
    return [tuple(group) for group in members.values() if len(group) > 1]


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index


def deduplicate(
    texts: Sequence[str], *, threshold: float | None = 0.7, ngram: int = 5, seed: int = 0
) -> Deduplicated:
    """Drop each text that repeats an earlier, kept one.

    A text is dropped only for a kept text that it itself resembles, never for a chain of
    resemblances. Of equal texts the first is kept; of several similar ones the most similar is
    named.

    Args:
        texts: N texts.
        threshold: smallest Jaccard index of a near duplicate; None drops equal texts only.
        ngram, seed: as in `near_duplicates`.

    Raises:
        RecipeError, DataError: as `near_duplicates`.

    Examples:
        >>> deduplicate(["咳嗽、咳痰3天", "腹痛", "咳嗽、咳痰 3天"]).duplicate_of
        {2: 0}
    """
    _checked(1.0 if threshold is None else threshold, ngram)
    firsts = _first_copies(texts)
    kinds = [index for index, first in enumerate(firsts) if index == first]
    nearest: dict[int, tuple[float, int]] = {}
    if threshold is not None:
        nearest = _dropped([texts[index] for index in kinds], threshold, ngram, seed)
    duplicate_of, similarity = {}, {}
    dropped = {kinds[index]: (share, kinds[to]) for index, (share, to) in nearest.items()}
    for index, first in enumerate(firsts):
        if first in dropped:
            similarity[index], duplicate_of[index] = dropped[first]
        elif first != index:
            similarity[index], duplicate_of[index] = 1.0, first
    kept = tuple(index for index in range(len(firsts)) if index not in duplicate_of)
    return Deduplicated(kept, duplicate_of, similarity)


def _dropped(
    texts: Sequence[str], threshold: float, ngram: int, seed: int
) -> dict[int, tuple[float, int]]:
    """Return dropped index -> (similarity, kept index); the first of similar texts is kept."""
    sets = shingles(texts, ngram=ngram)
    dropped: dict[int, tuple[float, int]] = {}
    kept = np.empty(0, np.int64)
    first, block = 0, _block(sets, threshold, seed)
    while first < len(sets):
        last = min(first + max(block, len(kept)), len(sets))
        members = np.concatenate([kept, np.arange(first, last)])
        pairs, similarity = _verified(sets.some(members), threshold, seed)
        _drop(members[pairs], similarity, dropped)
        kept = np.array([index for index in members.tolist() if index not in dropped], np.int64)
        first = last
    return dropped


def _drop(pairs: np.ndarray, similarity: np.ndarray, dropped: dict) -> None:
    # By the later text: whether the earlier ones are kept is then already known.
    for place in np.lexsort((pairs[:, 0], -similarity, pairs[:, 1])).tolist():
        left, right = map(int, pairs[place])
        if left not in dropped and right not in dropped:
            dropped[right] = (float(similarity[place]), left)


def _block(sets: Shingles, threshold: float, seed: int) -> int:
    """Return how many texts to compare at once with the kept ones before them.

    All, unless a sample says that the pairs are so many that most texts will be dropped: then few,
    so that their number never grows with the square of the number of texts.
    """
    filled = np.flatnonzero(sets.sizes)
    if len(filled) <= _FEW:
        return max(len(sets), 1)
    drawn = np.random.default_rng((seed, 6)).choice(filled, (_DRAWN, 2))
    drawn = drawn[drawn[:, 0] != drawn[:, 1]]
    share = float(np.mean(jaccard(sets, drawn) >= threshold))
    return _FEW if share * len(filled) > _MANY_PARTNERS else len(sets)


def _checked(threshold: float, ngram: int) -> int:
    if not 0 < threshold <= 1:
        raise RecipeError(f"threshold {threshold}: a Jaccard index lies above 0 and up to 1.")
    return ngram


def _verified(sets: Shingles, threshold: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs at or above the threshold, int64 (P, 2), and their indices, (P,)."""
    if len(sets) * (len(sets) - 1) // 2 <= _ALL_PAIRS:
        pairs = np.stack(np.triu_indices(len(sets), 1), axis=1)
        pairs = pairs[(sets.sizes[pairs] > 0).all(1)]
    else:
        pairs = candidates(sets, threshold=threshold, seed=seed)
    similarity = jaccard(sets, pairs)
    # 7 of 10 shared is 0.7, whatever the last bit of a binary fraction says.
    keep = similarity >= threshold - 1e-12
    return pairs[keep], similarity[keep]


def jaccard(sets: Shingles, pairs: np.ndarray) -> np.ndarray:
    """Return |A ∩ B| / |A ∪ B| of each pair, computed on the whole sets.

    Args:
        sets: of N texts, none of those in `pairs` empty.
        pairs: int (P, 2), numbers of texts.

    Returns:
        float64 (P,), 0 to 1.
    """
    from scipy import sparse

    ones = np.ones(len(sets.hashes), np.int8)
    # A row per text, a column per possible hash: row products are merges of sorted lists.
    table = sparse.csr_array(
        (ones, sets.hashes, sets.starts), shape=(len(sets), np.iinfo(np.int64).max)
    )
    shared = np.empty(len(pairs), np.int64)
    for first in range(0, len(pairs), _COMPARED_AT_ONCE):
        left, right = pairs[first : first + _COMPARED_AT_ONCE].T
        product = table[left].multiply(table[right])
        shared[first : first + len(left)] = np.diff(product.indptr)
    sizes = sets.sizes[pairs].sum(1)
    return shared / np.maximum(sizes - shared, 1)
