"""What all tests share."""

import os

# Before torch is imported, and for the processes that tests start: tests run side by side, and
# threads that wait for each other on busy cores are many times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest

import tests.engine.register  # noqa: F401


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets that lies beside the repository."""
    default = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("VESALIUS_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set VESALIUS_SHARED_DATA to use some")
    return folder
