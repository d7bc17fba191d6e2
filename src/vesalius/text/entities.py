"""Named entities of clinical texts, Chinese and English: diseases, drugs, symptoms, times, people.

Entities are the terms, numbers and negations of `text/facts.py` with the kind that the lexicon or
the name's ending gives them, times by expressions, and people by the rules of `text/personal.py`.
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vesalius.text.facts import Fact
    from vesalius.text.lexicons import LexiconLike


class Entity(NamedTuple):
    """A named entity; `text[start:end]` is its text.

    Attributes:
        kind: "disease", "drug", "symptom", "examination", "procedure", "anatomy", "finding",
            "number", "time", "person", or "term" for lexicon terms without a known kind.
        negated: whether a negation governs it.
    """

    kind: str
    start: int
    end: int
    text: str
    negated: bool = False


_UNIT_OF_TIME = "(?:年|个?月|周|星期|天|日|小时|h|分钟|min|秒)"
_TIME = re.compile(
    r"\d{2,4}[-/.年]\s?\d{1,2}(?:[-/.月]\s?\d{1,2}日?|月)"  # 2019-03-05, 2019年3月
    r"|(?<!\d)[012]?\d[:：][0-5]\d(?!\d)(?:\s?[ap]\.?m\b\.?)?"
    r"|(?:约|近)?(?:\d+(?:\.\d+)?|[一二三四五六七八九十两半数几]+)\+?余?"
    rf"{_UNIT_OF_TIME}余?(?:以?来|前|后|内)?"
    r"|(?:\d+|one|two|three|several)\s(?:year|month|week|day|hour|minute)s?(?:\sago|\slater)?\b"
    r"|(?:今|昨|前|次|翌)[日天晨晚]|yesterday|today|tonight",
    re.IGNORECASE,
)
_KIND_OF_ENDING = {
    "disease": "炎|癌|瘤|病|症|综合征|梗死|梗塞|骨折|结石|itis|osis|oma|emia|pathy",
    "drug": "霉素|西林|沙星|洛尔|地平|普利|沙坦|他汀|拉唑|pril|olol|statin|cillin|mycin",
    "symptom": "痛|痒|肿|麻木|乏力|dynia|algia",
    "examination": "检查|造影|超声|ct|mri|镜检|graphy|scopy",
    "procedure": "术|ectomy|plasty|stomy",
}
_ENDINGS = [
    (re.compile(f"(?:{endings})$", re.IGNORECASE), kind)
    for kind, endings in _KIND_OF_ENDING.items()
]


def entities(text: str, *, lexicon: "LexiconLike" = None, people: bool = True) -> list[Entity]:
    """Return the named entities of a clinical text in order; none overlaps another.

    Of overlapping ones a person goes before a time, a time before a term, a term before a number:
    "3天前" is a time, "2型糖尿病" a disease.

    Args:
        text: any length.
        lexicon: as in `vesalius.text.facts.facts`.
        people: look for names of people.

    Raises:
        DataError: the lexicon cannot be read.

    Examples:
        >>> [(e.kind, e.text, e.negated) for e in entities("3天前咳嗽，否认2型糖尿病")]
        [('time', '3天前', False), ('symptom', '咳嗽', False), ('disease', '2型糖尿病', True)]
    """
    from vesalius.text.facts import facts

    found = facts(text, lexicon=lexicon)
    terms = [_of_fact(fact) for fact in found if fact.kind == "term"]
    numbers = [Entity("number", *fact[1:4]) for fact in found if fact.kind == "number"]
    times = [Entity("time", *match.span(), match.group()) for match in _TIME.finditer(text)]
    ranked = [*(_people(text) if people else []), *times, *terms, *numbers]
    return sorted(_apart(ranked), key=lambda entity: entity.start)


def _of_fact(fact: "Fact") -> Entity:
    return Entity(kind_of(fact.text), fact.start, fact.end, fact.text, fact.negated)


def kind_of(term: str) -> str:
    """Return the kind of a term: by the package's lexicon, else by its ending, else "term"."""
    known = _kinds().get(term.lower())
    if known is not None:
        return known
    return next((kind for ending, kind in _ENDINGS if ending.search(term)), "term")


@lru_cache(maxsize=1)
def _kinds() -> dict[str, str]:
    from vesalius.text.lexicons import by_category

    return {term.lower(): kind for kind, terms in by_category().items() for term in terms}


def _people(text: str) -> list[Entity]:
    from vesalius.text.personal import find_personal

    spans = find_personal(text)
    return [
        Entity("person", span.start, span.end, span.text) for span in spans if span.kind == "name"
    ]


def _apart(ranked: list[Entity]) -> list[Entity]:
    """Return the entities, given in order of preference, that overlap no preferred one."""
    kept: list[Entity] = []
    taken: set[int] = set()
    for entity in ranked:
        places = range(entity.start, entity.end)
        if taken.isdisjoint(places):
            kept.append(entity)
            taken.update(places)
    return kept
