"""Read and score single cases, in this process or in several."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vesalius.errors import RecipeError, VesaliusError
from vesalius.segment.metrics.case_files import CaseFiles

MOST_LABELS = 300
"""More values than this in maps without declared labels are numbers of objects, not classes."""

_NOWHERE = -(2**31) - 1
"""A label that no file can hold: its scores are those of any label that neither map has."""
_IGNORED = 2
"""Stands for ignored voxels where 0 and 1 are background and foreground."""


@dataclass(frozen=True)
class Settings:
    """How every case is scored; the attributes are arguments of `metrics`."""

    labels: tuple[int, ...] | None
    declared: frozenset[int] | None
    spacing: tuple[float, ...] | None
    tolerance: float
    ignore: int | None
    profiles: tuple[str, ...]
    metrics: tuple[str, ...] | str | None
    instances: bool


@dataclass(frozen=True)
class CaseScores:
    """One case's scores.

    Attributes:
        profiles: profile -> label -> metric -> number.
        absent: profile -> metric -> number of a label that neither map has.
        instances: the scores of objects, or None.
    """

    profiles: dict[str, dict[int, dict[str, float]]]
    absent: dict[str, dict[str, float]]
    instances: dict[str, float] | None


def scored(
    files: Sequence[CaseFiles], settings: Settings, workers: int
) -> Iterator[CaseScores | str]:
    """Yield each case's scores in order, or a sentence that says what is wrong with its files."""
    if workers < 1:
        raise RecipeError(f"workers is {workers}; at least one process is needed.")
    if min(workers, len(files)) <= 1:
        yield from (score(item, settings) for item in files)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Forking copies locks that other threads hold; a fresh interpreter does not.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(files)), mp_context=context) as pool:
        yield from pool.map(score, files, [settings] * len(files))


def score(files: CaseFiles, settings: Settings) -> CaseScores | str:
    """Return a case's scores, or what is wrong with its files.

    Raises:
        RecipeError: the settings are wrong, whatever the case.
    """
    from vesalius.images.read import geometry_problem, read_mask

    try:
        truth, prediction = read_mask(files.truth), read_mask(files.prediction)
        problem = geometry_problem(truth, prediction) or _values_problem(
            files, truth.array, prediction.array, settings
        )
        spacing = truth.spacing if settings.spacing is None else settings.spacing
        return problem or _evaluated(truth.array, prediction.array, spacing, settings)
    except RecipeError:
        raise
    except VesaliusError as error:
        return f"{files.case}: {error}"


def _evaluated(
    truth: NDArray, prediction: NDArray, spacing: tuple[float, ...], settings: Settings
) -> CaseScores:
    from vesalius.segment.metrics.evaluate import compare_profiles

    labels, ignore, objects = settings.labels, settings.ignore, None
    if settings.instances:
        objects = _instance_scores(truth, prediction, ignore)
        truth, prediction = _foreground(truth, prediction, ignore)
        labels, ignore = (1,), None if ignore is None else _IGNORED
    how = {
        "spacing": spacing,
        "tolerance": settings.tolerance,
        "ignore": ignore,
        "metrics": settings.metrics,
        "names": settings.profiles,
    }
    found = compare_profiles(truth, prediction, labels=labels, **how)
    nothing = compare_profiles(truth, prediction, labels=(_NOWHERE,), **how)
    absent = {profile: rows[_NOWHERE] for profile, rows in nothing.items()}
    return CaseScores(found, absent, objects)


def _instance_scores(truth: NDArray, prediction: NDArray, ignore: int | None) -> dict[str, float]:
    """Return the scores of objects; ignored voxels are background on both sides."""
    from vesalius.segment.metrics import detections, instances

    if ignore is not None:
        valid = truth != ignore
        truth, prediction = truth * valid, prediction * valid
    return {
        **instances.panoptic_quality(truth, prediction),
        "f1": instances.instance_f1(truth, prediction),
        "aji": instances.aggregated_jaccard(truth, prediction),
        "detection_accuracy": detections.detection_accuracy([truth], [prediction])["mean"],
    }


def _foreground(
    truth: NDArray, prediction: NDArray, ignore: int | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return where any object is, with `_IGNORED` in the truth."""
    found = (truth > 0).astype(np.uint8)
    if ignore is not None:
        found[truth == ignore] = _IGNORED
    return found, (prediction > 0).astype(np.uint8)


def _values_problem(
    files: CaseFiles, truth: NDArray, prediction: NDArray, settings: Settings
) -> str | None:
    """Say which values of a case no label is declared for, or that they number objects."""
    from vesalius.segment.metrics.counting import compacted

    if settings.instances or (settings.labels is not None and settings.declared is None):
        return None
    for path, labels in ((files.truth, truth), (files.prediction, prediction)):
        values = set(compacted(labels.reshape(-1))[0].tolist()) - {0, settings.ignore}
        if settings.declared is None and len(values) > MOST_LABELS:
            return (
                f"{path} holds {len(values)} values. If they number objects, say instances; if "
                "they are classes, name the labels to score."
            )
        strange = sorted(values - settings.declared) if settings.declared is not None else []
        if strange:
            return (
                f"{path} holds the values {strange[:5]}, which no label is declared for (declared "
                f"are {sorted(settings.declared)}). Correct the mask or the declaration, or name "
                "the labels to score."
            )
    return None
