"""Vocabularies: the numbers of words.

Unknown words have number 0, padding 1, further special words the numbers from 2; then the words in
the order of their counts, words with equal counts in the order of their code points: the same texts
in any order give the same vocabulary.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vesalius import files
from vesalius.errors import DataError, RecipeError

UNK, PAD = "[UNK]", "[PAD]"
_FORMAT = "vesalius-vocabulary-1"


class Vocabulary:
    """Words and their numbers, 0 to `len(vocabulary)` - 1.

    Args:
        words: the words in the order of their numbers, "[UNK]" and "[PAD]" first.
        counts: how often each was seen, for those where it is known.

    Raises:
        DataError: the order is wrong, or a word is there twice.
    """

    unknown, padding = 0, 1

    def __init__(self, words: Sequence[str], *, counts: Mapping[str, int] | None = None):
        self.words = tuple(words)
        self.counts = dict(counts or {})
        self.numbers = {word: number for number, word in enumerate(self.words)}
        problems = [] if self.words[:2] == (UNK, PAD) else [f"it must begin with {UNK}, {PAD}"]
        if len(self.numbers) < len(self.words):
            twice = [word for word, count in Counter(self.words).items() if count > 1]
            problems.append(f"words that are there twice: {', '.join(twice[:5])}")
        if problems:
            raise DataError("This is not a vocabulary:", problems)

    @classmethod
    def build(
        cls,
        texts: Iterable[Iterable[str]],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        special: Sequence[str] = (),
    ) -> "Vocabulary":
        """Count the words of many texts, which are read once, and number the frequent ones.

        Args:
            texts: the words of each text.
            min_count: rarer words are unknown.
            max_size: largest number of words, the special ones included; None for no limit.
            special: further words that get a number without being seen ("[BOS]" ...).

        Raises:
            RecipeError: a limit that leaves no word.
        """
        counts: Counter[str] = Counter()
        for words in texts:
            if isinstance(words, str):
                raise RecipeError("Vocabulary.build takes cut texts; cut them with words(text).")
            counts.update(words)
        return cls.of_counts(counts, min_count=min_count, max_size=max_size, special=special)

    @classmethod
    def of_counts(
        cls,
        counts: Mapping[str, int],
        *,
        min_count: int = 1,
        max_size: int | None = None,
        special: Sequence[str] = (),
    ) -> "Vocabulary":
        """Number the words of a table of counts; the arguments are those of `build`."""
        first = tuple(dict.fromkeys((UNK, PAD, *special)))
        if min_count < 1 or (max_size is not None and max_size < len(first)):
            raise RecipeError(
                f"min_count {min_count}, max_size {max_size}: give at least 1, and at least "
                f"{len(first)} for the special words."
            )
        frequent = (item for item in counts.items() if item[1] >= min_count)
        ranked = sorted(frequent, key=lambda item: (-item[1], item[0]))
        kept = [(word, count) for word, count in ranked if word not in first]
        if max_size is not None:
            kept = kept[: max_size - len(first)]
        return cls([*first, *(word for word, _ in kept)], counts=dict(kept))

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.numbers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    def encode(self, words: Iterable[str], *, length: int | None = None) -> list[int]:
        """Return the numbers of words, 0 for unknown ones; cut or padded to `length` if given."""
        get = self.numbers.get
        numbers = [get(word, self.unknown) for word in words]
        if length is None:
            return numbers
        return numbers[:length] + [self.padding] * (length - len(numbers))

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """Return the words of numbers; padding is left out, unknown words are "[UNK]".

        Raises:
            DataError: a number that is not in the vocabulary.
        """
        found = [int(number) for number in numbers]
        wrong = sorted({number for number in found if not 0 <= number < len(self)})
        if wrong:
            raise DataError(f"numbers {wrong[:5]}: the vocabulary has 0 to {len(self) - 1}.")
        return [self.words[number] for number in found if number != self.padding]

    def save(self, path: str | Path) -> None:
        """Write a JSON file.

        Raises:
            StorageError: it cannot be written; what was there before is untouched.
        """
        content = {"format": _FORMAT, "words": self.words, "counts": self.counts}
        files.write_text(path, json.dumps(content, ensure_ascii=False, indent=0) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Vocabulary":
        """Read what `save` wrote.

        Raises:
            DataError: no such file, or not a vocabulary.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(f"There is no vocabulary {path}.") from None
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is not a vocabulary in JSON: {error}.") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise DataError(f'{path} is not a vocabulary: it has no "format": "{_FORMAT}".')
        return cls(content["words"], counts=content["counts"])
