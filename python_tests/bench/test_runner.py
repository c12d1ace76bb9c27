"""A run of the benchmarks reports what happened, and the command checks its options."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dfast.bench import counts, machine, peers, runner
from dfast.bench.case import DFAST, GATHERED, REFERENCE, Case, Work
from dfast.cli.main import main

CPU = torch.device("cpu")


def _work(run: Callable[[], object] = lambda: None) -> Work:
    """Return work of known costs."""
    return Work(run, counts.Cost(2_000_000, 3_000_000), {"points": 7})


def _fail() -> None:
    """Fail as a case can."""
    raise RuntimeError("out of luck\nwith details")


@pytest.fixture
def three_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the cases by three, the second of which fails, and skip the ceilings' seconds."""
    made = [
        Case("A-x-1k", DFAST, lambda device: _work()),
        Case("A-x-1k", GATHERED, lambda device: _work(_fail)),
        Case("A-x-1k", REFERENCE, lambda device: _work()),
    ]
    monkeypatch.setattr(runner, "cases", lambda *_, **__: made)
    best = {"float32_tflop_s": 1.0, "copy_gb_s": 10.0}
    monkeypatch.setattr(machine, "ceilings", lambda device: best)


@pytest.mark.usefixtures("three_cases")
def test_a_failing_case_leaves_its_message_and_the_others_go_on(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "new" / "x.json"
    records = runner.run(CPU, quick=True, out=path, profile=tmp_path / "traces", say=said.append)
    assert json.loads(path.read_text()) == records
    assert [r.get("error") for r in records] == [None, "RuntimeError: out of luck", None]
    for key in ("wall_ms", "gpu_ms", "captured_ms", "peak_mib", "launches", "syncs", "gpu"):
        assert key in records[0]
    for key in ("ceilings", "driver", "torch", "date", "commit", "processor", "threads"):
        assert records[0][key] is not None or key == "driver"
    assert (
        records[0]["points"] == 7
        and records[0]["gb_s"] > 0
        and records[0]["floor_ms"] == 0.2
        and records[0]["gpu"] is None
    )
    assert any("failed: RuntimeError: out of luck" in line for line in said)
    assert (tmp_path / "traces" / "A-x-1k-dfast.json").exists()
    assert any("not installed" in line for line in said) == bool(peers.missing())


def test_bad_options_are_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    wrong = {
        "--workloads: expected letters": ["--workloads", "Z"],
        "device: expected cpu, cuda": ["--device", "tpu"],
        "--out: expected a file": ["--out", str(tmp_path)],
        "--profile: expected a folder": ["--profile", str(file)],
    }
    for message, options in wrong.items():
        assert main(["bench", *options]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.usefixtures("needs_native")
def test_workloads_without_cases_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--device", "cpu", "--workloads", "F"]) == 2
    assert "--workloads: expected one with cases here, got 'F'" in capsys.readouterr().err


@pytest.mark.usefixtures("needs_native", "three_cases")
def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = main(["bench", "--device", "cpu", "--quick", "--out", str(tmp_path / "x.json")])
    out, err = capsys.readouterr()
    assert code == 0  # what failed is not dfast's
    assert "A-x-1k" in out and "at best here: float32 TFLOP/s 1" in out and "[3/3]" in err
    assert len(json.loads((tmp_path / "x.json").read_text())) == 3


@pytest.mark.usefixtures("needs_native", "three_cases")
def test_the_command_fails_when_dfast_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = [Case("A-x-1k", DFAST, lambda device: _work(_fail))]
    monkeypatch.setattr(runner, "cases", lambda *_, **__: failing)
    assert main(["bench", "--device", "cpu", "--quick"]) == 1
    assert "A-x-1k, dfast: failed" in capsys.readouterr().out
