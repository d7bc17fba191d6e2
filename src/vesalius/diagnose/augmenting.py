"""Random changes of training records that leave their clinical facts as they were."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from vesalius.diagnose.recipe import Augmentation


class Augmenter:
    """Change the fields of a record, each by the kinds of the recipe.

    Every change comes with the certificate of `vesalius.text.augment`: numbers and units, negations
    and terms are what they were, or the change is not made.

    Args:
        kinds: what may change, in this order.
    """

    def __init__(self, kinds: "Sequence[Augmentation]"):
        from vesalius.text.augmenting import Augmentation as Ready

        self.kinds = [
            (item.probability, Ready(item.kind, strength=item.strength)) for item in kinds
        ]

    def __call__(self, fields: Mapping[str, str], rng: np.random.Generator) -> Mapping[str, str]:
        """Return changed fields; the same object where nothing changed."""
        changed = {name: self._text(text, rng) for name, text in fields.items()}
        return fields if changed == dict(fields) else changed

    def _text(self, text: str, rng: np.random.Generator) -> str:
        for probability, ready in self.kinds:
            if text and rng.random() < probability:
                made = ready.outputs(text, Random(int(rng.integers(2**63))))
                text = made[0].text if made else text
        return text
