"""What is wrong with a row of a COCO file, in words that name the row and the remedy."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vesalius.errors import DataError

SHOWN = 20
"""Problems that a message lists."""


def malformed(what: str, rows: Any, find: Callable[[Any], str | None]) -> DataError:
    """Return the error for rows that cannot be read; `find` says what is wrong, or None."""
    found = [
        f"{row_name(what, k, row)}: {problem}"
        for k, row in enumerate(rows)
        if (problem := find(row))
    ]
    return DataError(f"{len(found)} of the {what} are malformed:", found[:SHOWN])


def row_name(what: str, place: int, row: Any) -> str:
    """Return how messages call a row: by its id, else by its place in the list."""
    if isinstance(row, Mapping) and "id" in row:
        return f"annotation id {row['id']} (image {row.get('image_id')})"
    return f"{what}[{place}]"


def key_problem(row: Any) -> str | None:
    """Say which of the two ids a row lacks."""
    if not isinstance(row, Mapping):
        return f"is a {type(row).__name__}; give a dictionary"
    missing = [name for name in ("image_id", "category_id") if name not in row]
    return f"has no {' and no '.join(missing)}" if missing else None


def foreign(row: Mapping, images: Mapping) -> str | None:
    """Say that a result's image is none of the truth's."""
    try:
        known = row["image_id"] in images
    except TypeError:
        known = False
    if known:
        return None
    return (
        f"image_id {row['image_id']!r} is none of the ground truth's images; is it another split?"
    )


def score_problem(row: Mapping) -> str | None:
    """Say that a score is no number."""
    try:
        float(row["score"])
    except (KeyError, TypeError, ValueError):
        return f"score is {row.get('score')!r}; give a number"
    return None


def box_problem(row: Mapping) -> str | None:
    """Say that a box is not four numbers."""
    try:
        fine = len(row["bbox"]) == 4 and not np.isnan(np.array(row["bbox"], np.float64)).any()
    except (KeyError, TypeError, ValueError):
        fine = False
    return None if fine else f"bbox is {row.get('bbox')!r}; give [x, y, width, height]"
