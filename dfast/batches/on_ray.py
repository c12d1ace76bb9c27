"""The engine of a Ray cluster: a task for each run, which starts the run's process on its machine.

Ray decides where a run goes, by processors and by GPUs or fractions of them, and starts it again
when its worker or its machine is lost. A worker computes nothing itself: Ray uses it for many
tasks, and torch in it would keep the threads of the first.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dfast.batches.job import GRACE, Job, Outcome, perform
from dfast.batches.locks import drop_foreign_lock, foreign_owner
from dfast.errors import ConfigError, DfastError, DfastWarning, RunFolderError
from dfast.runs.lock import FolderLock

LOCAL = "local"
"""Ray's address of a Ray that is started on this machine."""
PATIENCE = 10.0
"""Seconds to wait for an answer from a cluster's address."""
OBJECT_STORE = 80 << 20
"""Bytes of the object store of a Ray that is started here; nothing is kept in it but outcomes."""


class RayEngine:
    """Runs as tasks of a Ray cluster.

    Args:
        address: of a running cluster, "auto" or "HOST:6379"; None takes that of RAY_ADDRESS, and
            starts a Ray on this machine where there is none. A program that has connected to a
            cluster stays in that.
        threads: of a run, each of them a processor to Ray.
        gpus: GPUs of a run, such as 0.25; None takes one where the cluster has any.
        retries: how often Ray starts a run again whose worker was lost.

    Attributes:
        gpus: GPUs of a run.
        room: runs that the cluster has room for now.
        devices: its GPUs, or its machines where runs need none.

    Raises:
        ConfigError: Ray is not installed.
        DfastError: there is no cluster at the address.
    """

    def __init__(
        self, address: str | None, *, threads: int, gpus: float | None, retries: int
    ) -> None:
        self._ray = ray = _ray()
        self._connected_before = ray.is_initialized()  # by the program that called dfast
        if not self._connected_before:
            _connect(ray, address)
        there = ray.cluster_resources()
        self.gpus = float(there.get("GPU", 0) > 0) if gpus is None else gpus
        for name, wanted in (("CPU", threads), ("GPU", self.gpus)):
            if wanted > (most := there.get(name, 0)):
                warnings.warn(
                    f"ray: a run asks for {wanted:g} {name}, and the cluster has {most:g} in all; "
                    "runs wait until it grows",
                    DfastWarning,
                    stacklevel=2,
                )
        most = there.get("CPU", 0) / threads
        if self.gpus:
            most = min(most, there.get("GPU", 0) / self.gpus)
        self.room = max(1, int(most + 1e-6))
        self.devices = max(1, int(there.get("GPU", 0)) if self.gpus else len(ray.nodes()))
        self._stopping = False
        self._task = ray.remote(
            num_cpus=threads, num_gpus=self.gpus, max_retries=retries, retry_exceptions=False
        )(_perform)
        self._running: list[Any] = []

    def submit(self, job: Job) -> Future[Outcome]:
        """Start a run when there is room for it; return what becomes of it."""
        if self._stopping:
            ended: Future[Outcome] = Future()
            ended.set_result(Outcome("stopped"))
            return ended
        reference = self._task.options(name=f"dfast {job.name}").remote(job)
        self._running.append(reference)
        future: Future[Outcome] = reference.future()
        return future

    def stop(self) -> None:
        """Have all runs save and end, and start no others; return at once."""
        self._stopping = True
        for reference in self._running:
            self._ray.cancel(reference, force=False)  # raises KeyboardInterrupt in the task

    def close(self) -> None:
        """Leave the cluster, which ends what still runs there, unless the program was in it."""
        if not self._connected_before:
            self._ray.shutdown()


def _perform(job: Job) -> Outcome:
    """Do a job, in a worker."""
    ray = _ray()
    with suppress(ray.exceptions.RayError):  # then the lock is judged as far as it can be from here
        drop_lock_of_another_machine(job.folder, ray.nodes(), drop_stale_lock_there)
    return perform(job)


def drop_lock_of_another_machine(
    folder: Path, nodes: Sequence[Mapping[str, Any]], ask: Callable[[Path, str], None]
) -> None:
    """Remove the lock that a killed run left on another machine, which cannot be judged from here.

    Ray knows which machines are gone, and a task on one that is there can judge the lock.

    Args:
        folder: the run folder.
        nodes: the machines that the cluster has and had, as `ray.nodes` returns them.
        ask: has the node of an ID remove the folder's lock if it is stale.
    """
    if (owner := foreign_owner(folder)) is None:
        return
    its = [node for node in nodes if node["NodeManagerHostname"] == owner.host]
    alive = [node["NodeID"] for node in its if node["Alive"]]
    if alive:
        ask(folder, alive[0])
    elif its:
        drop_foreign_lock(folder)


def drop_stale_lock_there(folder: Path, node: str) -> None:
    """Remove the lock of a run folder if it is stale, by a task on the machine that it names.

    Args:
        folder: the run folder.
        node: ID of the machine's node.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray = _ray()
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(num_cpus=0, scheduling_strategy=there)(drop_stale_lock)
    ray.get(task.remote(folder), timeout=GRACE)


def drop_stale_lock(folder: Path) -> None:
    """Remove the lock of a run folder whose process ran on this machine and is gone."""
    lock = FolderLock(folder)
    with suppress(RunFolderError):  # it still runs
        lock.acquire()
    lock.release()


def _ray() -> Any:
    """Import Ray."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of dfast asks the network
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f"engine: expected Ray to be installed for 'ray' ({error}); pip install \"dfast[ray]\""
        ) from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    """Connect to a cluster, or start one of this machine."""
    address = address or os.environ.get("RAY_ADDRESS") or LOCAL
    own: dict[str, Any] = {}
    if address == LOCAL:
        own = {"object_store_memory": OBJECT_STORE, "include_dashboard": False}
    _check_answers(address)
    try:
        with _own_signals():
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise DfastError(f"address: expected a Ray cluster at '{address}' ({error})") from error


def _check_answers(address: str) -> None:
    """Raise DfastError if nothing listens at HOST:PORT, for which Ray would wait many minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise DfastError(
            f"address: expected a Ray cluster at '{address}', got no answer ({error})"
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's handler of SIGTERM, which Ray replaces."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)
