"""One case on the clock: host time, device time, CUDA graphs, memory.

wall_ms      host clock around one call and the synchronisation that ends it, median
captured_ms  replays of the CUDA graph queued one behind the other, between two events, per replay
gpu_ms       sum of the device's times in the kernels, copies and fills of one call (`trace`)
peak_mib     most memory allocated in a call beyond what lives from call to call: parameters, their
             half copy, the optimiser's moments and the inputs, which are `held_mib`
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
from dfast.training.cuda_graphs import CudaGraphCache

MIB = 2.0**20
WARMUPS, RUNS = 10, 50
Record = dict[str, object]


def measure(case: Case, device: torch.device, seconds: float) -> Record:
    """Times of one case, in about `seconds`. Raises what the case raises."""
    work = case.build(device)
    if device.type == "cpu":
        return {**_empty(), "wall_ms": _on_cpu(work, seconds), **_about(work)}
    call, held, peak = prepare(case, work, device)
    wall = _wall(call, seconds / 2)
    captured = _queued(call, wall, seconds / 2) if case.captured else None
    return {
        **_empty(),
        "wall_ms": wall,
        "captured_ms": captured,
        "peak_mib": round(peak / MIB, 2),
        "held_mib": round(held / MIB, 2),
        **_about(work),
    }


def _empty() -> Record:
    keys = ("wall_ms", "gpu_ms", "captured_ms", "peak_mib", "held_mib", "launches", "syncs")
    return dict.fromkeys(keys)


def _about(work: Work) -> Record:
    return {**work.amounts, **work.details, "bytes": work.cost.bytes, "flops": work.cost.flops}


def prepare(case: Case, work: Work, device: torch.device) -> tuple[Callable[[], object], int, int]:
    """The call to time on CUDA, warmed up, and the bytes that it holds and needs beside them.

    Raises RuntimeWarning when a case that should be recorded in a CUDA graph cannot be.
    """
    call = work.run
    if case.captured:
        call = partial(CudaGraphCache(device, work.generators).run, case.workload, work.run)
    for _ in range(CudaGraphCache.WARMUP):
        call()
    torch.cuda.synchronize(device)
    gc.collect()
    torch.cuda.empty_cache()
    held = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for _ in range(WARMUPS):  # the first records
            call()
    torch.cuda.synchronize(device)
    return call, held, torch.cuda.max_memory_allocated(device) - held


def _runs(one: float, seconds: float) -> int:
    """How many runs of `one` second fit, 3 to RUNS."""
    return max(3, min(RUNS, int(seconds / max(one, 1e-9))))


def _median_ms(times: list[float]) -> float:
    return round(1e3 * statistics.median(times), 6)


def _wall(call: Callable[[], object], seconds: float) -> float:
    def timed() -> float:
        start = perf_counter()
        call()
        torch.cuda.synchronize()
        return perf_counter() - start

    return _median_ms([timed() for _ in range(_runs(timed(), seconds))])


def _queued(call: Callable[[], object], wall_ms: float, seconds: float) -> float:
    """Milliseconds a call on the device when many are queued; median of five batches."""
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
    def timed() -> float:
        start = perf_counter()
        work.run()
        return perf_counter() - start

    first = timed()  # warms up
    runs = _runs(first, seconds) if first < seconds else 1
    return _median_ms([timed() for _ in range(runs)])
