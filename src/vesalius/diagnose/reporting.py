"""What a diagnosis adds to the report of a run: records with their evidence highlighted."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from vesalius.language import say

if TYPE_CHECKING:
    from vesalius.diagnose.answers import Evidence
    from vesalius.engine.run import Run
    from vesalius.engine.task import Case

_SHOWN = 3
_COLOURS = ("#fde68a", "#bbf7d0", "#bfdbfe", "#fbcfe8", "#ddd6fe", "#fed7aa")


def sections(run: "Run", cases: Sequence["Case"], *, count: int = _SHOWN) -> list:
    """Return report sections with the evidence of a few validation records.

    Chosen are records that were answered: the best, a middling and the worst of them.
    """
    from markupsafe import Markup

    from vesalius.diagnose.evidence import explain
    from vesalius.report.page import Text

    scores = run.scores
    if scores is None or not cases:
        return []
    task, model = run.task, run.model()
    chosen = _some(cases, scores.cases, count)
    found = list(run.predictions(chosen))
    answers = task.answers(chosen, found)
    blocks = []
    for case, item, labels in zip(chosen, found, answers, strict=True):
        evidence, faithful = explain(task, model, case, labels)
        blocks.append(_record(case, task, item.probabilities, labels, evidence, faithful))
    hint = say(
        "Highlighted is the sentence whose absence costs a disease most probability. "
        "A sentence that denies the disease is never shown for it.",
        "高亮的是：去掉该句后疾病概率下降最多的句子。否认该疾病的句子绝不作为其证据。",
    )
    # Every text in the blocks is escaped where they are made.
    return [
        Text([hint, *map(Markup, blocks)], title=say("Records and their evidence", "病历与证据"))
    ]


def _some(cases: Sequence["Case"], scores: Mapping, count: int) -> list["Case"]:
    answered = [case for case in cases if scores.get(case.id, {}).get("predicted")]
    ranked = sorted(answered, key=lambda case: -(scores[case.id].get("f1") or 0.0))
    if len(ranked) <= count:
        return ranked
    return [ranked[round(i * (len(ranked) - 1) / max(1, count - 1))] for i in range(count)]


def _record(case, task, probabilities, labels, evidence, faithful) -> str:
    """Return one record as HTML."""
    index = {name: k for k, name in enumerate(task.label_names)}
    colours = {label: _COLOURS[i % len(_COLOURS)] for i, label in enumerate(labels)}
    truth = set(case.target or ())
    chips = []
    for label in labels:
        mark = "✓" if label in truth else ("✗" if case.target is not None else "")
        note = ""
        if label in faithful:
            value = faithful[label].comprehensiveness
            note = say(f", evidence carries {value:.2f}", f"，证据贡献 {value:.2f}")
        chips.append(
            f'<span style="background:{colours[label]};color:#111;padding:0 .4em;'
            f'border-radius:.4em">{escape(label)} {probabilities[index[label]]:.2f} {mark}'
            f"{note}</span>"
        )
    missed = [label for label in truth if label not in labels]
    if missed:
        chips.append(say("missed: ", "漏判：") + escape(", ".join(sorted(missed))))
    # Inside a paragraph of the page: line breaks, no blocks.
    body = "".join(
        f"<br><b>{escape(name)}</b> {_highlighted(text, name, evidence, colours)}"
        for name, text in case.input.items()
        if text
    )
    return f"<strong>{escape(case.id)}</strong><br>{' '.join(chips)}{body}"


def _highlighted(
    text: str, field: str, evidence: Sequence["Evidence"], colours: Mapping[str, str]
) -> str:
    """Return a field's text with its evidence marked; of overlapping marks the first stands."""
    marks = sorted(
        (item for item in evidence if item.field == field),
        key=lambda item: (item.start, -item.score),
    )
    out, place = [], 0
    for item in marks:
        if item.start < place:
            continue
        out.append(escape(text[place : item.start]))
        out.append(
            f'<mark style="background:{colours[item.label]}" title="{escape(item.label)} '
            f'{item.score:.2f}">{escape(text[item.start : item.end])}</mark>'
        )
        place = item.end
    return "".join(out) + escape(text[place:])
