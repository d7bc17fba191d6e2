"""Segmentation as a task of the engine: images to masks, in 2D and 3D."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vesalius.engine.data import Batch, Loader, choose_workers
from vesalius.engine.device import choose_device
from vesalius.engine.task import Case, Prediction, Scores
from vesalius.errors import DataError, RecipeError
from vesalius.images.layout import find_cases
from vesalius.images.resample import resample_to
from vesalius.images.transforms import put_back
from vesalius.segment import data, facts
from vesalius.segment.checks import check_recipe
from vesalius.segment.data import Prepared
from vesalius.segment.facts import Facts
from vesalius.segment.instances import (
    drop_small,
    largest_components,
    split_cores,
    split_foreground,
)
from vesalius.segment.losses import PresenceLoss
from vesalius.segment.models import Outputs
from vesalius.segment.recipe import SegmentRecipe
from vesalius.segment.scores import score_cases, score_objects
from vesalius.segment.window import predict_whole

_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def load_task(
    recipe: SegmentRecipe, config: Mapping[str, Any], assets: Mapping[str, str] | None = None
) -> "SegmentTask":
    """Rebuild the task of a run folder; a segmentation keeps no other files."""
    try:
        known = Facts.from_json(config)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"config.json of the run is damaged: its task has no valid {error}. Restore the file, "
            "or train again."
        ) from error
    return SegmentTask(recipe, known)


class SegmentTask:
    """Images to masks.

    Args:
        recipe: the complete recipe.
        known: what an earlier training learned from its data; None learns it from the first source
            that `cases` reads.
    """

    department = "segment"

    def __init__(self, recipe: SegmentRecipe, known: Facts | None = None):
        self.recipe = recipe
        self._facts = known
        self._reopened = known is not None
        self._prepared: Prepared | None = None
        self._loss: nn.Module | None = None
        self._presence = PresenceLoss(ignore_index=data.IGNORED)
        if known is not None:
            check_recipe(recipe, known)

    @property
    def facts(self) -> Facts:
        """What was learned from the data."""
        if self._facts is None:
            raise RuntimeError("the task has seen no data yet: call cases(source) first")
        return self._facts

    @property
    def label_names(self) -> list[str]:
        """Names of the classes, the background first."""
        return list(self.facts.labels)

    def cases(self, source: str | Path, *, masks: bool = True) -> list[Case]:
        """Read and check a folder, a table or one image; see `Task.cases`.

        Without `masks` they are neither read nor needed, as for a prediction.
        """
        found = find_cases(source)
        if not masks:
            found = [replace(case, target=None) for case in found]
        seen = facts.inspect_all(source, found, self.recipe, self._facts)
        if self._facts is None:
            self._facts = facts.learn(source, found, seen, self.recipe)
        return found

    def config(self) -> dict[str, Any]:
        """Return the facts, JSON-ready."""
        return asdict(self.facts)

    def loader(self, cases: Sequence[Case], *, training: bool) -> Loader:
        """Return augmented crops for training, else whole cases one by one."""
        prepared = self._ready()
        workers = choose_workers(self.recipe.workers, choose_device(self.recipe.device))
        if training:
            return Loader(
                data.TrainingCrops(cases, prepared, self.recipe),
                len(cases),
                collate=data.stack_crops,
                batch_size=self.recipe.batch_size,
                seed=self.recipe.seed,
                workers=workers,
            )
        whole = data.WholeCases(cases, prepared)
        return Loader(whole, len(cases), collate=data.one_case, batch_size=1, workers=0)

    def build(self) -> nn.Module:
        """Return the recipe's model: one logit per label, or one in all where there are two."""
        count = len(self.facts.labels)
        block = self.recipe.model
        if self._reopened and "encoder_weights" in type(block).model_fields:
            # Its own weights follow, and the file may not be there any more.
            block = block.model_copy(update={"encoder_weights": None})
        model = block.build(
            in_channels=self.facts.channels,
            classes=1 if count == 2 else count,
            dims=self.facts.dims,
        )
        if self.recipe.sharding == "fsdp":  # FSDP2 takes contiguous parameters only
            return model
        # Convolutions are up to twice as fast with channels innermost, on CPUs and GPUs alike.
        return model.to(memory_format=_CHANNELS_LAST[self.facts.dims])

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the recipe's loss over all heads, and that of the classification module.

        Raises:
            RecipeError: a map is so small that batch normalisation has one value to learn from.
        """
        if self._loss is None:
            self._loss = self.recipe.loss.build(ignore_index=data.IGNORED)
        # Class weights are buffers of the loss, which no one else moves.
        loss = self._loss.to(batch.targets.device)
        outputs = Outputs.of(_answer(model, batch.inputs))
        # A network whose paper weighs its heads says so itself (PSPNet: 1 and 0.4).
        weights = outputs.weights or _head_weights(self.recipe.head_weights, len(outputs.logits))
        heads = zip(weights, outputs.logits, strict=True)
        terms = {"segmentation": sum(w * loss(logits, batch.targets) for w, logits in heads)}
        if outputs.presence is not None:
            terms["presence"] = self._presence(outputs.presence, batch.targets)
        return terms

    def predict(self, model: nn.Module, batch: Batch) -> list[Prediction]:
        """Return probabilities (labels, *size) on each case's own grid."""
        frames = batch.extra.get("frame")
        options = self.recipe.predict
        found = []
        for case_id, image in zip(batch.ids, batch.inputs, strict=True):
            probabilities = predict_whole(
                lambda x: self._probabilities(model(x)),
                image,
                window=self._window(),
                overlap=options.overlap,
                gaussian=options.gaussian,
                mirror=options.mirror,
            )
            found.append(Prediction(case_id, _on_own_grid(probabilities.cpu(), frames)))
        return found

    def _window(self) -> tuple[int, ...]:
        window = self.recipe.predict.window
        return self.facts.patch if window == "patch" else window

    def _probabilities(self, logits: Tensor) -> Tensor:
        if logits.shape[1] > 1:
            return logits.float().softmax(1)
        foreground = logits.float().sigmoid()
        return torch.cat([1 - foreground, foreground], dim=1)

    def combine(
        self, predictions: Sequence[Sequence[Prediction]], how: str = "mean"
    ) -> list[Prediction]:
        """Average several models' probabilities: "mean" or "geometric-mean"."""
        if how not in ("mean", "geometric-mean"):
            raise RecipeError(f"combine: '{how}' is none of mean, geometric-mean")
        by_id = [{item.id: item.probabilities for item in member} for member in predictions]
        combined = []
        for case_id in by_id[0]:
            stack = np.stack([member[case_id] for member in by_id])
            if how == "mean":
                joined = stack.mean(0)
            else:
                joined = np.exp(np.log(np.clip(stack, 1e-7, 1)).mean(0))
                joined /= joined.sum(0, keepdims=True)
            combined.append(Prediction(case_id, joined))
        return combined

    def score(self, cases: Sequence[Case], predictions: Iterable[Prediction]) -> Scores:
        """Return Dice, IoU, accuracy and the rest; see `segment.scores.score_cases`.

        Where objects are parted (`data.target` instances, or `predict.instances`) rim and core
        count as one foreground, and the objects are scored too: see `score_objects`.
        """
        prepared = self._ready()
        by_id = {case.id: case for case in cases}
        groups = {case.id: case.group for case in cases if case.group}
        if not self.parts_objects:
            pairs = (
                (item.id, prepared.truth(by_id[item.id]), self.classes(item))
                for item in predictions
            )
            return score_cases(pairs, self.label_names, ignore=data.IGNORED, groups=groups)
        found = (
            (item.id, prepared.mask_values(by_id[item.id]), self.objects(item))
            for item in predictions
        )
        return score_objects(found, ignore=self.recipe.data.ignore, groups=groups)

    def _ready(self) -> Prepared:
        if self._prepared is None:
            self._prepared = Prepared(self.recipe, self.facts)
        return self._prepared

    @property
    def parts_objects(self) -> bool:
        """Whether predictions end as single objects rather than classes."""
        return self.recipe.data.target == "instances" or self.recipe.predict.instances

    def classes(self, prediction: Prediction) -> np.ndarray:
        """Return the most probable class index per pixel (*size), cleaned as the recipe says."""
        options = self.recipe.predict
        classes = prediction.probabilities.argmax(0)
        if options.largest_component:
            classes = largest_components(classes)
        if options.smallest > 1:
            classes = drop_small(classes, smallest=options.smallest)
        return classes

    def objects(self, prediction: Prediction) -> np.ndarray:
        """Return numbered objects (*size), int32, 0 the background."""
        smallest = self.recipe.predict.smallest
        if self.recipe.data.target == "instances":
            return split_cores(prediction.probabilities, smallest=smallest)
        return split_foreground(prediction.probabilities.argmax(0) > 0, smallest=smallest)

    def label_map(self, prediction: Prediction) -> np.ndarray:
        """Return the mask to write (*size), uint8 or uint16: label values, or object numbers."""
        if self.parts_objects:
            objects = self.objects(prediction)
            if objects.max(initial=0) > np.iinfo(np.uint16).max:
                raise DataError(f"{prediction.id}: {objects.max()} objects; a mask holds 65535")
            return objects.astype(np.uint16)
        values = np.array(list(self.facts.labels.values()))
        dtype = np.uint8 if values.max() < 256 else np.uint16
        return values.astype(dtype)[self.classes(prediction)]

    def labelled(
        self,
        case: Case,
        prediction: Prediction,
        decided: None = None,
        folder: Path | None = None,
        *,
        soft: None = None,
    ) -> Case:
        """Return a case whose truth is the predicted mask, written into a folder; see `Task`.

        Args:
            case: the case.
            prediction: of this task.
            decided, soft: not used: a mask is accepted as a whole and as decided.
            folder: for the mask, CASE + the suffix that `predict` gives it.

        Raises:
            RecipeError: no folder, or soft targets are asked for.
            StorageError: the mask cannot be written.
        """
        from vesalius.images.read import read_channels
        from vesalius.images.write import mask_suffix_for, write_dicom_seg, write_mask

        if folder is None or soft is not None:
            raise RecipeError("a pseudo-label of an image is a mask in a folder, and not soft")
        image = read_channels(case.input)
        path = Path(folder) / f"{case.id}{mask_suffix_for(image)}"
        mask = self._as_truth(prediction)
        if path.suffix == ".dcm":
            write_dicom_seg(path, mask, like=image, names=self._names_in(mask))
        else:
            write_mask(path, mask, like=image)
        return replace(case, target=path)

    def _as_truth(self, prediction: Prediction) -> np.ndarray:
        """Return a prediction as `cases` would read its mask, (*size), uint8 or uint16."""
        options = self.recipe.data
        if options.target != "instances":
            values = np.array(list(self.facts.labels.values()))
            return values.astype(np.uint16)[self.classes(prediction)]
        objects = self.label_map(prediction)
        if options.ignore:  # no object may have the number that counts for nothing
            objects = objects + (objects >= options.ignore).astype(np.uint16)
        return objects

    def _names_in(self, mask: np.ndarray) -> dict[str, int]:
        if self.recipe.data.target != "instances":
            return {name: value for name, value in self.facts.labels.items() if value}
        return {f"object {number}": int(number) for number in np.unique(mask) if number}

    def mask_names(self, mask: np.ndarray) -> dict[str, int]:
        """Return what the values of a `label_map` but 0 stand for: name -> value."""
        if self.parts_objects:
            return {f"object {number}": number for number in range(1, int(mask.max(initial=0)) + 1)}
        return {name: value for name, value in self.facts.labels.items() if value}

    def draw(self, case: Case, prediction: Prediction):
        """Return image, truth, prediction and errors side by side."""
        from vesalius.images.draw import sheet
        from vesalius.images.read import read_channels

        image = read_channels(case.input)
        classes = self.classes(prediction)
        if classes.shape != image.size:
            raise DataError(f"{case.id}: the prediction has another size than {case.input[0]}")
        truth = None
        if case.target is not None:
            truth = self._ready().truth(case)
        return sheet(
            image.array,
            truth,
            classes,
            names=self.label_names,
            title=case.id,
            spacing=image.spacing,
            ignore=data.IGNORED,
        )


def _answer(model: nn.Module, inputs: Tensor) -> Any:
    try:
        return model(inputs)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise RecipeError(
            f"with a crop of {tuple(inputs.shape[2:])} and {len(inputs)} in a (micro-)batch the "
            "deepest map has a single value per channel, which batch normalisation cannot learn "
            "from. Enlarge batch_size or data.patch, or, where the model has it, say "
            "model.normalisation=instance."
        ) from error


def _head_weights(rule: str, heads: int) -> list[float]:
    raw = [1.0 if rule == "equal" else 0.5**index for index in range(heads)]
    return [weight / sum(raw) for weight in raw]


def _on_own_grid(probabilities: Tensor, frame: Mapping[str, Any] | None) -> np.ndarray:
    """Undo cropping and resampling."""
    array = probabilities.detach().numpy()
    if frame is None:
        return array
    if frame["box"] is not None:
        array = put_back(array, frame["box"], frame["full_size"])
        array[0][array.sum(0) == 0] = 1.0  # what was cut away is background
    if array.shape[1:] != tuple(frame["original_size"]):
        array = resample_to(array, frame["original_size"])
    return array


TASK = SegmentTask
"""The class of this department's tasks."""
