"""Batches and the loader: which case comes when is a pure function of seed and step.

The training order is an endless chain of permutations, the n-th drawn from (seed, n). Step k of a
run takes positions k * batch_size onwards, whatever the number of processes, micro-steps or
loading workers, and every draw of a case has its own random generator (seed, position). So a run
that resumes at step k sees exactly what the uninterrupted one would have seen, with no loader
state to save.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vesalius.errors import VesaliusError


@dataclass(frozen=True)
class Batch:
    """What a model sees at once.

    Attributes:
        ids: the cases' names, for error messages.
        inputs: a tensor, or a nest of mappings and sequences of tensors; dimension 0 is the batch.
        targets: likewise, or None.
        extra: anything else, moved along as it is.
    """

    ids: Sequence[str]
    inputs: Any
    targets: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch with its tensors on `device`."""
        moved = _moved(self.inputs, device), _moved(self.targets, device)
        return Batch(self.ids, *moved, self.extra)


def _map(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _map(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_map(item, change) for item in value)
    return value


def _moved(value: Any, device: torch.device) -> Any:
    return _map(value, lambda tensor: tensor.to(device, non_blocking=True))


@dataclass(frozen=True)
class _Failure:
    """An error that crosses from a loading process as a value, so that its type survives."""

    error: Exception


class _Fetching(torch.utils.data.Dataset):
    """Fetch one case; runs in the loading processes."""

    def __init__(self, fetch: Callable[[int, np.random.Generator], Any], seed: int):
        self.fetch, self.seed = fetch, seed

    def __getitem__(self, draw: tuple[int, int]) -> Any:
        index, position = draw
        try:
            return self.fetch(index, np.random.default_rng((self.seed, 1, position)))
        except (VesaliusError, OSError) as error:
            return _Failure(error)


class _Collating:
    def __init__(self, collate: Callable[[list], Batch]):
        self.collate = collate

    def __call__(self, items: list) -> Any:
        failed = next((item for item in items if isinstance(item, _Failure)), None)
        return failed if failed is not None else self.collate(items)


class Loader:
    """Batches of cases: an endless seeded stream for training, one ordered pass otherwise.

    Args:
        fetch: `(index, rng) -> item`; reads and augments one case, with randomness from rng alone.
        size: number of cases.
        collate: `list of items -> Batch`.
        batch_size: cases per optimiser step over all processes (training), per batch (otherwise).
        seed: of order and augmentation.
        workers: loading processes; 0 loads in this process.
        order: `(n, rng) -> indices` of the n-th pass; None: a permutation of all cases. For
            balanced or length-sorted sampling; it may return any number of indices.
    """

    def __init__(
        self,
        fetch: Callable[[int, np.random.Generator], Any],
        size: int,
        *,
        collate: Callable[[list], Batch],
        batch_size: int,
        seed: int = 0,
        workers: int = 0,
        order: Callable[[int, np.random.Generator], Sequence[int]] | None = None,
    ):
        if size < 1:
            raise ValueError("a loader needs at least one case")
        self.size, self.batch_size, self.seed, self.workers = size, batch_size, seed, workers
        self._dataset = _Fetching(fetch, seed)
        self._collate = _Collating(collate)
        self._order = order or (lambda n, rng: rng.permutation(size))

    def __len__(self) -> int:
        """Return how many batches one pass over the cases makes (the last may be short)."""
        return -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield every case once, in order."""
        return self.part(0, 1)

    def part(self, rank: int, world: int) -> Iterator[Batch]:
        """Yield, in order, the share of the cases that process `rank` of `world` evaluates."""
        own = range(rank, self.size, world)
        draws = [(index, index) for index in own]
        size = self.batch_size
        return self._run(draws[start : start + size] for start in range(0, len(draws), size))

    def steps(
        self, start: int, *, accumulate: int = 1, rank: int = 0, world: int = 1
    ) -> Iterator[list[Batch]]:
        """Yield, endlessly from step `start`, this process's micro-batches of each step."""
        parts = accumulate * world
        if self.batch_size % parts:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be cut into {world} process(es) x "
                f"{accumulate} micro-step(s); choose a multiple of {parts}"
            )
        stream = self._run(self._draws(start, accumulate, rank, world))
        while True:
            yield [next(stream) for _ in range(accumulate)]

    def _draws(self, start: int, accumulate: int, rank: int, world: int):
        """Yield each micro-batch's (index, position) pairs."""
        size = self.batch_size // (accumulate * world)
        chain = self._chain(start * self.batch_size)
        while True:
            step = [next(chain) for _ in range(self.batch_size)]
            for micro in range(accumulate):
                # Micro-batches are cut as processes are: with 2 x 1 and 1 x 2 the same cases meet.
                first = (micro * world + rank) * size
                yield step[first : first + size]

    def _chain(self, position: int) -> Iterator[tuple[int, int]]:
        """Yield (case index, position) endlessly from a position of the chain of passes."""
        passed, n = 0, 0
        while True:
            indices = self._order(n, np.random.default_rng((self.seed, 0, n)))
            if len(indices) == 0:
                raise ValueError(f"the loader's order holds no case in pass {n}")
            for offset in range(max(0, position - passed), len(indices)):
                yield int(indices[offset]), passed + offset
            passed, n = passed + len(indices), n + 1

    def _run(self, batches) -> Iterator[Batch]:
        if self.workers == 0:
            loaded = (self._collate([self._dataset[draw] for draw in draws]) for draws in batches)
        else:
            # Its own generator: the default would consume from torch's global random state, and a
            # resumed run would then drop out other units than the uninterrupted one.
            loaded = torch.utils.data.DataLoader(
                self._dataset,
                batch_sampler=batches,
                collate_fn=self._collate,
                num_workers=self.workers,
                generator=torch.Generator().manual_seed(self.seed),
                worker_init_fn=_quiet_worker,
            )
        for item in loaded:
            if isinstance(item, _Failure):
                raise item.error
            yield item


def _quiet_worker(_: int) -> None:
    torch.set_num_threads(1)


def choose_workers(workers: int | str, device: torch.device) -> int:
    """Return the number of loading processes: "auto" is 0 on a CPU, up to 8 beside a GPU."""
    if workers != "auto":
        return int(workers)
    if device.type == "cpu":
        return 0  # the model needs the cores itself
    return min(8, max(1, (os.cpu_count() or 2) - 1))


def free_memory() -> int:
    """Return the bytes of memory that are free; 4 GiB where the system does not tell."""
    if "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 4 << 30
