"""Writing files so that a crash at any moment leaves the old content or the new, never a part."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vesalius.errors import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def storage_errors(path: str | Path) -> Iterator[None]:
    """Turn an OSError of the body into a `StorageError` that names `path` and the remedy."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(_advice(Path(path), error)) from error


def _advice(path: Path, error: OSError) -> str:
    if error.errno in _FULL:
        free = shutil.disk_usage(_existing(path)).free / 2**20
        return (
            f"no space left to write {path} ({free:.0f} MiB free there). What was saved before is "
            "untouched. Free some space, or choose another place with --out, then go on."
        )
    return f"cannot write {path}: {error.strerror or error}. What was saved before is untouched."


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; move it into place if the body succeeds.

    The temporary file keeps the suffix (readers choose the format by it), is flushed to disk
    before the move, and is removed if the body fails.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    path = Path(path)
    # No leading dot alone: some libraries refuse hidden names. The suffix stays last.
    temporary = path.with_name(f"~{os.getpid()}-{path.name}")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _flush(temporary)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        flush_folder(path.parent)


def _flush(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    if os.name == "nt":  # Windows cannot open folders, and makes renames durable by itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Write a UTF-8 file atomically."""
    write_bytes(path, content.encode("utf-8"))


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed process left in `folder`."""
    for leftover in folder.glob("~*-*"):
        leftover.unlink(missing_ok=True)
