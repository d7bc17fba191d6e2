"""Where a stream's records go: the output and the rejects, both whole or not at all."""

import gzip
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from vesalius.files import replacing, storage_errors


class Sinks:
    """Two files that appear when the body succeeds; the second one only if it has a line.

    A rejects file of an earlier run is removed when there are none now: it would mislead.
    """

    def __init__(self, out: Path, rejects: Path):
        self._out, self._rejects = out, rejects
        self._stack = ExitStack()
        self._rejected: BinaryIO | None = None

    def __enter__(self) -> "Sinks":
        self._written = self._open(self._out)
        return self

    def __exit__(self, *error: object) -> bool | None:
        if error[0] is None and self._rejected is None:
            with storage_errors(self._rejects):
                self._rejects.unlink(missing_ok=True)
        return self._stack.__exit__(*error)

    def header(self, line: str) -> None:
        """Write the line of column names, if the format has one."""
        self._written.write(line.encode("utf-8"))

    def write(self, lines: bytes, rejects: list[bytes]) -> None:
        """Add records to both files."""
        self._written.write(lines)
        if rejects:
            if self._rejected is None:
                self._rejected = self._open(self._rejects)
            self._rejected.write(b"".join(rejects))

    def _open(self, path: Path) -> BinaryIO:
        temporary = self._stack.enter_context(replacing(path))
        file = self._stack.enter_context(temporary.open("wb"))
        if path.suffix != ".gz":
            return file
        # No name and no time inside: the same records give the same bytes.
        packed = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6)
        return self._stack.enter_context(packed)
