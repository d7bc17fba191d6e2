"""English names of people: capitalised words after a title, a label or a role, or after a usual
given name. A name in front of "disease", "sign", "scale" is an eponym, and no person.
"""

import re
from collections.abc import Iterator
from functools import cache

from vesalius.text.identifiers import spans
from vesalius.text.identifiers.spans import Found

_WORD = (
    r"(?:(?:O'|Mc|Mac|D'|De|La|Le|Van|Von)?[A-Z][a-zà-öø-ÿ]+(?:['-][A-Z][a-zà-öø-ÿ]+)*|[A-Z]{2,}"
    r"(?:['-][A-Z]+)*)"
)
_INITIAL = r"[A-Z]\."
_PARTICLE = r"(?:de|da|del|della|der|den|van|von|bin|ibn|al|el|la|le|dos|di)"
_PIECE = rf"(?:{_WORD}|{_INITIAL}|[A-Z](?= [A-Z][a-z]))"
_NAME = (
    rf"(?P<name>{_PIECE}(?: (?:{_PARTICLE} ){{0,2}}{_PIECE}){{0,3}}(?: (?:Jr|Sr)\.?| I{{2,3}}|"
    rf" IV)?)"
)
_TITLED = re.compile(
    r"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Drs|Prof|Professor|Doctor|Nurse|Sir|Madam|Rev|Father|Sister|Capt|"
    r"Sgt|Officer|Judge)\.?\s+" + rf"(?P<name>(?:{_PARTICLE} ){{0,2}}{_NAME[9:]}"
)
_CREDENTIALS = re.compile(
    _NAME
    + (
        r"(?=,? (?:M\.?D\.?|D\.?O\.?|R\.?N\.?|Ph\.?D\.?|NP|PA(?:-C)?|MBBS|FRCP|FRCS|DDS|DNP|LPN|"
        r"LCSW|MSW|CRNA|PharmD|DPM|APRN)\b)"
    )
)
_ROLE = (
    r"(?:patient|pt|name|attending|resident|fellow|physician|surgeon|assistant|anesthesiologist|"
    r"anaesthetist|doctor|nurse|provider|PCP|GP|consultant|"
    r"contact|emergency contact|next of kin|NOK|spouse|wife|husband|son|daughter|mother|father|"
    r"brother|sister|aunt|uncle|cousin|niece|nephew|partner|"
    r"friend|neighbor|neighbour|caregiver|carer|guardian|proxy|informant|historian|author|witness|"
    r"interpreter|case manager|social worker|therapist|"
    r"radiologist|pathologist|cardiologist|neurologist|oncologist|dictated by|signed by|"
    r"electronically signed by|reviewed by|referred by|"
    r"seen by|performed by|reported by|prepared by|transcribed by|accompanied by|followed by|"
    r"cared for by|verified by|approved by|ordered by|cc|re|"
    r"named|called|girlfriend|boyfriend|fianc[eé]e?|grandson|granddaughter|grandmother|grandfather|"
    r"roommate)"
)
_LABELLED = re.compile(
    rf"\b(?i:{_ROLE})(?i:'s)?(?:\s(?i:name))?(?:\s?\([^()]{{1,20}}\))?\s*[:=]\s*(?:Dr\.?\s|Mr\.?\s|"
    rf"Mrs\.?\s|Ms\.?\s)?"
    rf"(?P<name>{_WORD}, {_PIECE}(?: {_PIECE})?|{_NAME[9:-1]})"
)
_AFTER_ROLE = re.compile(rf"\b(?i:{_ROLE}),? (?:is )?\(?{_NAME}")
_SURNAME_FIRST = re.compile(
    rf"(?<![\w-])(?P<last>{_WORD}), (?P<first>{_WORD})(?: [A-Z]\.?)?(?![\w-])"
)
_ACTS = re.compile(
    r"(?<![\w-])(?P<name>[A-Z][a-z]+ [A-Z][a-z'-]+)"
    r"(?= (?:presented|presents|denies|denied|states|says|complains|complained|agrees|called)\b)"
)
_TOLD = re.compile(
    r"\b(?i:according to|spoke (?:to|with)|informed|met with|per her|per his) "
    r"(?P<name>[A-Z][a-z]{2,}(?<!ology)(?<!ics)(?<!ery))(?=[ ,.;])"
)
_SUBJECT = re.compile(
    r"(?<![\w-])(?P<name>[A-Z][a-z]+)(?=(?:'s (?!disease|syndrome|sign)| (?:reports?|reported|"
    r"denies|denied|states?|stated|says|said|complains|"
    r"presents|presented|feels|felt|agrees|agreed|was|is|has|had|lives|called|returned|underwent|"
    r"tolerated|will)\b))"
)
_PLAIN = re.compile(rf"(?<![\w-]){_NAME}(?![\w-])")
_NEXT = re.compile(r"(?:'s)?[ -]+([A-Za-z][a-z]*)(?:[ -]+([A-Za-z][a-z]*))?")


