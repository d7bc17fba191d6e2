"""QWERTY typing errors: a letter becomes one that lies beside it on the keyboard.

As in Belinkov and Bisk 2018 ("key" noise) and nlpaug's KeyboardAug, but for letters only: digits,
signs, abbreviations in capitals (CT, BP) and words with digits (CA125, B12) are never touched,
since a slip there would be another statement rather than a typing error.
"""

import re
from collections.abc import Sequence
from random import Random

from vesalius.errors import RecipeError
from vesalius.text.augmenters.base import Edit, Piece, Proposal, free, how_many, proposal

# Rows of a US keyboard; each is moved right by about half a key against the one above.
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_WORD = re.compile(r"[A-Za-z]?[a-z]+")


def _neighbours() -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for row, keys in enumerate(_ROWS):
        for column, key in enumerate(keys):
            places = [(row, column - 1), (row, column + 1)]
            places += [(row - 1, column), (row - 1, column + 1)]
            places += [(row + 1, column - 1), (row + 1, column)]
            found[key] = [_ROWS[r][c] for r, c in places if 0 <= r < 3 and 0 <= c < len(_ROWS[r])]
    return {key: "".join(sorted(keys)) for key, keys in found.items()}


NEIGHBOURS = _neighbours()
"""Letter -> the letters that touch its key."""


class Qwerty:
    """Replace letters of words by neighbours on a US keyboard, one letter per word.

    Args:
        min_length: shorter words stay as they are; a slip makes another word of most of them.
    """

    def __init__(self, *, min_length: int = 4):
        if min_length < 1:
            raise RecipeError(f"min_length must be at least 1; it is {min_length}")
        self._min_length = min_length

    def propose(self, text: str, pieces: Sequence[Piece], rng: Random, strength: float) -> Proposal:
        """Put one typing error into `strength` of the Latin words."""
        places = [
            pieces[i]
            for i in free(pieces)
            if len(pieces[i].text) >= self._min_length and _WORD.fullmatch(pieces[i].text)
        ]
        if not places:
            return Proposal(text)
        chosen = rng.sample(places, how_many(len(places), strength))
        return proposal(text, [_slip(piece, rng) for piece in chosen])


def _slip(piece: Piece, rng: Random) -> Edit:
    at = rng.randrange(len(piece.text))
    old = piece.text[at]
    new = rng.choice(NEIGHBOURS[old.lower()])
    start = piece.start + at
    return Edit(start, start + 1, old, new.upper() if old.isupper() else new)
