"""Predictions of cases that did not train, kept in one file per run: predictions.npz.

Arrays of one shape (a probability per label) lie in one matrix; arrays of different shapes (masks,
boxes) one by one; probabilities as float16, which rounds them by at most 0.0005.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vesalius import files
from vesalius.engine.task import Prediction
from vesalius.errors import DataError


@dataclass(frozen=True)
class Kept:
    """Predictions of one run.

    Attributes:
        predictions: probabilities, one per case.
        labels: names of the labels in the order of the probabilities; empty where unknown.
    """

    predictions: list[Prediction]
    labels: tuple[str, ...]


def write(path: Path, predictions: Sequence[Prediction], labels: Sequence[str] = ()) -> None:
    """Write predictions, replacing the file as a whole."""
    arrays = [np.asarray(item.probabilities) for item in predictions]
    flat = all(array.ndim == 1 and array.shape == arrays[0].shape for array in arrays)
    head = {"ids": [item.id for item in predictions], "labels": list(labels), "flat": flat}
    named = {"head": np.frombuffer(json.dumps(head).encode(), np.uint8)}
    if flat and arrays:
        named["probabilities"] = np.stack(arrays).astype(np.float32)
    else:
        named |= {f"p{number}": _small(array) for number, array in enumerate(arrays)}
    held = io.BytesIO()
    np.savez_compressed(held, **named)  # pyright: ignore
    files.write_bytes(path, held.getvalue())


def _small(array: np.ndarray) -> np.ndarray:
    """Return probabilities as float16; anything else (boxes in pixels) as float32."""
    probable = array.size == 0 or (array.min() >= 0 and array.max() <= 1)
    return array.astype(np.float16 if probable else np.float32)


def read(path: Path) -> Kept:
    """Read what `write` wrote.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            head = json.loads(stored["head"].tobytes())
            ids, names = head["ids"], stored.files
            rows = (
                stored["probabilities"]
                if head["flat"] and ids
                else [stored[f"p{number}"].astype(np.float32) for number in range(len(names) - 1)]
            )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} holds no predictions: {error}. Run the study again.") from None
    found = [Prediction(name, row) for name, row in zip(ids, rows, strict=True)]
    return Kept(found, tuple(head["labels"]))


def aligned(kept: Kept, labels: Sequence[str]) -> list[Prediction]:
    """Return predictions with one probability per name of `labels`, 0 for unknown ones.

    Runs that learned labels from other folds know them in another order, or lack a rare one.

    Raises:
        DataError: the run knows a label that `labels` lacks.
    """
    if kept.labels == tuple(labels) or not kept.labels:
        return list(kept.predictions)
    place = {name: number for number, name in enumerate(labels)}
    lost = sorted(set(kept.labels) - set(place))
    if lost:
        raise DataError(f"{len(lost)} label(s) of a run are not among the labels to score", lost)
    columns = [place[name] for name in kept.labels]
    found = []
    for item in kept.predictions:
        row = np.zeros((len(labels), *item.probabilities.shape[1:]), np.float32)
        row[columns] = item.probabilities
        found.append(Prediction(item.id, row, item.extra))
    return found
