"""COCO's greedy matching, for all images, thresholds and ranges of area at once.

Within one image and class, detections choose in the order of their scores. Each takes the free
true object with the highest overlap (of equal ones the last), if the threshold is reached; ignored
objects only if no other is left; a crowd is never used up. An overlap graph falls into small
connected components, and only inside one of them does the order matter: the n-th detections of all
components choose together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vesalius.detect.coco_arrays import Detections, Truths, subset
from vesalius.detect.coco_overlaps import Pairs, overlapping

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's ten thresholds."""
ALL_AREAS = ((-np.inf, np.inf),)
"""One range for everything: an inverted box, of negative area, is wrong and not ignored."""


@dataclass(frozen=True, eq=False)
class Matching:
    """Who found what. A areas, T thresholds.

    Attributes:
        order: (D,) indices into the detections that take part (the best of each image and class),
            sorted by class, then image, then score.
        ranks: (D,) place of each among the detections of its image and class, from 0.
        labels, images, scores: (D,) of these detections.
        hit: (A, T, D) bool, found an object that counts.
        kept: (A, T, D) bool, counts as right or wrong; the others are ignored.
        partners: (T, D) index of the true object that was found in the first range of areas, -1:
            none.
        ignored: (A, N) bool, true objects that do not count.
        truth_labels, truth_images: (N,) of the true objects.
        thresholds: (T,) float64.
    """

    order: NDArray[np.int64]
    ranks: NDArray[np.int64]
    labels: NDArray[np.int64]
    images: NDArray[np.int64]
    scores: NDArray[np.float64]
    hit: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    partners: NDArray[np.int64]
    ignored: NDArray[np.bool_]
    truth_labels: NDArray[np.int64]
    truth_images: NDArray[np.int64]
    thresholds: NDArray[np.float64]


def match(
    truths: Truths,
    detections: Detections,
    *,
    thresholds: Sequence[float] | NDArray = IOU_THRESHOLDS,
    areas: Sequence[tuple[float, float]] = ALL_AREAS,
    limit: int = 100,
    kind: str = "bbox",
    uncounted: NDArray[np.bool_] | None = None,
) -> Matching:
    """Match detections with true objects of the same image and class.

    Args:
        thresholds: lowest overlaps that count, each reached by an equal one.
        areas: ranges (low, high), both ends inside; true objects outside are ignored, and so are
            unmatched detections outside.
        limit: detections per image and class, the best ones.
        kind: "bbox" or "segm".
        uncounted: (N,) bool, true objects that are used up without making their finder right
            (see `coco.evaluate` on annotations numbered 0).
    """
    order, ranks = ranked(detections, limit)
    best = subset(detections, order)
    thresholds = np.asarray(thresholds, np.float64)
    reached = np.minimum(thresholds, 1 - 1e-10)  # 1 minus rounding is perfect
    low, high = np.array(areas, np.float64).reshape(-1, 2).T[..., None]
    ignored = (truths.areas < low) | (truths.areas > high) | truths.crowd | truths.ignore
    pairs = overlapping(truths, best, minimum=reached.min(), kind=kind)
    found, partners = _greedy(pairs, ignored, truths.crowd, reached)

    inside = np.repeat(((best.areas >= low) & (best.areas <= high))[:, None], len(reached), axis=1)
    hit, kept = _counted(partners, ignored, inside[..., found], uncounted)
    everywhere = np.zeros_like(inside)
    everywhere[..., found], inside[..., found] = hit, kept
    first = np.full((len(reached), len(order)), -1)
    first[:, found] = partners[0]
    own = (best.labels, best.images, best.scores)
    theirs = (truths.labels, truths.images)
    return Matching(order, ranks, *own, everywhere, inside, first, ignored, *theirs, thresholds)


def ranked(detections: Detections, limit: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the best `limit` detections of each image and class, and their places there.

    Sorted by class, then image, then score; equal scores keep their order.
    """
    order = np.lexsort((-detections.scores, detections.images, detections.labels))
    labels, images = detections.labels[order], detections.images[order]
    ranks = rank_in_runs(labels, images)
    return order[ranks < limit], ranks[ranks < limit]


def rank_in_runs(*keys: NDArray) -> NDArray[np.int64]:
    """Return the place of each element in its run of equal keys, from 0, (n,)."""
    number = len(keys[0])
    starts = run_starts(*keys)
    return np.arange(number) - np.repeat(starts, np.diff(np.append(starts, number)))


def run_starts(*keys: NDArray) -> NDArray[np.int64]:
    """Return where runs of equal keys begin."""
    changes = np.ones(len(keys[0]), bool)
    changes[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return np.flatnonzero(changes)


def _counted(
    partners: NDArray,
    ignored: NDArray,
    inside: NDArray,
    uncounted: NDArray | None,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return `hit` and `kept`, both (A, T, C), of detections with partners (A, T, C) or -1."""
    matched = partners >= 0
    passed = matched & np.take_along_axis(ignored[:, None], np.maximum(partners, 0), axis=2)
    if uncounted is not None:
        matched &= ~uncounted[partners]
    return matched & ~passed, ~passed & (matched | inside)


def _greedy(
    pairs: Pairs, ignored: NDArray, crowd: NDArray, reached: NDArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return detections with candidates, (C,), and what each takes, (A, T, C): a truth or -1."""
    found, own = np.unique(pairs.detections, return_inverse=True)
    turns = _turns(own, pairs.truths, len(found), ignored.shape[1])[own]
    # Within a detection the best candidate comes last; of equal overlaps COCO takes the last.
    order = np.lexsort((pairs.truths, pairs.overlaps, own, turns))
    own, theirs, overlaps = own[order], pairs.truths[order], pairs.overlaps[order]
    bounds = np.append(run_starts(turns[order]), len(order))
    counts = ~ignored.T
    taken = np.zeros((len(crowd), len(ignored), len(reached)), bool)
    partners = np.full((len(found), len(ignored), len(reached)), -1)
    for start, stop in pairwise(bounds.tolist()):
        mine, candidates = own[start:stop], theirs[start:stop]
        free = (overlaps[start:stop, None] >= reached)[:, None] & ~taken[candidates]
        firsts = run_starts(mine)
        choice = _last_free(free, counts[candidates], firsts)
        chosen = np.where(choice >= 0, candidates[choice], -1)
        partners[mine[firsts]] = chosen
        which, area, threshold = np.nonzero(choice >= 0)
        truth = chosen[which, area, threshold]
        taken[truth, area, threshold] = ~crowd[truth]
    return found, partners.transpose(1, 2, 0)


def _last_free(free: NDArray, counts: NDArray, firsts: NDArray) -> NDArray[np.int64]:
    """Return the last free candidate of each detection, (D, A, T), or -1; counted ones first."""
    number = len(free)
    merit = (np.arange(1, number + 1)[:, None] + number * counts).astype(np.int32)
    merit = free * merit[:, :, None]
    best = merit if len(firsts) == number else np.maximum.reduceat(merit, firsts, axis=0)
    return np.where(best > 0, (best - 1) % number, -1)


def _turns(own: NDArray, theirs: NDArray, mine: int, others: int) -> NDArray[np.int64]:
    """Return when each detection chooses: its place in its component of the overlap graph."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    whole = mine + others
    graph = coo_array((np.ones(len(own), bool), (own, theirs + mine)), shape=(whole, whole))
    parts = connected_components(graph, directed=False)[1][:mine]
    order = np.argsort(parts, kind="stable")
    turns = np.empty(mine, np.int64)
    turns[order] = rank_in_runs(parts[order])
    return turns
