"""Variations of clinical texts that state the same facts, with an edit log and a certificate."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any, Literal, NamedTuple, overload

from vesalius.errors import RecipeError
from vesalius.text import augmenters
from vesalius.text.augmenters.base import Augmenter, Edit, Piece, Proposal
from vesalius.text.certificate import NOT_REPLAYED, Certificate, certify, fits
from vesalius.text.lexicons import Lexicon, LexiconLike, resolve
from vesalius.text.pieces import cut
from vesalius.text.streams import Output

_STALE = 4
"""Proposals without a change, one after the other, after which a text has no more to give."""


class Augmented(NamedTuple):
    """One new text, the edits that made it, and the certificate of its facts."""

    text: str
    edits: tuple[Edit, ...]
    certificate: Certificate


class Augmentation:
    """A kind of augmentation with its settings, ready for many texts; it can be pickled.

    Args:
        kind: a name of `kinds()`, or an augmenter of one's own.
        strength: share of the words that change, in (0, 1].
        protect: lock what carries a fact and reject what changes one.
        lexicon: more terms to protect (see `vesalius.text.lexicons.resolve`).
        **options: of the kind.

    Raises:
        RecipeError: unknown kind or option, strength out of its range.
        MissingDependencyError: what the kind needs is not installed.
    """

    def __init__(
        self,
        kind: str | Augmenter,
        *,
        strength: float = 0.1,
        protect: bool = True,
        lexicon: LexiconLike = None,
        **options: Any,
    ):
        if not 0 < strength <= 1:
            raise RecipeError(f"strength is {strength}; give a share in (0, 1].")
        if not isinstance(kind, str) and options:
            raise RecipeError("options belong to a kind given by name; build the augmenter first.")
        self.augmenter = augmenters.build(kind, **options) if isinstance(kind, str) else kind
        self.strength, self.protect = strength, protect
        self.lexicon: Lexicon = resolve(lexicon)
        self.allows: tuple[str, ...] = getattr(self.augmenter, "allows", ())
        self.keeps_text: bool = getattr(self.augmenter, "keeps_text", False)

    def outputs(self, text: str, rng: Random, n: int = 1) -> list[Augmented]:
        """Return up to `n` new texts: distinct, not the input, each with its facts unchanged."""
        if not text.strip():
            return []
        pieces = cut(text, self.lexicon, protect=self.protect)
        found: dict[str, Augmented] = {}
        stale, attempts = 0, 10 + 5 * n
        while len(found) < n and attempts and stale < _STALE:
            attempts -= 1
            proposal = self.augmenter.propose(text, pieces, rng, self.strength)
            if self.keeps_text:
                return [Augmented(text, (), certify(text, text, lexicon=self.lexicon))] * n
            if proposal.text == text:
                stale += 1
                continue
            stale = 0
            if proposal.text not in found:
                certificate = self._certificate(text, proposal)
                if certificate.ok or not self.protect:
                    found[proposal.text] = Augmented(proposal.text, proposal.edits, certificate)
        return list(found.values())

    def _certificate(self, text: str, proposal: Proposal) -> Certificate:
        new, edits, reference = proposal
        if reference is None:
            return certify(text, new, edits=edits, lexicon=self.lexicon, allow=self.allows)
        if not fits(text, new, edits):
            return Certificate(False, (NOT_REPLAYED,))
        return certify(reference, new, lexicon=self.lexicon, allow=self.allows)


@dataclass(frozen=True)
class AugmentWork:
    """The work of `vesalius text augment`: each text gives its variations.

    Args:
        augmentation: what is done.
        n: variations per text.
        keep: the text itself comes first.
        log: each output carries its edits and its certificate as a note.
    """

    augmentation: Augmentation
    n: int = 1
    keep: bool = False
    log: bool = False

    def __call__(self, text: str, rng: Random) -> list[Output]:
        """Return the outputs for one text."""
        made = self.augmentation.outputs(text, rng, self.n)
        outputs = [Output(one.text, self._note(text, one)) for one in made]
        return [Output(text), *outputs] if self.keep else outputs

    def _note(self, text: str, one: Augmented) -> Mapping[str, Any]:
        if not self.log:
            return {"made": 1}
        edits = [edit._asdict() for edit in one.edits]
        certificate = {
            "ok": one.certificate.ok,
            "violations": [str(violation) for violation in one.certificate.violations],
        }
        return {
            "made": 1, "before": text, "after": one.text, "edits": edits, "certificate": certificate
        }  # fmt: skip


@overload
def augment(text: str, kind: str, *, log: Literal[True], **settings: Any) -> list[Augmented]: ...
@overload
def augment(text: str, kind: str, **settings: Any) -> list[str]: ...


def augment(
    text: str,
    kind: str = "eda",
    *,
    strength: float = 0.1,
    n: int = 1,
    seed: int = 0,
    protect: bool = True,
    lexicon: LexiconLike = None,
    log: bool = False,
    **options: Any,
) -> "list[str] | list[Augmented]":
    """Return variations of a text that state the same clinical facts.

    Numbers with their units, negations with their scope, and names of diseases, drugs, symptoms
    and examinations do not change; what changes one is rejected. The outputs are distinct and
    differ from the input (but for "duplicate", the control); they are fewer than `n` where the
    text gives no more, and depend on the arguments alone.

    Args:
        text: Chinese, English or both.
        kind: a name of `kinds()`.
        strength: share of the words that change, in (0, 1]: alpha of EDA, p of UDA, gamma of
            the noises.
        n: number of outputs, at least 1.
        seed: of the random choices.
        protect: False lets facts change.
        lexicon: a file or a list of further terms to protect.
        log: return `Augmented(text, edits, certificate)` instead of strings.
        **options: of the kind.

    Raises:
        RecipeError: unknown kind or option, or a value out of its range.
        MissingDependencyError: what the kind needs is not installed.

    >>> augment("患者自行服药后来我院就诊", "swap", seed=1) != ["患者自行服药后来我院就诊"]
    True
    """
    if n < 1:
        raise RecipeError(f"n is {n}; give at least 1.")
    if not isinstance(lexicon, str | Lexicon | None):
        lexicon = resolve(lexicon)
    settings = dict(strength=strength, protect=protect, lexicon=lexicon, **options)
    try:
        ready = _ready(kind, tuple(settings.items()))
    except TypeError:  # an option that cannot be a key, as a list of texts
        ready = Augmentation(kind, **settings)
    made = ready.outputs(text, Random(seed << 32 | zlib.crc32(text.encode())), n)
    return made if log else [one.text for one in made]


@lru_cache(maxsize=16)
def _ready(kind: str, settings: tuple[tuple[str, Any], ...]) -> Augmentation:
    return Augmentation(kind, **dict(settings))


def kinds() -> list[augmenters.Kind]:
    """Return what is known of every kind: name, language, paper, what it needs."""
    return list(augmenters.KINDS.values())


__all__ = ["AugmentWork", "Augmentation", "Augmented", "Piece", "augment", "kinds"]
