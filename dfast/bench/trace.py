"""Count what a call launches and waits for; NVTX ranges and Chrome traces."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch.autograd.profiler import record_function
from torch.profiler import ProfilerActivity, profile

ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")

_ranges = False  # whether `stage` makes ranges; set while `write` takes a trace


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Name a part of a step: while a trace is taken, it is a range in it and an NVTX range."""
    if not _ranges:
        yield
        return
    on_cuda = torch.cuda.is_available()
    with record_function(name):
        if on_cuda:
            torch.cuda.nvtx.range_push(name)
        try:
            yield
        finally:
            if on_cuda:
                torch.cuda.nvtx.range_pop()


class Counted(NamedTuple):
    """The work of one call on the device and its waits on the host."""

    launches: int
    """Number of kernels, copies and fills; of a replayed graph, the nodes that did something."""
    syncs: int
    """How often the host waited for the device."""
    gpu_ms: float
    """Sum of the device's times in the launches."""


def count(call: Callable[[], object]) -> Counted | None:
    """Count the launches and waits of a warmed-up call on CUDA.

    Returns:
        The counts, or None where the profiler sees nothing.
    """
    own = own_waits()
    events = profiled_events(call)
    work = [event for event in events if event.get("cat") in ON_DEVICE]
    if not work:
        return None
    syncs = max(0, sum(map(_waits, events)) - own)
    return Counted(len(work), syncs, round(sum(float(event["dur"]) for event in work) / 1e3, 6))


@cache
def own_waits() -> int:
    """Return the waits of a trace of nothing, which are the profiler's and those of `count`.

    They are measured once in a process.
    """
    # CUDA graphs are not traced correctly after CUPTI was torn down and set up again.
    os.environ.setdefault("TEARDOWN_CUPTI", "0")
    os.environ.setdefault("DISABLE_CUPTI_LAZY_REINIT", "1")
    profiled_events(lambda: None)  # the first trace of a process misses some waits
    return sum(map(_waits, profiled_events(lambda: None)))


def _waits(event: dict) -> bool:
    """Return whether an event is a wait of the host for the device."""
    name = event.get("name")
    return event.get("cat") in ("cuda_runtime", "cuda_driver") and name in WAITS


def profiled_events(call: Callable[[], object]) -> list[dict]:
    """Return the named events of a call in torch's profiler."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        call()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        seen.export_chrome_trace(str(path))
        return [e for e in json.loads(path.read_text())["traceEvents"] if "name" in e]


def write(call: Callable[[], object], path: Path, calls: int = 3) -> None:
    """Write a Chrome trace of some calls with named stages, for chrome://tracing or Perfetto.

    Under `nsys profile` the stages are NVTX ranges.

    Args:
        call: what to trace; it is called once before.
        path: the file.
        calls: number of calls.
    """
    global _ranges
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    call()
    _ranges = True
    try:
        with profile(activities=activities) as seen:
            for i in range(calls):
                with stage(f"call {i}"):
                    call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
    finally:
        _ranges = False
    seen.export_chrome_trace(str(path))
