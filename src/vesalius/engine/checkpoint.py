"""Checkpoints: everything that a run needs to go on as if it had never stopped.

A checkpoint is a folder `checkpoint/step-00000120/` written with torch.distributed.checkpoint (so
that sharded models and other numbers of processes work), plus `progress.json` and one file of
random states per process. The file `checkpoint/latest` names the newest complete one and is
replaced last: a crash leaves either the old checkpoint or the new one.
"""

import json
import random
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_state_dict,
)

from vesalius import files
from vesalius.engine import distributed
from vesalius.engine.pieces import Piece
from vesalius.errors import DataError, StorageError


def save(
    folder: Path,
    *,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    pieces: list[Piece],
    progress: dict[str, Any],
) -> None:
    """Write a checkpoint after `step` optimiser steps; called by every process.

    Raises:
        StorageError: it could not be written; the previous checkpoint is untouched.
    """
    name = f"step-{step:08d}"
    place = folder / name
    problem = None
    try:
        with files.storage_errors(place):
            _write(place, model, optimizer, pieces, progress)
    except StorageError as error:
        problem = error
    if not distributed.agree(problem is None):
        if distributed.rank() == 0:
            shutil.rmtree(place, ignore_errors=True)
        raise problem or StorageError(f"another process could not write {place}")
    if distributed.rank() == 0:
        files.flush_folder(place)
        files.write_text(folder / "latest", name)
        _remove_others(folder, keep=name)
    distributed.barrier()


def _write(place: Path, model, optimizer, pieces: list[Piece], progress: dict[str, Any]) -> None:
    if distributed.rank() == 0:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
    distributed.barrier()
    try:
        with _alone():
            dcp.save(_state(model, optimizer, pieces), checkpoint_id=place)
    except dcp.CheckpointException as error:
        raise _storage_cause(error) or error from error
    torch.save(_random_states(), place / f"random-{distributed.rank()}.pt")
    if distributed.rank() == 0:
        (place / "progress.json").write_text(json.dumps(progress))


def _storage_cause(error: dcp.CheckpointException) -> OSError | None:
    """Return the OSError inside a checkpoint failure, if that is what it was."""
    for wrapped in error.failures.values():
        inner = wrapped[0] if isinstance(wrapped, tuple) else wrapped
        if isinstance(inner, OSError):
            return inner
        if isinstance(inner, RuntimeError) and "file" in str(inner).lower():
            # torch's zip writer reports a failed write without its errno.
            return OSError(28, f"torch could not write the checkpoint: {inner}")
    return None


@contextmanager
def _alone() -> Iterator[None]:
    """Keep torch from warning, at every checkpoint, that there is only one process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _state(model, optimizer, pieces: list[Piece]) -> dict[str, Any]:
    weights, moments = get_state_dict(model, optimizer, options=StateDictOptions(strict=True))
    averages = {str(index): piece.state_dict() for index, piece in enumerate(pieces)}
    return {"model": weights, "optimizer": moments, "pieces": averages}


def _random_states() -> dict[str, Any]:
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": json.dumps(_listed(np.random.get_state(legacy=False))),
        "python": json.dumps(random.getstate()),
    }
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _listed(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _listed(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray) else state


def _remove_others(folder: Path, *, keep: str) -> None:
    for other in folder.glob("step-*"):
        if other.name != keep:
            shutil.rmtree(other, ignore_errors=True)


def latest(folder: Path) -> Path | None:
    """Return the newest complete checkpoint, or None where there is none yet."""
    pointer = folder / "latest"
    if not pointer.exists():
        return None
    place = folder / pointer.read_text().strip()
    if not (place / "progress.json").exists():
        raise DataError(f"{pointer} names {place.name}, which is not there or not complete")
    return place


def load(
    place: Path, *, model: nn.Module, optimizer: torch.optim.Optimizer, pieces: list[Piece]
) -> dict[str, Any]:
    """Put a checkpoint back, random states included; return its progress."""
    state = _state(model, optimizer, pieces)
    with _alone():
        dcp.load(state, checkpoint_id=place)
    set_state_dict(
        model,
        optimizer,
        model_state_dict=state["model"],
        optim_state_dict=state["optimizer"],
        options=StateDictOptions(strict=True),
    )
    for index, piece in enumerate(pieces):
        piece.load_state_dict(state["pieces"].get(str(index), {}))
    _restore_random(place / f"random-{distributed.rank()}.pt")
    return json.loads((place / "progress.json").read_text())


def _restore_random(path: Path) -> None:
    if not path.exists():  # more processes than before: theirs keep the seed they started with
        return
    states = torch.load(path, weights_only=True)
    torch.set_rng_state(states["torch"])
    if len(states.get("cuda", ())) == torch.cuda.device_count() > 0:
        torch.cuda.set_rng_state_all(states["cuda"])
    numpy_state = json.loads(states["numpy"])
    numpy_state["state"]["key"] = np.array(numpy_state["state"]["key"], dtype=np.uint32)
    np.random.set_state(numpy_state)
    version, inner, gauss = json.loads(states["python"])
    random.setstate((version, tuple(inner), gauss))
