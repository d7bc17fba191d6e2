"""Complaint, present illness and past history of a note.

What makes the task hard is put in on purpose: symptoms that are denied, diseases that the patient
does not have (denied, healed, of the family, ruled out elsewhere), and companions that only a drug,
a blood pressure or a laboratory value tells of.
"""

from vesalius.diagnose.cohort.hand import Hand
from vesalius.diagnose.cohort.patients import frequency

_FAMILY = ("父亲", "母亲", "哥哥", "姐姐", "祖父", "外祖母", "弟弟", "舅舅")


class History(Hand):
    """What the patient tells."""

    def _complaint(self) -> str:
        symptoms = [self._wording(name) for name in self.told[: self.random.randint(1, 2)]]
        what, since = "、".join(symptoms), self.since
        patterns = (f"{what}{since}。", f"{what}{since}", f"反复{what}{since}，加重{{1~7}}天。")
        if not self.main.chronic:
            patterns = patterns[:2]
        return self._filled(self.random.choice(patterns))

    def _present_illness(self) -> str:
        first = [self._wording(name) for name in self.told[:2]]
        parts = [
            self.random.choice(self.style.openings).format(when=self.since, what="，".join(first))
        ]
        more = [self._wording(name) for name in self.told[2:]]
        if more:
            parts.append(f"伴{'、'.join(more)}。")
        parts += self._earlier_episodes()
        parts += [self._denied_symptoms(), *self._care_elsewhere()]
        if self.since.endswith(("年", "月")) and self._chance(self.style.verbose):
            again = self._wording(self.told[0])
            parts.append(f"{self.random.randint(1, 6)}天前上述症状再发，{again}较前加重，")
        parts.append(self._admission())
        parts.append(self.random.choice(self.style.general))
        return "".join(part for part in parts if part)

    def _earlier_episodes(self) -> list[str]:
        """Tell of earlier stays with the same illness, where it has gone on for years."""
        years = int(self.since.removesuffix("年")) if self.since.endswith("年") else 0
        if years < 2 or not self._chance(self.style.verbose):
            return []
        parts = []
        for year in sorted(self._sample(range(1, years), self.random.randint(1, 3)), reverse=True):
            what = "、".join(self._wording(name) for name in self._sample(self.told, 2))
            parts.append(self._filled(self.random.choice(self.phrases.episodes)).format(year, what))
        return parts

    def _denied_symptoms(self) -> str:
        """Deny symptoms that diseases of the same part of medicine would have, and others."""
        own = {name for disease in self.visit.diseases for name in self.diseases[disease].symptoms}
        near, far = [], []
        for row in self.diseases.values():
            (near if row.chapter == self.main.chapter else far).extend(row.symptoms)
        own |= set(self.told)
        near = [name for name in dict.fromkeys(near) if name not in own]
        far = [name for name in dict.fromkeys(far) if name not in own]
        wanted = round(self.distractors * self.random.randint(3, 10))
        chosen = self._sample(near, round(wanted * 0.7))
        chosen += self._sample([name for name in far if name not in chosen], wanted - len(chosen))
        clauses = []
        while chosen:
            some, chosen = chosen[:3], chosen[3:]
            what = "、".join(self._wording(name) for name in some)
            clauses.append(self.random.choice(self.style.denials).format(what=what))
        return "，".join(clauses) + "。" if clauses else ""

    def _care_elsewhere(self) -> list[str]:
        parts = []
        if self._chance(self.style.verbose * 0.7):
            care = self.random.choice(("抗感染", "对症支持", "中药口服", "输液", "改善循环"))
            outcome = self.random.choice(("症状稍好转", "效果不佳", "症状无明显缓解"))
            parts.append(
                f"曾在当地医院就诊，予{care}治疗{self.random.randint(2, 9)}天，{outcome}。"
            )
        wrong = self._absent(same_chapter=True)
        if wrong and self._distracts(0.25):
            how = self.random.choice(
                ("外院曾考虑“{}”，完善相关检查后排除。", "门诊疑诊{}，复查不支持。")
            )
            parts.append(how.format(self._name(wrong[0])))
        if wrong and self._distracts(0.4):
            parts.append(self._withdrawn_result(wrong[-1]))
        if "drugs" in self.shown[self.visit.main]:
            parts.append(f"平素服用{self.random.choice(self.main.drugs)}。")
        return parts

    def _withdrawn_result(self, disease: str) -> str:
        """Tell of a result of a disease that is not there, and that it was not confirmed."""
        tests = self.diseases[disease].tests
        if not tests:
            return ""
        test = self.random.choice(list(tests))
        how = self.random.choice(
            ("外院报{}：{}，我院复查未证实。", "外院{}曾提示{}，复查未见上述改变。")
        )
        return how.format(test, self._filled(tests[test]))

    def _admission(self) -> str:
        if "name" in self.shown[self.visit.main]:
            return f"门诊以“{self._name(self.visit.main)}”收入院。"
        return self.random.choice(
            ("今为求进一步诊治，门诊收入我科。", "遂来我院就诊，收住院。", "为系统治疗入院。")
        )

    def _absent(self, *, same_chapter: bool = False, chronic: bool = False) -> list[str]:
        """Return diseases that this patient could have and has not, in random order.

        The frequent ones come first more often: they are what doctors ask for.
        """
        visit = self.visit
        could = {
            name: 0.02 + row.common + (row.weight / 400)
            for name, row in self.diseases.items()
            if name not in visit.diseases
            and frequency(row, visit.sex, max(visit.age, row.ages[0])) > 0
            and (not same_chapter or row.chapter == self.main.chapter)
            and (not chronic or row.chronic)
        }
        # weighted order without replacement (Efraimidis and Spirakis 2006)
        keys = {name: self.random.random() ** (1 / weight) for name, weight in could.items()}
        return sorted(keys, key=lambda name: -keys[name])

    def _past_history(self) -> str:
        parts = [self._companion(name) for name in self.visit.companions]
        self.random.shuffle(parts)
        denied = self._absent(chronic=True)[: self.random.randint(2, 8)]
        if denied and self._distracts(0.85):
            names = "、".join(self._name(name) for name in denied)
            parts.append(
                self.random.choice(("否认{}病史。", "否认{}等慢性病史。", "无{}史。")).format(names)
            )
        if self._distracts(0.3):
            parts.insert(self.random.randrange(len(parts) + 1), self._healed())
        if self._chance(self.style.verbose):
            parts.append(self._usual_denials())
        if self._chance(self.style.verbose):
            grown = self.visit.age >= 18
            how = self.phrases.personal if grown else self.phrases.childhood
            parts.append(self._filled(self.random.choice(how)))
        if self._distracts(0.5):
            parts.append(self._family())
        return "".join(part for part in parts if part) or "无特殊。"

    def _healed(self) -> str:
        """Tell of a disease that is over, with what was taken then."""
        absent = self._absent()[0]
        drugs = self.diseases[absent].drugs
        taken = f"，曾服{self.random.choice(drugs)}，现已停用" if drugs else ""
        years = self.random.randint(1, max(1, min(30, self.visit.age - 1)))
        how = self.random.choice(("{}年前曾患{}{}，已治愈。", "{}年前因{}住院{}，治疗后痊愈。"))
        return how.format(years, self._name(absent), taken)

    def _usual_denials(self) -> str:
        """Deny what every note denies, except what this patient has."""
        contagious = {"肝炎": ("慢性乙型病毒性肝炎", "肝硬化"), "结核": ("肺结核",), "伤寒": ()}
        absent = [
            name
            for name, diseases in contagious.items()
            if not set(diseases) & set(self.visit.diseases)
        ]
        return (
            f"否认{'、'.join(absent)}等传染病史，否认手术、外伤、输血史，否认药物及食物过敏史，"
            "预防接种随当地进行。"
        )

    def _companion(self, name: str) -> str:
        row, shown = self.diseases[name], self.shown[name]
        drug = self.random.choice(row.drugs) if "drugs" in shown else ""
        if "name" not in shown:
            return f"长期口服{drug}。" if drug else ""
        called = self._name(name)
        if not row.chronic:
            return f"近期合并{called}。"
        years = self.random.randint(1, max(1, min(25, self.visit.age - row.ages[0] + 1)))
        control = self.random.choice(("控制可", "未规律复查", "控制情况不详"))
        text = self.random.choice(("有{}病史{}年", "既往{}{}余年", "患{}{}年")).format(
            called, years
        )
        return f"{text}，{f'服用{drug}，' if drug else ''}{control}。"

    def _family(self) -> str:
        """Name diseases of the family; whether the patient has them too is chance."""
        common = {name: row.common for name, row in self.diseases.items() if row.chronic}
        named = self.random.choices(
            list(common), list(common.values()), k=self.random.randint(1, 2)
        )
        who = self._sample(_FAMILY, len(named))
        parts = (
            f"{one}{self.random.choice(('患有', '有', '患'))}{self._name(name)}"
            for one, name in zip(who, named, strict=True)
        )
        return f"家族史：{'，'.join(parts)}。"
