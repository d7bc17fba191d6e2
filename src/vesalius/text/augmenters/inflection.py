"""English inflection: verb forms of a base, bases of a form, plurals.

Rules of spelling (Quirk et al. 1985, sections 3.5 to 3.10 and 5.79 to 5.82) with the irregular
verbs and the doubled consonants of `english_verbs.yaml`. A form that the rules do not determine
is not guessed: `analyse` returns every reading, and callers decline when there is more than one
that matters.
"""

from functools import cache
from importlib.resources import files

Forms = tuple[str, ...]
FEATURES = ("base", "third", "past", "participle", "gerund")


@cache
def _read(name: str) -> dict:
    import yaml

    return yaml.safe_load((files(__package__) / f"{name}.yaml").read_text(encoding="utf-8"))


def word_list(name: str) -> frozenset[str]:
    """Return a list of `english_words.yaml`."""
    return frozenset(_read("english_words")[name].split())


_IRREGULAR_PLURALS = {
    "child": "children",
    "foot": "feet",
    "man": "men",
    "mouse": "mice",
    "person": "people",
    "tooth": "teeth",
    "woman": "women",
    "bacterium": "bacteria",
    "criterion": "criteria",
    "datum": "data",
    "phenomenon": "phenomena",
    "stimulus": "stimuli",
    "thrombus": "thrombi",
    "embolus": "emboli",
    "vertebra": "vertebrae",
}
# Nouns in -s that take a singular verb.
_SINGULAR_S = word_list("singular_in_s")
_PLURAL = frozenset(_IRREGULAR_PLURALS.values()) | {"police", "staff", "vitals"}


@cache
def verb_lists() -> dict[str, frozenset[str]]:
    """Return the lists of `english_verbs.yaml` (finding, action, intransitive, doubled...)."""
    return {
        key: frozenset(text.split())
        for key, text in _read("english_verbs").items()
        if isinstance(text, str)
    }


@cache
def governed_by(preposition: str) -> frozenset[str]:
    """Return the verbs that a preposition belongs to ("treat" for "with")."""
    return frozenset(_read("english_verbs")["governs"].get(preposition, "").split())


def irregular_verbs() -> dict[str, list[str]]:
    """Return base -> [past, participle]."""
    return _read("english_verbs")["irregular"]


@cache
def verb_forms(base: str) -> dict[str, str]:
    """Return base, third, past, participle and gerund of a verb in lower case."""
    past, participle = _past_forms(base)
    gerund = _gerund(base)
    return dict(zip(FEATURES, (base, add_s(base), past, participle, gerund), strict=True))


@cache
def analyse(form: str, bases: frozenset[str]) -> frozenset[tuple[str, str]]:
    """Return every (base, feature) of `bases` that has this form, for example of "treated":
    {("treat", "past"), ("treat", "participle")}."""
    return _forms_of(bases).get(form, frozenset())


@cache
def _forms_of(bases: frozenset[str]) -> dict[str, frozenset[tuple[str, str]]]:
    table: dict[str, set[tuple[str, str]]] = {}
    for base in bases:
        for feature, form in verb_forms(base).items():
            table.setdefault(form, set()).add((base, feature))
    return {form: frozenset(readings) for form, readings in table.items()}


def add_s(word: str) -> str:
    """Return the third person of a regular verb, which is also the plural of a regular noun."""
    if word.endswith(("s", "x", "z", "ch", "sh")) or word in ("go", "do", "undergo", "echo"):
        return word + "es"
    if _consonant_y(word):
        return word[:-1] + "ies"
    return {"have": "has", "be": "is"}.get(word, word + "s")


def plural(noun: str) -> str | None:
    """Return the plural of a noun in lower case; None where the rules do not determine it."""
    if noun in _IRREGULAR_PLURALS:
        return _IRREGULAR_PLURALS[noun]
    if noun.endswith("sis"):
        return noun[:-2] + "es"
    if noun.endswith(("us", "um", "on", "ix", "ex", "ma", "f", "fe", "o", "s", "x", "i", "a")):
        regular = noun.endswith(("ss", "tion", "sion", "eon", "box", "virus", "sinus", "son"))
        return add_s(noun) if regular else None
    return add_s(noun)


def is_plural(noun: str) -> bool | None:
    """Tell whether a noun takes a plural verb; None where its form does not say."""
    noun = noun.lower()
    if noun in _PLURAL or (noun.endswith("ses") and noun not in _SINGULAR_S):
        return True
    if noun in _SINGULAR_S or noun.endswith(("ss", "us", "is", "ics")):
        return False
    if noun.endswith(("ae", "i", "men")):
        return None
    return noun.endswith("s")


def like(model: str, word: str) -> str:
    """Give `word` the case of `model`: as it is, Capitalised, or UPPER."""
    if model.isupper() and len(model) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if model[:1].isupper() else word


def _past_forms(base: str) -> tuple[str, str]:
    if base in _read("english_verbs")["irregular"]:
        past, participle = _read("english_verbs")["irregular"][base]
        return past, participle
    if base in verb_lists()["unchanged"]:
        return base, base
    past = _regular_past(base)
    return past, past


def _regular_past(base: str) -> str:
    if base.endswith("e"):
        return base + "d"
    if _consonant_y(base):
        return base[:-1] + "ied"
    return _doubled(base) + "ed"


def _gerund(base: str) -> str:
    if base.endswith("ie"):
        return base[:-2] + "ying"
    if base.endswith("e") and not base.endswith(("ee", "oe", "ye")) and base != "be":
        return base[:-1] + "ing"
    doubles = base in ("begin", "get", "sit", "hit", "let", "put", "quit", "set", "shed", "shut")
    return (base + base[-1] if doubles else _doubled(base)) + "ing"


def _doubled(base: str) -> str:
    return base + base[-1] if base in verb_lists()["doubled"] else base


def _consonant_y(word: str) -> bool:
    return len(word) > 1 and word.endswith("y") and word[-2] not in "aeiou"
