"""Let a run end its step and save before it obeys Ctrl-C or a cluster's SIGTERM."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Interruption:
    """Whether somebody asked the run to stop."""

    asked: bool = False


@contextmanager
def interruptions() -> Iterator[Interruption]:
    """Note the first SIGINT or SIGTERM; a second one ends the program at once.

    Signals can be caught in the main thread only; elsewhere nothing changes.
    """
    state = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield state
        return

    def note(number: int, _frame: object) -> None:
        if state.asked:
            raise KeyboardInterrupt
        state.asked = True

    caught = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, note) for number in caught}
    try:
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
