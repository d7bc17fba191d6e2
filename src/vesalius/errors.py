"""The errors that a user can meet.

VesaliusError
├── DataError            a file, a folder or a row is not what it should be
├── RecipeError          the recipe or an override is wrong
├── TrainingError        the run itself failed (a loss that is not finite)
├── InterruptedRun       Ctrl-C or SIGTERM; the state was saved
├── StorageError         results could not be written (disk full, no permission)
└── MissingDependencyError    an optional package is not installed

Every message names the place and the remedy. Where several things are wrong they are all
listed at once: `problems` holds them one by one.
"""

from collections.abc import Sequence


class VesaliusError(Exception):
    """Base of all errors that are the user's to mend. The command line prints the message alone."""

    exit_status = 1

    def __init__(self, message: str, problems: Sequence[str] = ()):
        self.problems = list(problems)
        lines = [message, *(f"  - {problem}" for problem in self.problems)]
        super().__init__("\n".join(lines))


class DataError(VesaliusError, ValueError):
    """A file, a folder or a row is not what it should be."""


class RecipeError(VesaliusError, ValueError):
    """The recipe, an override or an argument is wrong."""

    exit_status = 2


class TrainingError(VesaliusError, RuntimeError):
    """The run cannot go on, for example because a loss is not finite."""


class InterruptedRun(VesaliusError):  # noqa: N818 - nothing is wrong
    """Somebody stopped the run; it saved its state and can go on."""

    exit_status = 130

    def __init__(self, folder: object, step: int, total: int):
        self._arguments = (str(folder), step, total)
        super().__init__(
            f"stopped after step {step} of {total}; go on with --out {folder} --resume"
        )


class StudyError(VesaliusError, RuntimeError):
    """A study has no result: all of its runs failed, or were stopped."""


class StorageError(VesaliusError, OSError):
    """A result could not be written; what was there before is untouched."""


class MissingDependencyError(VesaliusError, ImportError):
    """An optional package is not installed; the message has the command that installs it."""

    def __init__(self, package: str, purpose: str, install: str):
        self._arguments = (package, purpose, install)
        super().__init__(f"{purpose} needs the package '{package}'. Install it with: {install}")

    def __reduce__(self):
        # Errors travel between processes; the default would call __init__ with the message alone.
        return type(self), self._arguments
