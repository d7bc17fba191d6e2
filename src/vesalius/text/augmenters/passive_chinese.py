"""Chinese 把 and 被 sentences: 医生切除了肿瘤 <-> 医生把肿瘤切除了 <-> 肿瘤被医生切除了.

Rules after Li and Thompson 1981 (chapters 15 and 16): the object of 把 and the subject of 被 are
definite, the verb disposes of its object and is complete (了, a result, or 已 before it). Agents,
verbs and adverbs come from the lists of `chinese_verbs.yaml`. Declined are negations (未, 没, 不:
they stand before 把 and 被, so their scope would move), objects that begin with a number and its
measure word (indefinite), and everything after the verb other than 了.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

# What an object may not contain: other verbs' particles, negations, clause joiners, numbers.
_NOT_IN_OBJECTS = re.compile(
    r"[了着过把被给将对向从往未没不无否非勿莫是有使让叫由并且而但或因为所得地吗呢吧啊"
    r"一两三四五六七八九十百千万几0-9０-９A-Za-z\s（）()《》:：、]"
)
# 的 joins a phrase, but must not open or close it.
_OBJECT = re.compile(r"(?!的)[\u4e00-\u9fff]{2,12}(?<!的)")
VOICES = ("active", "ba", "bei")


@dataclass(frozen=True)
class Disposal:
    """A clause in which somebody disposes of something.

    Attributes:
        opening: a time before everything else, or "".
        agent: who acts.
        adverbs: what stands before the verb, as written.
        verb: with its result (控制住) and the manner before it (彻底切除).
        perfective: whether 了 follows the verb.
        object: what it happens to.
        voice: "active", "ba" or "bei", as it was written.
    """

    opening: str
    agent: str
    adverbs: str
    verb: str
    perfective: bool
    object: str
    voice: str


def parse(clause: str) -> Disposal | None:
    """Read a clause without its punctuation; None where its structure is not certain."""
    for voice in VOICES:
        match = _patterns()[voice].fullmatch(clause)
        if match and (found := _checked(match, voice)) is not None:
            return found
    return None


def render(clause: Disposal, voice: str) -> str:
    """Write the clause as "active", "ba" or "bei"."""
    perfective = "了" if clause.perfective else ""
    if voice == "active":
        core = f"{clause.agent}{clause.adverbs}{clause.verb}{perfective}{clause.object}"
    elif voice == "ba":
        core = f"{clause.agent}{clause.adverbs}把{clause.object}{clause.verb}{perfective}"
    else:
        core = f"{clause.object}{clause.adverbs}被{clause.agent}{clause.verb}{perfective}"
    return clause.opening + core


def rewordings(clause: str, voices: Sequence[str] = VOICES) -> list[str]:
    """Return the clause in those of `voices` that it is not in; empty where it is not certain.

    Every result can be read back: `parse` of it gives the same clause in the other voice.
    """
    found = parse(clause)
    if found is None:
        return []
    others = [render(found, voice) for voice in voices if voice != found.voice]
    return [other for other in others if _same(parse(other), found)]


def _same(first: Disposal | None, second: Disposal) -> bool:
    return first is not None and replace(first, voice=second.voice) == second


def _checked(match: re.Match[str], voice: str) -> Disposal | None:
    thing = match["object"]
    if _NOT_IN_OBJECTS.search(thing) or not _OBJECT.fullmatch(thing) or _holds_verb(thing):
        return None
    adverbs = match["adverbs"] or ""
    perfective = bool(match["perfective"])
    if not perfective and not any(adverb in adverbs for adverb in _words("completing")):
        return None
    return Disposal(
        match["opening"] or "", match["agent"], adverbs, match["verb"], perfective, thing, voice
    )


def _holds_verb(thing: str) -> bool:
    return any(verb in thing for verb in _words("disposal"))


@cache
def _patterns() -> dict[str, re.Pattern[str]]:
    opening = f"(?P<opening>{_any('openings')})?"
    agent = f"(?P<agent>(?:{_any('before_agents')})?(?:的)?{_any('agents')})"
    adverbs = f"(?P<adverbs>(?:{_any('adverbs')}){{0,3}})"
    verb = f"(?P<verb>(?:{_any('manner')}地?)?{_any('disposal')})(?P<perfective>了)?"
    thing = r"(?P<object>[\u4e00-\u9fff]+?)"
    return {
        "active": re.compile(f"{opening}{agent}{adverbs}{verb}(?P<object>[\u4e00-\u9fff]+)"),
        "ba": re.compile(f"{opening}{agent}{adverbs}[把将]{thing}{verb}"),
        "bei": re.compile(f"{opening}{thing}{adverbs}被{agent}{verb}"),
    }


def _any(name: str) -> str:
    return "(?:" + "|".join(sorted(_words(name), key=len, reverse=True)) + ")"


@cache
def _words(name: str) -> frozenset[str]:
    import yaml

    text = (files(__package__) / "chinese_verbs.yaml").read_text(encoding="utf-8")
    return frozenset(yaml.safe_load(text)[name].split())
