"""What goes wrong between a patient and a data set: slips, abbreviations, wrong labels."""

import random
import re
from collections.abc import Mapping

from vesalius.diagnose.cohort.patients import Visit, frequency
from vesalius.diagnose.cohort.tables import Disease, Phrases

_UNITS = {
    "mmHg": ("mmhg", "毫米汞柱"),
    "×10^9/L": ("*10^9/L", "×10⁹/L", "×10E9/L"),
    "℃": ("度", "°C"),
}
_FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")
# a slip inside one of these could turn what was denied or measured into something else
_KEPT = re.compile(r"否认|无|未|不|均无|（-）|阴性|阳性|[\d.~/×^%]+")


def untidy(text: str, amount: float, phrases: Phrases, generator: random.Random) -> str:
    """Return the text with slips, abbreviations and other ways to write units.

    Numbers keep their value and negations stay as they are; only their spelling may change (full
    width digits, units).

    Args:
        text: one field.
        amount: 0 (as it is) to 1 (very untidy: 3 in 100 characters, every second abbreviation).
        phrases: the tables of slips and abbreviations.
        generator: where chance comes from.
    """
    if amount <= 0:
        return text
    for word, short in phrases.abbreviations.items():
        if word in text and generator.random() < 0.5 * amount:
            # only before a value: not in 高血压, 呼吸音, 足背动脉搏动
            text = re.sub(rf"(?<!化){word}(?=\s?[\d：:])", short, text)
    for unit, others in _UNITS.items():
        if unit in text and generator.random() < 0.4 * amount:
            text = text.replace(unit, generator.choice(others))
    if generator.random() < 0.15 * amount:
        text = text.translate(_FULL_WIDTH)
    if generator.random() < 0.3 * amount:
        text = text.replace("，", ",").replace("；", ";")
    return _slips(text, 0.03 * amount, phrases.slips, generator)


def _slips(text: str, rate: float, slips: Mapping[str, str], generator: random.Random) -> str:
    safe = {place for match in _KEPT.finditer(text) for place in range(*match.span())}
    written = []
    for place, sign in enumerate(text):
        if place in safe or generator.random() >= rate:
            written.append(sign)
        elif sign in slips:
            written.append(slips[sign])
        elif "\u4e00" <= sign <= "\u9fff" and generator.random() < 0.3:
            written.append(sign * 2)  # the key was held too long
        else:
            written.append(sign)
    return "".join(written)


def dirty_labels(
    visit: Visit,
    diseases: Mapping[str, Disease],
    generator: random.Random,
    *,
    wrong: float,
    variants: float,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the labels that a hurried coder gives, and what was changed, in words.

    Args:
        visit: the diseases that the patient has.
        diseases: the table of diseases.
        generator: where chance comes from.
        wrong: chance that a record loses a label, gains one of the same part of medicine, or has
            one exchanged for such a one.
        variants: chance of each label to be written by another name of the disease.
    """
    labels, changes = list(visit.diseases), []
    # drawn whether or not they are used, so that the switch changes nothing else
    happens, kind = generator.random() < wrong, generator.choice(("lost", "gained", "exchanged"))
    at, pick = generator.randrange(len(labels)), generator.random()
    if happens:
        other = _similar(visit, labels[at], diseases, pick)
        if kind == "gained" and other:
            labels.append(other)
            changes.append(f"label gained: {other}")
        elif kind == "exchanged" and other:
            changes.append(f"label exchanged: {labels[at]} -> {other}")
            labels[at] = other
        elif len(labels) > 1:
            changes.append(f"label lost: {labels.pop(at)}")
    for at, name in enumerate(labels):
        chance, pick = generator.random(), generator.random()
        names = diseases[name].aliases
        if chance < variants and names:
            labels[at] = names[int(pick * len(names))]
            changes.append(f"label spelled: {name} -> {labels[at]}")
    return tuple(labels), tuple(changes)


def _similar(visit: Visit, name: str, diseases: Mapping[str, Disease], pick: float) -> str | None:
    chapter = diseases[name].chapter
    others = [
        other
        for other, row in diseases.items()
        if row.chapter == chapter
        and other not in visit.diseases
        and frequency(row, visit.sex, visit.age) > 0
    ]
    return others[int(pick * len(others))] if others else None
