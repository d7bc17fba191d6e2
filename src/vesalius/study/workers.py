"""Work through jobs one after another, in several processes, or on a Ray cluster.

A job that fails, or whose process dies, is noted, and the others go on. Nothing is passed through
memory but names: a job's folder is its state, so that a study can be killed at any moment.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing import connection
from typing import Any

from vesalius.errors import InterruptedRun, MissingDependencyError, VesaliusError
from vesalius.study.jobs import Bench, Job, Result, carry_out

Outcome = tuple[Job, Result | None, str]
"""A job, its result, and why there is none."""


def work(
    bench: Bench,
    jobs: Iterable[Job],
    *,
    processes: int = 1,
    cluster: bool = False,
    act: Callable[[Bench, Job], Result] = carry_out,
) -> Iterator[Outcome]:
    """Yield each job's outcome as soon as it is known.

    Args:
        bench: what the jobs share.
        jobs: asked for the next one only when somebody is free, so that it may depend on results.
        processes: how many at once; 1: in this process. The machine's cores are shared out.
        cluster: on a Ray cluster that sees the same folders, one CPU a job; needs `ray`.
        act: what is done with a job.

    Raises:
        InterruptedRun: the user stopped a job; it was saved first.
    """
    if cluster:
        yield from _on_cluster(bench, jobs, act)
    elif processes == 1:
        yield from _here(bench, jobs, act)
    else:
        yield from _beside(bench, jobs, act, processes)


def _here(bench: Bench, jobs: Iterable[Job], act) -> Iterator[Outcome]:
    for job in jobs:
        try:
            result, problem = act(bench, job), ""
        except InterruptedRun:
            raise
        except Exception as error:
            result, problem = None, _said(error)
        yield job, result, problem


def _said(error: Exception) -> str:
    """Return one line; only our own errors speak for themselves."""
    text = str(error).splitlines()[0] if str(error) else ""
    return text if isinstance(error, VesaliusError) else f"{type(error).__name__}: {text}"


# --- processes ----------------------------------------------------------------------------------


class _Worker:
    """A process that does the jobs it is sent."""

    def __init__(self, bench: Bench, act, threads: int):
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, bench, act, threads, os.getpid())
        self.process = context.Process(target=_serve, args=arguments)
        self.process.start()
        theirs.close()
        self.job: Job | None = None

    def give(self, job: Job) -> None:
        """Send a job."""
        self.job = job
        self.pipe.send(job)

    def outcome(self) -> tuple[Outcome, bool, bool]:
        """Return the job's outcome, whether the process lives, and whether the user stopped it."""
        assert self.job is not None
        try:
            result, problem, stopped = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode
            died = f"the process died ({_cause(code)})"
            return (self.job, None, died), False, False
        return (self.job, result, problem), True, stopped

    def dismiss(self) -> None:
        """Let the process end."""
        with suppress(OSError):
            self.pipe.send(None)
        self.process.join()


def _cause(code: int | None) -> str:
    if code == -9:
        return "killed; not enough memory? use fewer processes"
    return f"signal {-code}" if code and code < 0 else f"exit status {code}"


def _serve(pipe, bench: Bench, act, threads: int, parent: int) -> None:
    import torch

    torch.set_num_threads(threads)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    while (job := pipe.recv()) is not None:
        try:
            answer = act(bench, job), "", False
        except (InterruptedRun, KeyboardInterrupt) as error:
            answer = None, str(error), True
        except Exception as error:
            answer = None, _said(error), False
        pipe.send(answer)


def _end_with(parent: int) -> None:
    """End this process when the one that started it has been killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _beside(bench: Bench, jobs: Iterable[Job], act, processes: int) -> Iterator[Outcome]:
    threads = max(1, (os.cpu_count() or 1) // processes)
    waiting, busy, idle = iter(jobs), [], []
    try:
        while True:
            while len(busy) < processes and (job := next(waiting, None)) is not None:
                worker = idle.pop() if idle else _Worker(bench, act, threads)
                worker.give(job)
                busy.append(worker)
            if not busy:
                return
            ready = connection.wait([worker.pipe for worker in busy])
            for worker in [worker for worker in busy if worker.pipe in ready]:
                busy.remove(worker)
                outcome, alive, stopped = worker.outcome()
                if alive:
                    idle.append(worker)
                if stopped:
                    raise KeyboardInterrupt
                yield outcome
    finally:
        for worker in busy:
            worker.process.terminate()  # SIGTERM: training saves before it ends
        for worker in [*busy, *idle]:
            worker.dismiss()


# --- Ray ----------------------------------------------------------------------------------------


def _on_cluster(bench: Bench, jobs: Iterable[Job], act) -> Iterator[Outcome]:
    try:
        import ray
    except ImportError:
        raise MissingDependencyError(
            "ray", "a study on a cluster", "pip install 'vesalius[cluster]'"
        ) from None
    ray.init(ignore_reinit_error=True)
    shared = ray.put(bench)
    remote: Any = ray.remote(num_cpus=1, max_retries=1)(act)
    room = int(ray.cluster_resources().get("CPU", 1))
    waiting, busy = iter(jobs), {}
    while True:
        while len(busy) < room and (job := next(waiting, None)) is not None:
            busy[remote.remote(shared, job)] = job
        if not busy:
            return
        done, _ = ray.wait(list(busy))
        job = busy.pop(done[0])
        try:
            yield job, ray.get(done[0]), ""
        except Exception as error:
            yield job, None, _said(error)
