"""Processes of a batch's runs that start before they have a job."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_batches import TINY

from dfast.batches.job import BEGIN, Ahead, Job, _environment, perform


@pytest.fixture
def ahead() -> Iterator[Ahead]:
    starts = iter((True, True, False))
    made = Ahead(lambda: next(starts))
    yield made
    made.close()


def job(folder: Path, name: str, **more: object) -> Job:
    config = TINY.replace(train={"steps": 2}).to_dict()
    given = {"batch": str(folder), "name": name, "prompt": "a red cube", "seed": 0, "threads": 1}
    given |= {"prior": "shapes", "config": config, "device": "cpu", "export": False}
    return Job(**given | more)  # type: ignore[arg-type]


def waiting(ahead: Ahead) -> subprocess.Popen[bytes] | None:
    return ahead._waiting


@pytest.mark.usefixtures("needs_native")
def test_runs_take_the_process_that_waits(tmp_path: Path, ahead: Ahead) -> None:
    seen = []
    for name in ("a", "b", "c"):
        seen.append(waiting(ahead))
        run = job(tmp_path, name)
        assert perform(run, ahead=ahead).state == "done"
        assert (run.folder / "result.safetensors").exists()
        assert run.log.read_text().startswith(BEGIN)
        if seen[-1] is not None:
            assert seen[-1].poll() == 0  # it was this run's
    assert [process is None for process in seen] == [True, False, False]
    assert waiting(ahead) is None  # no run comes after the last one


@pytest.mark.usefixtures("needs_native")
def test_what_a_run_says_is_in_its_log(tmp_path: Path, ahead: Ahead) -> None:
    run = job(tmp_path, "a", prompt="a glorb")
    ahead.start(_environment(run))
    outcome = perform(run, ahead=ahead)
    assert outcome.state == "failed" and "glorb" in outcome.error
    assert "dfast: error: " in run.log.read_text() and "glorb" in run.log.read_text()


def test_a_process_with_other_variables_or_that_ended_is_left(
    tmp_path: Path, ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dfast.batches.job.COMMAND", ("sh", "-c", "exit 3"))
    own = {"PATH": "/usr/bin:/bin"}
    ahead.start(own)
    assert ahead.take(own | {"OMP_NUM_THREADS": "7"}) is None
    process = waiting(ahead)
    assert process is not None
    process.wait(60)
    assert ahead.take(own) is None and waiting(ahead) is None


def test_it_ends_with_whoever_started_it() -> None:
    """Also where that is killed: the end of stdin is the end of a process without a job."""
    code = (
        "import os, time; from dfast.batches.job import Ahead\n"
        "ahead = Ahead(lambda: True); ahead.start(dict(os.environ))\n"
        "print(ahead._waiting.pid, flush=True); time.sleep(600)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    starter.send_signal(signal.SIGKILL)
    starter.communicate()
    until = time.monotonic() + 60
    while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < until:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        if state == "Z":  # ended, and nobody waits for it
            break
        time.sleep(0.1)
    assert time.monotonic() < until


def test_close_ends_it(ahead: Ahead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfast.batches.job.COMMAND", ("sh", "-c", "exec sleep 600"))
    ahead.start({"PATH": "/usr/bin:/bin"})
    process = waiting(ahead)
    assert process is not None
    ahead.close()
    assert process.poll() is not None and waiting(ahead) is None
