"""Check the files of a case before they are trained on."""

from collections.abc import Iterable

import numpy as np

from vesalius.engine.task import Case
from vesalius.errors import DataError
from vesalius.images.read import geometry_problem, read_channels, read_mask


def check_case(case: Case, *, labels: Iterable[int] | None = None) -> list[str]:
    """Return what is wrong with the files of a case, each with its remedy; empty: nothing.

    Every file is read. Checked are: readable, channels and mask of one shape and place, finite
    intensities, and, where `labels` are given, that no other label occurs.
    """
    try:
        image = read_channels(case.input)
        if not np.isfinite(image.array).all():
            wrong = int((~np.isfinite(image.array)).sum())
            return [f"{image.path} has {wrong} values that are NaN or infinite. Replace them."]
        if case.target is None:
            return []
        mask = read_mask(case.target, like=image)
    except DataError as error:
        return [str(error)]
    problem = geometry_problem(image, mask)
    problems = [problem] if problem else []
    unknown = sorted(set(np.unique(mask.array).tolist()) - set(labels)) if labels else []
    if unknown:
        problems.append(
            f"{mask.path} has the labels {unknown[:10]}, which are not declared. Declare them or "
            "correct the mask."
        )
    return problems
