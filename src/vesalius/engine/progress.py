"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere.

Everything goes to standard error, so that `--json` output stays clean.
"""

import sys
from types import TracebackType
from typing import Any, Self

from vesalius.language import say


class Progress:
    """Show steps, the loss and the latest scores.

    Args:
        total: number of steps; None where that is not known.
        done: steps that an earlier part of the run has done.
        label: shown before the bar.
        quiet: show nothing.
    """

    def __init__(self, total: int | None, *, done: int = 0, label: str = "", quiet: bool = False):
        self.total, self.done, self.label, self.quiet = total, done, label, quiet
        self._bar: Any = None

    def __enter__(self) -> Self:
        if not self.quiet and sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
            self._row = self._bar.add_task(
                self.label, total=self.total, completed=self.done, say=""
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, total: int) -> None:
        """Say how many items there are, once that is known."""
        self.total = total
        if self._bar is not None:
            self._bar.update(self._row, total=total)

    def step(self, number: int, loss: float) -> None:
        """Say that step `number` (counted from 1) is done."""
        if self._bar is not None:
            text = f"{say('loss', '损失')} {loss:.4f}"
            self._bar.update(self._row, completed=number, say=text)

    def advance(self, by: int = 1) -> None:
        """Go on by some items."""
        self.done += by
        if self._bar is not None:
            self._bar.update(self._row, completed=self.done)

    def line(self, text: str) -> None:
        """Print a line above the bar."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[say]}"),
        console=Console(stderr=True),
        transient=False,
    )
