"""Selective search beside OpenCV-contrib's: time, number of boxes, recall and overlap.

    python benchmarks/selective_search.py [--voc FOLDER] [--instances FOLDER] [--images 20]
        [--modes single fast quality] [--repeats 3]

--voc is a Pascal VOC folder (Annotations, JPEGImages), --instances one with images/ and labels/
(numbered objects); 20 images of each, evenly spread over the sorted names. Then two pictures of
scikit-image at 500 x 375, timed. Both sides take turns in one process with one thread; times are
CPU seconds (medians of the repeats). OpenCV comes from
`pip install opencv-contrib-python-headless`, in an environment of its own.

Modes of one name have different settings: ours are those of the paper and of R-CNN's MATLAB code,
OpenCV's its own (see `vesalius.detect.selective_search`). "at N" compares both at the number of
boxes of the side that has fewer in each image.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from scipy.ndimage import find_objects

from vesalius.detect.proposals import (
    average_recall,
    mean_average_best_overlap,
    recall,
    selective_search,
)

SWITCH = {
    "single": "switchToSingleStrategy",
    "fast": "switchToSelectiveSearchFast",
    "quality": "switchToSelectiveSearchQuality",
}
Scene = tuple[np.ndarray, np.ndarray]  # picture (h, w, 3) uint8, boxes (M, 4)
Search = Callable[[np.ndarray, str], np.ndarray]


def opencv(picture: np.ndarray, mode: str) -> np.ndarray:
    """Return OpenCV's boxes as corners."""
    import cv2

    cv2.setNumThreads(1)
    search = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    search.setBaseImage(np.ascontiguousarray(picture[..., ::-1]))
    getattr(search, SWITCH[mode])()
    x, y, width, height = search.process().T.astype(np.float64)
    return np.stack([x, y, x + width, y + height], axis=1)


def ours(picture: np.ndarray, mode: str) -> np.ndarray:
    """Return our boxes."""
    return selective_search(picture, mode)


SIDES: dict[str, Search] = {"vesalius": ours, "opencv": opencv}


def spread(paths: list[Path], count: int) -> list[Path]:
    """Return `count` of the sorted paths, evenly spread."""
    paths = sorted(paths)
    if not paths:
        raise SystemExit("no images found; see the docstring for the layout")
    return [paths[i] for i in np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]


def voc_scenes(folder: Path, count: int) -> list[Scene]:
    """Return pictures and boxes of a Pascal VOC folder."""
    scenes = []
    for path in spread(list((folder / "Annotations").glob("*.xml")), count):
        picture = next((folder / "JPEGImages").glob(path.stem + ".*"))
        boxes = [
            [float(box.findtext(name)) for name in ("xmin", "ymin", "xmax", "ymax")]
            for box in ElementTree.parse(path).iter("bndbox")
        ]
        corners = np.array(boxes).reshape(-1, 4) - (1, 1, 0, 0)
        scenes.append((rgb(picture), corners[(corners[:, 2:] > corners[:, :2]).all(axis=1)]))
    return scenes


def instance_scenes(folder: Path, count: int) -> list[Scene]:
    """Return pictures and the boxes of numbered objects."""
    scenes = []
    for path in spread(list((folder / "images").glob("*.png")), count):
        labels = np.asarray(Image.open(folder / "labels" / path.name)).astype(np.int64)
        slices = [pair for pair in find_objects(labels) if pair is not None]
        boxes = [(x.start, y.start, x.stop, y.stop) for y, x in slices]
        scenes.append((rgb(path), np.array(boxes, np.float64).reshape(-1, 4)))
    return scenes


def rgb(path: Path) -> np.ndarray:
    """Return a picture as (h, w, 3) uint8."""
    return np.asarray(Image.open(path).convert("RGB"))


def timed(search: Search, picture: np.ndarray, mode: str) -> tuple[float, np.ndarray]:
    """Return the CPU seconds of a search and its boxes."""
    start = time.process_time()
    boxes = search(picture, mode)
    return time.process_time() - start, boxes


def compare(title: str, scenes: list[Scene], mode: str) -> None:
    """Print time, boxes and overlaps of both sides over a set of images."""
    truth = [boxes for _, boxes in scenes]
    seconds = dict.fromkeys(SIDES, 0.0)
    found: dict[str, list[np.ndarray]] = {name: [] for name in SIDES}
    for picture, _ in scenes:
        for name, search in SIDES.items():
            spent, boxes = timed(search, picture, mode)
            seconds[name] += spent
            found[name].append(boxes)
    print(f"{title}, {mode}: {len(scenes)} images, {sum(map(len, truth))} objects")
    fewer = [min(map(len, pair)) for pair in zip(*found.values(), strict=True)]
    for name, boxes in found.items():
        equal = [part[:count] for part, count in zip(boxes, fewer, strict=True)]
        for label, some in (("all", boxes), ("at N", equal)):
            print(
                f"  {name:9s}{label:5s}{np.mean([len(part) for part in some]):8.0f} boxes   recall "
                f"at IoU 0.5 {recall(some, truth, [0.5])[0.5]:.3f}, 0.7 "
                f"{recall(some, truth, [0.7])[0.7]:.3f}   average recall "
                f"{average_recall(some, truth):.3f}   mean best overlap "
                f"{mean_average_best_overlap(some, truth):.3f}"
            )
    per = {name: spent / len(scenes) for name, spent in seconds.items()}
    print(
        f"  CPU s an image: vesalius {per['vesalius']:.2f}, opencv {per['opencv']:.2f}; "
        f"vesalius / opencv {per['vesalius'] / per['opencv']:.2f}",
        flush=True,
    )


def photographs() -> dict[str, np.ndarray]:
    """Return two pictures of scikit-image at 500 x 375."""
    from skimage import data, transform

    sources = {"astronaut": data.astronaut(), "chelsea": data.chelsea()}
    return {
        name: (transform.resize(source, (375, 500)) * 255).round().astype(np.uint8)
        for name, source in sources.items()
    }


def time_photographs(mode: str, repeats: int) -> None:
    """Print the medians of both sides on the two pictures."""
    for title, picture in photographs().items():
        seconds: dict[str, list[float]] = {name: [] for name in SIDES}
        boxes = {}
        for _ in range(repeats):
            for name, search in SIDES.items():
                spent, boxes[name] = timed(search, picture, mode)
                seconds[name].append(spent)
        median = {name: statistics.median(values) for name, values in seconds.items()}
        counts = ", ".join(f"{name} {median[name]:.2f} s {len(boxes[name])}" for name in SIDES)
        print(
            f"{title} 500 x 375, {mode}: {counts} boxes; vesalius / opencv "
            f"{median['vesalius'] / median['opencv']:.2f}",
            flush=True,
        )


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voc", type=Path)
    parser.add_argument("--instances", type=Path)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--modes", nargs="+", choices=list(SWITCH), default=["single", "fast"])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for mode in options.modes:
        time_photographs(mode, options.repeats)
        if options.voc:
            compare("VOC boxes", voc_scenes(options.voc, options.images), mode)
        if options.instances:
            compare("instances", instance_scenes(options.instances, options.images), mode)


if __name__ == "__main__":
    main()
