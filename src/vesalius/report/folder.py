"""Read what a run left in its folder; what is missing is said, what is broken is an error.

A file that is not there yet (an unfinished run) leaves its part of the report out and adds a
remark; so does a last line of `history.jsonl` that a crash cut short. Anything else that cannot be
read raises `DataError`.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from vesalius.errors import DataError
from vesalius.language import say

LOWER_IS_BETTER = frozenset(
    {"hd", "hd95", "hausdorff", "assd", "asd", "masd", "msd", "rmsd", "mae", "mse", "rmse"}
    | {"loss", "hamming_loss", "brier", "ece", "perplexity", "fid", "kid", "volume_error"}
)


@dataclass(frozen=True)
class RunFolder:
    """What a run folder holds.

    Attributes:
        path: the folder.
        recipe: text of `recipe.yaml`, or "".
        config: `config.json`, or {}.
        train: history rows of training steps, in order.
        valid: history rows of evaluations, in order.
        scores: `scores.json` with null read as NaN and "inf" as infinity, or {}.
        remarks: what is missing or was cut short, in the user's language.
    """

    path: Path
    recipe: str
    config: Mapping[str, Any]
    train: Sequence[Mapping[str, Any]]
    valid: Sequence[Mapping[str, Any]]
    scores: Mapping[str, Any]
    remarks: Sequence[str] = field(default_factory=tuple)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    @property
    def headline(self) -> str | None:
        """Name of the score that decides, or None where nothing was evaluated."""
        if "headline" in self.scores:
            return self.scores["headline"]
        return self.valid[-1].get("headline") if self.valid else None

    @property
    def values(self) -> Mapping[str, float]:
        """Scores over all cases: of `scores.json`, else of the last evaluation."""
        if self.scores:
            return self.scores.get("values", {})
        return self.valid[-1].get("scores", {}) if self.valid else {}

    @property
    def model(self) -> str:
        """The model's name as `config.json` or else the recipe gives it, or ""."""
        model = self.config.get("model") or self.recipe_values.get("model") or ""
        return str(model.get("name", "")) if isinstance(model, Mapping) else str(model)

    @property
    def keeps_last(self) -> bool:
        """Whether the last weights were kept whatever their score, so that none was chosen."""
        return self.recipe_values.get("keep") == "last"

    @cached_property
    def recipe_values(self) -> Mapping[str, Any]:
        """The recipe as plain values; {} where there is none.

        Raises:
            DataError: `recipe.yaml` is no YAML mapping.
        """
        import yaml

        try:
            found = yaml.safe_load(self.recipe) or {}
        except yaml.YAMLError as error:
            raise DataError(f"{self.path / 'recipe.yaml'} is no valid YAML: {error}") from error
        if not isinstance(found, Mapping):
            raise DataError(f"{self.path / 'recipe.yaml'} holds no mapping; restore it.")
        return found

    @property
    def seconds(self) -> float | None:
        """Seconds of training, evaluations included, or None where none were recorded."""
        recorded = [row["seconds"] for row in (*self.train, *self.valid) if "seconds" in row]
        return max(recorded) if recorded else None

    @property
    def seconds_per_step(self) -> float | None:
        """The median seconds of a step: one that follows an evaluation counts that too."""
        clock = [(r["step"], r["seconds"]) for r in self.train if "step" in r and "seconds" in r]
        pairs = zip([(0, 0.0), *clock], clock, strict=False)
        each = [(end - start) / (b - a) for (a, start), (b, end) in pairs if b > a]
        return statistics.median(each) if each else None

    def higher_is_better(self, metric: str) -> bool:
        """Tell the direction of a metric; the run itself says it for its headline."""
        if metric == self.headline and "higher_is_better" in self.scores:
            return bool(self.scores["higher_is_better"])
        words = metric.lower().replace("/", "_").split("_")
        return metric.lower() not in LOWER_IS_BETTER and not LOWER_IS_BETTER & set(words)

    def fact(self, *names: str) -> Any:
        """Return the first of `names` that `config.json` has, at its top or in a block of it."""
        blocks = [self.config, *(v for v in self.config.values() if isinstance(v, Mapping))]
        for name in names:
            for block in blocks:
                if block.get(name) not in (None, "", {}, []):
                    return block[name]
        return None


def read_run_folder(folder: str | Path) -> RunFolder:
    """Read the files of a run folder.

    Raises:
        DataError: the folder is no run folder, or one of its files is broken.
    """
    path = Path(folder)
    if not path.is_dir():
        raise DataError(
            f"{path} is no folder. Give the folder of a run (the one with recipe.yaml)."
        )
    known = ("recipe.yaml", "config.json", "history.jsonl", "scores.json")
    missing = [name for name in known if not (path / name).is_file()]
    if len(missing) == len(known):
        raise DataError(f"{path} is no run folder: it has none of {', '.join(known)}.")
    history, remarks = _read_history(path / "history.jsonl")
    remarks = [*(_missing(name) for name in missing), *remarks]
    recipe = path / "recipe.yaml"
    return RunFolder(
        path=path,
        recipe=_read_text(recipe) if recipe.is_file() else "",
        config=_read_json(path / "config.json"),
        train=[row for row in history if row.get("kind") == "train"],
        valid=[row for row in history if row.get("kind") == "valid"],
        scores=_as_numbers(_read_json(path / "scores.json")),
        remarks=remarks,
    )


def _missing(name: str) -> str:
    if name == "scores.json":
        return say(
            "scores.json is not there: there were no validation cases, or no evaluation yet.",
            "缺少 scores.json：没有验证病例，或尚未评估。",
        )
    return say(
        f"{name} is not there: the run is unfinished, or the file was removed.",
        f"缺少 {name}：运行尚未结束，或文件已被删除。",
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}. Restore it, or train again.") from error


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(_read_text(path))
    except ValueError as error:
        raise DataError(f"{path} is no valid JSON: {error}. Restore it, or train again.") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} holds a {type(found).__name__}; a run writes an object there.")
    return found


def _read_history(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    if not path.is_file():
        return [], []
    lines = _read_text(path).splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return rows, [_cut_short(number)]  # which also says that the run was interrupted
            raise DataError(
                f"{path}, line {number}, is no JSON: {error}. Remove the line."
            ) from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}, is no JSON object. Remove the line.")
        rows.append(_as_numbers(row))
    ended = bool(rows) and rows[-1].get("kind") == "end"
    return rows, [] if ended else [_not_ended()]


def _not_ended() -> str:
    return say(
        "The run has not come to its end: it was interrupted, or it is still going on.",
        "运行尚未结束：已被中断，或仍在进行。",
    )


def _cut_short(number: int) -> str:
    return say(
        f"Line {number} of history.jsonl, the last one, was cut short (the run was interrupted); "
        "it is left out.",
        f"history.jsonl 的最后一行（第 {number} 行）不完整（运行被中断），已略去。",
    )


def _as_numbers(value: Any) -> Any:
    """Undo what JSON cannot say: NaN was written as null, infinities as "inf" and "-inf"."""
    if isinstance(value, dict):
        return {key: _as_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_numbers(item) for item in value]
    if value in ("inf", "-inf"):
        return float(value)
    return math.nan if value is None else value
