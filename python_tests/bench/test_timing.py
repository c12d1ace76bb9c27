"""Times, launches and waits of a case, and its trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dfast.bench import counts, timing, trace
from dfast.bench.case import DFAST, Case, Work


def test_slow_cases_are_run_less_often() -> None:
    assert timing.run_count(1e-9, 1.0) == timing.RUNS
    assert timing.run_count(0.1, 1.0) == 10
    assert timing.run_count(10.0, 1.0) == 3


def test_stages_are_in_the_trace(tmp_path: Path) -> None:
    def call() -> None:
        with trace.stage("render"):
            torch.ones(3) + 1

    trace.write(call, tmp_path / "t.json", calls=2)
    names = [e.get("name") for e in json.loads((tmp_path / "t.json").read_text())["traceEvents"]]
    assert names.count("render") == 2 and "call 1" in names and "aten::add" in names


def test_launches_and_waits_of_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count neither the profiler's own waits nor events of other categories."""
    wait = {"name": "cudaDeviceSynchronize", "cat": "cuda_runtime"}
    launched = [
        {"name": "march", "cat": "kernel", "dur": 2.0},
        {"name": "Memset (Device)", "cat": "gpu_memset", "dur": 1.5},
        {"name": "cudaLaunchKernel", "cat": "cuda_runtime", "dur": 9.0},
        {"name": "cudaStreamSynchronize", "cat": "cuda_runtime", "dur": 9.0},
    ]
    seen = {"nothing": [wait, wait], "call": [*launched, wait, wait]}
    monkeypatch.setattr(
        trace, "profiled_events", lambda call: seen["call" if call is print else "nothing"]
    )
    trace.own_waits.cache_clear()
    assert trace.count(print) == (2, 1, 0.0035)
    assert trace.count(str) is None
    trace.own_waits.cache_clear()


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
def test_launches_and_waits_are_counted() -> None:
    x = torch.ones(64, device="cuda")
    quiet, waiting = trace.count(lambda: x.add_(1)), trace.count(lambda: x.add_(1).sum().item())
    if quiet is None or waiting is None:
        pytest.skip("the profiler sees nothing here")
    assert (quiet.launches, quiet.syncs) == (1, 0) and quiet.gpu_ms > 0
    assert waiting.launches >= 3 and waiting.syncs >= 1


@pytest.mark.gpu
@pytest.mark.usefixtures("needs_cuda")
def test_a_captured_case_replays() -> None:
    x = torch.zeros(1, device="cuda")
    case = Case(
        "A-x", DFAST, lambda device: Work(lambda: x.add_(1), counts.Cost(1), {}), cuda_graph=True
    )
    cuda = torch.device("cuda")
    call, _, _ = timing.prepare(case, case.build(cuda), cuda)
    before = float(x)
    call()
    assert float(x) == before + 1
    found = timing.measure(case, cuda, 0.05)
    assert found["captured_ms"] > 0 and found["wall_ms"] > 0 and found["peak_mib"] >= 0
