"""The detection part of `vesalius demo`: four generations of R-CNN on one picture of coins."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vesalius.language import say

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATA = "coins"
TILE, STEP = 128, 43
_NET = {"encoder": None, "widths": [16, 24, 32, 48, 64], "norm": "group"}
_HEADS = {**_NET, "pyramid_width": 32, "head_width": 64, "canonical_size": 64, "finest_stride": 4}
_ANCHORS = {"anchor_sizes": [24, 40, 56, 80]}
_SHARED = {
    "keep": "last",
    "batch_size": 4,
    "optimizer": {"name": "adamw", "learning_rate": 3.0e-3},
    "augment": [{"name": "flip"}],
    "epochs": 1,
    "score": {"kind": "bbox"},
}
RECIPES: dict[str, dict[str, Any]] = {
    "R-CNN": {"model": {"name": "rcnn", **_NET, "crop_size": 48}, "batches_per_epoch": 30},
    "Fast R-CNN": {"model": {"name": "fast_rcnn", **_HEADS}, "batches_per_epoch": 50},
    "Faster R-CNN": {"model": {"name": "faster_rcnn", **_HEADS, **_ANCHORS}},
    "Mask R-CNN": {"model": {"name": "mask_rcnn", **_HEADS, **_ANCHORS, "mask_width": 32}},
}


def demonstrate(folder: Path, *, quiet: bool = False) -> dict[str, Path]:
    """Train the four networks on tiles of one picture; return name -> run folder.

    A run that is there already is left as it is, so an interrupted demo does not start again.
    """
    from vesalius.detect.commands import train

    source = write_coins(folder / DATA)
    runs = {}
    for name, recipe in RECIPES.items():
        out = folder / name.lower().replace(" ", "-")
        if not (out / "report.html").exists():
            own = {"batches_per_epoch": 90, **_SHARED, **recipe, "data": _data(folder)}
            start = {"resume": True} if out.exists() else {"recipe": own}
            valid = source / "valid"
            train(source / "train", valid=valid, out=out, quiet=quiet, **start)
        runs[name] = out
    return runs


def _data(folder: Path) -> dict[str, Any]:
    kept = {"mode": "single", "min_size": 12, "most": 300, "folder": str(folder / "proposals")}
    return {"proposals": kept}


def write_coins(folder: Path) -> Path:
    """Write overlapping tiles of scikit-image's coins with numbered masks; return the folder.

    The left two thirds of the picture train, the right third validates. The masks come from a
    threshold (Otsu) on the picture less its uneven background.
    """
    from PIL import Image
    from skimage import data

    picture = data.coins()
    coins = _numbered(picture)
    border = picture.shape[1] * 2 // 3
    for part, (left, right) in {"train": (0, border), "valid": (border, None)}.items():
        pixels, numbers = picture[:, left:right], coins[:, left:right]
        for row in range(0, pixels.shape[0] - TILE + 1, STEP):
            for column in range(0, max(1, pixels.shape[1] - TILE + 1), STEP):
                window = np.s_[row : row + TILE, column : column + TILE]
                name = f"{part}-{row:03}-{column:03}.png"
                whole = _whole(numbers[window], coins)
                for kind, array in (("images", pixels[window]), ("labels", whole)):
                    place = folder / part / kind / name
                    if not place.exists():
                        place.parent.mkdir(parents=True, exist_ok=True)
                        Image.fromarray(array).save(place)
    return folder


def _numbered(picture: np.ndarray) -> np.ndarray:
    """Return the coins' numbers, uint16."""
    from scipy import ndimage
    from skimage import filters, measure, morphology

    flat = picture - ndimage.gaussian_filter(picture.astype(np.float32), 60)
    mask = morphology.closing(flat > filters.threshold_otsu(flat), morphology.disk(4))
    mask = ndimage.binary_fill_holes(morphology.opening(mask, morphology.disk(6)))
    return measure.label(mask).astype(np.uint16)


def _whole(numbers: np.ndarray, coins: np.ndarray) -> np.ndarray:
    """Return a tile's numbers without coins of which less than a third is in it."""
    here, everywhere = np.bincount(numbers.ravel()), np.bincount(coins.ravel())
    sliver = np.flatnonzero(here < everywhere[: len(here)] / 3)
    return np.where(np.isin(numbers, sliver), 0, numbers).astype(np.uint16)


def introduction() -> list[str]:
    """Return what the reader of the report must know of the data."""
    return [
        say(
            "Coins in one photograph (scikit-image), in tiles: the left two thirds train, the "
            "right third validates. R-CNN looks at every region by itself, Fast R-CNN at the whole "
            "image once, Faster R-CNN finds the regions itself, Mask R-CNN draws outlines too.",
            "scikit-image 的一张硬币照片，切成小块：左三分之二用于训练，右三分之一用于验证。"
            "R-CNN 逐个查看候选区域；Fast R-CNN 只看一遍整图；Faster R-CNN 自己提出候选区域；"
            "Mask R-CNN 还给出轮廓。",
        ),
        say(
            "Tiny networks, from scratch, seconds of training each, one photograph: it shows how "
            "the four work, and is no evidence that one is better.",
            "网络很小、从零训练数秒、只有一张照片：仅用于展示四代方法的工作方式，不能证明孰优孰劣。",
        ),
    ]


def pictures(runs: dict[str, Path]) -> list:
    """Return one validation tile as each generation sees it: regions, boxes, masks, seconds."""
    from vesalius.engine.run import Run
    from vesalius.images.draw import figure_to_png
    from vesalius.report import Picture

    drawn = []
    for name, folder in runs.items():
        run = Run(folder)
        task = run.task
        cases = task.cases(folder.parent / DATA / "valid")
        case = cases[len(cases) // 2]
        began = time.perf_counter()
        found = next(iter(run.predictions([case])))
        seconds = time.perf_counter() - began
        sample = task.prepared.sample(case)
        figure = _panels(task, case, found, sample)
        caption = say(f"{name}: {seconds:.2f} s", f"{name}：{seconds:.2f} 秒")
        drawn.append(Picture(figure_to_png(figure), caption, alt=caption))
    return drawn


def _panels(task, case, found, sample) -> "Figure":
    """Return regions (where they come from outside) beside the detections and the truth."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    from vesalius.detect.drawing import sheet

    figure = sheet(
        task.prepared.picture(case),
        case.target,
        task.scene(case, found, min_score=task.recipe.predict.score),
        classes=task.label_names,
        title=case.id,
    )
    if sample["proposals"] is None or not isinstance(figure, Figure):
        return figure
    axes = figure.axes[0]
    for box in sample["proposals"][:100].numpy():
        corner, sides = box[:2] - 0.5, box[2:] - box[:2]
        axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor="#ffffff", linewidth=0.3))
    axes.set_title(say("truth, and 100 regions", "真实与 100 个候选区域"))
    return figure
