"""The `measure` fixture: how the benchmarks are timed, and what is recorded beside a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dfast.bench import machine

Measure = Callable[..., None]
"""Of the fixture `measure`."""


@pytest.fixture
def measure(benchmark: Any) -> Measure:
    """Return a function that times a call and records the device and rates.

    `measure(call, device, samples=n)` also records `samples_per_second`, from the median. On CUDA
    each round is 20 calls between two synchronisations, so that the time is the device's, not that
    of one launch.
    """

    def run(call: Callable[[], object], device: torch.device, **amounts: int) -> None:
        on_cuda = device.type == "cuda"
        calls = 20 if on_cuda else 1

        def work() -> None:
            for _ in range(calls):
                call()
            if on_cuda:
                torch.cuda.synchronize()

        benchmark.pedantic(work, rounds=10 if on_cuda else 3, warmup_rounds=1)
        seconds = benchmark.stats.stats.median / calls
        benchmark.extra_info.update(
            machine.describe(device),
            calls_a_round=calls,
            milliseconds_a_call=round(1e3 * seconds, 4),
        )
        for amount, count in amounts.items():
            benchmark.extra_info[f"{amount}_per_second"] = round(count / seconds)

    return run
