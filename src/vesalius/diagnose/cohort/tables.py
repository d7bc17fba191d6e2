"""The tables behind the synthetic cohort: diseases, and the wording of records.

Written for this program and simplified: plausible enough to learn from, no medical reference.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import yaml
from pydantic import Field

from vesalius.block import Block

PLACE = Path(__file__).parent
VITALS = ("体温", "脉搏", "呼吸", "收缩压", "舒张压", "血氧")


class Disease(Block):
    """One disease: how often, in whom, and how it shows in a record."""

    chapter: str
    """the part of medicine it belongs to"""
    weight: float = Field(gt=0)
    """how often it is the reason for admission, against the others"""
    common: float = Field(0.0, ge=0, lt=1)
    """how often it accompanies another disease at the age where it is most frequent"""
    ages: tuple[int, int, int]
    """youngest, most frequent and oldest age in years"""
    sex: Mapping[str, float] = {}
    """factor on the frequency of one sex, 男 or 女"""
    chronic: bool = False
    """its history goes back years, so that it stands in the past history"""
    hidden: float = Field(0.0, ge=0, le=1)
    """how often, as a companion, only drugs and findings tell of it, never its name"""
    aliases: tuple[str, ...] = ()
    """other names that records use"""
    short: str | None = None
    """the usual abbreviation in Latin letters"""
    symptoms: Mapping[str, float]
    """symptom -> how often it is told"""
    signs: Mapping[str, str] = {}
    """part of the examination -> finding; | parts wordings, {low~high} is drawn"""
    tests: Mapping[str, str] = {}
    """test -> result, written as signs are"""
    drugs: tuple[str, ...] = ()
    """what is taken at home, with dose"""
    vitals: Mapping[str, tuple[float, float]] = {}
    """vital sign -> its range while the disease is the reason for admission"""
    with_: Mapping[str, float] = Field({}, alias="with")
    """disease -> factor on its odds of being there too"""


class Phrases(Block):
    """The wording of the records."""

    symptoms: Mapping[str, tuple[str, ...]]
    """symptom -> ways to tell it"""
    examination: Mapping[str, tuple[str, ...]]
    """part of the body -> normal findings, in the order of the note"""
    tests: Mapping[str, tuple[str, ...]]
    """test -> normal results"""
    thorough: Mapping[str, str]
    """part of the body -> more normal findings, in notes that tell everything"""
    personal: tuple[str, ...]
    """ways to tell how the patient lives"""
    childhood: tuple[str, ...]
    """the same of those under 18"""
    episodes: tuple[str, ...]
    """an earlier stay; years ago and symptoms are filled in"""
    vitals: Mapping[str, tuple[float, float]]
    """vital sign -> normal range"""
    slips: Mapping[str, str]
    """character -> what a slip of the keyboard makes of it"""
    abbreviations: Mapping[str, str]
    """word -> abbreviation"""


@cache
def diseases() -> Mapping[str, Disease]:
    """Return the diseases by name, the most frequent reasons for admission first."""
    rows = {}
    for path in sorted(PLACE.glob("diseases_*.yaml")):
        rows |= yaml.safe_load(path.read_text(encoding="utf-8"))
    table = {name: Disease.model_validate(row) for name, row in rows.items()}
    return MappingProxyType(dict(sorted(table.items(), key=lambda item: -item[1].weight)))


@cache
def phrases() -> Phrases:
    """Return the wording of the records."""
    return Phrases.model_validate(
        yaml.safe_load((PLACE / "phrases.yaml").read_text(encoding="utf-8"))
    )


def with_faker() -> Mapping[str, Disease]:
    """Return our diseases and those of the package faker-healthcare-provider that we lack.

    That package tells name, symptoms and drugs, but not how frequent a disease is, at what age,
    or what is found; its diseases therefore come as rare ones, of adults, without findings.

    Raises:
        MissingDependencyError: the package is not installed.
    """
    from vesalius.errors import MissingDependencyError

    try:
        from faker_healthcare.zh_CN.disease_correlations import DISEASE_CORRELATIONS
    except ImportError as error:
        raise MissingDependencyError(
            "faker-healthcare-provider",
            "More diseases in the synthetic cohort",
            'pip install "faker-healthcare-provider>=2.5"',
        ) from error
    own = dict(diseases())
    known = {alias for name, disease in own.items() for alias in (name, *disease.aliases)}
    for name, row in DISEASE_CORRELATIONS.items():
        if name not in known:
            own[name] = Disease(
                chapter=row["medical_specialty"],
                weight=3,
                ages=(18, 50, 90),
                symptoms=dict.fromkeys(row["symptoms"], 0.6),
                drugs=tuple(row["medications"]),
                chronic=True,
            )
    return MappingProxyType(own)
