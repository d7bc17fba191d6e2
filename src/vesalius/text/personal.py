"""Find personal data in clinical text and take it out, in Chinese and English, offline.

    find_personal("患者张三，电话13812345678")
    deidentify("张三，男，2023年5月3日入院", salt="...").text     # "罗文涛，男，2022年11月8日入院"

By rules alone: lists, cues, check digits. Nothing is learnt and nothing leaves the machine. No
rule finds everything: read a sample before you give texts away. A year alone, a province alone,
durations, clinical values and times of day stay.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from vesalius.errors import RecipeError
from vesalius.text.identifiers import chinese_names, dates, english_names, numbers, places
from vesalius.text.identifiers.shifting import Shifter
from vesalius.text.identifiers.spans import KINDS, Found, Span, fold, settle
from vesalius.text.identifiers.surrogates import Surrogates

Mode = Literal["surrogate", "mask", "tag"]
_MODES = ("surrogate", "mask", "tag")
_FINDERS = (numbers.find, dates.find, chinese_names.find, english_names.find, places.find)
_CERTAIN = 200
"""The rank of what the caller knows to be personal."""


@dataclass(frozen=True)
class Deidentified:
    """A text without personal data, and what was taken out.

    Attributes:
        text: the new text.
        spans: the personal data, with offsets in the original text.
    """

    text: str
    spans: tuple[Span, ...]


def find_personal(
    text: str, *, keep: Collection[str] = (), known: Iterable[str] = ()
) -> tuple[Span, ...]:
    """Return the personal data of a text, in order and without overlaps.

    Args:
        text: a note in Chinese, English or both.
        keep: kinds that are not looked for, of `KINDS`: "hospital", "ward", "age" ...
        known: names that are known from elsewhere (the patient's, from the record's head): found
            wherever they stand, with or without a cue.

    Raises:
        RecipeError: `keep` has an unknown kind.
    """
    _check_kinds(keep)
    folded = fold(text)
    candidates = [found for find in _FINDERS for found in find(folded)]
    candidates += _known(folded, known)
    # Kept kinds take part first: what is inside a kept hospital is no address.
    return tuple(span for span in settle(candidates, text) if span.kind not in keep)


def _known(text: str, names: Iterable[str]) -> Iterable[Found]:
    for name in filter(None, map(fold, names)):
        at = text.find(name)
        while at >= 0:
            yield Found(at, at + len(name), "name", _CERTAIN)
            at = text.find(name, at + len(name))


def deidentify(
    text: str,
    *,
    seed: int = 0,
    salt: str = "",
    keep: Collection[str] = (),
    mode: Mode = "surrogate",
    patient: str | None = None,
    known: Iterable[str] = (),
) -> Deidentified:
    """Replace the personal data of one text; see `Deidentifier` for the arguments."""
    chosen = Deidentifier(seed=seed, salt=salt, keep=keep, mode=mode)
    return chosen(text, patient=patient, known=known)


class Deidentifier:
    """Replace personal data alike in all texts of a corpus.

    The same name gives the same surrogate in every text, and 张医生 and 张建国 share a surname. All
    dates of a patient move by one number of days, so intervals stay. It keeps no memory: it works
    in many processes, in any order, and holds no list that could leak.

    Args:
        seed: another seed gives other surrogates.
        salt: a secret. Without one, anybody who has this package can try names until they match.
        keep: kinds that stay, of `KINDS`.
        mode: "surrogate" invents values of the same form; "mask" writes "*" for every character, so
            that offsets stay; "tag" writes the kind, as [name].
        max_shift: the greatest number of days that dates move, at least 1.

    Raises:
        RecipeError: an unknown mode or kind.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        salt: str = "",
        keep: Collection[str] = (),
        mode: Mode = "surrogate",
        max_shift: int = 365,
    ):
        _check_kinds(keep)
        if mode not in _MODES:
            raise RecipeError(f"mode {mode!r} is unknown; choose one of {', '.join(_MODES)}")
        if max_shift < 1:
            raise RecipeError(f"max_shift is {max_shift}; give at least 1 day")
        self.keep, self.mode, self.max_shift = frozenset(keep), mode, max_shift
        self._surrogates = Surrogates(hashlib.sha256(f"{seed}\x1f{salt}".encode()).digest())

    def __call__(
        self, text: str, *, patient: str | None = None, known: Iterable[str] = ()
    ) -> Deidentified:
        """Replace the personal data of one text.

        Args:
            text: the note.
            patient: whose it is; decides how far dates move. None: one shift for the corpus.
            known: names to take out wherever they stand.
        """
        spans = find_personal(text, keep=self.keep, known=known)
        shifter = Shifter(self.days(patient))
        pieces, position = [], 0
        for span in spans:
            pieces += [text[position : span.start], self._replacement(span, shifter)]
            position = span.end
        return Deidentified("".join(pieces) + text[position:], spans)

    def days(self, patient: str | None = None) -> int:
        """Return by how many days the dates of a patient move: not 0, at most `max_shift`."""
        days = self._surrogates.number("days", patient or "", below=2 * self.max_shift)
        return days - self.max_shift if days < self.max_shift else days - self.max_shift + 1

    def _replacement(self, span: Span, shifter: Shifter) -> str:
        if self.mode == "mask":
            return "*" * len(span.text)
        if self.mode == "tag":
            return f"[{span.kind}]"
        if span.kind == "date":
            return shifter.shift(fold(span.text))
        return self._surrogates.invent(span.kind, fold(span.text))


def counted(spans: Iterable[Span]) -> Mapping[str, int]:
    """Return how many spans there are of each kind, in the order of `KINDS`."""
    found = [span.kind for span in spans]
    return {kind: found.count(kind) for kind in KINDS if kind in found}


def _check_kinds(kinds: Collection[str]) -> None:
    unknown = sorted(set(kinds) - set(KINDS))
    if isinstance(kinds, str) or unknown:
        wrong = kinds if isinstance(kinds, str) else ", ".join(unknown)
        raise RecipeError(
            f"keep: {wrong!r} is no kind of personal data; give a list of {', '.join(KINDS)}"
        )
