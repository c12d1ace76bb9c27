"""Batches on this machine: killed runs, killed and stopped drivers, rows that fail."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
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
from dfast.errors import RunFolderError
from dfast.runs.signals import Terminated
from dfast.runs.unfinished import last_metrics

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needs_native")]
ROWS: list[dict[str, Any]] = [
    {"name": "long", "prompt": "a red cube", "seed": 0, "train.steps": LONG},
    {"name": "taken", "prompt": "a red cube", "seed": 1},
    {"name": "short", "prompt": "a blue sphere", "seed": 2},
]
OPTIONS: dict[str, Any] = {
    "config": SETTINGS,
    "device": "cpu",
    "threads": 1,
    "export": False,
    "progress": False,
}


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


def stop_when(true: Callable[[], bool]) -> None:
    """Send this process what a batch queue sends, while a batch handles it."""
    until(true)
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        os.kill(os.getpid(), signal.SIGTERM)


def is_going_on(folder: Path) -> bool:
    """Return whether the second attempt at a run is on its way."""
    return attempts(folder.parent / "logs" / f"{folder.name}.log") == 2 and is_stepping(folder)


def test_a_driver_is_killed_restarted_and_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = tmp_path / "runs.csv", tmp_path / "out"
    table.write_text(
        f"name,prompt,seed,train.steps\nshort,a blue sphere,2,\nlong,a red cube,0,{LONG}\n"
    )
    first = driver(table, out, "--jobs", "1", "--threads", "1")
    until(lambda: owner(out) == first.pid, first)
    with pytest.raises(RunFolderError, match=f"in use by another process, {first.pid}$"):
        dfast.batch(table, out, **OPTIONS)
    until(lambda: is_stepping(out / "long"), first)
    process = owner(out / "long")
    first.kill()
    first.communicate()
    until(lambda: gone(process))  # it notices, saves and ends
    assert not result(out / "long").exists()
    written = result(out / "short").stat().st_mtime_ns

    stopper = threading.Thread(target=stop_when, args=(lambda: is_going_on(out / "long"),))
    stopper.start()
    with pytest.raises(Terminated) as stopped:
        dfast.batch(table, out, **OPTIONS | {"progress": True})
    stopper.join()
    assert (stopped.value.code, stopped.value.folder) == (143, out)
    assert capsys.readouterr().err.endswith("dfast: 1 of 2 done, 1 to do: long\n")
    assert not result(out / "long").exists()
    assert saved_step(out / "long") == last_metrics(out / "long")["step"]

    found = dfast.batch(table, out, jobs=2, **OPTIONS)
    assert [(row.state, row.attempts) for row in found.rows] == [("done", 1), ("done", 3)]
    assert result(out / "short").stat().st_mtime_ns == written
    assert result(out / "long").read_bytes() == alone(tmp_path / "alone", "a red cube", 0, LONG)
