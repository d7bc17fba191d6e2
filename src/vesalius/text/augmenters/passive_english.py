"""English active to passive and back (Coulombe 2018, section 3.6, there by a dependency parser).

    "The doctor treated the patient."  <->  "The patient was treated by the doctor."

Sentences of which `english_clauses` is not certain come back as None, unchanged by anybody. So do
negated ones: their scope would move.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from vesalius.text.augmenters import inflection
from vesalius.text.augmenters.english_clauses import (
    BE,
    MODALS,
    NOMINATIVE,
    OBJECTIVE,
    PREPOSITIONS,
    Clause,
    frame,
    has_verb,
    is_agent,
    is_noun_phrase,
    lower_first,
    number,
    place,
    segments,
    transitive,
    words_of,
)
from vesalius.text.augmenters.inflection import word_list

Tagger = Callable[[list[str]], Sequence[str]]

_ADVERBS = word_list("adverbs")


def to_passive(sentence: str, *, tagger: Tagger | None = None) -> str | None:
    """Return the passive of an active sentence, or None where that is not certain.

    Args:
        sentence: one English sentence.
        tagger: words -> Penn Treebank tags; a reading that it contradicts is declined.
    """
    clause = parse_active(sentence, tagger=tagger)
    if clause is None or (auxiliary := _passive_auxiliary(clause)) is None:
        return None
    participle = inflection.verb_forms(clause.verb)["participle"]
    first, *rest = auxiliary
    words = [
        NOMINATIVE.get(clause.object, clause.object),
        first,
        *clause.adverbs,
        *rest,
        participle,
        *clause.attached,
        "by",
        OBJECTIVE.get(clause.subject, clause.subject),
        *clause.trailing,
    ]
    return _sentence(clause, words)


def to_active(sentence: str, *, tagger: Tagger | None = None) -> str | None:
    """Return the active of a passive sentence with a by-phrase, or None."""
    clause = parse_passive(sentence, tagger=tagger)
    if clause is None or (group := _active_group(clause)) is None:
        return None
    auxiliary, verb = group
    words = [
        NOMINATIVE.get(clause.subject, clause.subject),
        *auxiliary,
        *clause.adverbs,
        verb,
        OBJECTIVE.get(clause.object, clause.object),
        *clause.attached,
        *clause.trailing,
    ]
    return _sentence(clause, words)


def parse_active(sentence: str, *, tagger: Tagger | None = None) -> Clause | None:
    """Read an active clause; None unless exactly one reading is whole."""
    lead, body, end = frame(sentence)
    words = words_of(body)
    if words is None:
        return None
    readings = [
        replace(clause, lead=lead, end=end)
        for i in range(1, len(words) - 1)
        for clause in _active_readings(words, i, tagger)
    ]
    return readings[0] if len(readings) == 1 else None


def parse_passive(sentence: str, *, tagger: Tagger | None = None) -> Clause | None:
    """Read a passive clause with an agent; None unless exactly one reading is whole."""
    lead, body, end = frame(sentence)
    words = words_of(body)
    if words is None or words.count("by") != 1:
        return None
    readings = [
        replace(clause, lead=lead, end=end)
        for i in range(1, words.index("by"))
        if (clause := _passive_reading(words, i, tagger)) is not None
    ]
    return readings[0] if len(readings) == 1 else None


def _active_readings(words: list[str], i: int, tagger: Tagger | None) -> list[Clause]:
    found = inflection.analyse(words[i].lower(), transitive())
    start, adverbs, helpers = _group_start(words, i)
    subject, after = words[:start], words[i + 1 :]
    if not found or not is_noun_phrase(subject, first=True):
        return []
    if not _agrees_with_tags(tagger, words, i):
        return []
    clauses = []
    for verb, feature in sorted(found):
        tense = _tense(helpers, feature, number(subject), subject)
        clause = tense and _complete(subject, verb, tense, adverbs, after)
        if clause:
            clauses.append(clause)
    return clauses


def _complete(
    subject: list[str], verb: str, tense: str, adverbs: list[str], after: list[str]
) -> Clause | None:
    """Cut object and segments out of what follows the verb."""
    head, *rest = segments(after) if after else [[]]
    if not head or not is_noun_phrase(head) or head[0] in set(OBJECTIVE) - {"it", "you"}:
        return None
    if head[0].endswith("ing"):  # "started walking": a clause of its own
        return None
    owners = [(place(segment, verb), " ".join(segment)) for segment in rest]
    kinds = [kind for kind, _ in owners]
    if None in kinds or kinds != sorted(kinds, key=["object", "verb", "time"].index):
        return None
    chosen = {
        kind: tuple(text for owner, text in owners if owner == kind)
        for kind in ("object", "verb", "time")
    }
    return Clause(
        lead="",
        subject=" ".join(lower_first(subject)),
        object=" ".join([*head, *chosen["object"]]),
        verb=verb,
        tense=tense,
        adverbs=tuple(adverbs),
        plural=(number(subject), number(head)),
        attached=chosen["verb"],
        trailing=chosen["time"],
    )


def _group_start(words: list[str], i: int) -> tuple[int, list[str], list[str]]:
    """Return where the verb group begins, its adverbs and its helping verbs."""
    start, adverbs, helpers = i, [], []
    while start > 1:
        word = words[start - 1].lower()
        if word in _ADVERBS or (word.endswith("ly") and word not in ("family", "daily")):
            adverbs.insert(0, word)
        elif word in MODALS | BE | {"has", "have", "had"} and len(helpers) < 1:
            helpers.insert(0, word)
        else:
            break
        start -= 1
    return start, adverbs, helpers


def _tense(helpers: list[str], feature: str, plural: bool | None, subject: list[str]) -> str | None:
    """Return the tense that helpers and the form of the verb make, or None where they do not."""
    if not helpers:
        if feature == "past":
            return "past"
        agrees = {"third": plural is False, "base": plural is True}
        return "present" if agrees.get(feature) else None
    helper = helpers[0]
    if helper in MODALS:
        return helper if feature == "base" else None
    if feature == "participle" and helper in ("has", "have", "had"):
        return "had" if helper == "had" else "has"
    if feature == "gerund" and helper in BE:
        return "past progressive" if helper in ("was", "were") else "progressive"
    return None


def _passive_auxiliary(clause: Clause) -> list[str] | None:
    """Return the words between the new subject and the participle."""
    if clause.tense in MODALS:
        return [clause.tense, "be"]
    if clause.tense == "had":
        return ["had", "been"]
    be = _be(clause.object, clause.plural[1], past=clause.tense.startswith("past"))
    if be is None:
        return None
    if clause.tense == "has":
        return ["has" if be == "is" else "have", "been"]
    return [be, "being"] if clause.tense.endswith("progressive") else [be]


def _be(phrase: str, plural: bool | None, *, past: bool) -> str | None:
    if plural is None:
        return None
    if phrase in ("I", "me"):
        return "was" if past else "am"
    return ("were" if plural else "was") if past else ("are" if plural else "is")


def _active_group(clause: Clause) -> tuple[list[str], str] | None:
    """Return helping verbs and the main verb's form for the agent."""
    forms = inflection.verb_forms(clause.verb)
    if clause.tense in MODALS:
        return [clause.tense], forms["base"]
    if clause.tense == "past":
        return [], forms["past"]
    if clause.tense == "had":
        return ["had"], forms["participle"]
    be = _be(clause.subject, clause.plural[0], past=clause.tense.startswith("past"))
    if be is None:
        return None
    if clause.tense == "has":
        return ["has" if be == "is" else "have"], forms["participle"]
    if clause.tense.endswith("progressive"):
        return [be], forms["gerund"]
    return [], forms["third" if be == "is" else "base"]


