"""Stems and lemmas of English words. Chinese words have no inflection and come back unchanged.

Stemming is the algorithm of Porter (1980) or its successor Porter2 ("snowball"), both by the
package `snowballstemmer`, which needs no data. Lemmas come from rules and a list of irregular forms
of this package (`rules`), with the Latin and Greek plurals of medicine (metastases, vertebrae);
they guess where only a dictionary can know. Or from WordNet where its data is present (`wordnet`),
which knows.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from vesalius.errors import MissingDependencyError, RecipeError

Stemmer = Literal["porter", "snowball"]
Part = Literal["noun", "verb", "adjective"]
Source = Literal["rules", "wordnet"]

_ENGLISH = re.compile(r"[a-z]+(?:[-'][a-z]+)*")
_VOWELS = "aeiouy"
# What a verb without its -ing or -ed ends with where an e was lost: reduc, improv, analys, enlarg.
_LOST_E = re.compile(
    r"(?:c|v|u|iz|[aeiouy]s|[bdfgkpt]l|[rd]g|[^aeiou]r?[^aeo]?[iu]r|[^ae]?[^aeo]at|[^aeu]id|[^ra]in)$"
)
_SHORT = re.compile(r"[^aeiou]*[aeiou][^aeiouwxy]$")  # not, us, dos: a lost e, or not[t]ed


def stem(word: str, *, kind: Stemmer = "porter") -> str:
    """Return the stem of a word in lower case.

    Args:
        word: one word; one without Latin letters is returned as it is.
        kind: "porter" (1980, as published) or "snowball" (Porter2).

    Raises:
        RecipeError: unknown kind.
        MissingDependencyError: snowballstemmer is not installed.
    """
    if kind not in get_args(Stemmer):
        raise RecipeError(f"stemmer '{kind}': choose porter or snowball.")
    lower = word.lower()
    return _stemmer(kind)(lower) if _ENGLISH.fullmatch(lower) else word


@lru_cache(maxsize=2)
def _stemmer(kind: Stemmer) -> Callable[[str], str]:
    try:
        import snowballstemmer
    except ImportError:
        install = 'pip install "vesalius[words]"'
        raise MissingDependencyError("snowballstemmer", "stemming", install) from None
    return snowballstemmer.stemmer({"porter": "porter", "snowball": "english"}[kind]).stemWord


def lemma(word: str, part: Part = "noun", *, source: Source = "rules") -> str:
    """Return the dictionary form of a word in lower case.

    Args:
        word: one word; one without Latin letters is returned as it is.
        part: "noun" (singular), "verb" (infinitive) or "adjective" (positive).
        source: "rules", or "wordnet" for WordNet's exceptions and words (Miller 1995) where
            nltk finds its data.

    Raises:
        RecipeError: unknown part of speech or source.
        MissingDependencyError: nltk or the data of WordNet is not there.

    Examples:
        >>> lemma("metastases"), lemma("treated", "verb"), lemma("worse", "adjective")
        ('metastasis', 'treat', 'bad')
    """
    if part not in get_args(Part) or source not in get_args(Source):
        raise RecipeError(
            f"part '{part}', source '{source}': choose {', '.join(get_args(Part))}, and rules or "
            "wordnet."
        )
    lower = word.lower()
    if not _ENGLISH.fullmatch(lower):
        return word
    if source == "wordnet":
        return _wordnet().morphy(lower, {"noun": "n", "verb": "v", "adjective": "a"}[part]) or lower
    known = _irregular()
    irregular = known[part].get(lower)
    if irregular or lower in known["unchanged"]:
        return irregular or lower
    return _RULES[part](lower)


@lru_cache(maxsize=1)
def _wordnet() -> Any:
    purpose, install = "lemmas from WordNet", "python -m nltk.downloader wordnet"
    try:
        from nltk.corpus import wordnet
    except ImportError:
        install = f'pip install "vesalius[words]" && {install}'
        raise MissingDependencyError("nltk", purpose, install) from None
    try:
        wordnet.ensure_loaded()
    except LookupError:
        raise MissingDependencyError("wordnet (data of nltk)", purpose, install) from None
    return wordnet


@lru_cache(maxsize=1)
def _irregular() -> dict[str, dict[str, str]]:
    """Return irregular form -> lemma for each part of speech, and the words without inflection."""
    import yaml

    table = yaml.safe_load(Path(__file__).with_name("stems.yaml").read_text(encoding="utf-8"))
    found = {}
    for part in get_args(Part):
        entries = (entry.split() for entry in table[part])
        found[part] = {form: base for base, *forms in entries for form in forms}
    return found | {"unchanged": dict.fromkeys(table["unchanged"].split(), "")}


def _noun(word: str) -> str:
    for ending, singular, shortest in (
        ("ies", "y", 5),
        ("sses", "ss", 5),
        ("xes", "x", 4),
        ("ches", "ch", 6),
        ("shes", "sh", 5),
        ("zes", "ze", 5),
        ("itides", "itis", 7),
        ("oses", "osis", 7),
        ("yses", "ysis", 6),
        ("omata", "oma", 6),
    ):
        if word.endswith(ending) and len(word) >= shortest:
            return word[: -len(ending)] + singular
    plural = word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is"))
    return word[:-1] if plural else word


def _verb(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes", "zzes")):
        return word[:-2]
    if word.endswith("ied") and len(word) > 4:
        return word[:-3] + "y"
    for ending in ("ing", "ed"):
        base = word.removesuffix(ending)
        if base != word and any(letter in _VOWELS for letter in base) and len(base) > 1:
            return _infinitive(base)
    third = word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is"))
    return word[:-1] if third else word


def _infinitive(base: str) -> str:
    """Return the verb of what stands before -ing or -ed."""
    doubled = len(base) > 3 and base[-1] == base[-2] and base[-1] not in "lsfz" + _VOWELS
    if doubled:
        return base[:-1]
    if base.endswith("ee"):  # agreeing
        return base
    return (
        base + "e" if base.endswith("e") or _SHORT.fullmatch(base) or _LOST_E.search(base) else base
    )


def _adjective(word: str) -> str:
    for ending in ("est", "er"):
        base = word.removesuffix(ending)
        if base == word or len(base) < 3:
            continue
        if base.endswith("i"):
            return base[:-1] + "y"
        if base[-1] == base[-2] and base[-1] not in "lsf":
            return base[:-1]
        return base + "e" if base.endswith(("g", "v", "r", "s", "c")) else base
    return word


_RULES: dict[str, Callable[[str], str]] = {"noun": _noun, "verb": _verb, "adjective": _adjective}
