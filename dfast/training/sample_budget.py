"""Choose how many samples to reserve for a step without waiting for the GPU."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from dfast.training.cuda_graphs import AsyncReadback


class SampleBudget:
    """How many samples to reserve for a step, learnt without stopping the GPU.

    The first steps at a resolution count exactly, which costs one synchronisation each; after them
    the capacity has slack and changes seldom, since a recorded step is made for one. The wanted
    totals come back by asynchronous copies and are read `LAG` steps later, always: the same run
    reserves the same. An overflow, which truncates the last rays of its step, is counted and
    answered by more capacity. On the CPU counting is free and the budget is always exact (None).
    """

    EXACT_STEPS = 8
    LAG = 8
    SLACK = 1.5
    GROW, SHRINK = 0.9, 0.35
    """Grow when a step wants more than this part of the capacity, shrink when the capacity for what
    steps want would be less than this part of it."""

    def __init__(self, device: torch.device) -> None:
        self.asynchronous = device.type == "cuda"
        self.overflows = 0
        self._resolution = -1
        self._seen = 0
        self._largest = 0
        self._capacity: int | None = None
        self._pending: deque[tuple[AsyncReadback, int | None]] = deque()

    def capacity(self, resolution: int) -> int | None:
        """Capacity to march with at this resolution; None is exact."""
        if not self.asynchronous:
            return None
        if resolution != self._resolution:
            self._read(0)
            self._resolution, self._seen, self._largest = resolution, 0, 0
            self._capacity = None
        if self._seen < self.EXACT_STEPS:
            return None
        self._read(0 if self._capacity is None else self.LAG)
        if self._capacity is None:
            self._capacity = self._fitting()
        return self._capacity

    def note(self, total: Tensor) -> None:
        """Remember what the march wanted, an int64 scalar on the device; it is read later."""
        if not self.asynchronous:
            return
        self._pending.append((AsyncReadback(total), self._capacity))
        self._seen += 1

    def _read(self, leave: int) -> None:
        """Read all but the last `leave` totals."""
        while len(self._pending) > leave:
            total, reserved = self._pending.popleft()
            self._learn(int(total.read()), reserved)

    def _learn(self, total: int, reserved: int | None) -> None:
        self.overflows += reserved is not None and total > reserved
        self._largest = max(total, self._largest * 99 // 100)  # forgets, as the scene empties
        if self._capacity is None:
            return
        fitting = self._fitting()
        if total > self.GROW * self._capacity or fitting < self.SHRINK * self._capacity:
            self._capacity = fitting

    def _fitting(self) -> int:
        return (int(self._largest * self.SLACK) // 16384 + 1) * 16384
