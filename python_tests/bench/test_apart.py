"""Peers run in processes of their own: what they do there costs nobody else's results."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_peers
import pytest
import torch
from child_processes import alive, children

from dfast.bench import apart, machine, peers, report, runner
from dfast.bench.case import DFAST, Case
from dfast.bench.process import same_imports
from dfast.bench.sizes import sizes

CPU = torch.device("cpu")
CRASHED = "stopped by SIGSEGV; its other cases were not run"


def _run(*variants: str, **options: Any) -> tuple[dict[tuple[str, str], Any], list[str]]:
    """Run dfast's own case and those of some fake peers; return the records and what was said."""
    own = Case("A-1k", DFAST, lambda device: fake_peers.build("works", "A-1k", device))
    others = [c for c in fake_peers.cases("cpu", sizes("cpu", True)) if c.variant in variants]
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "cases", lambda *_, **__: [*others, own])
        patch.setattr(machine, "ceilings", lambda _: {"float32_tflop_s": 1.0, "copy_gb_s": 10.0})
        records = runner.run(CPU, quick=True, say=said.append, **options)
    return {(str(r["workload"]), str(r["variant"])): r for r in records}, said


def test_a_peer_that_crashes_costs_only_its_own_cases(capfd: pytest.CaptureFixture[str]) -> None:
    found, said = _run("crashes", "works")
    first, second, third = fake_peers.WORKLOADS
    for done in (
        (first, DFAST),
        (first, "crashes"),
        *((w, "works") for w in (first, second, third)),
    ):
        assert found[done]["wall_ms"] > 0 and "error" not in found[done]
        assert found[done]["points"] == 7 and found[done]["ceilings"] and found[done]["gb_s"] > 0
    assert found[second, "crashes"]["error"] == CRASHED
    assert (third, "crashes") not in found
    assert f"[3/7] {second}, crashes: failed: {CRASHED}" in said  # dfast's case is the first
    failures = report.table(list(found.values())).splitlines()[-1:]
    assert failures == [f"{second}, crashes: failed: {CRASHED}"]
    shown = capfd.readouterr()
    assert "crashes prints while it is built" in shown.err


def test_a_peer_that_hangs_is_stopped_and_says_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "LIMIT_S", 12.0)
    found, _ = _run("hangs")
    assert found["B-march-8", "hangs"]["error"] == (
        "stopped after 12 s without an answer; its other cases were not run"
    )
    assert found["A-1k", "hangs"]["wall_ms"] > 0 and found["A-1k", DFAST]["wall_ms"] > 0


def test_an_exception_costs_one_case_and_leaving_the_rest() -> None:
    found, _ = _run("raises", "leaves")
    errors = [found[w, "raises"].get("error") for w in fake_peers.WORKLOADS]
    assert errors == [None, "RuntimeError: out of luck", None]
    assert found["B-march-8", "leaves"]["error"] == "ended early; its other cases were not run"


def test_a_crash_after_the_times_keeps_them(tmp_path: Path) -> None:
    found, said = _run("crashes in its trace", profile=tmp_path)
    times = [found[w, "crashes in its trace"] for w in fake_peers.WORKLOADS]
    assert all(r["wall_ms"] > 0 and "error" not in r for r in times)
    assert "untraced" not in times[0] and Path(times[0]["trace"]).exists()
    line = "B-march-8, crashes in its trace: no trace: stopped by SIGSEGV; "
    assert line + "its other cases were not traced" in said
    assert line in report.table(list(found.values()))


def test_a_process_that_cannot_start_is_the_first_case_s_error() -> None:
    case = Case("A-1k", "gone", lambda device: fake_peers.build("works", "A-1k", device))
    todo = [Case(case.workload, case.variant, case.build, apart="no_such_module")]
    (finding,) = apart.findings_apart(todo, CPU, quick=True, profile=None)
    assert finding == ("A-1k", "gone", "error", {"error": "ended with exit code 1"})


def test_a_peer_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "NAMES", ("torch", "no_such_package"))
    found, said = _run()
    assert len(found) == 1 and said[-1] == "not installed, so not compared: no_such_package"
    assert all(case.apart == "dfast.bench.peers" for case in _installed(monkeypatch))


def _installed(monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    """Return the cases of the real peers, as if they were installed."""
    monkeypatch.setattr(peers, "missing", list)
    made = list(peers.cases("cuda", sizes("cuda", True)))
    assert {case.variant for case in made} == {"nerfacc", "tinycudann", "nerfacc + tinycudann"}
    return made


PROGRAM = """
import sys, fake_peers, torch
from dfast.bench import apart
from dfast.bench.sizes import sizes
from dfast.cli import bench, main

def hang(*_):
    todo = [c for c in fake_peers.cases("cpu", sizes("cpu", True)) if c.variant == "hangs"]
    for found in apart.findings_apart(todo, torch.device("cpu"), quick=True, profile=None):
        if found.workload == "B-march-8":
            print("hangs", flush=True)

bench._bench_ops = hang
sys.exit(main(["bench", "--device", "cpu"]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_bench_and_the_peer(number: int, code: int) -> None:
    running = subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=same_imports(),
    )
    try:
        assert running.stdout is not None and running.stdout.readline() == "hangs\n"
        (child,) = children(running.pid)
        running.send_signal(number)
        _, err = running.communicate(timeout=20)
    finally:
        running.kill()
    assert running.returncode == code
    assert err.splitlines()[-1] == "dfast: interrupted" and "Traceback" not in err
    assert not alive(child)
