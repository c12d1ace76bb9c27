"""Times of steps whose views several processes share: `torchrun -m dfast bench --prior`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dfast
from dfast.bench.over_ranks import Apart

pytestmark = [pytest.mark.usefixtures("needs_native"), pytest.mark.slow]

SMALL = [
    "march.step_size=0.1",
    "field.grid.log2_entries=10",
    "field.grid.levels=4",
    "camera.resolution=[[0.0, 8]]",
    "occupancy.resolution=16",
]
SETS = [word for change in SMALL for word in ("--set", change)]


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    """Run `dfast bench` in two processes on the CPU."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    package = str(Path(dfast.__file__).parents[1])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": package}
    return subprocess.run(
        [sys.executable, *torchrun, "-m", "dfast", "bench", "--device", "cpu", *options],
        env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def test_two_processes_are_measured(tmp_path: Path) -> None:
    out = tmp_path / "x.json"
    line = ["--prior", "shapes,sd15", "--random", "--quick", "--steps", "2", "--out", str(out)]
    done = bench(*line, *SETS, "--set", "camera.views=4")
    assert done.returncode == 0, done.stderr
    records = json.loads(out.read_text())
    assert [(r["model"], r["random"]) for r in records] == [("shapes", False), ("sd15", True)]
    for record in records:
        assert record["processes"] == 2 and record["views"] == 4
        assert record["reduce_ms"] > 0 and record["apart_ms"] > 0 and record["gradient_mib"] > 0
        step, alone = record["step_ms"], record["alone_ms"]
        assert record["views_per_second"] == pytest.approx(4000 / step, rel=1e-3)
        assert record["speedup"] == pytest.approx(alone / step, rel=1e-2)
        assert record["efficiency"] == pytest.approx(record["speedup"] / 2, rel=1e-2)
        assert record["communication"] == pytest.approx(1 - record["apart_ms"] / step, abs=1e-3)
    rows = done.stdout.splitlines()  # of the first process alone
    assert rows[0].split()[:3] == ["model", "views", "processes"] and len(rows) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--quick"], "torchrun: expected --prior"),
        (["--prior", "shapes", "--at-once", "1,2"], "torchrun: expected no --at-once"),
        (
            ["--prior", "shapes", "--set", "camera.views=3"],
            "config key 'camera.views': expected a multiple of 2",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(options: list[str], message: str) -> None:
    done = bench(*options)
    assert done.returncode != 0 and message in done.stderr


def test_processes_apart_keep_their_gradients() -> None:
    tensors = [torch.arange(6.0).view(2, 3), torch.ones(())]
    kept = Apart(0, 2).average(tensors)
    assert [tensor.shape for tensor in kept] == [(2, 3), ()]
    torch.testing.assert_close(kept[0], tensors[0] / 2)
    assert Apart(0, 2).any(True) and not Apart(1, 2).any(False)
