"""Chunks worked on by several processes here, or by Ray: in order, a bounded number at a time."""

import multiprocessing
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from vesalius.errors import MissingDependencyError, RecipeError, TrainingError
from vesalius.text.chunks import Chunk, Job, Result

_WAITING = 3
"""Chunks per worker that are sent before the first result is asked for."""
_job: Job | None = None


def in_processes(job: Job, chunks: Iterator[Chunk], workers: int) -> Iterator[Result]:
    """Yield the results of `chunks` in order, made by `workers` fresh processes.

    Raises:
        RecipeError: the work cannot be sent to another process.
        TrainingError: a process died.
    """
    packed = _pack(job)
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(packed,)
    )
    try:
        yield from _ordered(
            chunks, lambda chunk: pool.submit(_do, chunk), lambda future: future.result(), workers
        )
    except BrokenProcessPool:
        raise TrainingError(
            "a worker process died before its work was done. If memory was short, use fewer "
            "workers. In a script of your own, call this below: if __name__ == '__main__':"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def on_cluster(job: Job, chunks: Iterator[Chunk]) -> Iterator[Result]:
    """Yield the results of `chunks` in order, made by the tasks of a Ray cluster.

    The machines read nothing from disk: records and results travel over the network.

    Raises:
        MissingDependencyError: Ray is not installed.
        RecipeError: the work cannot be sent.
    """
    try:
        import ray
    except ImportError:
        raise MissingDependencyError(
            "ray", "Work on a cluster", 'pip install "vesalius[cluster]"'
        ) from None
    _pack(job)
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    shared = ray.put(job)
    task = ray.remote(_apply)
    cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
    return _ordered(chunks, lambda chunk: task.remote(shared, chunk), ray.get, cores)


def _ordered(
    chunks: Iterator[Chunk],
    send: Callable[[Chunk], object],
    receive: Callable[..., Result],
    workers: int,
) -> Iterator[Result]:
    waiting: deque = deque()
    for chunk in chunks:
        waiting.append(send(chunk))
        if len(waiting) >= _WAITING * workers:
            yield receive(waiting.popleft())
    while waiting:
        yield receive(waiting.popleft())


def _pack(job: Job) -> bytes:
    try:
        return pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise RecipeError(
            f"this work cannot be sent to other processes ({error}); define it at the top of a "
            "module, or use workers=1"
        ) from None


def _start(packed: bytes) -> None:
    # Ctrl-C reaches all processes of a terminal; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    global _job
    _job = pickle.loads(packed)


def _do(chunk: Chunk) -> Result:
    assert _job is not None
    return _job(chunk)


def _apply(job: Job, chunk: Chunk) -> Result:
    return job(chunk)
