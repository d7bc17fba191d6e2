"""`vesalius pseudo-label`: train on a model's own sure answers, and what that gains."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vesalius.cli.departments import Flag, Json
from vesalius.language import say

if TYPE_CHECKING:
    from vesalius.study.pseudo_label import PseudoLabelling
    from vesalius.study.pseudo_rounds import Round


def pseudo_label(
    run: Path,
    unlabelled: Path,
    /,
    *,
    data: Path,
    out: Path,
    rounds: int = 1,
    precision: float = 0.9,
    soft: Flag = False,
    balanced: bool = True,
    most: int | None = None,
    calibration: Literal["temperature", "isotonic", "none"] = "temperature",
    resamples: int | None = None,
    seed: int = 0,
    device: str = "auto",
    as_json: Json = False,
) -> int:
    """Label cases where a model is sure, train anew with them, and measure what that gains.

    Parameters
    ----------
    run
        A finished run; its held-out cases fit the rule (one half) and score (the other).
    unlabelled
        Cases without labels. Labels that are there are not trained on: they tell how many
        pseudo-labels were right.
    data
        What the run was trained on.
    out
        Folder of the study; the same command goes on with one that was stopped.
    rounds
        At most so many times: label, train, score.
    precision
        Wanted of the accepted labels. Masks: the wanted mean score of the accepted cases.
    soft
        Train on calibrated probabilities instead of yes and no.
    balanced
        Accept labels in the shares that they have in training.
    most
        Accept at most so many cases per round.
    calibration
        How probabilities are calibrated first.
    resamples
        Bootstrap resamples of the gain's interval; 0: none.
    seed
        Of the halves and resamples.
    device
        auto, cpu, cuda, cuda:1, mps
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.cli.app import emit
    from vesalius.engine.progress import Progress
    from vesalius.study.pseudo_label import pseudo_label as act

    with Progress(rounds, label=say("rounds", "轮次"), quiet=as_json) as bar:
        found = act(
            run, data, unlabelled, out=out, rounds=rounds, precision=precision, soft=soft,
            balanced=balanced, most=most, calibration=calibration, resamples=resamples, seed=seed,
            device=device, told=lambda _: bar.advance(1),
        )  # fmt: skip
    if as_json:
        emit({"study": found.folder, **found.to_dict()})
    else:
        _show(found)
    return 0


def _show(found: "PseudoLabelling") -> None:
    """Print a line per round, the verdict, and what must be known to read it."""
    from rich.console import Console
    from rich.table import Table

    from vesalius.report.tables import format_value

    table = Table(
        say("round", "轮次"), say("accepted", "采用"), say("of", "共"), say("right", "正确"),
        say("cases", "全对"),
        found.base.headline, say("gain", "增益"), "95 %", say("verdict", "结论"),
    )  # fmt: skip
    table.add_row(say("base", "基线"), "", "", "", "", format_value(found.base.best), "", "", "")
    for one in found.rounds:
        score = "" if one.scores is None else format_value(one.scores.best)
        gain, ends = ("", "") if one.gain is None else _gain(one.gain)
        table.add_row(
            f"{one.number}", f"{one.accepted}", f"{one.asked}", right(one), _whole(one),
            score, gain, ends, verdict(one),
        )  # fmt: skip
    Console(highlight=False).print(table)
    for one in found.rounds:
        if one.scores is not None:
            print(f"{say('model', '模型')} {one.number}: {one.folder / 'run'}")
    if any(one.right for one in found.rounds):
        print(
            say(
                "right: labels given that are true; cases: share with no wrong label",
                "正确：所给标签中真实的个数；全对：没有错误标签的病例比例",
            )
        )
    for line in (*_summary(found), *found.notes):
        print(f"- {line}")


def _gain(gain) -> tuple[str, str]:
    from vesalius.report.tables import format_value

    if gain.low != gain.low:
        return f"{gain.value:+.4f}", format_value(None)
    return f"{gain.value:+.4f}", f"{gain.low:+.4f} – {gain.high:+.4f}"


def right(one: "Round") -> str:
    """Return how many accepted pseudo-labels were right, where truth is known."""
    from vesalius.report.tables import format_value

    found = one.right
    if not found:
        return say("not known", "未知")
    if "positives" not in found:  # masks: the headline comes first among the scores
        name = next(key for key in found if key != "cases")
        return f"{name} {format_value(found[name])} ({found['cases']})"
    return f"{found['right']}/{found['positives']}"


def _whole(one: "Round") -> str:
    """Return the share of accepted cases of which everything is right, where truth is known."""
    share = one.right.get("wholly_right")
    return "" if share is None else f"{share:.0%}"


def verdict(one: "Round") -> str:
    """Return a round's verdict in the user's language."""
    return {
        "helps": say("helps", "有益"),
        "hurts": say("hurts", "有害"),
        "no evidence": say("no evidence", "无证据"),
        "nothing accepted": say("nothing accepted", "未采用"),
    }[one.verdict]


def _summary(found: "PseudoLabelling") -> list[str]:
    """Say plainly what the pseudo-labels did."""
    trained = [one for one in found.rounds if one.gain is not None]
    if not trained:
        return [
            say("pseudo-labels did nothing: no case was accepted", "伪标签未起作用：无病例被采用")
        ]
    last = trained[-1].verdict
    if last == "hurts":
        return [say("pseudo-labels harmed: keep the base", "伪标签有害：请保留基线")]
    if last == "helps":
        return [say("pseudo-labels helped", "伪标签有益")]
    return [
        say(
            "no evidence that pseudo-labels helped or harmed on these cases",
            "在这些病例上没有证据表明伪标签有益或有害",
        )
    ]
