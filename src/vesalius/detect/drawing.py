"""Detections drawn over their image: the truth beside what was found, errors in colour."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vesalius.detect.scene import Scene
from vesalius.images.encode import palette
from vesalius.images.figures import font_for
from vesalius.images.paint import to_rgb
from vesalius.language import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HIT, FALSE, MISSED = "#1a9850", "#d73027", "#4575b4"
WIDTH = 5.0
_NAMED = 60
"""With more objects names would hide the picture."""


def sheet(
    image: np.ndarray,
    truth: Scene | None,
    found: Scene,
    *,
    classes: Sequence[str],
    title: str = "",
    overlap: float = 0.5,
) -> "Figure":
    """Return a figure: the truth (where there is one), and what was found.

    Found objects are green where they hit one of their class (IoU of boxes at least `overlap`, best
    score first), red else; missed ones are blue and dashed in both panels. Of volumes the slice
    with the most objects is shown.

    Args:
        image: (C, *size) intensities.
        truth, found: objects; `found` with scores.
        classes: names, for the colours of the truth.
        title: above the picture.
        overlap: see above.
    """
    from matplotlib.figure import Figure

    plane, depth = _plane(image, truth, found)
    panels = 1 if truth is None else 2
    height = WIDTH * plane.shape[0] / plane.shape[1]
    figure = Figure(figsize=(WIDTH * panels, height + 0.5), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for place in axes:
        place.imshow(plane, interpolation="nearest")
        place.set_axis_off()
    font = font_for([title, *classes])
    if truth is None:
        _draw(axes[0], found, [HIT] * found.count, depth, font)
    else:
        hits, missed = matched(truth, found, overlap)
        colours = palette(len(classes) + 1)[1:]  # the first is the background's
        own = [_hex(colours[classes.index(name) % len(colours)]) for name in truth.labels]
        _draw(axes[0], truth, own, depth, font, dashed=missed)
        _draw(axes[1], found, [HIT if hit else FALSE for hit in hits], depth, font)
        lost = truth.subset(missed)
        _draw(axes[1], lost, [MISSED] * lost.count, depth, font, dashed=np.ones(lost.count, bool))
        axes[0].set_title(say("truth", "真实"), fontproperties=font_for(["真实"]))
        words = say("found: right, wrong, missed", "检出：正确、错误、漏检")
        axes[1].set_title(words, fontproperties=font_for([words]))
    if title:
        figure.suptitle(title, fontproperties=font)
    return figure


def matched(truth: Scene, found: Scene, overlap: float) -> tuple[np.ndarray, np.ndarray]:
    """Return which found objects hit one of their class, and which true ones are missed."""
    import torch

    from vesalius.detect import boxes

    hits, free = np.zeros(found.count, bool), np.ones(truth.count, bool)
    if not (truth.count and found.count):
        return hits, free & ~(truth.crowd | truth.difficult)
    shared = boxes.iou(torch.from_numpy(found.boxes), torch.from_numpy(truth.boxes)).numpy()
    for row in np.argsort(-found.scores, kind="stable"):
        same = np.array([name == found.labels[row] for name in truth.labels])
        best = np.where(same & free, shared[row], -1)
        column = int(best.argmax())
        if best[column] >= overlap:
            hits[row], free[column] = True, False
    return hits, free & ~(truth.crowd | truth.difficult)


def _plane(image: np.ndarray, truth: Scene | None, found: Scene) -> tuple[np.ndarray, int | None]:
    """Return an RGB picture, and of a volume the number of the slice that it shows."""
    if image.ndim == 3:
        return to_rgb(image), None
    counts = np.zeros(image.shape[1])
    for scene in (truth, found):
        for box in scene.boxes if scene is not None else ():
            counts[int(box[2]) : int(np.ceil(box[5]))] += 1
    depth = int(counts.argmax())
    return to_rgb(image[:, depth]), depth


def _draw(axes: "Axes", scene: Scene, colours, depth, font, *, dashed=None) -> None:
    from matplotlib.patches import Rectangle

    named = scene.count <= _NAMED
    for k, (box, colour) in enumerate(zip(scene.boxes, colours, strict=True)):
        if depth is not None:
            if not box[2] <= depth < box[5]:
                continue
            box = box[[0, 1, 3, 4]]
        style = "--" if dashed is not None and dashed[k] else "-"
        corner, sides = box[:2] - 0.5, box[2:] - box[:2]
        axes.add_patch(
            Rectangle(corner, *sides, fill=False, edgecolor=colour, linewidth=1.2, linestyle=style)
        )
        if scene.masks is not None:
            _mask(axes, scene, k, colour, depth)
        if named:
            score = "" if scene.scores is None else f" {scene.scores[k]:.2f}"
            text = f"{scene.labels[k]}{score}"
            axes.text(*corner, text, color=colour, fontsize=6, va="bottom", fontproperties=font)


def _mask(axes: "Axes", scene: Scene, k: int, colour: str, depth: int | None) -> None:
    from vesalius.detect import rle

    mask = rle.decode(scene.masks[k])
    mask = mask if depth is None else mask[depth]
    if mask.any():
        axes.contour(mask, levels=[0.5], colors=[colour], linewidths=0.8)


def _hex(colour) -> str:
    red, green, blue = (int(part) for part in colour[:3])
    return f"#{red:02x}{green:02x}{blue:02x}"
