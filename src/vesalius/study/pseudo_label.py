"""Pseudo-labels: train on a model's own sure answers to cases that nobody has labelled (Lee 2013).

The held-out cases are cut in two, whole patients: one half fits calibration and thresholds, the
other is for scores alone and chooses nothing.

    halves.json              which held-out case serves what
    round-0/                 the base: predictions.npz, and run/ where it was trained here
    round-1/accepted.json    what was accepted, by which rule, and how much of it was right
    round-1/run/             the model that was trained on it, an ordinary run folder
    pseudo-labels.json       scores, gains, verdicts
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

from vesalius import files
from vesalius.engine.recipe import Recipe
from vesalius.engine.run import Run, to_json
from vesalius.engine.task import Case, Scores, Task
from vesalius.engine.tricks import DEPARTMENTS
from vesalius.errors import DataError, RecipeError
from vesalius.language import say
from vesalius.study import leakage, predictions, store
from vesalius.study.calibrating import CALIBRATIONS
from vesalius.study.cross_validate import Setting, setting
from vesalius.study.folds import holdout
from vesalius.study.jobs import PREDICTIONS
from vesalius.study.members import label_names
from vesalius.study.pseudo_rounds import (
    Halves,
    Model,
    Options,
    Parts,
    Round,
    Rounds,
    round_folder,
    train,
)
from vesalius.study.weights import parts

HALVES, SUMMARY = "halves.json", "pseudo-labels.json"

Source = str | Path | Sequence[Case]


@dataclass(frozen=True)
class PseudoLabelling:
    """What came of it.

    Attributes:
        folder: of the study.
        base: scores of the model without pseudo-labels, of the score half.
        base_run: that model.
        rounds: in their order.
        halves: ids of the held-out cases that fitted rules, and of those that score.
        notes: sentences that must be known to read the numbers.
    """

    folder: Path
    base: Scores
    base_run: Path
    rounds: tuple[Round, ...]
    halves: Halves
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "headline": self.base.headline,
            "base": {"run": self.base_run, "scores": self.base.values},
            "rounds": [
                asdict(one) | {"verdict": one.verdict, "scores": one.scores and one.scores.values}
                for one in self.rounds
            ],
            "rule_cases": len(self.halves.rule),
            "score_cases": len(self.halves.score),
            "notes": list(self.notes),
        }


def pseudo_label(
    run_or_task: Run | Task | str | Path,
    labelled: Source,
    unlabelled: Source,
    *,
    out: str | Path,
    recipe: Any = None,
    overrides: Sequence[str] = (),
    rounds: int = 1,
    precision: float = 0.9,
    soft: bool = False,
    balanced: bool = True,
    most: int | None = None,
    calibration: str = "temperature",
    valid_share: float = 0.2,
    resamples: int | None = None,
    seed: int = 0,
    device: str = "auto",
    told: Callable[[Round], None] | None = None,
) -> PseudoLabelling:
    """Label cases by a model where it is sure, train anew with them, and measure what that gains.

    Every model trains by the same recipe and seed, from fresh weights, and is scored with the
    weights of its last step: choosing by held-out cases would use the score half. A run that chose
    its weights so is therefore trained anew as the base. More cases also mean more steps per
    epoch; set `batches_per_epoch` in the recipe to keep their number.

    Args:
        run_or_task: a finished run (or its folder) that was trained on `labelled`, whose held-out
            cases are used; or a department's name or a task of your own: the base is trained here.
        labelled, unlabelled: what the department's `train` takes, or the cases. Truth in
            `unlabelled` is never trained on; it tells how many pseudo-labels were right. Near
            copies are not looked for: see `study.leakage.text_clusters`.
        out: folder of the study; the same call goes on with one that was stopped, and with more
            `rounds` it adds some.
        recipe, overrides: with a department's name or a task, as for `cross_validate`.
        rounds: at most so many; it ends where nothing more is accepted.
        precision: wanted of the accepted positives, per label; see `confidence.fit_label_rule`.
            For masks: the wanted mean of the headline score over the accepted cases.
        soft: train on calibrated probabilities instead of names, where the department can.
        balanced: keep the labels' shares of the training cases, by quotas (not for masks).
        most: accept at most so many cases per round, the surest.
        calibration: "temperature", "isotonic" or "none"; not for masks.
        valid_share: held out where the base is trained here.
        resamples: of the gain's interval; see `gains`.
        seed: of halves and resamples, and of the split where the base is trained here.
        device: of the predictions; training follows the recipe.
        told: called with each round when it is done.

    Raises:
        DataError: a source is not usable, an unlabelled case is a labelled one (by id, text or
            file), or too few cases are held out.
        RecipeError: an option is out of range, or the department has no pseudo-labels.
        InterruptedRun: stopped by the user; the same call goes on.

    References:
        Lee 2013; Zou et al. 2018 (class balance); Wilson 1927; Borges et al. 2024 (masks).
    """
    options = Options(precision, soft, balanced, most, calibration)
    _check(options, rounds)
    folder = Path(out)
    run, found = _opened(run_or_task, labelled, recipe, overrides)
    chosen = store.honest(found.recipe, 0)
    _begin(folder, run, found, unlabelled, chosen, options, seed, valid_share)
    training, held = _parted(run, found, labelled, seed, valid_share)
    cases = Parts(training, {c.id: c for c in held}, _halves(folder, held, seed), {})
    base, notes = _base(folder, run, found, chosen, cases, device)
    asked, left_out = _unlabelled(base.run.task, found, unlabelled, held)
    cases = Parts(cases.train, cases.held, cases.halves, asked)
    state = Rounds(
        folder, found.bench, chosen, cases, base, options,
        seed=seed, device=device, resamples=resamples,
    )  # fmt: skip
    made: list[Round] = []
    while len(made) < rounds and (not made or made[-1].accepted):
        made.append(state.next(len(made) + 1))
        if told:
            told(made[-1])
    notes = (*notes, *left_out, *_notes(cases.halves, made))
    result = PseudoLabelling(
        folder, state.judge.base, base.run.folder, tuple(made), cases.halves, notes
    )
    files.write_text(folder / SUMMARY, to_json(result.to_dict()))
    return result


def _check(options: Options, rounds: int) -> None:
    if rounds < 1 or (options.most is not None and options.most < 1):
        raise RecipeError(f"rounds is {rounds} and most {options.most}; both are at least 1")
    if options.calibration not in CALIBRATIONS:
        raise RecipeError(
            f"calibration '{options.calibration}' is none of {', '.join(CALIBRATIONS)}"
        )


# --- what is there ------------------------------------------------------------------------------


def _opened(
    given: Run | Task | str | Path, labelled: Source, recipe: Any, overrides: Sequence[str]
) -> tuple[Run | None, Setting]:
    """Return the run, if one is given, and the setting of the study.

    Raises:
        RecipeError: a recipe beside a run, or a department without pseudo-labels.
        DataError: the run is not finished.
    """
    if isinstance(given, Path) or (isinstance(given, str) and given not in DEPARTMENTS):
        given = Run(given)
    if isinstance(given, Run):
        if recipe is not None or overrides:
            raise RecipeError("a run has its recipe: leave recipe and overrides out")
        if given.history and not given.finished:
            raise DataError(f"{given.folder} is not finished: go on with its training by --resume")
        found = setting(given.task, labelled, given.recipe, ())
    else:
        found = setting(given, labelled, recipe, overrides)
    if not hasattr(found.bench.task, "labelled"):
        raise RecipeError(
            f"{found.bench.task.department} has no pseudo-labels: its task lacks the method "
            "`labelled` (see vesalius.engine.task)"
        )
    return (given if isinstance(given, Run) else None), found


def _begin(folder, run, found: Setting, unlabelled, chosen: Recipe, options, seed, share) -> None:
    asked = {
        "study": "pseudo-label",
        "department": found.bench.task.department,
        "run": None if run is None else run.folder,
        "data": found.source,
        "unlabelled": _named(unlabelled),
        "recipe": chosen.model_dump(mode="json"),
        "valid_share": None if run is not None else share,
        "seed": seed,
        **asdict(options),
    }
    store.begin(folder, asked)


def _named(source: Source) -> str:
    return str(source) if isinstance(source, str | Path) else f"{len(source)} cases"


def _parted(
    run: Run | None, found: Setting, labelled: Source, seed: int, share: float
) -> tuple[list[Case], list[Case]]:
    """Return the cases that train and those that are held out."""
    from vesalius.engine import starting

    if run is None:
        strata = getattr(found.bench.task, "strata", None)
        training, held, _ = holdout(found.cases, share, seed=seed, labels=strata).select(
            found.cases
        )
        return training, held
    held = starting.held_out(run, found.cases, _named(labelled))
    names = {case.id for case in held}
    known = (run.config.get("split") or {}).get("train")
    rest = [case for case in found.cases if case.id not in names]
    if not isinstance(known, list):
        return rest, held
    missing = sorted(set(known) - {case.id for case in rest})
    if missing:
        raise DataError(
            f"{_named(labelled)} lacks {len(missing)} case(s) that the run was trained on",
            leakage.few(missing),
        )
    return [case for case in rest if case.id in set(known)], held


def _halves(folder: Path, held: Sequence[Case], seed: int) -> Halves:
    """Draw the halves, whole patients, or read those that the study began with."""
    path = folder / HALVES
    if not path.exists():
        groups = [("patient", case.group) if case.group else ("case", case.id) for case in held]
        if len(set(groups)) < 2:
            raise DataError(
                f"{len(held)} held-out case(s) of {len(set(groups))} patient(s) are too few: one "
                "half fits the rule, the other scores. Hold out more, by data.valid_share"
            )
        half = parts(len(held), 2, groups=groups, seed=seed)
        ids = [[c.id for c, own in zip(held, half, strict=True) if own == k] for k in (0, 1)]
        files.write_text(path, to_json({"rule": ids[0], "score": ids[1]}))
    stored = json.loads(path.read_text(encoding="utf-8"))
    known = {case.id for case in held}
    missing = sorted({*stored["rule"], *stored["score"]} - known)
    if missing:
        raise DataError(f"{len(missing)} held-out case(s) are not in the data any more", missing)
    return Halves(tuple(stored["rule"]), tuple(stored["score"]))


def _base(
    folder: Path, run: Run | None, found: Setting, chosen: Recipe, cases: Parts, device: str
) -> tuple[Model, tuple[str, ...]]:
    """Return the base: the given run, where its weights were not chosen by the score half."""
    place, notes = round_folder(folder, 0), ()
    if run is None or _chose(found.recipe):
        if run is not None:
            notes = (
                say(
                    "the base was trained anew with keep=last: the run's weights were chosen by "
                    "the held-out cases, whose score would flatter it",
                    "基线已按 keep=last 重新训练：原权重按留出病例选出，其得分偏高",
                ),
            )
        return train(place, found.bench, chosen, cases), notes
    path = place / PREDICTIONS
    if not path.exists():
        held = list(run.predictions(list(cases.held.values()), device=device))
        predictions.write(path, held, label_names(run.task) or ())
    return Model(run, predictions.read(path)), notes


def _chose(recipe: Recipe) -> bool:
    """Tell whether training took the best of several evaluations."""
    return recipe.keep == "best" and recipe.epochs > recipe.evaluate_every


def _unlabelled(
    task: Task, found: Setting, unlabelled: Source, held: Sequence[Case]
) -> tuple[dict[str, Case], tuple[str, ...]]:
    """Return the cases to label and a note about those left out; refuse labelled ones."""
    given = task.cases(unlabelled) if isinstance(unlabelled, str | Path) else list(unlabelled)
    leakage.unique_ids(given)
    # Read once more: test cases of the source must not come back as training cases either.
    _refuse_known(found.bench.read(found.bench.task), given)
    patients = {case.group for case in held if case.group}
    kept = {case.id: case for case in given if not case.group or case.group not in patients}
    if not kept:
        raise DataError(f"{_named(unlabelled)} holds no case to label")
    number = len(given) - len(kept)
    note = say(
        f"{number} unlabelled case(s) are left out: their patients are held out",
        f"{number} 个未标注病例未采用：其患者属于留出集",
    )
    return kept, (note,) if number else ()


def _refuse_known(labelled: Sequence[Case], unlabelled: Sequence[Case]) -> None:
    """Refuse unlabelled cases that are labelled ones, by id, text or files."""
    ids, known = {case.id for case in labelled}, _Contents(labelled)
    problems = [
        f"{case.id}: {'the id' if case.id in ids else 'the same content'} is that of a labelled "
        "case"
        for case in unlabelled
        if case.id in ids or case in known
    ]
    if problems:
        raise DataError(
            f"{len(problems)} unlabelled case(s) are labelled ones: what is scored must not be "
            "trained on. Remove them, or give other cases other ids",
            leakage.few(problems),
        )


class _Contents:
    """The texts and files of cases, to tell whether another case is one of them."""

    def __init__(self, cases: Sequence[Case]):
        self.texts = {text for case in cases if (text := _text(case))}
        self.paths = [path for case in cases for path in _paths(case.input)]
        self.places = {path.resolve() for path in self.paths}
        self.sizes = {path.stat().st_size for path in self.paths if path.is_file()}
        self._digests: dict[int, set[str]] = {}

    def __contains__(self, case: Case) -> bool:
        if _text(case) and _text(case) in self.texts:
            return True
        return any(path.resolve() in self.places or self._copy(path) for path in _paths(case.input))

    def _copy(self, path: Path) -> bool:
        """Tell whether a file is byte for byte one of the cases'; only equal sizes are read."""
        size = path.stat().st_size if path.is_file() else -1
        if size not in self.sizes:
            return False
        if size not in self._digests:
            same = [one for one in self.paths if one.is_file() and one.stat().st_size == size]
            self._digests[size] = {_digest(one) for one in same}
        return _digest(path) in self._digests[size]


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(case: Case) -> str:
    return " ".join(" ".join(item.split()) for item in _items(case.input, str)).strip()


