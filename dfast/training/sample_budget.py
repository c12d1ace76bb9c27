"""Choose how many samples to reserve memory for in a step, without waiting for the GPU."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from dfast.training.cuda_graphs import AsyncReadback


class SampleBudget:
    """The number of samples to reserve memory for, learned from earlier steps.

    The first steps at a resolution count exactly, which costs one synchronisation each. After them
    the number has slack and changes seldom, since a CUDA graph is captured for one number. The
    counts of later steps come back by asynchronous copies and are read exactly `LAG` steps later,
    so that the same run reserves the same. An overflow truncates the last rays of its step; it is
    counted and answered by a larger number. On the CPU counting is free and every step is exact.

    Attributes:
        overflows: steps so far that had more samples than were reserved.
    """

    EXACT_STEPS = 8
    """Steps at the start of each resolution that count exactly."""
    LAG = 8
    """Steps after which a count is read; its copy has long been done by then."""
    SLACK, TIGHT_SLACK = 1.5, 1.25
    """Reserved samples over the largest recent count; and where reserved ones cost time."""
    GRANULARITY = 16384
    """The reserved number is a multiple of this, so that small changes do not change it."""
    GROW = 0.9
    """Choose anew when a step has more than this fraction of the reserved samples."""
    SHRINK, TIGHT_SHRINK = 0.35, 0.7
    """Choose anew when the new number would be less than this fraction of the reserved one; and
    where reserved ones cost time, which a new CUDA graph does once."""

    def __init__(self, device: torch.device, *, tight: bool = False) -> None:
        """Make an empty budget.

        Args:
            device: of the steps.
            tight: reserve less and choose more often, for a field that computes what is reserved.
        """
        self.asynchronous = device.type == "cuda"
        self._slack = self.TIGHT_SLACK if tight else self.SLACK
        self._shrink = self.TIGHT_SHRINK if tight else self.SHRINK
        self.overflows = 0
        self._resolution = -1
        self._steps = 0
        self._largest = 0
        self._max_samples: int | None = None
        self._pending: deque[tuple[AsyncReadback, int | None]] = deque()

    def max_samples(self, resolution: int) -> int | None:
        """Return the number of samples to reserve for the next step, or None to count exactly.

        Args:
            resolution: pixels a side of the next step's images.
        """
        if not self.asynchronous:
            return None
        if resolution != self._resolution:
            self._read(0)
            self._resolution, self._steps, self._largest = resolution, 0, 0
            self._max_samples = None
        if self._steps < self.EXACT_STEPS:
            return None
        self._read(0 if self._max_samples is None else self.LAG)
        if self._max_samples is None:
            self._max_samples = self._choose()
        return self._max_samples

    def record(self, num_samples: Tensor) -> None:
        """Record how many samples the step had.

        Args:
            num_samples: scalar int64 on the device; it is copied now and read later.
        """
        if not self.asynchronous:
            return
        self._pending.append((AsyncReadback(num_samples), self._max_samples))
        self._steps += 1

    def _read(self, keep: int) -> None:
        """Read all but the last `keep` counts."""
        while len(self._pending) > keep:
            readback, reserved = self._pending.popleft()
            self._learn(int(readback.read()), reserved)

    def _learn(self, num_samples: int, reserved: int | None) -> None:
        """Update the largest count, and the reserved number if it no longer suits."""
        self.overflows += reserved is not None and num_samples > reserved
        # The old maximum decays by 1 % a step, since the scene becomes emptier during a run.
        self._largest = max(num_samples, self._largest * 99 // 100)
        if self._max_samples is None:
            return
        chosen = self._choose()
        too_small = num_samples > self.GROW * self._max_samples
        if too_small or chosen < self._shrink * self._max_samples:
            self._max_samples = chosen

    def _choose(self) -> int:
        """Return the number to reserve for the largest recent count."""
        return (int(self._largest * self._slack) // self.GRANULARITY + 1) * self.GRANULARITY
