"""Single objects: from instance masks to classes that a network can learn, and back.

A network that only tells foreground from background cannot part objects that touch. Two ways back
to objects are here: `split_foreground` cuts a foreground mask at its waists (distance watershed,
no special training), and `split_cores` grows objects from their learned cores: every object is
cut into a rim and a core, the network learns three classes, and since the cores of neighbours do
not touch, their connected components are one seed for each object. Neighbours that are no more than
two pixels wide are the exception: there every pixel is an edge, so that they are all core and join.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BACKGROUND, RIM, CORE = 0, 1, 2
CLASSES = {"background": BACKGROUND, "rim": RIM, "core": CORE}
"""Classes that a network learns where `data.target` is instances, by name."""


def rim_and_core(instances: "NDArray", *, width: float = 2.0) -> "NDArray[np.int16]":
    """Cut every object into a rim and a core.

    The core is what lies deeper in its object than `width`, or deeper than half of the object's
    greatest depth where that is less: no object is without a core, however small it is.

    Args:
        instances: integers (*size), 0 the background, every object another number.
        width: of the rim, in pixels, at least 1; the depth of a pixel is its distance to the
            nearest pixel outside its object (1 along its edge; the image's border counts as
            inside).

    Returns:
        Classes (*size): 0 background, 1 rim, 2 core.
    """
    from scipy.ndimage import distance_transform_edt, find_objects

    dense = np.unique(instances, return_inverse=True)[1]
    dense = np.where(instances == 0, 0, dense.reshape(instances.shape) + 1)
    classes = np.zeros(instances.shape, np.int16)
    for index, box in enumerate(find_objects(dense), start=1):
        if box is None:  # the number of the background
            continue
        wider = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)
        own = dense[wider] == index
        # An object that fills its box to the image's border has no pixel outside it there.
        depth = distance_transform_edt(own) if not own.all() else np.full(own.shape, np.inf)
        deep = depth > min(width, depth.max() / 2)
        classes[wider][own] = np.where(deep[own], CORE, RIM)
    return classes


def split_cores(
    probabilities: "NDArray", *, smallest: int = 0, threshold: float = 0.5
) -> "NDArray[np.int32]":
    """Return objects grown from cores.

    Args:
        probabilities: float (3, *size) of background, rim and core.
        smallest: objects of fewer pixels are dropped.
        threshold: a pixel is foreground where rim and core together are above it, and a seed where
            the core alone is.

    Returns:
        Instances (*size), numbered from 1 without gaps; 0 is the background. A piece of foreground
        without a seed is an object of its own.
    """
    core = probabilities[CORE]
    foreground = probabilities[RIM] + core > threshold
    seeds = _components((core > threshold) & foreground)
    return _grown(seeds, -core, foreground, smallest)


def split_foreground(foreground: "NDArray", *, smallest: int = 0) -> "NDArray[np.int32]":
    """Cut a foreground mask at its waists: watershed of the distance to the background.

    Maxima that rise less than a tenth of the greatest depth of their piece (at least half a pixel)
    over the saddle to a deeper one are joined with it, so that a rough outline does not shatter an
    object. Each piece is cut by itself, whatever else is in the image.

    Args:
        foreground: booleans (*size).
        smallest: objects of fewer pixels are dropped.

    Returns:
        Instances (*size), numbered from 1 without gaps; 0 is the background.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter, maximum
    from skimage.morphology import h_maxima

    foreground = np.asarray(foreground, bool)
    if not foreground.any():
        return np.zeros(foreground.shape, np.int32)
    depth = gaussian_filter(distance_transform_edt(np.pad(foreground, 1)), 1.0)
    depth = depth[(slice(1, -1),) * foreground.ndim] * foreground
    pieces = _components(foreground)
    heights = np.maximum(0.5, 0.1 * maximum(depth, pieces, np.arange(pieces.max() + 1)))
    # In units of each piece's own height, so that one h serves all.
    seeds = _components(h_maxima(depth / heights[pieces], 1.0).astype(bool) & foreground)
    return _grown(seeds, -depth, foreground, smallest)


def largest_components(classes: "NDArray") -> "NDArray":
    """Keep the largest connected component (edges and corners connect) of every label but 0."""
    import cc3d

    kept = np.zeros_like(classes)
    for label in np.unique(classes[classes > 0]):
        pieces = cc3d.connected_components(classes == label, connectivity=_corners(classes.ndim))
        counts = np.bincount(pieces.ravel())
        kept[pieces == 1 + counts[1:].argmax()] = label
    return kept


def drop_small(classes: "NDArray", *, smallest: int) -> "NDArray":
    """Set connected components of fewer than `smallest` pixels to 0, label by label."""
    import cc3d

    kept = classes.copy()
    for label in np.unique(classes[classes > 0]):
        pieces = cc3d.connected_components(classes == label, connectivity=_corners(classes.ndim))
        counts = np.bincount(pieces.ravel())
        small = counts < smallest
        small[0] = False
        kept[small[pieces]] = 0
    return kept


def _grown(seeds, height, foreground, smallest: int) -> "NDArray[np.int32]":
    """Flood the foreground from the seeds; add pieces without one; drop the small; renumber."""
    from skimage.segmentation import relabel_sequential, watershed

    grown = watershed(height, seeds, mask=foreground).astype(np.int32)
    alone = _components(foreground & (grown == 0))
    grown = np.where(alone > 0, alone + grown.max(), grown)
    if smallest > 1:
        grown[np.bincount(grown.ravel())[grown] < smallest] = 0
    return relabel_sequential(grown)[0].astype(np.int32)


def _components(mask) -> "NDArray[np.int32]":
    """Number the pieces that hang together along edges, not corners: cautious with neighbours."""
    import cc3d

    edges = 4 if mask.ndim == 2 else 6
    return cc3d.connected_components(np.ascontiguousarray(mask), connectivity=edges).astype(
        np.int32
    )


def _corners(dims: int) -> int:
    return 8 if dims == 2 else 26
