"""COCO results: a JSON list of detections, which needs an annotation file for its images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vesalius.detect.formats.coco import annotation_of, load, read_categories, read_objects
from vesalius.detect.formats.drafts import Draft, Findings, finish
from vesalius.detect.scene import Scene
from vesalius.images.layout import listed


def read_results(
    path: str | Path, truth: Sequence[Scene], categories: Mapping[int, str]
) -> list[Scene]:
    """Return scenes with scores from a COCO results file.

    Args:
        path: JSON list of {"image_id", "category_id", "bbox" or "segmentation", "score"}.
        truth: the scenes of the annotation file (their extra has "image_id"); gives the images.
        categories: id -> name, as in the annotation file; see `category_ids`.

    Raises:
        DataError: everything that is wrong, at once.
    """
    path, findings = Path(path), Findings()
    by_id = {
        scene.extra.get("image_id", scene.id): Draft(
            scene.id, scene.path, scene.size, path, group=scene.group, extra=dict(scene.extra)
        )
        for scene in truth
    }
    content = load(path, findings)
    if isinstance(content, list):
        read_objects(content, path, by_id, categories, findings)
    elif content is not None:
        findings.add(path, "", "is no list of results. Give the annotations to find_scenes.")
    # A detector's boxes may well reach over the border: they are clipped, as evaluators do.
    scenes = finish(list(by_id.values()), findings, boxes="repair")
    if findings.problems:
        raise listed(f"{path} has {len(findings.problems)} problem(s).", findings.problems)
    return scenes


def category_ids(path: str | Path) -> dict[int, str]:
    """Return id -> name of an annotation file.

    Raises:
        DataError: it is unreadable, or its categories are.
    """
    findings = Findings()
    content = load(Path(path), findings)
    found = read_categories(content, Path(path), findings) if isinstance(content, dict) else {}
    if findings.problems:
        raise listed(f"{path} has problems.", findings.problems)
    return found


def to_results(scenes: Sequence[Scene], categories: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return COCO results (a list of detections) of scenes with scores.

    Args:
        scenes: predictions; `extra["image_id"]` names the image, else the id.
        categories: name -> id, as in the annotation file.
    """
    results = []
    for scene in scenes:
        for n in range(scene.count):
            entry = annotation_of(scene, n, categories)
            keys = ("category_id", "bbox", "score", "segmentation")
            image = {"image_id": scene.extra.get("image_id", scene.id)}
            results.append(image | {key: entry[key] for key in keys if key in entry})
    return results
