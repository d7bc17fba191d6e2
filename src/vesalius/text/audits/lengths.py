"""How long the fields are, against what a model can read."""

import re
from collections.abc import Callable

import numpy as np

from vesalius.language import say
from vesalius.text.audits.entries import Collection
from vesalius.text.audits.findings import Finding, Table

_PIECES = re.compile(r"[\u3400-\u9fff]|[A-Za-z]{1,6}|\d{1,3}|[^\w\s]")
WHOLE = "(record)"


def approximate_tokens(text: str) -> int:
    """Return about the number of word pieces of a Chinese BERT: a Han character or sign is one,
    so are six letters or three digits."""
    return len(_PIECES.findall(text))


def audit(
    records: Collection, limit: int, count_tokens: Callable[[str], int] | None
) -> tuple[list[Finding], list[Table]]:
    """Measure fields and whole records in characters and tokens."""
    count = count_tokens or approximate_tokens
    rows = [
        _row(
            name,
            [entry.fields[name] for entry in records.entries if entry.fields.get(name)],
            count,
            limit,
        )
        for name in records.fields
    ]
    rows.append(_row(WHOLE, [entry.text for entry in records.entries], count, limit))
    header = (
        "field",
        "records",
        "min",
        "median",
        "p95",
        "max",
        "tokens median",
        "tokens p95",
        "tokens max",
        "cut",
    )
    title = say(f"lengths; cut: share over {limit} tokens", f"长度；cut：超过 {limit} 个词元的比例")
    if count_tokens is None:
        title += say(" (tokens estimated)", "（词元数为估计）")
    return _findings(rows[-1], limit), [Table("lengths", title, header, tuple(rows))]


def _row(name: str, texts: list[str], count: Callable[[str], int], limit: int) -> tuple:
    if not texts:
        return (name, 0, *[0] * 7, 0.0)
    characters = np.array([len(text) for text in texts])
    tokens = np.array([count(text) for text in texts])
    return (
        name,
        len(texts),
        int(characters.min()),
        *(int(np.percentile(characters, q)) for q in (50, 95)),
        int(characters.max()),
        *(int(np.percentile(tokens, q)) for q in (50, 95)),
        int(tokens.max()),
        round(float((tokens > limit).mean()), 4),
    )


def _findings(whole: tuple, limit: int) -> list[Finding]:
    cut = whole[-1]
    if not cut:
        return []
    return [
        Finding(
            "warns" if cut > 0.05 else "notes",
            "long-records",
            say(
                f"{cut:.1%} of the records are longer than {limit} tokens (median {whole[6]}).",
                f"{cut:.1%} 的病历超过 {limit} 个词元（中位数 {whole[6]}）。",
            ),
            say(
                "Give each field a share of the limit, read in windows, or choose a longer model; "
                "plain truncation loses the last fields.",
                "按字段分配长度、滑动窗口或更长的模型；直接截断会丢掉后面的字段。",
            ),
            {"cut": cut, "limit": limit},
        )
    ]
