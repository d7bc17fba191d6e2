"""A certificate that two texts state the same clinical facts."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from vesalius.errors import RecipeError
from vesalius.text.augmenters.base import Edit, apply
from vesalius.text.facts import clauses, remembered, stated
from vesalius.text.lexicons import Lexicon, LexiconLike, resolve

ALLOWED = ("number", "negation", "term", "order")
_CONTRACTED = re.compile(r"\bcan['’]t\b|\bcannot\b|n['’]t\b", re.IGNORECASE)
"""Forms of "not": "doesn't smoke" and "does not smoke" negate the same."""
Key = tuple[str, str, str]
"""Kind, text without its white space, and the negation that governs it."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One fact that is not the same.

    Attributes:
        kind: "number", "negation", "term", "order" or "edits".
        change: "lost", "added", "negation changed", "moved" or "do not give the text".
        text: the fact.
    """

    kind: str
    change: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind} {self.change}: {self.text}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Whether all facts survived, and which did not."""

    ok: bool
    violations: tuple[Violation, ...] = ()


_CLEAN = Certificate(True)


def certify(
    before: str,
    after: str,
    *,
    edits: Sequence[Edit] | None = None,
    lexicon: LexiconLike = None,
    allow: Collection[str] = (),
) -> Certificate:
    """Compare the facts of two texts: each as often, in the same order, equally negated.

    A negation is compared with the whole of its scope: "否认糖尿病史" and "否认肺结核史" differ
    even where neither disease is known to the lexicon.

    Args:
        before: the original.
        after: the new text.
        edits: sorted edits that claim to lead from `before` to `after`; checked when given.
        lexicon: see `vesalius.text.facts.facts`.
        allow: what may differ: "number", "negation", "term", or "order" (the same facts, moved).

    Raises:
        RecipeError: `allow` has an unknown word.

    >>> certify("否认糖尿病", "患者否认糖尿病").ok
    True
    >>> [str(violation) for violation in certify("血压120mmHg", "血压130mmHg").violations]
    ['number lost: 120mmHg', 'number added: 130mmHg']
    """
    if allow and (unknown := set(allow).difference(ALLOWED)):
        raise RecipeError(f"cannot allow '{unknown.pop()}'; known: {', '.join(ALLOWED)}.")
    lexicon = resolve(lexicon)
    found = [] if edits is None or fits(before, after, edits) else [NOT_REPLAYED]
    if not _alike(before, after, lexicon):
        found += _differences(keys(before, lexicon), keys(after, lexicon), allow)
    return Certificate(False, tuple(found)) if found else _CLEAN


def _alike(before: str, after: str, lexicon: Lexicon) -> bool:
    """Whether clause by clause the facts are the same; most clauses are, to the character."""
    old, new = clauses(before), clauses(after)
    if len(old) != len(new):
        return False
    for one, two in zip(old, new, strict=True):
        if one != two and _keys_of_clause(one, lexicon) != _keys_of_clause(two, lexicon):
            return False
    return True


def keys(text: str, lexicon: Lexicon) -> list[Key]:
    """Return what is compared of each fact, in order."""
    return [key for clause in clauses(text) for key in _keys_of_clause(clause, lexicon)]


@remembered
def _keys_of_clause(clause: str, lexicon: Lexicon) -> tuple[Key, ...]:
    found = stated(clause, lexicon)
    if _CONTRACTED.search(clause):
        return tuple(
            (kind, "".join(_CONTRACTED.sub("not", text).split()), _CONTRACTED.sub("not", cue))
            for _, _, kind, text, cue in found
        )
    if len(clause.split()) > 1:
        return tuple((kind, "".join(text.split()), cue) for _, _, kind, text, cue in found)
    return tuple((kind, text, cue) for _, _, kind, text, cue in found)


NOT_REPLAYED = Violation("edits", "do not give the text", "")


def fits(before: str, after: str, edits: Sequence[Edit]) -> bool:
    """Whether sorted edits lead from one text to the other."""
    try:
        return apply(before, edits) == after
    except ValueError:
        return False


def _differences(old: list[Key], new: list[Key], allow: Collection[str]) -> list[Violation]:
    old = [key for key in old if key[0] not in allow]
    new = [key for key in new if key[0] not in allow]
    if "negation" in allow:
        old, new = ([(kind, text, "") for kind, text, _ in part] for part in (old, new))
    lost, added = Counter(old) - Counter(new), Counter(new) - Counter(old)
    if not lost and not added:
        moved = next((a for a, b in zip(old, new, strict=True) if a != b), None)
        return [] if moved is None or "order" in allow else [Violation("order", "moved", moved[1])]
    return _named(lost, added)


def _named(lost: "Counter[Key]", added: "Counter[Key]") -> list[Violation]:
    """Name each difference; a term that is there on both sides changed its negation."""
    now = {text: cue for kind, text, cue in added if kind == "term"}
    turned = {text for kind, text, _ in lost if kind == "term" and text in now}
    found = []
    for change, group in (("lost", lost), ("added", added)):
        for (kind, text, cue), times in group.items():
            if kind == "term" and text in turned:
                if change == "lost":
                    was, is_now = cue or "affirmed", now[text] or "affirmed"
                    found.append(
                        Violation("term", "negation changed", f"{text} ({was} -> {is_now})")
                    )
                continue
            found += [Violation(kind, change, text)] * times
    return found
