"""What a batch needs of whatever starts its runs, and the engine of one machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Protocol

from dfast.batches.job import Job, Outcome, perform


class Engine(Protocol):
    """Starts runs somewhere, each in a process of its own."""

    def submit(self, job: Job) -> Future[Outcome]:
        """Start a run when there is room for it; return what becomes of it.

        The future raises what went wrong with the place where the run was, which is no fault of
        the run: a worker that was lost more often than the engine repeats a run.
        """

    def stop(self) -> None:
        """Have all runs save and end, and start no others; return at once."""

    def close(self) -> None:
        """Give everything back, when all runs have ended."""


class LocalEngine:
    """Runs as processes of this machine; a thread of a pool waits for each.

    Args:
        jobs: runs at once.
        gpus: the GPU of each of them, as CUDA_VISIBLE_DEVICES names it; none for runs on the CPU.
    """

    def __init__(self, jobs: int, gpus: tuple[str, ...] = ()) -> None:
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="dfast-batch")
        self._free: SimpleQueue[dict[str, str]] = SimpleQueue()
        for number in range(jobs):
            gpu = gpus[number % len(gpus)] if gpus else None
            self._free.put({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})

    def submit(self, job: Job) -> Future[Outcome]:
        """Start a run when there is room for it; return what becomes of it."""
        return self._pool.submit(self._perform, job)

    def stop(self) -> None:
        """Have all runs save and end, and start no others; return at once."""
        self._stopping.set()

    def close(self) -> None:
        """Wait for the threads, which have nothing left to do."""
        self._stopping.set()
        self._pool.shutdown()

    def _perform(self, job: Job) -> Outcome:
        """Run a job on a GPU that is free."""
        environment = self._free.get()
        try:
            return perform(job, self._stopping.is_set, environment)
        finally:
            self._free.put(environment)


def visible_gpus(count: int, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the names of the GPUs that this process sees, for CUDA_VISIBLE_DEVICES.

    Args:
        count: how many torch sees.
        environment: the variables of this process.
    """
    named = environment.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in named.split(",")] if named else map(str, range(count))
    return tuple(names)[:count]
