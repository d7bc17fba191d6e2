"""A record's most probable diseases as bars, for reports."""

from collections.abc import Sequence

import numpy as np

from vesalius.engine.task import Case
from vesalius.images.figures import font_for
from vesalius.language import say

_SHOWN = 12
_COLOURS = {"right": "#2f855a", "missed": "#c05621", "invented": "#9b2c2c", "quiet": "#a0aec0"}


def bars(case: Case, probabilities: np.ndarray, names: Sequence[str], answer: Sequence[str]):
    """Return a matplotlib figure: probability per label, coloured by answer and truth.

    Args:
        case: the record.
        probabilities: (labels,).
        names: of the labels.
        answer: the labels that were decided for.
    """
    from matplotlib.figure import Figure

    truth = set(case.target or ())
    order = np.argsort(-probabilities, kind="stable")
    shown = [k for k in order if names[k] in truth or names[k] in answer]
    shown += [k for k in order if k not in shown]
    shown = sorted(shown[:_SHOWN], key=lambda k: probabilities[k])
    kinds = [_kind(names[k], truth, answer, known=case.target is not None) for k in shown]
    figure = Figure(figsize=(6, 0.32 * len(shown) + 0.9), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(range(len(shown)), [probabilities[k] for k in shown],
              color=[_COLOURS[kind] for kind in kinds])  # fmt: skip
    font = font_for([case.id, *(names[k] for k in shown), *_words().values()])
    axes.set_yticks(range(len(shown)), [names[k] for k in shown], font=font)
    axes.set_xlim(0, 1)
    axes.set_title(case.id, font=font)
    marks = [axes.barh([0], [0], color=_COLOURS[kind], label=_words()[kind]) for kind in _COLOURS]
    axes.legend(handles=marks, loc="lower right", prop=font, frameon=False)
    return figure


def _kind(name: str, truth: set[str], answer: Sequence[str], *, known: bool) -> str:
    if name in answer:
        return "right" if name in truth or not known else "invented"
    return "missed" if name in truth else "quiet"


def _words() -> dict[str, str]:
    return {
        "right": say("answered", "已判定"),
        "missed": say("missed", "漏判"),
        "invented": say("answered, not true", "误判"),
        "quiet": say("not answered", "未判定"),
    }
