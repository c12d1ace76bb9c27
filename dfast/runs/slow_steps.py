"""Notice that the steps of a run have become far slower than its first ones, and say so once."""

from __future__ import annotations

import os
import statistics
import warnings
from collections import deque

import torch

from dfast.errors import DfastWarning
from dfast.host.cpus import usable_cpus
from dfast.host.threads import threads_may_spin, wait_policy

WARM_UP, FIRST, LAST = 2, 8, 8
"""Steps at the beginning that do not count, then those that are compared, with how many recent."""
FACTOR = 3.0
"""Steps this many times slower than the first ones are worth a word; by its schedules alone a run's
steps differ by less than 2."""


class SlowSteps:
    """Watch the times of a run's steps on the CPU and warn once."""

    def __init__(self) -> None:
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=LAST)
        self._seen = 0
        self._warned = False

    def add(self, seconds: float) -> None:
        """Add the time of the next step, in seconds, without what is written after it.

        The comparison is of medians, so that a single pause says nothing.
        """
        self._seen += 1
        if self._warned or self._seen <= WARM_UP:
            return
        if len(self._first) < FIRST:
            self._first.append(seconds)
            return
        self._last.append(seconds)
        first, last = statistics.median(self._first), statistics.median_low(self._last)
        if len(self._last) == LAST and last > FACTOR * first:
            self._warned = True
            warnings.warn(_advice(first, last), DfastWarning, stacklevel=3)


def _advice(first: float, last: float) -> str:
    """Return what is said about slow steps, from two times in seconds."""
    said = f"steps take {last:.2g} s now and took {first:.2g} s at first"
    if hasattr(os, "getloadavg"):
        said += f" (load {os.getloadavg()[0]:.1f}, {usable_cpus()} CPUs usable)"
    said += ": other processes or a throttled processor slow this run"
    if threads_may_spin():
        said += (
            f"; threads wait busily ({wait_policy()}), which makes it worse: set "
            "OMP_WAIT_POLICY=passive, or import dfast before torch"
        )
    elif torch.get_num_threads() > 1:
        said += "; fewer threads may help: OMP_NUM_THREADS=1"
    return said
