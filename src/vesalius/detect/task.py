"""Detection as a task of the engine: images to boxes and masks, in 2D and 3D."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vesalius.detect import data, fusion, solving
from vesalius.detect.answers import from_detections, to_scene
from vesalius.detect.data import Prepared
from vesalius.detect.facts import Facts, learn
from vesalius.detect.metrics import score
from vesalius.detect.models import RCNN, Detections
from vesalius.detect.recipe import DetectRecipe
from vesalius.detect.scene import Scene
from vesalius.engine.data import Batch, Loader, choose_workers
from vesalius.engine.device import choose_device
from vesalius.engine.task import Case, Prediction, Scores
from vesalius.errors import DataError, RecipeError

_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def load_task(
    recipe: DetectRecipe, config: Mapping[str, Any], assets: Mapping[str, str] | None = None
) -> "DetectTask":
    """Rebuild the task of a run folder; a detection keeps no other files."""
    try:
        known = Facts.from_json(config)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"config.json of the run is damaged: its task has no valid {error}. Restore the file, "
            "or train again."
        ) from error
    return DetectTask(recipe, known)


class DetectTask:
    """Images to boxes and masks.

    Args:
        recipe: the complete recipe.
        known: what an earlier training learned from its data; None learns it from the first source
            that `cases` reads.
    """

    department = "detect"

    def __init__(self, recipe: DetectRecipe, known: Facts | None = None):
        self.recipe = recipe
        self._facts = known
        self._reopened = known is not None
        self._prepared: Prepared | None = None

    @property
    def facts(self) -> Facts:
        """What was learned from the data."""
        if self._facts is None:
            raise RuntimeError("the task has seen no data yet: call cases(source) first")
        return self._facts

    @property
    def label_names(self) -> list[str]:
        """Names of the classes, without a background."""
        return list(self.facts.classes)

    def cases(self, source: str | Path, *, objects: bool = True) -> list[Case]:
        """Read and check a data set in any of the formats of `detect.formats`; see `Task.cases`.

        Without `objects` only images are read, as for a prediction: a folder of them, or one.
        """
        if not objects:
            return self._images(source)
        from vesalius.detect.formats import read

        options = self.recipe.data
        found = read(
            source,
            format=options.format,
            images=options.images,
            boxes=options.boxes,
            classes=options.classes if self._facts is None else self._facts.classes,
        )
        cases = [self._case(scene, source) for scene in found.scenes]
        if self._facts is None:
            self._facts = learn(cases, found.classes, options.colour)
        return cases

    def _case(self, scene: Scene, source: str | Path) -> Case:
        if scene.path is None:
            raise DataError(
                f"{source}: the image of '{scene.id}' is missing; say where the images are: "
                "data.images=FOLDER"
            )
        return scene.to_case()

    def _images(self, source: str | Path) -> list[Case]:
        from vesalius.images.layout import find_cases

        found = find_cases(source)
        several = [case.id for case in found if len(case.input) > 1]
        if several:
            raise DataError("images of several channel files are not detected in", several)
        return [replace(case, input=case.input[0], target=None) for case in found]

    def strata(self, case: Case) -> tuple[str, ...]:
        """Return the classes that occur in a case, by which folds are balanced."""
        return () if case.target is None else tuple(dict.fromkeys(case.target.labels))

    def config(self) -> dict[str, Any]:
        """Return the facts, JSON-ready."""
        return asdict(self.facts)

    def loader(self, cases: Sequence[Case], *, training: bool) -> Loader:
        """Return augmented images for training, else whole images one by one."""
        prepared = self.prepared
        if not training:
            fetch = data.WholeImages(cases, prepared)
            return Loader(fetch, len(cases), collate=data.stack, batch_size=1, workers=0)
        blind = [case.id for case in cases if case.target is None]
        if blind:
            raise DataError(f"{len(blind)} training case(s) have no annotation", blind)
        workers = choose_workers(self.recipe.workers, choose_device(self.recipe.device))
        return Loader(
            data.TrainingImages(cases, prepared, self.recipe),
            len(cases),
            collate=data.stack,
            batch_size=self.recipe.batch_size,
            seed=self.recipe.seed,
            workers=workers,
        )

    @property
    def prepared(self) -> Prepared:
        """What reads and keeps the cases."""
        if self._prepared is None:
            self._prepared = Prepared(self.recipe, self.facts)
        return self._prepared

    def build(self) -> nn.Module:
        """Return the recipe's network."""
        block = self.recipe.model
        if self._reopened:  # its own weights follow, and the file may not be there any more
            block = block.model_copy(update={"encoder_weights": None})
        model = block.build(
            in_channels=self.facts.channels,
            classes=len(self.facts.classes),
            dims=self.facts.dims,
        )
        if self.recipe.sharding == "fsdp":  # FSDP2 takes contiguous parameters only
            return model
        # Convolutions are faster with channels innermost.
        return model.to(memory_format=_CHANNELS_LAST[self.facts.dims])

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the network's losses: of proposals, classes, boxes and masks."""
        targets = [
            {**target, "id": name} for target, name in zip(batch.targets, batch.ids, strict=True)
        ]
        inputs = batch.inputs
        return model(inputs["images"], targets, inputs.get("proposals"), detect=False).losses

    def finish(self, model: nn.Module, cases: Sequence[Case], *, quiet: bool) -> None:
        """Train R-CNN's SVMs and box regressions on the network's features; others have none."""
        if isinstance(model, RCNN):
            solving.solve(model, cases, self.prepared, seed=self.recipe.seed, quiet=quiet)

    def predict(self, model: nn.Module, batch: Batch) -> list[Prediction]:
        """Return detections on each image's own grid; see `detect.answers` for their columns."""
        inputs = batch.inputs
        found = self._detect(model, inputs["images"], inputs.get("proposals"))
        if self.recipe.predict.mirror:
            found = self._with_mirrored(model, inputs, found)
        answers = []
        for name, image, size, one in zip(
            batch.ids, inputs["images"], batch.extra["original_sizes"], found, strict=True
        ):
            table = from_detections(one, old=tuple(image.shape[1:]), new=size)
            answers.append(Prediction(name, table))
        return answers

    def _detect(self, model: nn.Module, images, proposals) -> list[Detections]:
        return [one.to("cpu") for one in model(images, None, proposals).detections]

    def _with_mirrored(
        self, model: nn.Module, inputs: Mapping[str, Any], found: Sequence[Detections]
    ) -> list[Detections]:
        turned = [image.flip(-1) for image in inputs["images"]]
        proposals = inputs.get("proposals")
        widths = [image.shape[-1] for image in turned]
        if proposals is not None:
            proposals = [
                fusion.mirrored(boxes, width)
                for boxes, width in zip(proposals, widths, strict=True)
            ]
        other = self._detect(model, turned, proposals)
        return [
            fusion.fuse_mirrored(one, two, width)
            for one, two, width in zip(found, other, widths, strict=True)
        ]

    def combine(
        self, predictions: Sequence[Sequence[Prediction]], how: str = "mean"
    ) -> list[Prediction]:
        """Fuse several models' detections: "mean" is weighted boxes fusion, "nms" keeps the best.

        Raises:
            RecipeError: another word; or masks, which cannot be averaged box by box, with "mean".
        """
        if how not in ("mean", "nms"):
            raise RecipeError(f"combine: '{how}' is none of mean, nms")
        if how == "mean" and self.recipe.model.masks:
            raise RecipeError("masks in boxes that differ have no mean; combine with 'nms'")
        by_id = [{item.id: item.probabilities for item in member} for member in predictions]
        dims = self.facts.dims
        join = fusion.weighted_fusion if how == "mean" else fusion.best_of
        options = {} if how == "mean" else {"threshold": self.recipe.model.nms_threshold}
        return [
            Prediction(name, join([member[name] for member in by_id], dims=dims, **options))
            for name in by_id[0]
        ]

    def score(self, cases: Sequence[Case], predictions: Iterable[Prediction]) -> Scores:
        """Return AP, AP50, AP75, AR, precision and recall; see `detect.metrics.score`."""
        by_id = {case.id: case for case in cases}
        masks = self.scores_masks
        found = [self.scene(by_id[item.id], item, masks=masks) for item in predictions]
        options = self.recipe.score
        return score(
            [Scene.from_case(case) for case in cases],
            found,
            self.facts.classes,
            headline=options.headline,
            kind="segm" if masks else "bbox",
            min_score=self.recipe.predict.score,
        )

    @property
    def scores_masks(self) -> bool:
        """Whether overlaps are those of masks."""
        kind = self.recipe.score.kind
        return self.recipe.model.masks if kind == "auto" else kind == "segm"

    def scene(
        self, case: Case, prediction: Prediction, *, masks: bool = True, min_score: float = 0.0
    ) -> Scene:
        """Return a prediction as a scene with scores, and with masks where the network has them."""
        size = case.target.size if isinstance(case.target, Scene) else self._size(case)
        return to_scene(
            np.asarray(prediction.probabilities),
            id=case.id,
            path=case.input,
            size=size,
            classes=self.facts.classes,
            masks=masks and self.recipe.model.masks,
            min_score=min_score,
        )

    def _size(self, case: Case) -> tuple[int, ...]:
        return tuple(self.prepared.sample(case)["original_size"])

    def draw(self, case: Case, prediction: Prediction):
        """Return the image with true and predicted objects."""
        from vesalius.detect.drawing import sheet

        picture = self.prepared.picture(case)
        truth = case.target if isinstance(case.target, Scene) else None
        found = self.scene(case, prediction, min_score=self.recipe.predict.score)
        return sheet(picture, truth, found, classes=self.facts.classes, title=case.id)


TASK = DetectTask
"""What a study makes tasks of."""

__all__ = ["TASK", "DetectTask", "load_task"]
