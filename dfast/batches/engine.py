"""What a batch needs of whatever starts its runs, and the engine of one machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import NamedTuple, Protocol

from dfast.batches.job import Ahead, Job, Outcome, perform


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


class _Place(NamedTuple):
    """Where one run at a time is."""

    environment: dict[str, str]
    """Its variables."""
    ahead: Ahead
    """The process of its next run."""


class LocalEngine:
    """Runs as processes of this machine; a thread of a pool waits for each.

    On a GPU, where a run takes seconds, the next run's process starts while one runs.

    Args:
        jobs: runs at once.
        gpus: the GPU of each of them, as CUDA_VISIBLE_DEVICES names it; none for runs on the CPU.
        runs: how many there are to come; those that are started again do not count.
    """

    def __init__(self, jobs: int, gpus: tuple[str, ...] = (), runs: int = 0) -> None:
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="dfast-batch")
        self._free: SimpleQueue[_Place] = SimpleQueue()
        self._lock, self._left = threading.Lock(), runs - jobs
        self._places: list[_Place] = []
        for number in range(jobs):
            gpu = gpus[number % len(gpus)] if gpus else None
            place = _Place(
                {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}, Ahead(self._another)
            )
            self._places.append(place)
            self._free.put(place)

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
        for place in self._places:
            place.ahead.close()

    def _perform(self, job: Job) -> Outcome:
        """Run a job on a GPU that is free."""
        place = self._free.get()
        try:
            ahead = place.ahead if job.device == "cuda" else None
            return perform(job, self._stopping.is_set, place.environment, ahead)
        finally:
            self._free.put(place)

    def _another(self) -> bool:
        """Return whether there is a run for one process more that is started ahead."""
        with self._lock:
            self._left -= 1
            return self._left >= 0


def visible_gpus(count: int, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the names of the GPUs that this process sees, for CUDA_VISIBLE_DEVICES.

    Args:
        count: how many torch sees.
        environment: the variables of this process.
    """
    named = environment.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in named.split(",")] if named else map(str, range(count))
    return tuple(names)[:count]
