"""Read the marked sentences and count what is found of them."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from vesalius.text.personal import find_personal

_MARK = re.compile(r"\{([a-z_]+)\|([^{}]*)\}")


@dataclass
class Counts:
    """`missed` and `false` list (sentence, what) for the reader of a failed test."""

    marked: int
    found: int
    exact: int
    right: int
    missed: list
    false: list

    @property
    def recall(self) -> float:
        """Share of marked spans whose every character was found."""
        return self.found / max(1, self.marked)

    @property
    def precision(self) -> float:
        """Share of found spans that touch a marked one."""
        return self.right / max(1, self.right + len(self.false))


def read(path: Path) -> list[tuple[str, list[tuple[int, int, str]]]]:
    """Return (text, marked spans as start, end, kind) of a YAML file of marked sentences."""
    return [unmark(line) for line in yaml.safe_load(path.read_text(encoding="utf-8"))]


def unmark(line: str) -> tuple[str, list[tuple[int, int, str]]]:
    """Return a marked sentence without its marks, and where they were."""
    text, spans, position = "", [], 0
    for match in _MARK.finditer(line):
        text += line[position : match.start()]
        spans.append((len(text), len(text) + len(match[2]), match[1]))
        text, position = text + match[2], match.end()
    return text + line[position:], spans


def evaluate(cases, find=find_personal) -> Counts:
    """Count marked spans that are found, and found spans that are marked."""
    counts = Counts(0, 0, 0, 0, [], [])
    for text, marked in cases:
        spans = find(text)
        covered = {place for span in spans for place in range(span.start, span.end)}
        exact = {(span.start, span.end, span.kind) for span in spans}
        for start, end, kind in marked:
            whole = all(i in covered or text[i].isspace() for i in range(start, end))
            counts.marked += 1
            counts.found += whole
            counts.exact += (start, end, kind) in exact
            if not whole:
                counts.missed.append((kind, text[start:end], text))
        for span in spans:
            right = any(span.start < end and start < span.end for start, end, _ in marked)
            counts.right += right
            if not right:
                counts.false.append((span.kind, span.text, text))
    return counts
