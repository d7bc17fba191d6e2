"""Synonyms of WordNet (Miller 1995) in the form of the word that they replace.

The database is read from its own files (the format wndb(5WN)): a folder that the user names, the
corpus `wordnet` where nltk finds it (a folder or a zip file), or Debian's package wordnet-base.

A word is replaced only where its part of speech is certain: all its readings in WordNet have
the same one. The synonym comes from its most frequent senses and gets the same inflection;
forms that the rules of `inflection` do not determine are left out, and each is looked up again:
it must lead back to the synonym.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random

from vesalius.errors import DataError, RecipeError
from vesalius.text.augmenters import inflection
from vesalius.text.augmenters.base import Piece, Proposal, free, how_many, proposal
from vesalius.text.augmenters.base import replace as replaced
from vesalius.text.augmenters.inflection import like

PARTS = ("noun", "verb", "adj", "adv")
DEBIAN = Path("/usr/share/wordnet")
_WORD = re.compile(r"[a-z]{3,}", re.I)
# Lexicographer's satellite, predicative and attributive marks: "galore(ip)".
_MARK = re.compile(r"\((?:a|p|ip)\)$")
# Rules of detachment, morphy(7WN).
_ENDINGS = {
    "noun": "s: ses:s xes:x zes:z ches:ch shes:sh men:man ies:y",
    "verb": "s: ies:y es:e es: ed:e ed: ing:e ing:",
    "adj": "er: est: er:e est:e",
    "adv": "",
}
# Whether these double their consonant depends on the stress ("haped", "happed").
_UNSURE = re.compile(r"(?:.*[^aeiou])?[aeiou][bcdfghjklmnpqrstvz]")
_UNSTRESSED = ("er", "en", "on", "or", "om")
_HELP = (
    "Name a folder with index.noun, data.noun ... (option `folder`), or install it with: "
    "apt-get install wordnet-base, or: python -m nltk.downloader wordnet"
)


class Database:
    """WordNet's files, read part by part when first asked for.

    Args:
        root: a folder, or a zip file that holds one.
    """

    def __init__(self, root: Path):
        self.root = root

    def lemmas(self, word: str, part: str) -> list[str]:
        """Return the base forms of a word in lower case that WordNet has (morphy)."""
        index, found = _index(self.root, part), []
        candidates = [word, *_exceptions(self.root, part).get(word, ())]
        for rule in _ENDINGS[part].split():
            old, _, new = rule.partition(":")
            if word.endswith(old):
                candidates.append(word[: len(word) - len(old)] + new)
        for candidate in candidates:
            if candidate in index and candidate not in found:
                found.append(candidate)
        return found

    def exceptional_forms(self, lemma: str, part: str) -> frozenset[str]:
        """Return the forms of a lemma that WordNet lists, since no rule gives them."""
        return _forms_by_lemma(self.root, part).get(lemma, frozenset())

    def synonyms(self, lemma: str, part: str, *, senses: int) -> list[str]:
        """Return the other lemmas of the first `senses` synsets, most frequent sense first.

        The synset must be among the first senses of the other lemma too: "kick" is a synonym of
        "complain", but mostly means something else.
        """
        index, found = _index(self.root, part), []
        for offset in index.get(lemma, ())[:senses]:
            for word in self._synset(part, offset):
                mutual = offset in index.get(word.lower(), ())[:senses]
                if mutual and word.lower() != lemma and word not in found:
                    found.append(word)
        return found

    def parts(self, word: str) -> list[str]:
        """Return the parts of speech in which WordNet knows a word."""
        return [part for part in PARTS if self.lemmas(word, part)]

    def _synset(self, part: str, offset: int) -> list[str]:
        data = _read(self.root, f"data.{part}")
        fields = data[offset : data.find(b"\n", offset)].decode("utf-8").split()
        if not fields or fields[0] != f"{offset:08d}":
            raise DataError(f"{self.root}: data.{part} has no synset at {offset}. {_HELP}")
        return [_MARK.sub("", word) for word in fields[4 : 4 + 2 * int(fields[3], 16) : 2]]


class WordNet:
    """Replace English words by synonyms of the same part of speech and inflection.

    Args:
        folder: of the database files, or a zip file with them; None looks for nltk's and Debian's.
        senses: how many senses of a word, and of its synonym, count; the most frequent first.

    Raises:
        DataError: there is no WordNet; the message says how to get it.
    """

    def __init__(self, *, folder: str | None = None, senses: int = 1):
        if senses < 1:
            raise RecipeError(f"senses must be at least 1; it is {senses}")
        self._root = str(find(folder))
        self._senses = senses

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Replace `strength` of the words that have a synonym."""
        places = [(piece, words) for piece in _words(pieces) if (words := self._fitting(piece))]
        if not places:
            return Proposal(text)
        chosen = rng.sample(places, how_many(len(places), strength))
        return proposal(text, [replaced(piece, rng.choice(words)) for piece, words in chosen])

    def _fitting(self, piece: Piece) -> list[str]:
        forms = synonyms(piece.text.lower(), folder=self._root, senses=self._senses)
        return [like(piece.text, form) for form in forms]


