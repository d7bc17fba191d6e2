"""Hierarchical grouping of image regions, the core of selective search.

Uijlings, van de Sande, Gevers and Smeulders, "Selective Search for Object Recognition" (IJCV
2013), section 3: the two most similar neighbouring regions are merged until one is left, and every
region on the way is a proposal. Regions are described by a colour histogram (25 bins a channel)
and a texture histogram (8 orientations x 10 bins a channel), which merge by their size-weighted
mean, so that no pixel is looked at twice.

Differs from the published code in two things that the paper leaves open: derivatives in the eight
orientations are combined from two (Gaussian derivatives are steerable), and the ten texture bins
end at the strongest response of the channel.
"""

import heapq
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

COLOUR_BINS = 25
TEXTURE_BINS = 10
SIMILARITIES = frozenset({"colour", "texture", "size", "fill"})


@dataclass(frozen=True)
class Regions:
    """The regions of an over-segmentation, R of them, and what similarity needs of them.

    Attributes:
        sizes: (R,) float64, pixels.
        boxes: (R, 4) int64, x1, y1, x2, y2 with the end one after the last pixel.
        colours, textures: (R, bins) float64 histograms, each row sums to one.
        pairs: (P, 2) int64, the neighbours (8-connected), the lower number first.
        pixels: how many pixels the image has.
    """

    sizes: np.ndarray
    boxes: np.ndarray
    colours: np.ndarray
    textures: np.ndarray
    pairs: np.ndarray
    pixels: int


def colour_bins(image: np.ndarray) -> np.ndarray:
    """Return the colour bin of every pixel, (channels, h, w), of an image (h, w, c) in [0, 1]."""
    bins = np.clip((image * COLOUR_BINS).astype(np.int64), 0, COLOUR_BINS - 1)
    return np.moveaxis(bins, -1, 0)


def texture_bins(image: np.ndarray) -> np.ndarray:
    """Return the texture bin of every pixel, (8 * channels, h, w), of an image (h, w, c)."""
    return np.concatenate([_oriented_bins(channel) for channel in np.moveaxis(image, -1, 0)])


def _oriented_bins(channel: np.ndarray) -> np.ndarray:
    """Return bins of the positive Gaussian derivatives (sigma 1) in 8 directions, (8, h, w)."""
    from scipy.ndimage import gaussian_filter

    channel = channel.astype(np.float64)
    down, right = (gaussian_filter(channel, 1.0, order=order) for order in ((1, 0), (0, 1)))
    angles = np.arange(4) * np.pi / 4
    slopes = np.stack([np.cos(angle) * right + np.sin(angle) * down for angle in angles])
    strongest = np.abs(slopes).max()
    # Rounding noise of a flat channel is no texture.
    if strongest < 1e-6:
        return np.zeros((8, *channel.shape), np.int64)
    steps = (slopes * (TEXTURE_BINS / strongest)).astype(np.int64)  # toward zero
    np.clip(steps, 1 - TEXTURE_BINS, TEXTURE_BINS - 1, out=steps)
    return np.concatenate([np.maximum(steps, 0), np.maximum(-steps, 0)])


def describe(labels: np.ndarray, colour: np.ndarray, texture: np.ndarray) -> Regions:
    """Return the regions of a label map.

    Args:
        labels: (h, w) int64, numbers 0 to R - 1, all in use.
        colour: bins from `colour_bins`.
        texture: bins from `texture_bins`.
    """
    sizes = np.bincount(labels.ravel()).astype(np.float64)
    return Regions(
        sizes=sizes,
        boxes=_boxes(labels, len(sizes)),
        colours=_histograms(labels, colour, COLOUR_BINS, sizes),
        textures=_histograms(labels, texture, TEXTURE_BINS, sizes),
        pairs=_neighbours(labels, len(sizes)),
        pixels=labels.size,
    )


def _boxes(labels: np.ndarray, count: int) -> np.ndarray:
    from scipy.ndimage import find_objects

    slices = find_objects(labels + 1, max_label=count)
    return np.array([(x.start, y.start, x.stop, y.stop) for y, x in slices], np.int64)


def _histograms(
    labels: np.ndarray, bins: np.ndarray, per_map: int, sizes: np.ndarray
) -> np.ndarray:
    """Return (R, maps * per_map) histograms over the maps of bins; each row sums to one."""
    rows = labels.ravel() * per_map
    counts = [
        np.bincount(rows + plane.ravel(), minlength=len(sizes) * per_map).reshape(-1, per_map)
        for plane in bins
    ]
    return np.concatenate(counts, axis=1) / (sizes[:, None] * len(bins))


