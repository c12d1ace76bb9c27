"""Every case of `dfast bench` under pytest-benchmark, on each device that is there.

    pytest benchmarks/bench_workloads.py --benchmark-json=workloads.json
    pytest benchmarks/bench_workloads.py -k "cuda and E-lambertian"

The CPU gets the small sizes, a GPU all of them (`dfast bench` without and with `--quick`).
"""

from __future__ import annotations

import pytest
import torch
from conftest import Measure

from dfast.bench import timing
from dfast.bench.case import Case
from dfast.bench.suite import cases


def parameters() -> list:
    """Return (device, case) for each device that is there."""
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    return [
        pytest.param(device, case, id=f"{device}-{case.workload}-{case.variant.replace(' ', '-')}")
        for device in devices
        for case in cases(device, quick=device == "cpu")
    ]


@pytest.mark.parametrize(("device", "case"), parameters())
def test_workload(measure: Measure, device: str, case: Case) -> None:
    where = torch.device(device)
    work = case.build(where)
    call = work.run if device == "cpu" else timing.prepare(case, work, where)[0]
    measure(call, where, **work.amounts)
