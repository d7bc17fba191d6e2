"""Asking all members about the same cases, and who of them was trained on which."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from vesalius.engine.run import Run
from vesalius.engine.task import Case
from vesalius.errors import DataError, RecipeError
from vesalius.language import say
from vesalius.study import members as asking
from vesalius.study.combining import Question
from vesalius.study.members import Member


class Asker:
    """Asks all members for the same cases."""

    def __init__(self, opened, task, *, held_out, classes, device, progress):
        self.opened, self.held_out, self.classes = opened, held_out, classes
        self.device, self.progress = device, progress
        names = [item.folder.name if isinstance(item, Run) else item.name for item in opened]
        self.names, self.notes = asking.distinct(names), []
        self.runs = {
            name: item
            for name, item in zip(self.names, opened, strict=True)
            if isinstance(item, Run)
        }
        tasks = [run.task for run in self.runs.values()]
        sizes = [len(asking.label_names(one) or ()) for one in tasks]
        self.task = task or (tasks[int(np.argmax(sizes))] if tasks else None)
        if getattr(self.task, "decider", None) is not None:
            self.task = copy(self.task)  # it may be the caller's
            self.task.decider = None
            self.notes.append(
                say(
                    "thresholds that were fitted to a single member are put aside: members and "
                    "ensemble are decided alike, each case by thresholds fitted to the others",
                    "单个成员的阈值不采用：成员与集成用同一规则，每例的阈值由其余病例拟合",
                )
            )

    def about(
        self, source: Any, cases: Sequence[Case], *, like: Question | None = None
    ) -> Question:
        """Ask about cases that `cases` read; a second time with the labels of the first."""
        members = []
        for name, item in zip(self.names, self.opened, strict=True):
            if isinstance(item, Run):
                own = self._own_cases(item, source, cases)
                item = asking.predict(item, name, own, device=self.device, progress=self.progress)
            members.append(Member(name, item.answers, item.labels, item.trained_on))
        ids = [case.id for case in cases]
        labels = asking.label_names(self.task) if self.task else members[0].labels
        members, notes = asking.aligned(members, labels, ids)
        if like is None:
            self.notes += notes
        self._say_seen(cases)
        classes = like.classes if like is not None else self.classes
        if classes is None:
            classes = asking.are_classes(members, ids)
        return Question(cases, members, classes, labels)

    def cases(self, source: Any) -> list[Case]:
        """Read a source, or take cases; None: what the stored predictions answer."""
        if source is None:
            stored = [item for item in self.opened if isinstance(item, Member)]
            if len(stored) < len(self.opened):
                raise RecipeError("runs need a source to predict: give the data")
            return [Case(name, None) for name in stored[0].answers]
        if isinstance(source, str | Path):
            if self.task is None:
                raise RecipeError("stored predictions are scored by a task: give a run, or task=")
            cases = self.task.cases(source)
        else:
            cases = list(source)
        if self.held_out:
            cases = self._held_out(cases)
        if not cases:
            raise DataError("there is no case to predict")
        return cases

    def _held_out(self, cases: list[Case]) -> list[Case]:
        unknown = [name for name, trained in self._trained().items() if trained is None]
        if unknown:
            raise DataError(
                f"{', '.join(unknown)}: it is not known which cases trained it, so held-out ones "
                "cannot be told. Give data that trained none."
            )
        seen = frozenset().union(*(trained for trained in self._trained().values() if trained))
        kept = [case for case in cases if case.id not in seen]
        if not kept:
            raise DataError("every case trained some member: nothing is held out for all of them")
        return kept

    def _trained(self) -> dict[str, frozenset[str] | None]:
        found = {}
        for name, item in zip(self.names, self.opened, strict=True):
            if isinstance(item, Member):
                found[name] = item.trained_on
                continue
            train = (item.config.get("split") or {}).get("train")
            found[name] = frozenset(train) if isinstance(train, list) else None
        return found

    def seen(self, cases: Sequence[Case]) -> dict[str, int]:
        """Return how many of the cases trained each member, where any did."""
        ids = {case.id for case in cases}
        counts = {name: len(ids & (own or frozenset())) for name, own in self._trained().items()}
        return {name: count for name, count in counts.items() if count}

    def _say_seen(self, cases: Sequence[Case]) -> None:
        found = self.seen(cases)
        if found:
            listed = ", ".join(f"{name} {count}" for name, count in found.items())
            self.notes.append(
                say(
                    f"of {len(cases)} cases some trained a member, whose score they flatter: "
                    f"{listed}",
                    f"{len(cases)} 例中有些参与过成员的训练，其得分偏高：{listed}",
                )
            )

    def _own_cases(self, run: Run, source: Any, cases: list[Case]) -> list[Case]:
        """Return the cases as the run's own task reads them, in the common order."""
        if not isinstance(source, str | Path):
            return cases
        own = {case.id: case for case in run.task.cases(source)}
        missing = [case.id for case in cases if case.id not in own]
        if missing:
            raise DataError(
                f"{run.folder} reads {len(missing)} case(s) less from {source}", missing
            )
        return [own[case.id] for case in cases]

    def refuse_unfit(self, question: Question) -> None:
        """Refuse to learn from cases without truth, or that trained a member."""
        blind = [case.id for case in question.cases if case.target is None]
        if blind:
            raise DataError(f"{len(blind)} case(s) have no truth to learn from", blind[:20])
        seen = self.seen(question.cases)
        if seen:
            raise DataError(
                "Weights and stacking must be learned from cases that trained no member. Give "
                "other data, or held_out=True (--held-out).",
                [f"{count} case(s) trained {name}" for name, count in seen.items()],
            )