def find(text: str) -> Iterator[Found]:
    """Yield names in folded text; every occurrence of a name that was found once."""
    found = list(_cued(text))
    yield from found
    yield from _again(text, found)


def _cued(text: str) -> Iterator[Found]:
    for match in _TITLED.finditer(text):
        yield from _trimmed(text, *match.span("name"), rank=56)
    for match in _CREDENTIALS.finditer(text):
        yield from _trimmed(text, *match.span("name"), rank=55, words=2)
    for match in _LABELLED.finditer(text):
        yield from _trimmed(text, *match.span("name"), rank=57)
    for match in _AFTER_ROLE.finditer(text):
        if _is_person(match["name"], alone=True) and not _is_eponym(text, match.end("name")):
            yield from _trimmed(text, *match.span("name"), rank=53)
    for match in _PLAIN.finditer(text):
        yield from _with_given_name(text, match)
    for match in _SUBJECT.finditer(text):
        if match["name"] in _given() - spans.words("english_doubtful"):
            yield Found(*match.span("name"), "name", 51)
    for match in _ACTS.finditer(text):
        if not {word.lower() for word in match["name"].split()} & _not_names():
            yield Found(*match.span("name"), "name", 50)
    for match in _TOLD.finditer(text):
        if match["name"].lower() not in _not_names():
            yield Found(*match.span("name"), "name", 50)
    for match in _SURNAME_FIRST.finditer(text):
        if match["first"].title() in _given() and match["last"].title() in _surnames():
            yield Found(*match.span(), "name", 54)


@cache
def _given() -> frozenset[str]:
    return spans.words("english_given")


@cache
def _surnames() -> frozenset[str]:
    return spans.words("english_surnames")


@cache
def _not_names() -> frozenset[str]:
    return frozenset(word.lower() for word in spans.words("english_not_names"))


def _trimmed(text: str, start: int, end: int, *, rank: int, words: int = 1) -> Iterator[Found]:
    """Yield the name up to the first word that is none ("Mr. Smith Denies"; "JOHN DOE MRN")."""
    pieces = list(re.finditer(r"[^\s,]+", text[start:end]))
    kept = []
    for piece in pieces:
        initial = len(piece[0].strip(".")) == 1
        word = piece[0].strip(".").lower()
        if not initial and word in _not_names() - {name.lower() for name in _given()}:
            break
        kept.append(piece)
    if len(kept) >= words:
        yield Found(start, start + kept[-1].end(), "name", rank)


def _is_person(name: str, *, alone: bool) -> bool:
    """Whether capitalised words after a role are a name: a known one, or two words that may be."""
    pieces = name.split()
    first = pieces[0].strip(".").title()
    if first.lower() in _not_names() and first not in _given():
        return False
    if first in _given() or (alone and first in _surnames()):
        return True
    likely = [piece for piece in pieces if piece.strip(".").lower() not in _not_names()]
    return len(likely) == len(pieces) >= 2 and not name.isupper()


def _with_given_name(text: str, match: re.Match) -> Iterator[Found]:
    """Yield "John Smith" wherever it stands: a usual given name and a capitalised word."""
    pieces = list(re.finditer(r"\S+", match["name"]))
    for number, piece in enumerate(pieces[:-1]):
        last = pieces[-1]
        if piece[0].title() not in _given() or piece[0].title() in spans.words("english_doubtful"):
            continue
        rest = [other[0].strip(".").lower() for other in pieces[number + 1 :]]
        if set(rest) & _not_names() or _is_eponym(text, match.start("name") + last.end()):
            return
        yield Found(
            match.start("name") + piece.start(), match.start("name") + last.end(), "name", 51
        )
        return


def _is_eponym(text: str, end: int) -> bool:
    following = _NEXT.match(text, end)
    if not following:
        return False
    nouns = spans.words("eponym_nouns")
    return any(
        word and word.lower().rstrip("s") in nouns | {w.rstrip("s") for w in nouns}
        for word in following.groups()
    )


def _again(text: str, found: list[Found]) -> Iterator[Found]:
    """Yield the other places of a name's words: "Smith" after "John Smith"."""
    words = set()
    for one in found:
        words |= {
            word
            for word in re.findall(r"[^\W\d_][\w'-]+", text[one.start : one.end])
            if len(word) > 2
        }
    words = {word for word in words if word.lower() not in _not_names() and word[0].isupper()}
    for word in words:
        for match in re.finditer(rf"(?<![\w-]){re.escape(word)}(?![\w])(?!-[A-Z])", text):
            if not _is_eponym(text, match.end()):
                yield Found(*match.span(), "name", 50)
