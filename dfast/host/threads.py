"""How OpenMP's threads wait and how many there are, chosen before torch loads it.

At the end of every parallel loop OpenMP's threads wait for the last one, by default in a busy loop
of milliseconds. Beside other processes that takes the processor from the thread that all wait for:
a step on two threads was measured ten times slower than on one. Threads that sleep at once cost
nothing on an idle machine, see docs/performance.md.

OpenMP reads its environment once, when torch loads it, and cannot be changed later. So `import
dfast` sets two variables if torch is not loaded yet, and removes them when dfast has loaded torch,
so that programs which this process starts later do not see them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dfast.host.cpus import affinity, physical_cores, usable_cpus

WAITING = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT")
"""Variables by which a user chooses how threads wait; one of them and dfast chooses nothing."""
COUNTING = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables by which a user chooses how many threads there are."""

_ours: dict[str, str] = {}
"""Variables that this module has set, until they are removed."""
_chosen = ""
"""How threads wait and who chose it, "" before `prepare`."""


def prepare() -> None:
    """Choose how threads wait, and fewer threads under a quota, if torch is not loaded yet."""
    global _chosen
    if _chosen:
        return
    users = [f"{name}={os.environ[name]}" for name in WAITING if name in os.environ]
    if users:
        _chosen = f"{' '.join(users)}, from the environment"
    elif "torch" in sys.modules:
        _chosen = "busy: torch was imported before dfast"
    else:
        _chosen = "passive"
        _ours["OMP_WAIT_POLICY"] = "PASSIVE"
    if "torch" not in sys.modules and not _count_chosen() and usable_cpus() < len(affinity()):
        _ours["OMP_NUM_THREADS"] = str(usable_cpus())
    os.environ.update(_ours)


def torch_loaded() -> None:
    """Remove the variables; called where dfast has imported torch."""
    if not _ours:
        return
    import torch

    torch.get_num_threads()  # MKL reads the number of threads at its first use, not when loaded
    for name, value in _ours.items():
        if os.environ.get(name) == value:
            del os.environ[name]
    _ours.clear()


def wait_policy() -> str:
    """Return how threads wait between parallel loops, and who chose it, for people."""
    return _chosen or "unknown"


def threads_may_spin() -> bool:
    """Return whether waiting threads may be busy, which is slow beside other processes."""
    return "passive" not in _chosen.lower() and "=0" not in _chosen


@contextmanager
def threads_within_quota() -> Iterator[None]:
    """Use no more threads than the quota gives, where torch was loaded before dfast.

    A number that torch does not choose by itself comes from `torch.set_num_threads`, and stays.
    """
    import torch

    before, fewer = torch.get_num_threads(), usable_cpus()
    by_itself = before in (len(affinity()), physical_cores())
    if _count_chosen() or not by_itself or before <= fewer:
        yield
        return
    torch.set_num_threads(fewer)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _count_chosen() -> bool:
    return any(name in os.environ for name in COUNTING)
