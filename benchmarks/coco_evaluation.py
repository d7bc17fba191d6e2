"""COCO evaluation against pycocotools and faster-coco-eval: CPU seconds, one process, one thread.

    OMP_NUM_THREADS=1 python benchmarks/coco_evaluation.py [--images 1000] [--classes 80]

The peers need an environment of their own, because torchvision and CPU builds of torch do not mix:

    python -m venv peers
    peers/bin/pip install torch===2.13.0 torchvision==0.28.0 pycocotools==2.0.11 \\
        faster-coco-eval==1.8.0 numpy scipy pydantic
    OMP_NUM_THREADS=1 PYTHONPATH=src peers/bin/python benchmarks/coco_evaluation.py

1,000 images with 6,844 true objects (3 % crowds) and 100 detections each: a third moved copies of
true objects, the rest anywhere. All sides start from the same dictionaries in memory and end with
the twelve numbers; what the peers change in them is copied beforehand, outside the time. Prints
seconds, ratios and the largest difference of the twelve numbers. Masks are ellipses in compressed
run lengths; with them the peers' time includes reading the strings, as ours does.
"""

import argparse
import contextlib
import copy
import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from vesalius.detect import coco

OBJECTS = 6.844
"""True objects per image."""
SIDE = 480


def boxes(rng: np.random.Generator, number: int) -> np.ndarray:
    """Return (number, 4) boxes as x, y, width, height, of all sizes."""
    sides = np.exp(rng.uniform(np.log(8), np.log(200), (number, 2)))
    return np.concatenate([rng.random((number, 2)) * (SIDE - sides), sides], axis=1)


def moved(rng: np.random.Generator, whole: np.ndarray) -> np.ndarray:
    """Return boxes shifted and resized by about a tenth of their size, within the image."""
    sides = whole[:, 2:] * np.exp(rng.normal(0, 0.1, (len(whole), 2)))
    corners = whole[:, :2] + rng.normal(0, 0.08, (len(whole), 2)) * whole[:, 2:]
    sides = np.minimum(sides, SIDE - 1)
    return np.concatenate([np.clip(corners, 0, SIDE - sides), sides], axis=1)


def ellipse(box: list[float]) -> dict[str, Any]:
    """Return the compressed run lengths of the ellipse inside a box."""
    from pycocotools import mask

    x, y, width, height = box
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    outline = np.stack(
        [x + width * (1 + np.cos(angles)) / 2, y + height * (1 + np.sin(angles)) / 2], axis=1
    )
    runs = mask.frPyObjects([outline.ravel().tolist()], SIDE, SIDE)[0]
    return {"size": runs["size"], "counts": runs["counts"].decode()}


def task(images: int, classes: int, per_image: int, *, masks: bool) -> tuple[dict, list[dict]]:
    """Return a ground truth and results."""
    rng = np.random.default_rng(0)
    number = round(images * OBJECTS)
    owner = np.sort(rng.integers(0, images, number))
    labels, truth = rng.integers(0, classes, number), boxes(rng, number)
    crowd = rng.random(number) < 0.03
    ground_truth = {
        "images": [{"id": k + 1, "height": SIDE, "width": SIDE} for k in range(images)],
        "categories": [{"id": k + 1, "name": f"class {k}"} for k in range(classes)],
        "annotations": [
            {
                "id": k + 1,
                "image_id": int(owner[k]) + 1,
                "category_id": int(labels[k]) + 1,
                "bbox": truth[k].tolist(),
                "area": float(truth[k, 2] * truth[k, 3]),
                "iscrowd": int(crowd[k]),
            }
            for k in range(number)
        ],
    }
    total = images * per_image
    close = rng.random(total) < 1 / 3
    source = rng.integers(0, number, total)
    where = np.where(close, owner[source], np.repeat(np.arange(images), per_image))
    found = np.where(close[:, None], moved(rng, truth[source]), boxes(rng, total))
    label = np.where(close, labels[source], rng.integers(0, classes, total))
    scores = np.clip(rng.random(total) * 0.7 + close * 0.3, 0, 1)
    detections = [
        {
            "image_id": int(where[k]) + 1,
            "category_id": int(label[k]) + 1,
            "bbox": found[k].tolist(),
            "score": float(scores[k]),
        }
        for k in range(total)
    ]
    if masks:
        for row in (*ground_truth["annotations"], *detections):
            row["segmentation"] = ellipse(row["bbox"])
    return ground_truth, detections


def ours(ground_truth: dict, detections: list[dict], kind: str) -> list[float]:
    """Evaluate with Vesalius."""
    return list(coco.evaluate(ground_truth, detections, kind=kind).values())


def pycocotools(ground_truth: dict, detections: list[dict], kind: str) -> list[float]:
    """Evaluate with pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    truth.dataset = ground_truth
    truth.createIndex()
    return _run(COCOeval(truth, truth.loadRes(detections), kind))


def faster_coco_eval(ground_truth: dict, detections: list[dict], kind: str) -> list[float]:
    """Evaluate with faster-coco-eval."""
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO(ground_truth)
    # One thread for masks as well: the others have one.
    evaluation = COCOeval_faster(
        truth, truth.loadRes(detections), kind, print_function=lambda *_: None
    )
    evaluation.rle_iou_max_workers = 1
    return _run(evaluation)


def _run(evaluation: Any) -> list[float]:
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [float(value) for value in evaluation.stats[:12]]


def measure(call: Callable, data: tuple, kind: str, repeats: int) -> tuple[float, list[float]]:
    """Return the median CPU seconds of a call on fresh copies, and its result."""
    seconds, result = [], []
    for _ in range(repeats):
        own = copy.deepcopy(data)
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            result = call(*own, kind)
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), result


def main() -> None:
    """Print seconds, ratios and differences."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--detections", type=int, default=100, help="per image")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kinds", nargs="*", default=["bbox", "segm"])
    options = parser.parse_args()
    for kind in options.kinds:
        data = task(options.images, options.classes, options.detections, masks=kind == "segm")
        own, numbers = measure(ours, data, kind, options.repeats)
        print(f"{kind}: Vesalius {own:.2f} s, AP {numbers[0]:.6f}")
        for peer in (pycocotools, faster_coco_eval):
            seconds, theirs = measure(
                peer, data, kind, 1 if peer is pycocotools else options.repeats
            )
            difference = np.abs(np.subtract(numbers, theirs)).max()
            print(
                f"{kind}: {peer.__name__} {seconds:.2f} s, ratio {seconds / own:.1f}, "
                f"largest difference {difference:.1e}"
            )


if __name__ == "__main__":
    main()
