"""What cannot be: rules of age and sex for labels, and labels that exclude each other.

    labels:
      "*前列腺*": {sexes: [male]}
      新生儿黄疸: {maximum_age: 0.1}
    excludes:
      - [1型糖尿病, 2型糖尿病]

Names may hold `*` and `?`. `rules: age-sex` in a recipe takes the rules that ship with the package
(age_sex_rules.yaml). Where a record's age or sex is not known its rules say nothing.
"""

import fnmatch
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, ValidationError, model_validator

from vesalius.block import Block
from vesalius.errors import DataError

SHIPPED = "age-sex"
Sex = Literal["male", "female"]


class LabelRule(Block):
    """Who can have a label."""

    sexes: tuple[Sex, ...] = Field(("male", "female"), min_length=1)
    """male, female, or both"""
    minimum_age: NonNegativeFloat | None = None
    """in years; younger patients cannot have it"""
    maximum_age: NonNegativeFloat | None = None
    """in years; older patients cannot have it"""

    @model_validator(mode="after")
    def _someone_is_left(self) -> Self:
        low, high = self.minimum_age, self.maximum_age
        if low is not None and high is not None and low > high:
            raise ValueError(f"minimum_age {low} is above maximum_age {high}: nobody could have it")
        return self

    def allows(self, age: float | None, sex: str | None) -> bool:
        """Return whether a patient can have it; what is not known (None) speaks for yes."""
        if sex is not None and sex not in self.sexes:
            return False
        if age is None:
            return True
        return (self.minimum_age is None or age >= self.minimum_age) and (
            self.maximum_age is None or age <= self.maximum_age
        )


class Rules(Block):
    """Rules for labels by name or pattern, and pairs that exclude each other."""

    labels: dict[str, LabelRule] = Field(default_factory=dict)
    """name or pattern -> who can have the label"""
    excludes: tuple[tuple[str, str], ...] = ()
    """pairs of names of which the less probable is dropped where both would be answered"""

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a YAML file, or the rules that ship with the package for "age-sex".

        Raises:
            DataError: the file is missing or is not of this form; every problem is listed.
        """
        from vesalius.engine import recipe_yaml

        path = Path(__file__).with_name("age_sex_rules.yaml") if path == SHIPPED else Path(path)
        if not path.is_file():
            raise DataError(
                f"{path}: there is no such file of rules. Give a YAML file, or '{SHIPPED}' for the "
                "rules that ship with the package."
            )
        try:
            return cls.model_validate(recipe_yaml.read(path) or {})
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
            ]
            raise DataError(f"{path}: the rules cannot be used", problems) from error

    def unmatched(self, labels: Sequence[str]) -> list[str]:
        """Return names (not patterns) of the rules that are none of the labels: typing errors?"""
        names = [*self.labels, *(name for pair in self.excludes for name in pair)]
        plain = dict.fromkeys(name for name in names if not set(name) & set("*?"))
        return [name for name in plain if name not in set(labels)]

    def possible(
        self,
        labels: Sequence[str],
        ages: Sequence[float | None],
        sexes: Sequence[str | None],
    ) -> NDArray[np.bool_]:
        """Return (N, labels), False where a record's patient cannot have the label.

        Args:
            labels: names of the labels.
            ages: of the N patients in years, None where not known.
            sexes: "male", "female" or None.

        Raises:
            DataError: ages and sexes differ in number, or a sex is another word.
        """
        if len(ages) != len(sexes):
            raise DataError(f"There are {len(ages)} ages and {len(sexes)} sexes; give one of each.")
        if strange := {str(word) for word in sexes} - {"male", "female", "None"}:
            raise DataError(f"sexes are male, female or None, not {', '.join(sorted(strange))}")
        allowed = np.ones((len(ages), len(labels)), np.bool_)
        for pattern, rule in self.labels.items():
            columns = [j for j, name in enumerate(labels) if matches(name, pattern)]
            if columns:
                kept = [rule.allows(*who) for who in zip(ages, sexes, strict=True)]
                allowed[:, columns] &= np.array(kept, np.bool_).reshape(-1, 1)
        return allowed

    def without_excluded(
        self, labels: Sequence[str], decisions: NDArray[np.bool_], probabilities: NDArray
    ) -> NDArray[np.bool_]:
        """Return decisions without the less probable label of each excluded pair."""
        index = {name: j for j, name in enumerate(labels)}
        kept = decisions.copy()
        for first, second in self.excludes:
            if first in index and second in index:
                a, b = index[first], index[second]
                both = kept[:, a] & kept[:, b]
                weaker_is_first = probabilities[:, a] < probabilities[:, b]
                kept[both & weaker_is_first, a] = False
                kept[both & ~weaker_is_first, b] = False
        return kept


def matches(name: str, pattern: str) -> bool:
    """Return whether a label's name fits a pattern, whatever its case."""
    return fnmatch.fnmatchcase(name.lower(), pattern.lower())


_UNITS = {
    1.0: "周岁|岁|years?|yrs?|y/?o|y",
    1 / 12: "个月|月龄|月|months?|mos?",
    7 / 365.25: "周|星期|weeks?|wks?",
    1 / 365.25: "天|日龄|日|days?|d",
    1 / 8766: "小时|hours?|hrs?|h",
}
_AGE = re.compile(
    r"(?P<number>\d+(?:\.\d+)?|[零〇一二两三四五六七八九十百]+)\s*[余多+]?\s*-?\s*(?:"
    + "|".join(f"(?P<u{i}>{words})" for i, words in enumerate(_UNITS.values()))
    + r")(?![a-z])",
    re.IGNORECASE,
)
_DIGITS = {word: i for i, word in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}


def parse_age(text: Any) -> float | None:
    """Return an age in years: "56岁", "3岁6个月", "10天", "五十六岁", "8 months", "56".

    None where there is none, or where it is above 130 years.
    """
    text = unicodedata.normalize("NFKC", str(text or "")).strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        age = float(text)
    else:
        parts = list(_AGE.finditer(text))
        if not parts:
            return None
        age, units = 0.0, list(_UNITS)
        for part in parts:
            unit = next(units[i] for i in range(len(units)) if part[f"u{i}"] is not None)
            age += _number(part["number"]) * unit
    return age if age <= 130 else None


def _number(text: str) -> float:
    """Return the value of digits, or of Chinese numerals below a thousand."""
    if text[0].isdecimal():
        return float(text)
    value = digit = 0
    for sign in text:
        if sign in _DIGITS:
            digit = _DIGITS[sign]
        else:
            value += max(digit, 1) * (100 if sign == "百" else 10)
            digit = 0
    return float(value + digit)


def parse_sex(text: Any) -> Sex | None:
    """Return "male" or "female" of 男, 女性, M, female, boy ...; None where neither or both."""
    text = unicodedata.normalize("NFKC", str(text or "")).lower()
    words = set(re.findall(r"[a-z]+", text))
    male = "男" in text or bool(words & {"m", "male", "man", "boy"})
    female = "女" in text or bool(words & {"f", "female", "woman", "girl"})
    if male == female:
        return None
    return "male" if male else "female"
