"""Pre-training as a task: hide tokens, predict them (Devlin et al. 2019)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vesalius.diagnose import data, records
from vesalius.diagnose.learned import Learned
from vesalius.diagnose.models import MaskedLanguageModel, build, mask_tokens
from vesalius.diagnose.models.mlm import IGNORED
from vesalius.diagnose.pretraining.recipe import PretrainRecipe
from vesalius.diagnose.reading import TokenReader
from vesalius.diagnose.vocabularies import Tokens, Vocabulary, load_vocabulary, of_pretrained
from vesalius.engine.data import Batch, Loader
from vesalius.engine.task import Case, Prediction, Scores
from vesalius.errors import DataError, RecipeError
from vesalius.text.cleaning import Cleaner


def load_task(
    recipe: PretrainRecipe, config: Mapping[str, Any], assets: Mapping[str, str] | None = None
) -> "PretrainTask":
    """Rebuild the task of a run folder."""
    try:
        known = Learned.from_json(config)
        return PretrainTask(recipe, known, load_vocabulary(assets or {}, known))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"config.json of the run is damaged: {error}. Train again.") from error


class PretrainTask:
    """Texts to their hidden tokens.

    Args:
        recipe: the complete recipe.
        known, vocabulary: what an earlier training learned.
    """

    department = "diagnose.pretraining"

    def __init__(
        self,
        recipe: PretrainRecipe,
        known: Learned | None = None,
        vocabulary: Vocabulary | None = None,
    ):
        self.recipe, self._known, self._vocabulary = recipe, known, vocabulary
        self._fresh = known is None
        self._cleaner = None if recipe.data.clean is None else Cleaner(recipe.data.clean)

    def cases(self, source: str | Path) -> list[Case]:
        """Read records; labels are not looked at."""
        found = []
        for record in records.read(source, self.recipe.records):
            fields = dict(record.fields)
            if self._cleaner is not None:
                fields = {name: self._cleaner(text) for name, text in fields.items()}
            extra = {"place": record.place}
            if record.split is not None:
                extra["split"] = record.split
            found.append(Case(record.id, fields, (), record.group, extra))
        return found

    def learn(self, training: Sequence[Case]) -> None:
        """Make the vocabulary, from training records alone."""
        from vesalius.text.subwords import train_subwords

        fields = tuple(dict.fromkeys(name for case in training for name in case.input))
        if self.recipe.model.name == "pretrained":
            from vesalius.diagnose.models import tokenizer_for

            vocabulary = of_pretrained(tokenizer_for(self.recipe.model))
        else:
            texts = (text for case in training for text in case.input.values() if text)
            trained = train_subwords(texts, kind="wordpiece", size=self.recipe.data.subwords)
            vocabulary = Tokens(trained.tokenizer.to_str())
        if vocabulary.special.get("mask") is None:
            raise RecipeError("the tokenizer has no mask token ([MASK] or <mask>)")
        self._vocabulary = vocabulary
        self._known = Learned(
            (), (), len(training), fields, special=vocabulary.special, vocabulary=vocabulary.size
        )

    @property
    def known(self) -> Learned:
        """What was learned from the training records."""
        if self._known is None:
            raise RuntimeError("the task has seen no training case yet: call learn first")
        return self._known

    def config(self) -> dict[str, Any]:
        """Return what was learned, JSON-ready."""
        return self.known.to_json()

    def assets(self) -> dict[str, str]:
        """Return the tokenizer."""
        return self._vocabulary.assets()

    def loader(self, cases: Sequence[Case], *, training: bool) -> Loader:
        """Return batches of stretches of the records; another one each time in training."""
        if self._known is None:
            self.learn(cases)
        fetch = _Stretches(cases, self, training)
        return Loader(
            fetch,
            len(cases),
            collate=_Seeded(fetch.reader.padding),
            batch_size=self.recipe.batch_size,
            seed=self.recipe.seed,
        )

    def build(self) -> nn.Module:
        """Return the encoder with a vocabulary head."""
        known = self.known
        model = build(
            self.recipe.model,
            labels=1,
            vocabulary=known.vocabulary,
            fields=len(known.fields),
            architecture=known.encoder,
        )
        if known.encoder is None and hasattr(model, "architecture"):
            self._known = replace(known, encoder=model.architecture)
        # The classifier's head is not trained here.
        model.head = nn.Identity()
        return MaskedLanguageModel(model)

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the mean cross-entropy of the hidden tokens."""
        inputs, targets = self.hidden(batch)
        return {"hidden_tokens": model(inputs, targets)}

    def hidden(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
        """Return inputs with hidden tokens, and targets; the same for the same batch."""
        special = self.known.special
        tokens, targets = mask_tokens(
            batch.inputs["tokens"],
            batch.inputs["mask"],
            rng=torch.Generator().manual_seed(batch.extra["seed"]),
            mask_token=special["mask"],
            vocabulary=self.known.vocabulary,
            share=self.recipe.data.share,
            special=[number for number in special.values() if number is not None],
            words=batch.inputs["words"] if self.recipe.data.whole_words else None,
        )
        return {**batch.inputs, "tokens": tokens}, targets

    def predict(self, model: nn.Module, batch: Batch) -> list[Prediction]:
        """Return per text: the sum of losses of its hidden tokens, how many, and how many right."""
        inputs, targets = self.hidden(batch)
        vectors = model.model.encode(inputs)
        found = []
        for name, row, wanted in zip(batch.ids, vectors, targets, strict=True):
            chosen = wanted != IGNORED
            logits = model.logits(row[chosen]).float()
            losses = nn.functional.cross_entropy(logits, wanted[chosen], reduction="sum")
            right = (logits.argmax(-1) == wanted[chosen]).sum()
            numbers = [float(losses), float(chosen.sum()), float(right)]
            found.append(Prediction(name, np.array(numbers)))
        return found

    def combine(self, predictions, how):
        """Refuse: there is nothing to combine."""
        raise RecipeError(
            "pre-trained encoders are not combined; combine what is trained from them"
        )

    def score(self, cases: Sequence[Case], predictions: Iterable[Prediction]) -> Scores:
        """Return the mean loss per hidden token (nats), perplexity, and the share got right."""
        losses, count, right = np.sum([item.probabilities for item in predictions], axis=0)
        mean = losses / max(count, 1)
        values = {
            "loss": mean,
            "perplexity": float(np.exp(mean)),
            "accuracy": right / max(count, 1),
        }
        return Scores("loss", values, higher_is_better=False)

    def draw(self, case: Case, prediction: Prediction):
        """Refuse: hidden tokens make no picture."""
        raise RecipeError("a pre-training has no pictures")


class _Stretches:
    """Fetch a stretch of a record's tokens; a random one in training."""

    def __init__(self, cases: Sequence[Case], task: PretrainTask, training: bool):
        self.cases, self.training = list(cases), training
        self.length, self.words = task.recipe.data.length, task.recipe.data.whole_words
        self.reader = TokenReader(
            task._vocabulary.tokenizer,
            task.known.special,
            task.known.fields,
            length=1 << 30,
            words=self.words,
        )
        self._kept: dict[int, dict[str, np.ndarray]] = {}

    def __call__(self, index: int, rng: np.random.Generator) -> tuple[str, dict, int]:
        if index not in self._kept:
            self._kept[index] = self.reader.read(self.cases[index].input)
        whole = self._kept[index]
        spare = len(whole["tokens"]) - self.length
        start = int(rng.integers(spare + 1)) if self.training and spare > 0 else 0
        cut = {name: row[start : start + self.length] for name, row in whole.items()}
        return self.cases[index].id, cut, int(rng.integers(2**62))


class _Seeded:
    """Pad texts, and keep a seed for what is hidden."""

    def __init__(self, padding: Mapping[str, Any]):
        self.collate = data.Collate(padding)

    def __call__(self, items: Sequence[tuple[str, dict, int]]) -> Batch:
        batch = self.collate([(name, arrays, None, None) for name, arrays, _ in items])
        return replace(batch, extra={"seed": items[0][2] % 2**62})
