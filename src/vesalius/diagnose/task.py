"""Diagnosis as a task of the engine: medical records to all diseases of the patient."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vesalius.diagnose import data, deciding, records
from vesalius.diagnose.decisions import FittedDecision
from vesalius.diagnose.labels import LabelRules
from vesalius.diagnose.learned import SOFT, Learned, count_labels
from vesalius.diagnose.losses import bernoulli_kl
from vesalius.diagnose.metrics import scores
from vesalius.diagnose.models import build
from vesalius.diagnose.reading import FeatureReader, joined
from vesalius.diagnose.recipe import DiagnoseRecipe
from vesalius.diagnose.vocabularies import Vocabulary, fit_vocabulary, load_vocabulary
from vesalius.engine.data import Batch, Loader, choose_workers
from vesalius.engine.device import choose_device
from vesalius.engine.distributed import unwrapped
from vesalius.engine.task import Case, Prediction, Scores
from vesalius.errors import DataError, RecipeError
from vesalius.text.augmenters.mixing import mixing
from vesalius.text.cleaning import Cleaner

DECIDER = "decision.json"


def load_task(
    recipe: DiagnoseRecipe, config: Mapping[str, Any], assets: Mapping[str, str] | None = None
) -> "DiagnoseTask":
    """Rebuild the task of a run folder; without its assets it can score, but not predict."""
    assets = assets or {}
    try:
        known = Learned.from_json(config["learned"])
        vocabulary = load_vocabulary(assets, known) if assets else None
        rules = LabelRules.model_validate(config["rules"]) if config["rules"] else None
        decider = None
        if DECIDER in assets:
            stored = FittedDecision.from_dict(json.loads(assets[DECIDER]))
            decider = deciding.adjusted(stored, recipe.decide)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"config.json of the run is damaged: its task has no valid {error}. Restore the file, "
            "or train again."
        ) from error
    return DiagnoseTask(recipe, known=known, vocabulary=vocabulary, rules=rules, decider=decider)


class DiagnoseTask:
    """Records to diseases.

    Args:
        recipe: the complete recipe.
        known, vocabulary, rules, decider: what an earlier training learned; None: learned from
            the first training cases that come.
    """

    department = "diagnose"

    def __init__(
        self,
        recipe: DiagnoseRecipe,
        *,
        known: Learned | None = None,
        vocabulary: Vocabulary | None = None,
        rules: LabelRules | None = None,
        decider: FittedDecision | None = None,
    ):
        self.recipe, self.decider = recipe, decider
        self._known, self._vocabulary = known, vocabulary
        self._reopened = known is not None
        self.rules = rules
        if rules is None and recipe.data.rules is not None and not self._reopened:
            self.rules = LabelRules.read(recipe.data.rules)
        options = recipe.data.clean
        self._cleaner = None if options is None else Cleaner(options)
        self._loss: nn.Module | None = None
        self._solved: dict[str, Tensor] | None = None

    # --- cases ----------------------------------------------------------------------------------

    def cases(self, source: str | Path, *, labels: bool = True) -> list[Case]:
        """Read and check records; see `Task.cases`.

        Without `labels` they are neither used nor needed, as for a prediction.
        """
        reading = records.read_all(source, self.recipe.records)
        names = self._fields(reading.columns.fields, source)
        found = [self._case(record, names, labels) for record in reading.records]
        if labels and self._known is None and all(case.target is None for case in found):
            raise DataError(f"{source}: no record has labels; name their column: records.label=...")
        return found

    def _fields(self, present: Sequence[str], source: str | Path) -> tuple[str, ...]:
        """Return the fields to use: at the first source all that are there, later the known."""
        if self._known is None:
            return tuple(present)
        names = tuple(name for name in self._known.fields if name in present)
        if not names:
            raise DataError(
                f"{source} has none of the fields that the model was trained on "
                f"({', '.join(self._known.fields)}); it has {', '.join(present)}"
            )
        return names

    def _case(self, record: records.Record, names: Sequence[str], labels: bool) -> Case:
        fields = {name: self._cleaned(record.fields.get(name, "")) for name in names}
        target = record.labels if labels else None
        if target is not None and self.rules is not None:
            target = self.rules.apply_to(target)
        extra: dict[str, Any] = {"place": record.place}
        written = {name: record.fields.get(name, "") for name in names}
        if written != fields:  # evidence points into the text as it was written
            extra["written"] = written
        if record.split is not None:
            extra["split"] = record.split
        return Case(record.id, fields, target, record.group, extra)

    def _cleaned(self, text: str) -> str:
        if self._cleaner is None or not text:
            return text
        return self._cleaner(text)

    # --- what is learned before training --------------------------------------------------------

    @property
    def known(self) -> Learned:
        """What was learned from the training records."""
        if self._known is None:
            raise RuntimeError("the task has seen no training case yet: call loader or learn first")
        return self._known

    @property
    def vocabulary(self) -> Vocabulary:
        """How text becomes tokens or features."""
        if self._vocabulary is None:
            raise RuntimeError("the task has seen no training case yet: call loader or learn first")
        return self._vocabulary

    @property
    def label_names(self) -> list[str]:
        """Names of the labels, the most frequent in training first."""
        return list(self.known.labels)

    def learn(self, training: Sequence[Case]) -> None:
        """Count labels and make the vocabulary, from training records alone."""
        blind = [f"{case.extra['place']}: {case.id}" for case in training if case.target is None]
        if blind:
            raise DataError(f"{len(blind)} training record(s) have no labels", blind)
        kept, rare = count_labels(training, min_count=self.recipe.data.min_count)
        texts = [case.input for case in training]
        fields = tuple(dict.fromkeys(name for text in texts for name in text))
        self._vocabulary = fit_vocabulary(self.recipe, texts, fields)
        self._known = Learned(
            labels=tuple(kept),
            counts=tuple(kept.values()),
            size=len(training),
            fields=fields,
            rare=rare,
            special=self._vocabulary.special,
            vocabulary=self._vocabulary.size,
        )
        if self.recipe.model.name == "tfidf":
            self._solved = self._vocabulary.solve(
                [joined(text, fields) for text in texts],
                self._known.encode(training),
                block=self.recipe.model,
                seed=self.recipe.seed,
            )

    def config(self) -> dict[str, Any]:
        """Return what was learned, JSON-ready."""
        rules = None if self.rules is None else self.rules.model_dump(mode="json")
        return {"learned": self.known.to_json(), "rules": rules}

    def assets(self) -> dict[str, str]:
        """Return the tokenizer or the features, and the decision where it is known."""
        found = self.vocabulary.assets()
        if self.decider is not None:
            found[DECIDER] = json.dumps(self.decider.to_dict(), ensure_ascii=False)
        return found

    # --- the contract ---------------------------------------------------------------------------

    def loader(self, cases: Sequence[Case], *, training: bool) -> Loader:
        """Return padded batches; in training shuffled, bucketed by length and augmented."""
        if self._known is None:
            if not training:
                raise RuntimeError("the first loader must be that of the training cases")
            self.learn(cases)
        recipe = self.recipe
        length = recipe.data.length
        if not training:
            length = recipe.data.predict_length or length
        reader = self.vocabulary.reader(recipe.data, self.known.fields, length=length)
        if isinstance(reader, FeatureReader):
            reader.prepare(case.input for case in cases)
        labelled = training or all(case.target is not None for case in cases)
        fetch = data.Records(
            cases,
            reader,
            self.known.targets(cases) if labelled else None,
            augment=self._augmenter() if training and recipe.augment else None,
            mixing=recipe.mixing.alpha if training and recipe.mixing else None,
        )
        order = None
        if training:
            sizes = [sum(map(len, case.input.values())) for case in cases]
            order = data.bucketed(sizes, recipe.batch_size)
        workers = choose_workers(recipe.workers, choose_device(recipe.device))
        return Loader(
            fetch,
            len(cases),
            collate=data.Collate(reader.padding),
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            workers=workers if training else 0,
            order=order,
        )

    def _augmenter(self):
        from vesalius.diagnose.augmenting import Augmenter

        return Augmenter(self.recipe.augment)

    def build(self) -> nn.Module:
        """Return the recipe's model, one logit per label.

        A model whose weights are solved (TF-IDF), or that starts from a pretrained encoder, has
        these; the model of a reopened run has fresh weights, to be replaced by the run's.
        """
        known = self.known
        model = build(
            self.recipe.model,
            labels=len(known.labels),
            vocabulary=known.vocabulary,
            fields=len(known.fields),
            architecture=known.encoder,
        )
        if self._solved is not None:
            model.load_state_dict(self._solved)
        if known.encoder is None and hasattr(model, "architecture"):
            self._known = replace(known, encoder=model.architecture)
        if self.recipe.start is not None and not self._reopened:
            from vesalius.diagnose.pretraining.start import load_start

            load_start(model, self.recipe.start)
        return model

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the recipe's loss, and the disagreement of two passes where R-Drop is on."""
        loss = self._criterion(batch.targets.device, model.training)
        logits, targets = self._mixed_forward(model, batch)
        consistency = self.recipe.consistency
        if consistency is None:
            return {"labels": loss(logits, targets)}
        again, _ = self._mixed_forward(model, batch)
        kl = 0.5 * (bernoulli_kl(logits, again) + bernoulli_kl(again, logits))
        both = 0.5 * (loss(logits, targets) + loss(again, targets))
        return {"labels": both, "consistency": consistency.weight * kl}

    def _criterion(self, device: torch.device, training: bool) -> nn.Module:
        if self._loss is None:
            self._loss = self.recipe.loss.build(self.known.counts, self.known.size)
        return self._loss.to(device).train(training)

    def _mixed_forward(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits and targets, mixed with those of partners where the batch says so."""
        mixture, inputs = batch.extra.get("mixture"), batch.inputs
        if mixture is None:
            return model(inputs), batch.targets
        bare = unwrapped(model)
        if self.recipe.mixing.of == "words":
            with mixing(bare.get_input_embeddings(), mixture, mask=inputs["mask"]):
                logits = model(mixture.inputs(inputs))
        else:
            with mixing(bare.head.pooled, mixture):
                logits = model(inputs)
        return logits, mixture.mix(batch.targets)

    def predict(self, model: nn.Module, batch: Batch) -> list[Prediction]:
        """Return the probability of each label, float32 (labels,)."""
        found = model(batch.inputs).float().sigmoid().cpu().numpy()
        return [Prediction(name, row) for name, row in zip(batch.ids, found, strict=True)]

    def combine(
        self, predictions: Sequence[Sequence[Prediction]], how: str = "mean"
    ) -> list[Prediction]:
        """Average several models' probabilities: "mean", or "geometric-mean" (of the odds)."""
        if how not in ("mean", "geometric-mean"):
            raise RecipeError(f"combine: '{how}' is none of mean, geometric-mean")
        by_id = [{item.id: item.probabilities for item in member} for member in predictions]
        combined = []
        for name in by_id[0]:
            stack = np.stack([member[name] for member in by_id]).astype(np.float64)
            if how == "geometric-mean":
                stack = np.clip(stack, 1e-7, 1 - 1e-7)
                joint = 1 / (1 + np.exp(-np.log(stack / (1 - stack)).mean(0)))
            else:
                joint = stack.mean(0)
            combined.append(Prediction(name, joint.astype(np.float32)))
        return combined

    def score(self, cases: Sequence[Case], predictions: Iterable[Prediction]) -> Scores:
        """Return macro F1 and all other scores; see `diagnose.metrics.score`.

        Where no decision has been fitted yet (in training) each record is decided by thresholds
        that were fitted to the others, so that the score does not flatter.
        """
        chosen, table = self._table(cases, predictions)
        truth = self.known.encode(chosen)
        groups = [case.group or case.id for case in chosen]
        if self.decider is not None:
            decisions = deciding.decided(self.decider, table, chosen)
        else:
            decisions = deciding.cross_fitted(
                self.recipe.decide, table, truth, chosen, self.label_names
            )
        return scores(
            [case.id for case in chosen],
            truth,
            table,
            decisions,
            self.label_names,
            groups,
            training_counts=self.known.counts,
        )

    def _table(self, cases, predictions) -> tuple[list[Case], np.ndarray]:
        by_id = {case.id: case for case in cases}
        found = list(predictions)
        chosen = [by_id[item.id] for item in found]
        return chosen, np.stack([item.probabilities for item in found]).astype(np.float64)

    def fit_decision(self, cases: Sequence[Case], predictions: Iterable[Prediction]) -> None:
        """Fit calibration and thresholds to predictions of cases that did not train."""
        chosen, table = self._table(cases, predictions)
        self.decider = deciding.fitted(
            self.recipe.decide, table, self.known.encode(chosen), chosen, self.label_names
        )

    def answers(self, cases: Sequence[Case], predictions: Sequence[Prediction]) -> list[list[str]]:
        """Return the names of each case's predicted diseases, the most probable first."""
        chosen, table = self._table(cases, predictions)
        decider = self.decider or deciding.unfitted(self.recipe.decide, self.label_names)
        decided = deciding.decided(decider, table, chosen)
        names = np.array(self.known.labels, object)
        return [
            names[[k for k in np.argsort(-row, kind="stable") if yes[k]]].tolist()
            for row, yes in zip(table, decided, strict=True)
        ]

    def labelled(
        self,
        case: Case,
        prediction: Prediction,
        decided: np.ndarray,
        folder: Path | None = None,
        *,
        soft: np.ndarray | None = None,
    ) -> Case:
        """Return a record with accepted labels as its truth; see `Task`.

        Args:
            case: the record.
            prediction: of this task.
            decided: bool (labels,), which of `label_names` are taken for true.
            folder: not used: a record's labels are in the case.
            soft: (labels,) probabilities to train on instead of 0 and 1.

        Raises:
            RecipeError: soft targets for a model that is solved, not trained.
        """
        names = self.label_names
        target = tuple(name for name, yes in zip(names, decided, strict=True) if yes)
        if soft is None:
            return replace(case, target=target)
        if self.recipe.model.name == "tfidf":
            raise RecipeError("TF-IDF is solved from yes and no: it cannot learn from soft labels")
        values = dict(zip(names, (round(float(p), 6) for p in soft), strict=True))
        return replace(case, target=target, extra={**case.extra, SOFT: values})

    def draw(self, case: Case, prediction: Prediction):
        """Return a bar chart of the most probable labels and of the true ones."""
        from vesalius.diagnose.drawing import bars

        answer = self.answers([case], [prediction])[0]
        return bars(case, prediction.probabilities, self.label_names, answer)


TASK = DiagnoseTask
"""The class of this department's tasks."""