def _passive_reading(words: list[str], i: int, tagger: Tagger | None) -> Clause | None:
    found = {
        verb
        for verb, feature in inflection.analyse(words[i].lower(), transitive())
        if feature == "participle"
    }
    group = _passive_group(words, i)
    if len(found) != 1 or group is None or not _agrees_with_tags(tagger, words, i):
        return None
    (verb,) = found
    start, tense, adverbs = group
    by = words.index("by")
    agent, *trailing = segments(words[by + 1 :]) if words[by + 1 :] else [[]]
    between = segments(words[i + 1 : by]) if words[i + 1 : by] else []
    head = _patient(words[:start], verb)
    if head is None or not agent or not is_agent(agent, verb):
        return None
    if any(place(segment, verb) != "verb" for segment in between):
        return None
    if any(place(segment, verb) != "time" for segment in trailing):
        return None
    return Clause(
        lead="",
        subject=" ".join(agent),
        object=" ".join(lower_first(words[:start])),
        verb=verb,
        tense=tense,
        adverbs=tuple(adverbs),
        plural=(number(agent), number(head)),
        attached=tuple(" ".join(segment) for segment in between),
        trailing=tuple(" ".join(segment) for segment in trailing),
    )


def _patient(words: list[str], verb: str) -> list[str] | None:
    """Return the head phrase of a passive subject, which places may follow for findings."""
    if not words or has_verb(words):
        return None
    cut = next((i for i, word in enumerate(words) if word.lower() in PREPOSITIONS), len(words))
    head, rest = words[:cut], segments(words[cut:]) if words[cut:] else []
    opens = is_noun_phrase(head, first=True)
    places = all(place(segment, verb) == "object" for segment in rest)
    return head if opens and places else None


def _passive_group(words: list[str], i: int) -> tuple[int, str, list[str]] | None:
    """Return where a passive verb group that ends at word `i` begins, its tense and adverbs."""
    start, adverbs, helpers = i, [], []
    while start > 1 and len(helpers) < 2:
        word = words[start - 1].lower()
        if word in _ADVERBS or word.endswith("ly"):
            adverbs.insert(0, word)
        elif word in MODALS | BE | {"be", "been", "being", "has", "have", "had"}:
            helpers.insert(0, word)
        else:
            break
        start -= 1
    tense = _passive_tense(helpers)
    return None if tense is None else (start, tense, adverbs)


def _passive_tense(helpers: list[str]) -> str | None:
    match helpers:
        case [modal, "be"] if modal in MODALS:
            return modal
        case ["had", "been"]:
            return "had"
        case ["has" | "have", "been"]:
            return "has"
        case ["was" | "were"]:
            return "past"
        case ["is" | "are" | "am"]:
            return "present"
        case ["was" | "were", "being"]:
            return "past progressive"
        case ["is" | "are" | "am", "being"]:
            return "progressive"
    return None


def _agrees_with_tags(tagger: Tagger | None, words: list[str], i: int) -> bool:
    return tagger is None or tagger(words)[i].startswith("VB")


def _sentence(clause: Clause, words: list[str]) -> str:
    body = " ".join(words)
    opens = not clause.lead and re.match(r"[a-z]", body)
    return clause.lead + (body[0].upper() + body[1:] if opens else body) + clause.end
