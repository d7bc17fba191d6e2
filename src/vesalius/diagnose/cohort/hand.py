"""The hand that writes a note: its style, its dice, and what it decided to show of each disease."""

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from vesalius.diagnose.cohort.patients import Visit
from vesalius.diagnose.cohort.tables import Disease, Phrases

T = TypeVar("T")
_RANGE = re.compile(r"\{(\d+(?:\.\d+)?)~(\d+(?:\.\d+)?)\}")


@dataclass(frozen=True)
class Style:
    """How one hospital writes; the order of the tuples carries no meaning.

    Attributes:
        openings: begin the present illness; `when` and `what` are filled in.
        denials: denied symptoms; `what` is filled in.
        general: how the patient has been since.
        pause: what parts two results.
        verbose: chance of each part that could be left out.
    """

    openings: tuple[str, ...]
    denials: tuple[str, ...]
    general: tuple[str, ...]
    pause: str
    verbose: float


STYLES = (
    Style(
        ("患者{when}前无明显诱因出现{what}，呈阵发性。", "患者于{when}前劳累后出现{what}。"),
        ("无{what}", "不伴{what}", "无明显{what}"),
        ("自起病以来，患者精神、食欲一般，睡眠尚可，大小便如常，近期体重无明显变化。",),
        "；",
        0.9,
    ),
    Style(
        ("{when}前始{what}，未系统诊治。", "缘于{when}前突发{what}。"),
        ("否认{what}", "无{what}"),
        ("病后精神可，纳眠可，二便调。", "发病来饮食睡眠欠佳，二便正常。"),
        "，",
        0.35,
    ),
    Style(
        (
            "患者自诉{when}前受凉后出现{what}，休息后稍缓解。",
            "患者诉{when}前开始出现{what}，程度时轻时重，未予重视。",
        ),
        ("未诉{what}", "未见{what}", "否认有{what}"),
        ("病程中患者神志清楚，精神稍差，饮食、睡眠可，大便每日1次，小便量可，体力有所下降。",),
        "。",
        0.75,
    ),
    Style(
        ("现病史：{when}前出现{what}，症状反复。", "患者{when}前无诱因下{what}，持续不缓解。"),
        ("{what}均无", "{what}：（-）", "无{what}等不适"),
        ("一般情况：神清，精神可，食纳可，夜寐安，二便可。",),
        "; ",
        0.6,
    ),
)


class Hand:
    """What the writers of all sections share.

    Args:
        visit: who is admitted, and for what.
        diseases: the table of diseases.
        phrases: the wording.
        generator: where chance comes from.
        distractors: scales how often diseases are named that the patient does not have, and
            symptoms that are not there; 0: never, 1: as often as in real notes.
    """

    def __init__(
        self,
        visit: Visit,
        diseases: Mapping[str, Disease],
        phrases: Phrases,
        generator: random.Random,
        *,
        distractors: float = 1.0,
    ):
        self.visit, self.diseases, self.phrases = visit, diseases, phrases
        self.random, self.distractors = generator, distractors
        self.style = generator.choice(STYLES)
        self.main = diseases[visit.main]
        self.since = self._since()
        self.told = self._told_symptoms()
        self.shown = {name: self._shown(name) for name in visit.diseases}

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def _distracts(self, probability: float) -> bool:
        return self._chance(min(1.0, probability * self.distractors))

    def _filled(self, text: str) -> str:
        """Choose among wordings, and draw the numbers with the decimals that the range has."""

        def draw(match: re.Match[str]) -> str:
            decimals = len(match[1].partition(".")[2])
            return f"{self.random.uniform(float(match[1]), float(match[2])):.{decimals}f}"

        return _RANGE.sub(draw, self.random.choice(text.split("|")))

    def _wording(self, symptom: str) -> str:
        return self.random.choice(self.phrases.symptoms.get(symptom, (symptom,)))

    def _name(self, disease: str) -> str:
        """Return the name, an alias or the abbreviation of a disease."""
        row = self.diseases[disease]
        if row.short and self._chance(0.12):
            return row.short
        return self.random.choice((disease, disease, *row.aliases))

    def _sample(self, items: Iterable[T], count: int) -> list[T]:
        items = list(items)
        return self.random.sample(items, min(count, len(items)))

    def _since(self) -> str:
        chronic = self.main.chronic or self._chance(0.1)
        unit = self.random.choice(("年", "年", "月") if chronic else ("天", "天", "小时", "周"))
        number = self.random.randint(1, {"年": 15, "月": 11, "天": 10, "小时": 20, "周": 4}[unit])
        if unit == "年" and number >= self.visit.age:
            number, unit = 3, "月"
        return f"{number}{'个月' if unit == '月' else unit}"

    def _told_symptoms(self) -> list[str]:
        told = [name for name, often in self.main.symptoms.items() if self._chance(0.9 * often)]
        told = told or [max(self.main.symptoms, key=self.main.symptoms.get)]
        for companion in self.visit.companions:
            for name, often in self.diseases[companion].symptoms.items():
                if self._chance(0.3 * often):
                    told.append(name)
        if self._chance(0.3):  # something that many illnesses share
            told.append(self.random.choice(("乏力", "头晕", "失眠", "食欲减退", "腹胀")))
        return list(dict.fromkeys(told))

    def _shown(self, name: str) -> set[str]:
        """Decide which traces a disease leaves; never none."""
        row, is_main = self.diseases[name], name == self.visit.main
        traces = {
            "name": self._chance(0.14) if is_main else not self._chance(row.hidden),
            "signs": bool(row.signs) and self._chance(0.6 if is_main else 0.2),
            "tests": bool(row.tests) and self._chance(0.6 if is_main else 0.3),
            "vitals": bool(row.vitals) and self._chance(0.8 if is_main else 0.4),
            "drugs": bool(row.drugs) and self._chance(0.3 if is_main else 0.6),
        }
        shown = {trace for trace, there in traces.items() if there}
        if not shown and not is_main:
            kinds = ("tests", "drugs", "signs", "vitals")
            shown = {next((kind for kind in kinds if getattr(row, kind)), "name")}
        return shown
