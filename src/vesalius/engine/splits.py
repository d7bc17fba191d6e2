"""Who trains and who validates: whole groups (patients) on one side, drawn by a seed."""

from collections.abc import Sequence

import numpy as np

from vesalius.engine.task import Case
from vesalius.errors import DataError
from vesalius.language import say


def split_cases(
    cases: Sequence[Case],
    share: float,
    seed: int,
    *,
    folds: int | None = None,
    fold: int = 0,
) -> tuple[list[Case], list[Case], str]:
    """Return training and validation cases and a sentence that says how they were split.

    A split that the source names (`case.extra["split"]`: train, valid, test) is kept, and its test
    cases are in neither part; else whole groups are drawn. With `folds` the groups are cut into so
    many parts of (nearly) equal number, and part `fold` validates.

    Raises:
        DataError: too few cases to split, or the source names a split and folds are asked for.
    """
    usable = [case for case in cases if case.extra.get("split") != "test"]
    named = {case.extra.get("split") for case in usable}
    if "valid" in named and folds is not None:
        raise DataError(
            "the source names its own validation cases: leave data.folds out, or the split column"
        )
    if "valid" in named:
        valid = [case for case in usable if case.extra.get("split") == "valid"]
        train = [case for case in usable if case.extra.get("split") != "valid"]
        if not train:
            raise DataError("every case is marked valid: there is nothing to train on")
        return train, valid, say("as the source names it", "按数据自带的划分")
    if share == 0 and folds is None:
        return usable, [], say("all cases train; none validate", "全部用于训练，无验证")
    groups = sorted({case.group or case.id for case in usable})
    drawn = _drawn(groups, share, seed, folds, fold)
    train = [case for case in usable if (case.group or case.id) not in drawn]
    valid = [case for case in usable if (case.group or case.id) in drawn]
    grouped = any(case.group for case in usable)
    return train, valid, _sentence(len(drawn), len(groups), grouped, seed, folds, fold)


def _drawn(groups: list[str], share: float, seed: int, folds: int | None, fold: int) -> set[str]:
    """Return the groups that validate."""
    if len(groups) < 2:
        raise DataError("one case (or one patient) cannot be split; set data.valid_share=0")
    if folds is not None and len(groups) < folds:
        raise DataError(f"{len(groups)} cases (or patients) cannot be cut into {folds} folds")
    order = np.random.default_rng((seed, 3)).permutation(groups)
    held = max(1, min(len(groups) - 1, round(share * len(groups))))
    return set((order[:held] if folds is None else order[fold::folds]).tolist())


def _sentence(held: int, total: int, grouped: bool, seed: int, folds: int | None, fold: int) -> str:
    if grouped:
        how = say(f"{held} of {total} patients", f"{total} 位患者中的 {held} 位")
    else:
        how = say(f"{held} of {total} cases", f"{total} 个病例中的 {held} 个")
    if folds is None:
        return how + say(f" drawn at random (seed {seed})", f"，随机抽取（种子 {seed}）")
    return how + say(
        f": fold {fold} of 0 to {folds - 1} (seed {seed})",
        f"：第 {fold} 折（共 {folds} 折，从 0 起，种子 {seed}）",
    )
