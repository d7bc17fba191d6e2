"""Vital signs, examination and results of a note."""

from vesalius.diagnose.cohort.hand import Hand
from vesalius.diagnose.cohort.tables import VITALS


class Findings(Hand):
    """What the doctor finds."""

    def _vitals(self) -> dict[str, float]:
        ranges = dict(self.phrases.vitals)
        for name in reversed(self.visit.diseases):  # the main disease has the last word
            if "vitals" in self.shown[name]:
                ranges |= self.diseases[name].vitals
        return {name: self.random.uniform(*ranges[name]) for name in VITALS if name in ranges}

    def _examination(self) -> str:
        vitals = self._vitals()
        text = (
            f"体温{vitals['体温']:.1f}℃，脉搏{vitals['脉搏']:.0f}次/分，"
            f"呼吸{vitals['呼吸']:.0f}次/分，血压{vitals['收缩压']:.0f}/{vitals['舒张压']:.0f}mmHg"
        )
        if "血氧" in vitals:
            text += f"，指脉氧{vitals['血氧']:.0f}%（未吸氧）"
        found: dict[str, list[str]] = {}
        for name in self.visit.diseases:
            if "signs" in self.shown[name]:
                for part, sign in self.diseases[name].signs.items():
                    found.setdefault(part, []).append(self._filled(sign))
        parts = [text]
        for part, normal in self.phrases.examination.items():
            if part in found:
                parts.append("，".join(found[part]))
            elif part in self.main.signs:
                continue  # an acute finding is overlooked rather than declared normal
            elif normal and self._chance(0.4 + 0.6 * self.style.verbose):
                parts.append(self._filled(self.random.choice(normal)))
                if part in self.phrases.thorough and self._chance(self.style.verbose):
                    parts.append(self._filled(self.phrases.thorough[part]))
        if self._distracts(0.5):
            parts.append(self._absent_sign())
        return "。".join(part for part in parts if part) + "。"

    def _absent_sign(self) -> str:
        """Say that a sign of a disease of the same part of medicine is not there."""
        own = {sign for name in self.visit.diseases for sign in self.diseases[name].signs.values()}
        signs = {
            sign
            for row in self.diseases.values()
            if row.chapter == self.main.chapter
            for sign in row.signs.values()
        }
        # sorted, because the order of a set of texts differs from run to run
        chosen = self._sample(sorted(signs - own), 2)
        clauses = [self._filled(sign).split("，")[0] for sign in chosen]
        quoted = "、".join(f"“{clause}”" for clause in clauses)
        return f"未见{quoted}等体征" if quoted else ""

    def _tests(self) -> str:
        results: dict[str, list[str]] = {}
        for name in self.visit.diseases:
            if "tests" in self.shown[name]:
                chosen = self._sample(self.diseases[name].tests, 2)
                for test in chosen:
                    results.setdefault(test, []).append(
                        self._filled(self.diseases[name].tests[test])
                    )
        changed = {test for name in self.visit.diseases for test in self.diseases[name].tests}
        normal = [test for test in self.phrases.tests if test not in changed]
        for test in self._sample(normal, self.random.randint(2, 3 + round(4 * self.style.verbose))):
            results[test] = [self._filled(self.random.choice(self.phrases.tests[test]))]
        order = self._sample(results, len(results))
        lines = [f"{test}：{'，'.join(results[test])}" for test in order]
        month, day = self.random.randint(1, 12), self.random.randint(1, 28)
        head = f"（{month}月{day}日本院）" if self._chance(0.5) else ""
        return head + self.style.pause.join(lines) + "。"
