"""A small parser of English clauses with one transitive verb, and nothing that it is not sure of.

It reads `subject [adverb] verb group object segment*` and `subject be participle segment* by agent
segment*`. It looks for every word that could be the main verb; unless exactly one reading makes
both noun phrases whole, `parse` returns None. Clauses with a negation, a relative clause, a comma
list, a number inside a noun phrase, a pronoun that refers back (his, its, himself) or a
preposition whose attachment is open ("examined the patient with diabetes") are declined too.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from vesalius.text.augmenters import inflection
from vesalius.text.augmenters.inflection import word_list

WORD = re.compile(r"(?:Dr|Mr|Mrs|Ms|Prof)\.|[A-Za-z]+(?:[-'’][A-Za-z]+)*|\d[\d.,:/%]*|[^\w\s]|\w+")

OBJECTIVE = {"I": "me", "he": "him", "she": "her", "we": "us", "they": "them"}
OBJECTIVE |= {"it": "it", "you": "you"}
NOMINATIVE = {objective: nominative for nominative, objective in OBJECTIVE.items()}
BE = {"am", "is", "are", "was", "were"}
MODALS = word_list("modals")
_AUXILIARIES = MODALS | BE | word_list("auxiliaries")
_TITLES = frozenset({"Dr.", "Mr.", "Mrs.", "Ms.", "Prof."})
_SINGULAR = word_list("singular_determiners")
_PLURAL = word_list("plural_determiners")
_DETERMINERS = _SINGULAR | _PLURAL | word_list("determiners")
# Possessives of the third person refer back to somebody, who would change with the order.
_CLOSED = word_list("closed_class")
_BARE = word_list("bare_nouns")
PREPOSITIONS = word_list("prepositions")
_TIME = word_list("time_words")
_TIME_PREPOSITIONS = word_list("time_prepositions")
_PLACE = word_list("place_prepositions")
_MOMENT = word_list("moments")
_PERSONS = word_list("persons")
# Verbs whose subject may be an examination: "biopsy confirmed", but not "ultrasound saw".
_REPORTS = word_list("reporting_verbs")
_NOT_AGENTS = word_list("not_agents")
_CONTRACTED = re.compile("['’](?!s$)")
_LEAD = re.compile(
    r"(?:(?:Yesterday|Today|Then|Later|Subsequently|Finally|Initially|Meanwhile|Afterwards|"
    r"Previously|On|In|At|After|Before|During)\b[^,;:]*,\s+)"
)


@dataclass(frozen=True)
class Clause:
    """What stands where in a clause; noun phrases as written, the first word's case lowered.

    Attributes:
        lead: words before the subject with their comma and space, or "".
        subject, object: of the active voice, whichever voice was read.
        verb: base of the main verb.
        tense: "past", "present", a modal, "has" or "had" (perfect), "progressive", and
            "past progressive".
        adverbs: those before the main verb.
        plural: whether subject and object take plural verbs; None where that is not certain.
        attached: segments that belong to the verb and stand before a by-phrase.
        trailing: segments of time that stand at the end.
        end: closing punctuation or "".
    """

    lead: str
    subject: str
    object: str
    verb: str
    tense: str
    adverbs: tuple[str, ...] = ()
    plural: tuple[bool | None, bool | None] = (None, None)
    attached: tuple[str, ...] = ()
    trailing: tuple[str, ...] = ()
    end: str = ""


@cache
def transitive() -> frozenset[str]:
    """Return the bases of the verbs that have a passive."""
    lists = inflection.verb_lists()
    irregular = frozenset(inflection.irregular_verbs())
    return (lists["finding"] | lists["action"] | irregular) - lists["intransitive"]


def frame(sentence: str) -> tuple[str, str, str]:
    """Return lead, body and closing punctuation of a sentence."""
    lead = match[0] if (match := _LEAD.match(sentence)) else ""
    body = sentence[len(lead) :]
    stripped = body.rstrip(".!")
    return lead, stripped, body[len(stripped) :]


def words_of(body: str) -> list[str] | None:
    """Return the words of a body, or None where it holds anything but words and numbers."""
    words = WORD.findall(body)
    plain = all(word[0].isascii() and word[0].isalnum() for word in words)
    whole = not any(_CONTRACTED.search(word) for word in words) and not body.isupper()
    return words if plain and whole and 3 <= len(words) <= 30 else None


def has_verb(words: Sequence[str]) -> bool:
    """Tell whether any word can only be read as a verb of its own inside a noun phrase."""
    for i, word in enumerate(words):
        if word.lower() in _AUXILIARIES:
            return True
        features = {feature for _, feature in inflection.analyse(word.lower(), transitive())}
        if features & {"past", "participle", "gerund"} and not _adjectival(words, i):
            return True
    return False


def _adjectival(words: Sequence[str], i: int) -> bool:
    # "the infected wound", "reduced perfusion": opens the phrase and a noun follows.
    if i == 0 or (i == 1 and words[0].lower() in _DETERMINERS):
        return i + 1 < len(words) and words[i + 1].lower() not in PREPOSITIONS
    nouns = {"wound", "cut", "read", "cost", "left", "felt", "imaging", "staining", "drawing"}
    return words[i].lower() in nouns | {"testing", "screening", "ultrasound", "bleeding"}


def is_noun_phrase(words: Sequence[str], *, first: bool = False) -> bool:
    """Tell whether words are surely one noun phrase, or two joined by "and".

    Args:
        words: as written.
        first: the phrase opens the sentence, so that its capital says nothing.
    """
    if not words:
        return False
    if "and" in words:
        i = words.index("and")
        return (
            "and" not in words[i + 1 :]
            and is_noun_phrase(words[:i], first=first)
            and is_noun_phrase(words[i + 1 :])
        )
    if len(words) == 1 and is_pronoun(words[0]):
        return True
    if words[0] in _TITLES:
        return 2 <= len(words) <= 4 and all(word[0].isupper() for word in words)
    if first and not _opens(words[0]):
        return False
    head, *of = _split_at(words, "of")
    return len(of) <= 2 and all(_plain_phrase(part) for part in (head, *of))


def is_pronoun(word: str) -> bool:
    """Tell whether a word is a personal pronoun, in either case."""
    return word == "I" or word.lower() in OBJECTIVE or word in NOMINATIVE


def _opens(word: str) -> bool:
    return word.lower() in _DETERMINERS | _BARE or (word.isupper() and len(word) > 1)


def _split_at(words: Sequence[str], separator: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for word in words:
        if word.lower() == separator:
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _plain_phrase(words: Sequence[str]) -> bool:
    rest = words[1:] if words and words[0].lower() in _DETERMINERS else words
    if len(rest) > 1 and len(rest) < len(words) and rest[0].lower() in _PLURAL:
        rest = rest[1:]  # "the two children"
    closed = _CLOSED | _DETERMINERS | PREPOSITIONS | _TIME | _AUXILIARIES
    names = set(OBJECTIVE) | set(NOMINATIVE)
    return (
        1 <= len(rest) <= 6
        and all(word[0].isalpha() and word.lower() not in closed for word in rest)
        and not any(word in names for word in rest)
        and not rest[-1].endswith(("ly", "'s", "’s"))
        and not has_verb(words)
    )


def number(words: Sequence[str]) -> bool | None:
    """Tell whether a noun phrase is plural; None where that is not certain."""
    if "and" in words:
        return True
    first = words[0].lower()
    if len(words) == 1 and is_pronoun(words[0]):
        return first in ("we", "they", "us", "them", "you", "i", "me")
    if words[0] in _TITLES or first in _SINGULAR:
        return False
    if first in _PLURAL:
        return True
    return inflection.is_plural(_split_at(words, "of")[0][-1])


def segments(words: Sequence[str]) -> list[list[str]]:
    """Cut what follows a noun phrase before every preposition and word of time."""
    parts: list[list[str]] = []
    for i, word in enumerate(words):
        opens = word.lower() in PREPOSITIONS or (
            word.lower() in _TIME and not (i and words[i - 1].lower() in _DETERMINERS)
        )
        if opens or not parts:
            parts.append([])
        parts[-1].append(word)
    return parts


def is_time(segment: Sequence[str]) -> bool:
    """Tell whether a segment says when."""
    first, rest = segment[0].lower(), {word.lower() for word in segment[1:]}
    if first in _TIME:
        return not rest or bool(rest & _MOMENT)
    if first in _TIME_PREPOSITIONS:
        return is_noun_phrase(segment[1:]) or segment[1:2] == ["day"]
    return first in {"on", "in", "at"} and bool(rest & _MOMENT or _clock(segment[1:]))


def _clock(words: Sequence[str]) -> bool:
    year = len(words) == 1 and re.fullmatch(r"(?:19|20)\d\d|\d\d?:\d\d", words[0])
    return bool(year or (len(words) == 2 and words[1].lower() in ("am", "pm")))


def place(segment: Sequence[str], verb: str) -> str | None:
    """Tell what a segment belongs to: "time", "verb", "object", or None where that is open."""
    if is_time(segment):
        return "time"
    preposition = segment[0].lower()
    if preposition not in PREPOSITIONS or not is_noun_phrase(segment[1:]):
        return None
    if verb in inflection.governed_by(preposition):
        return "verb"
    finds = verb in inflection.verb_lists()["finding"]
    return "object" if finds and preposition in _PLACE else None


def is_agent(words: Sequence[str], verb: str) -> bool:
    """Tell whether the noun phrase after "by" did it, rather than says when or how."""
    if not is_noun_phrase(words) or _split_at(words, "of")[0][-1].lower() in _NOT_AGENTS:
        return False
    if words[0].lower() in _DETERMINERS | _PERSONS | set(NOMINATIVE) or words[0] in _TITLES:
        return True
    return verb in _REPORTS and _opens(words[0])


def lower_first(words: Sequence[str]) -> list[str]:
    """Take the sentence's capital from a noun phrase; names, "I" and abbreviations keep it."""
    first = words[0]
    abbreviation = first.isupper() and first != "A"
    if abbreviation or not (_opens(first) or is_pronoun(first)):
        return list(words)
    return [first.lower(), *words[1:]]
