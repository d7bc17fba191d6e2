"""Who the patients of the synthetic cohort are, and what they have: sex, age, diseases, visits."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vesalius.diagnose.cohort.tables import Disease


@dataclass(frozen=True)
class Visit:
    """One admission of one patient.

    Attributes:
        patient: the patient's number.
        sex: 男 or 女.
        age: in years.
        main: the disease that is the reason for admission.
        companions: the other diseases that the patient has now.
    """

    patient: str
    sex: str
    age: int
    main: str
    companions: tuple[str, ...]

    @property
    def diseases(self) -> tuple[str, ...]:
        """All diseases, the main one first."""
        return (self.main, *self.companions)


def visits(
    diseases: Mapping[str, Disease], *, seed: int, readmissions: float
) -> Iterator[tuple[Visit, random.Random]]:
    """Yield visits without end, each with the random numbers that its record is written with.

    Every patient has a random stream of its own, so the first records are the same however many
    are drawn.
    """
    number = 0
    while True:
        number += 1
        name = f"P{number:06d}"
        # a text as seed is hashed by SHA-512: the same on every machine and Python
        generator = random.Random(f"vesalius cohort/{seed}/{name}")
        visit = _first_visit(name, diseases, generator)
        yield visit, generator
        if generator.random() < readmissions:
            yield _next_visit(visit, diseases, generator), generator


def _first_visit(name: str, diseases: Mapping[str, Disease], generator: random.Random) -> Visit:
    main = generator.choices(list(diseases), [row.weight for row in diseases.values()])[0]
    row = diseases[main]
    sex = generator.choices(("男", "女"), [row.sex.get(sex, 1.0) for sex in ("男", "女")])[0]
    low, peak, high = row.ages
    age = round(generator.triangular(low, high, peak))
    return Visit(name, sex, age, main, _companions(main, sex, age, diseases, generator))


def _next_visit(visit: Visit, diseases: Mapping[str, Disease], generator: random.Random) -> Visit:
    """Return a later admission: the chronic diseases stay, the reason may be another one."""
    age = visit.age + generator.choice((0, 0, 1, 2))
    stays = tuple(name for name in visit.diseases if diseases[name].chronic)
    weights = {name: row.weight * frequency(row, visit.sex, age) for name, row in diseases.items()}
    main = visit.main
    if generator.random() < 0.4 and sum(weights.values()) > 0:
        main = generator.choices(list(weights), list(weights.values()))[0]
    return Visit(visit.patient, visit.sex, age, main, tuple(n for n in stays if n != main))


def frequency(row: Disease, sex: str, age: int) -> float:
    """Return how frequent a disease is at this sex and age, between 0 and 1 (its peak)."""
    low, peak, high = row.ages
    if not low <= age <= high:
        return 0.0
    by_sex = row.sex.get(sex, 1.0) / max(1.0, *row.sex.values(), 0.0)
    if age <= peak:
        return by_sex * (age - low + 1) / (peak - low + 1)
    # what is chronic does not go away with the years; what is acute becomes rarer
    return by_sex * (0.8 if row.chronic else (high - age + 1) / (high - peak + 1))


def _companions(
    main: str, sex: str, age: int, diseases: Mapping[str, Disease], generator: random.Random
) -> tuple[str, ...]:
    present = [main]
    # the common ones first, so that they can bring the rarer ones with them
    for name, row in sorted(diseases.items(), key=lambda item: -item[1].common):
        chance = row.common * frequency(row, sex, age)
        if name == main or chance == 0:
            continue
        odds = chance / (1 - chance)
        for other in present:
            odds *= diseases[other].with_.get(name, row.with_.get(other, 1.0))
        if generator.random() < odds / (1 + odds):
            present.append(name)
    return tuple(present[1:])
