"""R-CNN's last stages: SVMs with hard-negative mining and ridge regressions, on kept features."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vesalius.detect.box_regression import RidgeBoxes, pairs
from vesalius.detect.data import Prepared
from vesalius.detect.models.rcnn import RCNN
from vesalius.detect.svm import ImageRegions, class_overlaps, train_svms
from vesalius.engine.progress import Progress
from vesalius.engine.task import Case
from vesalius.language import say


def solve(
    model: RCNN, cases: Sequence[Case], prepared: Prepared, *, seed: int, quiet: bool
) -> None:
    """Train the SVMs and box regressions of an R-CNN and store them in it.

    The network sees every region of every image once; the features wait in a temporary folder
    (half precision, some 4 MB for 500 regions), since mining goes through the images twice.

    Args:
        model: in evaluation mode.
        cases: the training cases.
        prepared: reads them.
        seed: of the solvers.
        quiet: show no progress; else a bar with the time that is left.

    Raises:
        DataError: a class without objects, or nothing to learn against.
    """
    device = model.classifier.weight.device
    with tempfile.TemporaryDirectory() as folder:
        kept = _look(model, cases, prepared, Path(folder), device, quiet)
        machines = train_svms(kept, _fetch, prepared.facts.classes, seed=seed)
        model.store(machines, _regress(kept, len(prepared.facts.classes)))


def _look(model: RCNN, cases, prepared: Prepared, folder: Path, device, quiet) -> list[Path]:
    """Keep features, overlaps and boxes of every image's regions; return the files."""
    places = []
    label = say("features of regions", "提取候选区域特征")
    with Progress(len(cases), label=label, quiet=quiet) as bar:
        for number, case in enumerate(cases):
            sample = prepared.sample(case)
            truth, labels = sample["boxes"], sample["labels"].numpy()
            boxes = torch.cat([truth, sample["proposals"]])
            features = model.features(sample["image"].to(device), boxes.to(device))
            own = np.concatenate([labels, np.full(len(boxes) - len(labels), -1)])
            exact = truth.numpy().astype(np.float64)
            classes = len(prepared.facts.classes)
            overlaps = class_overlaps(boxes.numpy().astype(np.float64), exact, labels, classes)
            place = folder / f"{number}.npz"
            np.savez(
                place,
                features=features.cpu().numpy().astype(np.float16),
                overlaps=overlaps.astype(np.float32),
                labels=own,
                boxes=boxes.numpy(),
                truth=exact,
            )
            places.append(place)
            bar.advance(1)
    return places


def _fetch(place: Path) -> ImageRegions:
    with np.load(place) as kept:
        return ImageRegions(kept["features"].astype(np.float32), kept["overlaps"], kept["labels"])


def _regress(places: Sequence[Path], classes: int) -> RidgeBoxes:
    found = []
    for place in places:
        with np.load(place) as kept:
            own = kept["labels"]
            boxes, labels = kept["boxes"].astype(np.float64), own[own >= 0]
            rows, truth, names = pairs(boxes, kept["truth"], labels)
            found.append((kept["features"][rows].astype(np.float32), boxes[rows], truth, names))
    features, boxes, truth, labels = (np.concatenate(part) for part in zip(*found, strict=True))
    return RidgeBoxes.fit(features, boxes, truth, labels, classes=classes)
