"""What carried a disease: the sentences without which the model would not have said it.

Evidence is measured, not read off attention: each sentence is left out in turn, and what the log
odds of the disease lose is how much the sentence carried (leave-one-out; Li, Monroe and Jurafsky
2016). A sentence in which the disease itself is denied is never evidence for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import torch

from vesalius.diagnose.answers import Evidence
from vesalius.engine.task import Case

AT_ONCE = 16
"""Variants of a record that are predicted together."""


@dataclass(frozen=True)
class Faithfulness:
    """How far the evidence explains a prediction (DeYoung et al. 2020, ERASER).

    Attributes:
        comprehensiveness: probability lost where the evidence is left out; the larger the better.
        sufficiency: probability lost where only the evidence is left; the smaller the better.
    """

    comprehensiveness: float
    sufficiency: float


@dataclass(frozen=True)
class Sentence:
    """A sentence of a record: its field, and the characters start to end of it."""

    field: str
    start: int
    end: int
    text: str


def sentences_of(fields: Mapping[str, str]) -> list[Sentence]:
    """Return the sentences of all fields, in order."""
    from vesalius.text import sentences

    found = []
    for name, text in fields.items():
        place = 0
        for part in sentences(text):
            start = text.index(part, place)
            place = start + len(part)
            shown = part.strip()
            if shown:
                first = start + part.index(shown)
                found.append(Sentence(name, first, first + len(shown), shown))
    return found


def explain(
    task: Any, model: torch.nn.Module, case: Case, labels: Sequence[str], *, most: int = 3
) -> tuple[list[Evidence], dict[str, Faithfulness]]:
    """Return the sentences that carried each label, and how faithful they are.

    Args:
        task: the task of the run.
        model: its network, in evaluation mode.
        case: the record.
        labels: the labels to explain.
        most: sentences per label at most.

    Returns:
        Evidence of all labels, the strongest first within a label; `score` is the loss of log
        odds. Labels that no single sentence carries have none. And label -> faithfulness, for the
        labels that have evidence.
    """
    parts = sentences_of(case.input)
    index = {name: k for k, name in enumerate(task.known.labels)}
    columns = [index[label] for label in labels]
    if not parts or not columns:
        return [], {}
    variants = [case.input, *(_without(case.input, [part]) for part in parts)]
    odds = _log_odds(task, model, variants)[:, columns]
    lost = odds[0] - odds[1:]
    found, chosen = [], {}
    for k, label in enumerate(labels):
        order = [i for i in np.argsort(-lost[:, k], kind="stable") if lost[i, k] > 0]
        kept = [i for i in order if not _denies(parts[i].text, label)][:most]
        chosen[label] = [parts[i] for i in kept]
        found += [
            Evidence(label, parts[i].field, parts[i].start, parts[i].end, parts[i].text,
                     float(lost[i, k]))
            for i in kept
        ]  # fmt: skip
    return found, _faithfulness(task, model, case, index, chosen, odds[0])


def as_written(item: Evidence, case: Case) -> Evidence:
    """Return evidence whose place and text are those of the record as it was written.

    Models see clean text. Characters are matched one by one, so that a place in the middle of
    what cleaning removed or added moves to the nearest character that both texts have.
    """
    written = case.extra.get("written", case.input)[item.field]
    clean = case.input[item.field]
    if written == clean:
        return item
    blocks = SequenceMatcher(None, clean, written, autojunk=False).get_matching_blocks()
    pairs = {block.a + k: block.b + k for block in blocks for k in range(block.size)}
    places = [pairs[k] for k in range(item.start, item.end) if k in pairs]
    start, end = (places[0], places[-1] + 1) if places else (0, 0)
    return replace(item, start=start, end=end, text=written[start:end])


def _faithfulness(task, model, case, index, chosen, whole) -> dict[str, Faithfulness]:
    named = [(label, k) for k, (label, kept) in enumerate(chosen.items()) if kept]
    variants = []
    for label, _ in named:
        variants += [_without(case.input, chosen[label]), _only(case.input, chosen[label])]
    if not variants:
        return {}
    odds = _log_odds(task, model, variants)
    found = {}
    for row, (label, k) in enumerate(named):
        column = index[label]
        all_of_it = _probability(whole[k])
        without, alone = (_probability(odds[2 * row + j, column]) for j in (0, 1))
        found[label] = Faithfulness(all_of_it - without, all_of_it - alone)
    return found


def _probability(log_odds: float) -> float:
    return float(1 / (1 + np.exp(-log_odds)))


def _denies(sentence: str, label: str) -> bool:
    """Tell whether the sentence names the disease only to deny it."""
    from vesalius.text.facts import facts

    named = [
        fact
        for fact in facts(sentence, lexicon=(label,))
        if fact.kind == "term" and label.lower() in fact.text.lower()
    ]
    return bool(named) and all(fact.negated for fact in named)


def _without(fields: Mapping[str, str], parts: Sequence[Sentence]) -> dict[str, str]:
    """Return the fields with some sentences left out."""
    changed = dict(fields)
    for part in sorted(parts, key=lambda part: -part.start):
        text = changed[part.field]
        changed[part.field] = text[: part.start] + text[part.end :]
    return changed


def _only(fields: Mapping[str, str], parts: Sequence[Sentence]) -> dict[str, str]:
    """Return the fields with nothing but some sentences."""
    return {
        name: "".join(part.text for part in sorted(parts, key=lambda part: part.start)
                      if part.field == name)
        for name in fields
    }  # fmt: skip


def _log_odds(task: Any, model: torch.nn.Module, variants: Sequence[Mapping[str, str]]):
    """Return the log odds (variants, labels) of every label."""
    cases = [Case(str(k), fields) for k, fields in enumerate(variants)]
    found = []
    with torch.inference_mode():
        device = next(model.parameters()).device
        for batch in _batches(task, cases):
            found += [item.probabilities for item in task.predict(model, batch.to(device))]
    table = np.clip(np.stack(found).astype(np.float64), 1e-9, 1 - 1e-9)
    return np.log(table / (1 - table))


def _batches(task: Any, cases: Sequence[Case]) -> Iterator[Any]:
    for start in range(0, len(cases), AT_ONCE):
        yield from task.loader(cases[start : start + AT_ONCE], training=False)
