"""TF-IDF with linear classifiers: the baseline that every encoder must beat.

Counts of words and of characters, weighted by ln((1 + n) / (1 + df)) + 1 and scaled to length 1
per kind (scikit-learn's TfidfVectorizer), then one linear classifier per label, solved by
liblinear (Fan et al. 2008). A frozen encoder's vectors can stand beside the n-grams; then L-BFGS
solves. As a torch module it trains, attacks and exports like the others.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from vesalius.diagnose.model_blocks import TfidfBlock
from vesalius.diagnose.models.sentence import SentenceVectors
from vesalius.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_RUN = re.compile(r"[\u3400-\u9fff]+|[^\W_\u3400-\u9fff]+(?:[.\-'][^\W_\u3400-\u9fff]+)*")
_SPACES = re.compile(r"\s+")
KINDS = ("words", "characters")


def cut(text: str) -> list[str]:
    """Return lower-case words: Chinese by jieba's dictionary, others by letters and digits.

    Numbers with a decimal point, and words with an apostrophe or hyphen, stay whole.
    """
    import rjieba

    found: list[str] = []
    for run in _RUN.findall(text.lower()):
        found += rjieba.cut(run) if "\u3400" <= run[0] <= "\u9fff" else [run]
    return found


class TfidfFeatures:
    """Numbers and weights of a text's n-grams; `fit` chooses them on the training records.

    Args:
        block: n-gram ranges and thresholds.

    Attributes:
        size: number of features, once fitted.
    """

    def __init__(self, block: TfidfBlock = TfidfBlock()):  # noqa: B008 - frozen
        self.block = block
        self._counters: dict[str, Any] = {}
        self._sentence: SentenceVectors | None = None

    def fit(self, texts: Sequence[str]) -> "TfidfFeatures":
        """Choose n-grams and their weights; return self.

        Raises:
            DataError: no n-gram occurs in enough texts.
        """
        for kind in self._kinds():
            counter = self._counter(kind)
            least = min(self.block.least, max(1, len(texts)))
            try:
                self._counters[kind] = counter.set_params(min_df=least).fit(texts)
            except ValueError as error:
                raise DataError(
                    f"TF-IDF finds no {kind} in {len(texts)} texts ({error}); lower model.least"
                ) from None
        if self.block.sentence is not None:
            self._sentence = SentenceVectors(self.block.sentence).fit(texts)
        return self

    def _kinds(self) -> list[str]:
        return [kind for kind in KINDS if getattr(self.block, kind) is not None]

    def _counter(self, kind: str, vocabulary: Mapping[str, int] | None = None):
        from sklearn.feature_extraction.text import TfidfVectorizer

        options: dict[str, Any] = {"tokenizer": cut, "token_pattern": None, "lowercase": False}
        if kind == "characters":
            options = {"analyzer": "char", "lowercase": True, "preprocessor": _one_space}
        return TfidfVectorizer(
            ngram_range=getattr(self.block, kind),
            max_features=self.block.most,
            sublinear_tf=self.block.sublinear,
            vocabulary=vocabulary,
            **options,
        )

    @property
    def size(self) -> int:
        """Number of features.

        Raises:
            DataError: `fit` was not called.
        """
        if not self._counters:
            raise DataError("these TF-IDF features are not fitted; call fit(texts) first")
        grams = sum(len(counter.vocabulary_) for counter in self._counters.values())
        return grams + (self._sentence.size if self._sentence else 0)

    def matrix(self, texts: Iterable[str]) -> "csr_matrix":
        """Return the sparse matrix (texts, size), float64: words, characters, sentence vectors."""
        from scipy.sparse import csr_matrix, hstack

        texts, _ = list(texts), self.size
        parts = [self._counters[kind].transform(texts) for kind in self._kinds()]
        if self._sentence is not None:
            parts.append(csr_matrix(self._sentence.matrix(texts)))
        return hstack(parts, format="csr")

    def transform(self, texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return feature numbers int64 and their values float32, both (texts, most per text).

        Shorter rows are padded with number 0 and value 0; there is at least one column.
        """
        return padded(self.matrix(texts))

    def prepare(self, texts: Sequence[str]) -> None:
        """Encode texts together that `one` will be asked for one by one."""
        if self._sentence is not None and texts:
            self._sentence.matrix(texts)

    def one(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Return one text's feature numbers int64 and values float32, both (features,)."""
        row = self.matrix([text])
        return row.indices.astype(np.int64), row.data.astype(np.float32)

    def names(self) -> list[str]:
        """Return the n-grams by feature number, then the components of the sentence vector."""
        found: list[str] = []
        for kind in self._kinds():
            vocabulary = self._counters[kind].vocabulary_
            found += sorted(vocabulary, key=vocabulary.__getitem__)
        sentence = self._sentence.size if self._sentence else 0
        return found + [f"sentence {number}" for number in range(sentence)]

    def to_json(self) -> str:
        """Return everything that `from_json` needs."""
        _ = self.size
        counters = {}
        for kind, counter in self._counters.items():
            terms = sorted(counter.vocabulary_, key=counter.vocabulary_.__getitem__)
            counters[kind] = {"terms": terms, "idf": counter.idf_.tolist()}
        document = {"block": self.block.model_dump(), "counters": counters}
        if self._sentence is not None:
            document["sentence"] = self._sentence.to_dict()
        return json.dumps(document, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "TfidfFeatures":
        """Return the features that `to_json` described; they transform identically."""
        document = json.loads(text)
        made = cls(TfidfBlock(**document["block"]))
        for kind, kept in document["counters"].items():
            vocabulary = {term: number for number, term in enumerate(kept["terms"])}
            made._counters[kind] = counter = made._counter(kind, vocabulary)
            counter.idf_ = np.array(kept["idf"])
        if made.block.sentence is not None:
            made._sentence = SentenceVectors.from_dict(made.block.sentence, document["sentence"])
        return made


def _one_space(text: str) -> str:
    return _SPACES.sub(" ", text.lower())


def padded(matrix: "csr_matrix") -> tuple[np.ndarray, np.ndarray]:
    """Return the columns and values of a sparse matrix as rows of equal length, see `transform`."""
    lengths = np.diff(matrix.indptr)
    numbers = np.zeros((matrix.shape[0], max(1, lengths.max(initial=1))), np.int64)
    values = np.zeros(numbers.shape, np.float32)
    real = np.arange(numbers.shape[1]) < lengths[:, None]
    numbers[real], values[real] = matrix.indices, matrix.data
    return numbers, values


class TfidfLinear(nn.Module):
    """The sum of a row per feature, times its value, plus a bias: logits (B, labels).

    `inputs`: "tokens" int64 (B, T) feature numbers, "weights" float (B, T) their values, "mask"
    bool (B, T). Fresh weights are zero; `solve` gives the best ones.

    Args:
        labels: number of labels.
        vocabulary: number of features.
    """

    depth = 0

    def __init__(self, *, labels: int, vocabulary: int):
        super().__init__()
        self.embedding = nn.EmbeddingBag(vocabulary, labels, mode="sum")
        nn.init.zeros_(self.embedding.weight)
        self.bias = nn.Parameter(torch.zeros(labels))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return logits (B, labels)."""
        mask = inputs["mask"]
        weights = inputs["weights"].to(self.bias.dtype).masked_fill(~mask, 0)
        numbers = inputs["tokens"].masked_fill(~mask, 0)
        return self.embedding(numbers, per_sample_weights=weights) + self.bias

    def get_input_embeddings(self) -> nn.Module:
        """Return the table; its output is the sum over a record's features."""
        return self.embedding

    def layer_of(self, parameter: str) -> int:
        """Return 0: there is one layer."""
        return 0


def solve(
    features: "csr_matrix",
    targets: np.ndarray,
    *,
    block: TfidfBlock = TfidfBlock(),  # noqa: B008 - frozen
    seed: int = 0,
) -> dict[str, Tensor]:
    """Return the state dict of a `TfidfLinear` whose weights a solver found, in float32.

    A label that all training records have, or none, gets no weights but its log odds with half a
    record added to either side.

    Args:
        features: (records, features) of `TfidfFeatures.matrix`.
        targets: (records, labels), 0 or 1.
        block: solver, C and class weights.
        seed: of liblinear.

    Raises:
        DataError: the shapes do not agree, or there are no records.
    """
    targets = np.asarray(targets).astype(bool)
    if targets.ndim != 2 or len(targets) != features.shape[0] or not len(targets):
        raise DataError(
            f"targets have shape {targets.shape}, features {features.shape}: give a row of "
            "targets for each record, and at least one record"
        )
    weights = np.zeros((features.shape[1], targets.shape[1]))
    bias = np.zeros(targets.shape[1])
    # With fewer records than features the dual problem is two to three times as quick.
    dual = features.shape[0] < features.shape[1]
    for label, column in enumerate(targets.T):
        if column.all() or not column.any():
            bias[label] = np.log((column.sum() + 0.5) / ((~column).sum() + 0.5))
            continue
        found = _solver(block, seed, dual).fit(features, column)
        weights[:, label], bias[label] = found.coef_[0], found.intercept_[0]
    tensors = {"embedding.weight": weights, "bias": bias}
    return {name: torch.from_numpy(value).float() for name, value in tensors.items()}


def _solver(block: TfidfBlock, seed: int, dual: bool):
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    shared = {"C": block.C, "class_weight": block.class_weight, "random_state": seed}
    if block.solver == "svm":
        return LinearSVC(**shared)
    if block.sentence is not None:
        # Hundreds of dense columns are slow by coordinates, and quick by whole gradients.
        return LogisticRegression(solver="lbfgs", max_iter=1000, **shared)
    return LogisticRegression(solver="liblinear", dual=dual, max_iter=1000, **shared)