def _words(pieces: Sequence[Piece]) -> Iterator[Piece]:
    known = _function_words()
    for i in free(pieces):
        text = pieces[i].text
        # Capitals inside a word make an abbreviation or a name.
        if _WORD.fullmatch(text) and text[1:].islower() and text.lower() not in known:
            yield pieces[i]


@cache
def _function_words() -> frozenset[str]:
    names = ("modals", "auxiliaries", "determiners", "singular_determiners", "plural_determiners")
    names += ("closed_class", "prepositions", "not_agents", "moments")
    return frozenset().union(*map(inflection.word_list, names))


@cache
def synonyms(word: str, *, folder: str, senses: int = 1) -> tuple[str, ...]:
    """Return the synonyms of a word in lower case, inflected as it is.

    Empty where the word may be of several parts of speech, or has several base forms.
    """
    database = Database(Path(folder))
    parts = database.parts(word)
    if len(parts) != 1 or len(lemmas := database.lemmas(word, parts[0])) != 1:
        return ()
    (part,), (lemma,) = parts, lemmas
    found = []
    for other in database.synonyms(lemma, part, senses=senses):
        form = _inflect_like(word, lemma, other, part, database)
        if form is not None and form != word and form not in found:
            found.append(form)
    return tuple(found)


def _inflect_like(word: str, lemma: str, other: str, part: str, database: Database) -> str | None:
    """Give `other` the inflection that makes `word` of `lemma`; None where that is not sure."""
    if not re.fullmatch(r"[a-z]+(?:_[a-z]+)*", other):  # names and numbers
        return None
    if word == lemma:
        return other.replace("_", " ")
    if "_" in other or not database.exceptional_forms(other, part) <= _own_forms(other, part):
        return None
    form = _form(word, lemma, other, part)
    return form if form is not None and database.lemmas(form, part) == [other] else None


def _own_forms(lemma: str, part: str) -> frozenset[str]:
    """Return the forms that `inflection` gives; where WordNet has others, it knows too little."""
    if part == "verb":
        return frozenset(inflection.verb_forms(lemma).values())
    return frozenset({inflection.plural(lemma) or ""})


def _form(word: str, lemma: str, other: str, part: str) -> str | None:
    if part == "noun":
        return inflection.plural(other) if word == inflection.plural(lemma) else None
    if part != "verb":
        return None
    features = {
        feature
        for feature, form in inflection.verb_forms(lemma).items()
        if form == word and feature != "base"
    }
    if features != {"third"} and _doubling_is_unsure(other):
        return None
    forms = {inflection.verb_forms(other)[feature] for feature in features}
    return forms.pop() if len(forms) == 1 else None


def _doubling_is_unsure(verb: str) -> bool:
    known = verb in inflection.verb_lists()["doubled"] or verb.endswith(_UNSTRESSED)
    return not known and _UNSURE.fullmatch(verb) is not None


def find(folder: str | None = None) -> Path:
    """Return where WordNet's files are: `folder`, or nltk's, or Debian's.

    Raises:
        DataError: they are not there, with how to get them.
    """
    if folder is not None:
        root = Path(folder)
        if not _holds(root):
            raise DataError(f"{root} holds no WordNet (index.noun, data.noun ...). {_HELP}")
        return root
    for root in (*_of_nltk(), DEBIAN):
        if _holds(root):
            return root
    raise DataError(f"WordNet was not found. {_HELP}")


def _of_nltk() -> Iterator[Path]:
    try:
        from nltk.data import path
    except ImportError:
        return
    for folder in path:
        yield Path(folder) / "corpora" / "wordnet"
        yield Path(folder) / "corpora" / "wordnet.zip"


def _holds(root: Path) -> bool:
    if root.is_dir():
        return all(
            (root / f"{kind}.{part}").is_file() for kind in ("index", "data") for part in PARTS
        )
    return root.is_file() and root.suffix == ".zip"


@cache
def _read(root: Path, name: str) -> bytes:
    if root.is_dir():
        path = root / name
        return path.read_bytes() if path.is_file() else b""
    import zipfile

    with zipfile.ZipFile(root) as archive:
        found = [member for member in archive.namelist() if member.split("/")[-1] == name]
        return archive.read(found[0]) if found else b""


@cache
def _index(root: Path, part: str) -> dict[str, tuple[int, ...]]:
    index = {}
    for number, line in enumerate(_read(root, f"index.{part}").decode("utf-8").splitlines(), 1):
        if line.startswith(" "):  # the licence
            continue
        fields = line.split()
        try:
            count = int(fields[2])
            index[fields[0]] = tuple(map(int, fields[-count:]))
        except (IndexError, ValueError) as error:
            raise DataError(
                f"{root}: index.{part}, line {number} is not WordNet's. {_HELP}"
            ) from error
    return index


@cache
def _exceptions(root: Path, part: str) -> dict[str, tuple[str, ...]]:
    lines = _read(root, f"{part}.exc").decode("utf-8").splitlines()
    return {fields[0]: tuple(fields[1:]) for fields in map(str.split, lines) if fields}


@cache
def _forms_by_lemma(root: Path, part: str) -> dict[str, frozenset[str]]:
    forms: dict[str, set[str]] = {}
    for form, lemmas in _exceptions(root, part).items():
        for lemma in lemmas:
            forms.setdefault(lemma, set()).add(form)
    return {lemma: frozenset(group) for lemma, group in forms.items()}
