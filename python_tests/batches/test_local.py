"""Batches on this machine: killed runs, killed and stopped drivers, rows that fail."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tiny_batches import (
    LONG,
    SETTINGS,
    alone,
    driver,
    gone,
    is_stepping,
    owner,
    result,
    saved_step,
    until,
)

import dfast
from dfast.batches.job import attempts
from dfast.batches.state import last_metrics

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needs_native")]
ROWS: list[dict[str, Any]] = [
    {"name": "long", "prompt": "a red cube", "seed": 0, "train.steps": LONG},
    {"name": "taken", "prompt": "a red cube", "seed": 1},
    {"name": "short", "prompt": "a blue sphere", "seed": 2},
]
OPTIONS: dict[str, Any] = {"config": SETTINGS, "device": "cpu", "export": False, "progress": False}


def test_a_killed_run_is_resumed_and_a_failing_row_stops_no_other(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "taken").mkdir(parents=True)
    (out / "taken" / "letter.txt").write_text("not a run")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(dfast.batch, ROWS, out, jobs=2, **OPTIONS)
        until(lambda: is_stepping(out / "long") or running.done())
        os.kill(owner(out / "long"), signal.SIGKILL)
        found = running.result()
    assert [row.state for row in found.rows] == ["done", "failed", "done"]
    assert [row.attempts for row in found.rows] == [2, 1, 1]
    assert found.failed[0].error == (
        f"out: '{out / 'taken'}' holds files that are not a dfast run; choose a new folder"
    )
    assert result(out / "long").read_bytes() == alone(tmp_path / "a", "a red cube", 0, LONG)
    assert result(out / "short").read_bytes() == alone(tmp_path / "b", "a blue sphere", 2)

    (out / "taken" / "letter.txt").unlink()
    again = dfast.batch(ROWS, out, jobs=1, only="failed", **OPTIONS)
    assert [row.state for row in again.rows] == ["done"] * 3
    assert [row.attempts for row in again.rows] == [2, 2, 1]  # nothing else was started


def test_a_driver_is_killed_restarted_and_stopped(tmp_path: Path) -> None:
    table, out = tmp_path / "runs.csv", tmp_path / "out"
    table.write_text(
        f"name,prompt,seed,train.steps\nshort,a blue sphere,2,\nlong,a red cube,0,{LONG}\n"
    )
    first = driver(table, out, "--jobs", "1")
    until(lambda: owner(out) == first.pid, first)
    second = driver(table, out)
    _, refused = second.communicate(timeout=60)
    assert second.returncode == 2
    assert refused == (f"dfast: error: out: '{out}' is in use by another process, {first.pid}\n")
    until(lambda: is_stepping(out / "long"), first)
    process = owner(out / "long")
    first.kill()
    first.communicate()
    until(lambda: gone(process))  # it notices, saves and ends
    assert not result(out / "long").exists()
    written = result(out / "short").stat().st_mtime_ns

    third = driver(table, out)
    until(lambda: attempts(out / "logs" / "long.log") == 2 and is_stepping(out / "long"), third)
    third.terminate()
    _, said = third.communicate(timeout=60)
    assert third.returncode == 143
    assert "1 of 2 done, 1 to do: long\ndfast: interrupted; the same command goes on\n" in said
    assert saved_step(out / "long") == last_metrics(out / "long")["step"]

    found = dfast.batch(table, out, jobs=2, threads=2, **OPTIONS)
    assert [(row.state, row.attempts) for row in found.rows] == [("done", 1), ("done", 3)]
    assert result(out / "short").stat().st_mtime_ns == written
    assert result(out / "long").read_bytes() == alone(tmp_path / "alone", "a red cube", 0, LONG)
