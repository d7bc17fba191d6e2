"""The scores of a segmentation: per case, per label and over all pixels.

Rules, stated because libraries differ: the background has no Dice or IoU of its own in the means.
A label that is neither in a case's truth nor in its prediction gives NaN and is left out of means
(how often is counted); one that is missed or invented gives 0 and is never left out.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from vesalius.engine.task import Scores
from vesalius.segment.metrics import ConfusionMatrix

PER_CASE = ("dice", "iou", "precision", "recall")


def score_cases(
    pairs: Iterable[tuple[str, np.ndarray, np.ndarray]],
    labels: Sequence[str],
    *,
    ignore: int | None = None,
) -> Scores:
    """Compare truths with predictions, one case after the other.

    Args:
        pairs: (case id, true class indices, predicted class indices).
        labels: names of the classes, the background first.
        ignore: class index of the truth that counts for nothing.

    Returns:
        values: `dice` (headline) and `iou`: means over cases and foreground labels; over all
        pixels of all cases at once: `global_dice`, `mean_iou` (with background),
        `pixel_accuracy`, `mean_pixel_accuracy`, `recall` (foreground), `fwiou`. labels: means over
        cases per label, with `global_dice`, `global_iou`, `pixels` and `absent` (cases where
        neither has it). cases: per case, the mean over foreground labels and each label's Dice.
    """
    whole = ConfusionMatrix(len(labels), ignore=ignore)
    cases: dict[str, dict[str, float]] = {}
    table: dict[str, list[np.ndarray]] = {name: [] for name in PER_CASE}
    for case_id, truth, prediction in pairs:
        own = ConfusionMatrix(len(labels), ignore=ignore)
        own.update(truth, prediction)
        whole.merge(own)
        row = {name: getattr(own, name)() for name in PER_CASE}
        for name in PER_CASE:
            table[name].append(row[name])
        cases[case_id] = {name: _mean(row[name][1:]) for name in PER_CASE}
        cases[case_id] |= {
            f"dice {labels[i]}": float(row["dice"][i]) for i in range(1, len(labels))
        }
    stacked = {name: np.array(rows).reshape(-1, len(labels)) for name, rows in table.items()}
    return Scores(
        headline="dice",
        values=_overall(whole, stacked),
        labels=_per_label(whole, stacked, labels),
        cases=cases,
    )


def _overall(whole: ConfusionMatrix, stacked) -> dict[str, float]:
    return {
        "dice": _mean(stacked["dice"][:, 1:]),
        "iou": _mean(stacked["iou"][:, 1:]),
        "global_dice": _mean(whole.dice()[1:]),
        "mean_iou": whole.mean_iou(),
        "pixel_accuracy": whole.pixel_accuracy(),
        "mean_pixel_accuracy": whole.mean_pixel_accuracy(),
        "recall": _mean(whole.recall()[1:]),
        "fwiou": whole.frequency_weighted_iou(),
    }


def _per_label(whole: ConfusionMatrix, stacked, labels) -> dict[str, dict[str, float]]:
    dice, iou, pixels = whole.dice(), whole.iou(), whole.counts.sum(1)
    return {
        name: {
            **{metric: _mean(stacked[metric][:, i]) for metric in PER_CASE},
            "global_dice": float(dice[i]),
            "global_iou": float(iou[i]),
            "pixels": int(pixels[i]),
            "absent": int(np.isnan(stacked["dice"][:, i]).sum()),
        }
        for i, name in enumerate(labels)
    }


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