def _paths(value: Any) -> list[Path]:
    return list(_items(value, Path))


def _items(value: Any, kind: type) -> Iterator[Any]:
    if isinstance(value, kind):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _items(item, kind)


# --- what must be known -------------------------------------------------------------------------


def _notes(halves: Halves, made: Sequence[Round]) -> Iterator[str]:
    score, rule = len(halves.score), len(halves.rule)
    yield say(
        f"scores and gains: {score} held-out cases that chose nothing; {rule} others fitted the "
        "rules. The intervals are over cases, not over the chance of training: repeat with other "
        "seeds of the recipe",
        f"得分与增益：{score} 个不参与任何选择的留出病例；另 {rule} 例用于拟合规则。"
        "区间只含病例抽样，不含训练随机性：请换配方种子重复",
    )
    never = _never(made)
    if never:
        listed = ", ".join(leakage.few(never, 8))
        yield say(
            f"never taken for true, as no threshold was precise enough: {listed}. Cases that have "
            "these labels are left out, so the accepted ones have them too seldom",
            f"从未判为阳性（没有阈值达到所要求的精确率）：{listed}。有这些标签的病例未被采用，"
            "因此采用的病例中它们偏少",
        )
    if made[-1].accepted:
        return
    last = made[-1]
    if not last.asked:
        yield say(
            f"round {last.number}: no unlabelled case is left",
            f"第 {last.number} 轮：已无未标注病例",
        )
        return
    yield say(
        f"round {last.number} accepted none of {last.asked} cases: the rule is sure of "
        f"{last.sure}. Lower precision, or hold out more cases to fit it",
        f"第 {last.number} 轮：{last.asked} 例中未采用任何一例（规则确信 {last.sure} 例）。"
        "可降低 precision，或留出更多病例",
    )


def _never(made: Sequence[Round]) -> list[str]:
    """Return the labels that no round's rule could take for true, where cases were accepted."""
    rules = [one.rule["labels"] for one in made if one.accepted and "labels" in one.rule]
    if not rules:
        return []
    return [name for name in rules[0] if all(rule[name]["positive"] == inf for rule in rules)]
