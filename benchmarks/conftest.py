"""Where the benchmarks run, and what a number needs beside it."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device that is there."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device(request.param)


@pytest.fixture
def measure(benchmark: Any, device: torch.device) -> Callable[..., None]:
    """Time a call, the device's work included, and note the device and rates per second.

    `measure(function, samples=n)`: `samples_per_second` is from the median. On CUDA each round is
    20 calls between two synchronisations, so that the time is the device's, not that of one launch.
    """

    def run(function: Callable[[], object], **amounts: int) -> None:
        calls = 20 if device.type == "cuda" else 1

        def work() -> None:
            for _ in range(calls):
                function()
            if device.type == "cuda":
                torch.cuda.synchronize()

        benchmark.pedantic(work, rounds=10, warmup_rounds=2)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
        seconds = benchmark.stats.stats.median / calls
        benchmark.extra_info.update(
            device=name,
            threads=torch.get_num_threads(),
            torch=torch.__version__,
            calls_a_round=calls,
            milliseconds_a_call=round(1e3 * seconds, 4),
        )
        for amount, count in amounts.items():
            benchmark.extra_info[f"{amount}_per_second"] = round(count / seconds)

    return run
