"""A batch on a Ray of two workers: workers and drivers that are killed, and one that is stopped."""

from __future__ import annotations

import csv
import json
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_batches import (
    LONG,
    alone,
    driver,
    gone,
    is_stepping,
    owner,
    parent,
    result,
    saved_step,
    until,
)

from dfast.batches.job import attempts
from dfast.batches.on_ray import RayEngine, drop_stale_lock_there
from dfast.errors import DfastWarning
from dfast.runs.lock import FolderLock
from dfast.runs.unfinished import last_metrics

ray = pytest.importorskip("ray", reason='needs Ray: pip install "dfast[ray]"')

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needs_native")]
NAMES = [f"run-{number}" for number in range(8)]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a Ray with two processors, which starts a worker for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # or Ray puts one into the home
        patch.delenv("RAY_ADDRESS", raising=False)
        try:
            ray.init(
                "local",
                num_cpus=2,
                num_gpus=0,
                object_store_memory=80 << 20,
                include_dashboard=False,
                log_to_driver=False,
            )
        except Exception as error:  # such as a machine without shared memory
            pytest.skip(f"Ray does not start here: {error}")
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()


def write_table(path: Path, names: list[str]) -> Path:
    """Write a table of runs, the first of them long."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "prompt", "seed", "train.steps"])
        for number, name in enumerate(names):
            writer.writerow([name, "a red cube", number, LONG if number == 0 else ""])
    return path


def test_killed_workers_and_drivers_cost_nothing(address: str, tmp_path: Path) -> None:
    table, out = write_table(tmp_path / "runs.csv", NAMES), tmp_path / "out"
    options = ("--engine", "ray", "--address", address)

    first = driver(table, out, *options)
    until(lambda: is_stepping(out / NAMES[0]), first)
    process = owner(out / NAMES[0])
    os.kill(parent(process), signal.SIGKILL)  # the worker of Ray that started it
    until(lambda: gone(process))  # it saves and ends by itself
    until(lambda: sum(result(out / name).exists() for name in NAMES) >= 3, first)
    assert attempts(out / "logs" / f"{NAMES[0]}.log") <= 2
    first.kill()
    first.communicate()
    done = [name for name in NAMES if result(out / name).exists()]
    before = {name: result(out / name).stat().st_mtime_ns for name in done}
    tried = {name: attempts(out / "logs" / f"{name}.log") for name in done}

    second = driver(table, out, *options)
    _, said = second.communicate(timeout=120)
    assert second.returncode == 0, said
    rows = json.loads((out / "table.json").read_text())["runs"]
    assert [row["name"] for row in rows] == NAMES
    assert {row["state"] for row in rows} == {"done"}
    for name in done:  # nothing that was finished is repeated
        assert result(out / name).stat().st_mtime_ns == before[name]
        assert attempts(out / "logs" / f"{name}.log") == tried[name]
    assert result(out / NAMES[0]).read_bytes() == alone(tmp_path / "0", "a red cube", 0, LONG)
    assert result(out / NAMES[5]).read_bytes() == alone(tmp_path / "5", "a red cube", 5)


def test_a_stopped_driver_has_its_runs_save(address: str, tmp_path: Path) -> None:
    table, out = write_table(tmp_path / "runs.csv", NAMES[:1]), tmp_path / "out"
    stopped = driver(table, out, "--engine", "ray", "--address", address)
    until(lambda: is_stepping(out / NAMES[0]), stopped)
    stopped.terminate()
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 143, said
    assert "interrupted; the same command goes on" in said
    assert owner(out / NAMES[0]) == 0
    assert not result(out / NAMES[0]).exists()
    assert saved_step(out / NAMES[0]) == last_metrics(out / NAMES[0])["step"]


@pytest.mark.usefixtures("address")
def test_a_program_stays_in_its_ray_and_too_large_a_run_is_told() -> None:
    with pytest.warns(DfastWarning, match="a run asks for 3 CPU, and the cluster has 2 in all"):
        engine = RayEngine(None, threads=3, gpus=None, retries=0)
    assert engine.gpus == 0.0
    engine.close()
    assert ray.is_initialized()


@pytest.mark.usefixtures("address")
def test_a_machine_is_asked_about_its_lock(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.acquire()
    node = ray.nodes()[0]["NodeID"]
    drop_stale_lock_there(tmp_path, node)
    assert lock.path.exists()
    lock.forget()
    drop_stale_lock_there(tmp_path, node)
    assert not lock.path.exists()
