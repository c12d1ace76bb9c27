"""Time one case: host time, device time, CUDA graphs, memory.

wall_ms      host time of one call and the synchronisation that ends it, median
captured_ms  device time of a replay of the CUDA graph, when replays are queued one after the other
gpu_ms       sum of the device's times in the kernels, copies and fills of one call (`trace`)
held_mib     memory that lives from call to call: parameters, their half copy, the optimiser's
             moments, inputs
peak_mib     most memory allocated in a call beyond that
"""

from __future__ import annotations

import gc
import statistics
import warnings
from collections.abc import Callable
from functools import partial
from time import perf_counter

import torch

from dfast.bench.case import Case, Work
from dfast.errors import DfastWarning
from dfast.training.cuda_graphs import CudaGraphCache

MIB = 2.0**20
WARMUPS, RUNS = 10, 50
"""Calls before timing, and the largest number of timed calls."""
Record = dict[str, object]
"""Numbers of one case by name, as they are written to the file."""


def measure(case: Case, device: torch.device, seconds: float) -> Record:
    """Measure one case.

    Args:
        case: the case.
        device: where it runs.
        seconds: about how long to measure.

    Returns:
        Its times and memory, with the amounts and costs of its work.
    """
    work = case.build(device)
    if device.type == "cpu":
        return {**_empty(), "wall_ms": _on_cpu(work, seconds), **_about(work)}
    call, held, peak = prepare(case, work, device)
    wall = _wall(call, seconds / 2)
    captured = _queued(call, wall, seconds / 2) if case.cuda_graph else None
    return {
        **_empty(),
        "wall_ms": wall,
        "captured_ms": captured,
        "peak_mib": round(peak / MIB, 2),
        "held_mib": round(held / MIB, 2),
        **_about(work),
    }


def _empty() -> Record:
    """Return a record in which nothing is measured."""
    keys = ("wall_ms", "gpu_ms", "captured_ms", "peak_mib", "held_mib", "launches", "syncs")
    return dict.fromkeys(keys)


def _about(work: Work) -> Record:
    """Return what is known about some work before it is timed."""
    return {**work.amounts, **work.details, "bytes": work.cost.bytes, "flops": work.cost.flops}


def prepare(case: Case, work: Work, device: torch.device) -> tuple[Callable[[], object], int, int]:
    """Warm up a case on CUDA, and record it if it is one for a CUDA graph.

    Args:
        case: the case.
        work: its work.
        device: where it runs.

    Returns:
        The call to time, the bytes that live from call to call, and those that a call needs beyond
        them.

    Raises:
        DfastWarning: if a case that should be recorded in a CUDA graph cannot be.
    """
    call = work.run
    if case.cuda_graph:
        call = partial(CudaGraphCache(device, work.generators).run, case.workload, work.run)
    for _ in range(CudaGraphCache.WARMUP):
        call()
    torch.cuda.synchronize(device)
    gc.collect()
    torch.cuda.empty_cache()
    held = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DfastWarning)
        for _ in range(WARMUPS):  # the first records
            call()
    torch.cuda.synchronize(device)
    return call, held, torch.cuda.max_memory_allocated(device) - held


def run_count(one: float, seconds: float) -> int:
    """Return how many runs that take `one` second each fit in `seconds`, 3 to RUNS."""
    return max(3, min(RUNS, int(seconds / max(one, 1e-9))))


def _median_ms(times: list[float]) -> float:
    """Return the median of times in seconds, in milliseconds."""
    return round(1e3 * statistics.median(times), 6)


def _wall(call: Callable[[], object], seconds: float) -> float:
    """Return the host's milliseconds of a call on CUDA, the device's work included."""

    def timed() -> float:
        start = perf_counter()
        call()
        torch.cuda.synchronize()
        return perf_counter() - start

    return _median_ms([timed() for _ in range(run_count(timed(), seconds))])


def _queued(call: Callable[[], object], wall_ms: float, seconds: float) -> float:
    """Return the device's milliseconds a call when many are queued, median of five batches."""
    batch = max(2, min(200, int(seconds / 5 / (wall_ms * 1e-3))))
    times = []
    for _ in range(5):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(batch):
            call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / batch)
    return round(statistics.median(times), 6)


def _on_cpu(work: Work, seconds: float) -> float:
    """Return the milliseconds of a run on the CPU."""

    def timed() -> float:
        start = perf_counter()
        work.run()
        return perf_counter() - start

    first = timed()  # warms up
    runs = run_count(first, seconds) if first < seconds else 1
    return _median_ms([timed() for _ in range(runs)])