def _neighbours(labels: np.ndarray, count: int) -> np.ndarray:
    views = (
        (labels[:, :-1], labels[:, 1:]),
        (labels[:-1], labels[1:]),
        (labels[:-1, :-1], labels[1:, 1:]),
        (labels[:-1, 1:], labels[1:, :-1]),
    )
    keys = []
    for one, other in views:
        differ = one != other
        low, high = np.minimum(one, other)[differ], np.maximum(one, other)[differ]
        keys.append(low * count + high)
    return np.stack(np.divmod(np.unique(np.concatenate(keys)), count), axis=1)


class _Hierarchy:
    """Grows from R regions to 2 R - 1; holds the state of one grouping."""

    def __init__(self, regions: Regions, similarities: frozenset[str]):
        count = len(regions.sizes)
        self.pixels, self.similarities = float(regions.pixels), similarities
        self.sizes = _roomy(regions.sizes, count)
        # Upper corners are kept negated: then the box of a union is one minimum.
        self.corners = _roomy(regions.boxes * (1, 1, -1, -1), count)
        chosen = [
            histogram
            for name, histogram in (("colour", regions.colours), ("texture", regions.textures))
            if name in similarities
        ]
        self.histograms = _roomy(np.concatenate(chosen, axis=1), count) if chosen else None
        self.beside: list[set[int] | None] = [set() for _ in range(count)]
        for one, other in regions.pairs.tolist():
            self.beside[one].add(other)
            self.beside[other].add(one)

    def similarity(self, one: np.ndarray | int, others: np.ndarray) -> np.ndarray:
        """Return the similarity of `one` (a number, or one number for each) to `others`."""
        total = np.zeros(len(others))
        joint = self.sizes[one] + self.sizes[others]
        if self.histograms is not None:
            total += np.minimum(self.histograms[one], self.histograms[others]).sum(axis=1)
        if "size" in self.similarities:
            total += 1 - joint / self.pixels
        if "fill" in self.similarities:
            corners = np.minimum(self.corners[one], self.corners[others])
            around = (corners[:, 0] + corners[:, 2]) * (corners[:, 1] + corners[:, 3])
            total += 1 - (around - joint) / self.pixels
        # Without the last digits, equal similarities stay equal whatever order a processor adds in.
        return total.round(10)

    def merge(self, one: int, other: int) -> np.ndarray:
        """Append the union of two regions and return the numbers of its neighbours."""
        new = len(self.beside)
        mine, theirs = self.sizes[one], self.sizes[other]
        self.sizes[new] = mine + theirs
        np.minimum(self.corners[one], self.corners[other], out=self.corners[new])
        if (histograms := self.histograms) is not None:
            share = mine / (mine + theirs)
            histograms[new] = share * histograms[one] + (1 - share) * histograms[other]
        around = (self.beside[one] | self.beside[other]) - {one, other}
        for neighbour in around:
            theirs_beside = self.beside[neighbour]
            theirs_beside.discard(one)
            theirs_beside.discard(other)
            theirs_beside.add(new)
        self.beside[one] = self.beside[other] = None
        self.beside.append(around)
        return np.fromiter(around, np.int64, len(around))


def _roomy(values: np.ndarray, count: int) -> np.ndarray:
    """Return a copy with place for the regions that merging will add."""
    copy = np.zeros((2 * count - 1, *values.shape[1:]), values.dtype)
    copy[:count] = values
    return copy


def group(regions: Regions, similarities: Collection[str]) -> np.ndarray:
    """Merge the most similar neighbours until one region is left.

    Equal similarities: the pair with the lowest numbers first, new regions having the highest.

    Args:
        regions: at least one, together connected.
        similarities: some of colour, texture, size and fill; their sum decides.

    Returns:
        (2 R - 1, 4) int64 boxes x1, y1, x2, y2: the regions given, then the merged ones in order;
        the last is the whole image.
    """
    assert similarities
    assert SIMILARITIES.issuperset(similarities)
    hierarchy = _Hierarchy(regions, frozenset(similarities))
    first, second = regions.pairs.T
    values = hierarchy.similarity(first, second)
    heap = list(zip((-values).tolist(), first.tolist(), second.tolist(), strict=True))
    heapq.heapify(heap)
    beside = hierarchy.beside
    while heap:
        _, one, other = heapq.heappop(heap)
        if beside[one] is None or beside[other] is None:
            continue  # one of them has been merged meanwhile
        new = len(beside)
        around = hierarchy.merge(one, other)
        if len(around):
            values = (-hierarchy.similarity(new, around)).tolist()
            for value, neighbour in zip(values, around.tolist(), strict=True):
                heapq.heappush(heap, (value, neighbour, new))
    return hierarchy.corners * (1, 1, -1, -1)
