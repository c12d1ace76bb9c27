"""The driver with an engine that makes no runs: retries, failures, stops, and what is shown."""

from __future__ import annotations

import csv
import io
import json
import signal
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import dfast
from dfast.batches.driver import Driver
from dfast.batches.job import BEGIN, Job, Outcome, attempts
from dfast.batches.live import LiveTable, counted
from dfast.batches.on_ray import drop_lock_of_another_machine, drop_stale_lock
from dfast.batches.plan import Resources
from dfast.batches.state import (
    Status,
    check_same,
    finished,
    flat,
    look,
    read_states,
    write_table,
)
from dfast.batches.summary import as_csv, summary_page
from dfast.config import Config
from dfast.errors import ConfigError, RunFolderError
from dfast.runs.lock import FolderLock, Owner
from dfast.runs.signals import StopRequest
from dfast.runs.unfinished import last_metrics

CONFIG = Config().replace(train={"steps": 4})


def job(out: Path, name: str, *, export: bool = False) -> Job:
    return Job(
        batch=str(out),
        name=name,
        prompt="a red cube",
        seed=0,
        prior="shapes",
        config=CONFIG.to_dict(),
        device="cpu",
        threads=1,
        export=export,
    )


def status(name: str) -> Status:
    return Status(name, "a red cube", 0, {}, steps=4)


def finish(job: Job, steps: int = 4) -> Outcome:
    """Write what a finished run has that is looked at."""
    job.folder.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"__metadata__": {"dfast": json.dumps({"run": {"steps": steps}})}}).encode()
    (job.folder / "result.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    about = {"prompt": job.prompt, "seed": job.seed, "prior": "shapes"}
    (job.folder / "run.json").write_text(json.dumps(about))
    (job.folder / "config.toml").write_text(Config.from_dict(job.config).dumps())
    return Outcome("done", seconds=1.0)


class Scripted:
    """An engine whose runs end at once, as functions say, one for each attempt."""

    def __init__(self, **scripts: list[Callable[[Job], Outcome]]) -> None:
        self.scripts, self.started, self.stopped = scripts, list[str](), False

    def submit(self, job: Job) -> Future[Outcome]:
        self.started.append(job.name)
        future: Future[Outcome] = Future()
        try:
            future.set_result(self.scripts[job.name].pop(0)(job))
        except OSError as error:
            future.set_exception(error)
        return future

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None:
        pass


def crash(job: Job) -> Outcome:
    return Outcome("crashed", "its process ended by signal 9", 1.0)


def lose(job: Job) -> Outcome:
    raise OSError("the worker was lost")


def drive(out: Path, engine: Scripted, request: StopRequest | None = None) -> list[Status]:
    """Run every script of an engine, with one retry."""
    out.mkdir(exist_ok=True)
    rows = [status(name) for name in engine.scripts]
    jobs = [job(out, row.name) for row in rows]
    driver = Driver(out, rows, retries=1, live=None)
    driver.run(engine, 1, jobs, request or StopRequest())
    return rows


def test_crashes_are_repeated_and_failures_are_not(tmp_path: Path) -> None:
    engine = Scripted(
        a=[crash, finish],
        b=[crash, crash],
        c=[lambda job: Outcome("failed", "the scene stays empty")],
        d=[lose],
        e=[lambda job: Outcome("done")],
        f=[finish],
    )
    rows = drive(tmp_path, engine)
    assert engine.started == ["a", "a", "b", "b", "c", "d", "e", "f"]
    assert {row.name: row.error for row in rows if row.state == "failed"} == {
        "b": "its process ended by signal 9",
        "c": "the scene stays empty",
        "d": "the worker was lost",
        "e": f"expected its files in '{tmp_path / 'e'}', got none; see its log",
    }
    assert [row.name for row in rows if row.state == "done"] == ["a", "f"]
    assert rows[0].seconds == 2.0
    assert counted(rows) == "2 of 6 done, 4 failed, 0 to do"
    assert read_states(tmp_path) == {row.name: row for row in rows}


@pytest.mark.parametrize("how", [lambda job: Outcome("stopped"), crash, lose])
def test_a_signal_stops_the_engine_and_starts_nothing_more(
    tmp_path: Path, how: Callable[[Job], Outcome]
) -> None:
    request = StopRequest()

    def stop(job: Job) -> Outcome:
        request.ask(signal.SIGTERM)
        return how(job)

    engine = Scripted(a=[finish], b=[stop], c=[finish])
    rows = drive(tmp_path, engine, request)
    assert engine.stopped
    assert engine.started == ["a", "b"]
    assert [row.state for row in rows] == ["done", "waiting", "waiting"]
    assert [row["state"] for row in json.loads((tmp_path / "table.json").read_text())["runs"]] == [
        row.state for row in rows
    ]


def test_the_folders_decide_what_is_finished(tmp_path: Path) -> None:
    run, row = job(tmp_path, "a"), status("a")
    assert not finished(run)
    finish(run)
    look(row, run)
    assert row.state == "done"
    exported = job(tmp_path, "a", export=True)
    look(row, exported)
    assert row.state == "waiting"  # its report is missing
    (run.folder / "report.html").touch()
    assert finished(exported)
    finish(run, steps=3)
    assert not finished(run)
    (run.folder / "result.safetensors").write_bytes(b"\xff" * 20)
    assert not finished(run)


def test_folders_of_other_runs_are_refused(tmp_path: Path) -> None:
    run = job(tmp_path, "a")
    check_same("row 2", run)
    finish(run)
    check_same("row 2", run)
    about = run.folder / "run.json"
    about.write_text('{"prompt": "The red cube.", "seed": 0, "prior": "shapes"}')
    check_same("row 2", run)  # of the same meaning
    about.write_text('{"prompt": "a red cube", "seed": 1, "prior": "shapes"}')
    with pytest.raises(RunFolderError, match="row 2, column 'seed': expected 1, of the run that"):
        check_same("row 2", run)
    about.write_text('{"prompt": "a red cube", "seed": 0, "prior": "shapes"}')
    CONFIG.replace(train={"steps": 3}).save(run.folder / "config.toml")
    check_same("row 2", run)  # it is made longer
    CONFIG.replace(train={"steps": 5}).save(run.folder / "config.toml")
    with pytest.raises(RunFolderError, match="row 2: expected the settings in"):
        check_same("row 2", run)


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    write_table(tmp_path, [status("a")])
    assert read_states(tmp_path) == {"a": status("a")}
    (tmp_path / "table.json").write_text('{"runs": [{"name": 1}]}')
    with pytest.raises(RunFolderError, match=r"table\.json': cannot be read .* delete it"):
        read_states(tmp_path)


def test_metrics_are_those_of_the_last_complete_line(tmp_path: Path) -> None:
    assert last_metrics(tmp_path) == {}
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert last_metrics(tmp_path) == {"step": 2}
    assert flat({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}


def test_the_log_counts_attempts(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert attempts(log) == 0
    log.write_bytes(f"{BEGIN}once\nstep 1\n\xff\n{BEGIN}twice\n".encode("latin-1"))
    assert attempts(log) == 2


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfast.batches.live.TERMINAL", 0.0)
    monkeypatch.setenv("COLUMNS", "200")
    rows, jobs = [status("a"), status("b")], [job(tmp_path, "a"), job(tmp_path, "b")]
    jobs[1].folder.mkdir()
    (jobs[1].folder / "run.lock").touch()
    (jobs[1].folder / "metrics.jsonl").write_text('{"step": 3}\n')
    screen = Terminal()
    live = LiveTable(rows, jobs, screen)
    live.show()
    assert screen.getvalue() == "  0 of 2 done, 2 to do\n  b: step 3 of 4\n"
    live.close()
    assert screen.getvalue().endswith("\x1b[2A\x1b[J")


def test_the_summary_has_pictures_numbers_and_links(tmp_path: Path) -> None:
    rows = [status("a"), status("b <i>")]
    for file in ("contact_sheet.png", "report.html", "object.glb"):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / file).touch()
    rows[0].state, rows[0].metrics = "done", {"step": 4, "opacity": 0.25}
    rows[0].settings, rows[0].scores = {"guidance.scale": 20}, {"iou": 0.5, "hazy": True}
    rows[1].state, rows[1].error = "failed", "no <such> thing"
    page = summary_page(tmp_path, rows)
    for part in ('<img src="a/contact_sheet.png"', 'href="a/report.html"', 'href="a/object.glb"'):
        assert part in page
    for part in ("1 done, 1 failed, 0 to do", "no &lt;such&gt; thing", "hazy", "0.25", "IoU"):
        assert part in page
    assert "<i>" not in page
    assert as_csv(rows).splitlines() == [
        "name,prompt,seed,state,steps,attempts,seconds,guidance.scale,opacity,step,"
        "score hazy,score iou,faults,error",
        "a,a red cube,0,done,4,0,0.0,20,0.25,4,True,0.5,hazy,",
        "b <i>,a red cube,0,failed,4,0,0.0,,,,,,failed,no <such> thing",
    ]


def test_lists_and_tables_are_json_in_the_summary() -> None:
    row = status("a")
    row.settings = {"layout.parts": [{"name": "a", "size": 0.5}], "camera.resolution": [[0, 16]]}
    (values,) = csv.DictReader(as_csv([row]).splitlines())
    assert {key: json.loads(values[key]) for key in row.settings} == row.settings


def test_locks_of_other_machines_are_judged_there(tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    nodes = [
        {"NodeManagerHostname": "lost", "Alive": False, "NodeID": "1"},
        {"NodeManagerHostname": "back", "Alive": False, "NodeID": "2"},
        {"NodeManagerHostname": "back", "Alive": True, "NodeID": "3"},
    ]
    asked: list[str] = []

    def ask(folder: Path, node: str) -> None:
        asked.append(node)

    drop_lock_of_another_machine(tmp_path, nodes, ask)
    for host, stays in (("lost", False), ("back", True), ("elsewhere", True)):
        lock.write_bytes(Owner(1, host, "boot", "1").encode())
        drop_lock_of_another_machine(tmp_path, nodes, ask)
        assert lock.exists() is stays
    assert asked == ["3"]
    lock.write_bytes(Owner(1, "lost", Owner.this().boot, "1").encode())
    drop_lock_of_another_machine(tmp_path, nodes, ask)
    assert lock.exists()  # of this machine under another name: `perform` can judge it


@pytest.mark.usefixtures("needs_native")
def test_locks_of_other_machines_are_taken_over_on_request(tmp_path: Path) -> None:
    run = job(tmp_path, "a")
    finish(run)
    row = {"name": "a", "prompt": "a red cube", "seed": 0}
    for folder in (tmp_path, run.folder):
        (folder / "run.lock").write_bytes(Owner(1, "elsewhere", "boot", "1").encode())
    options: dict[str, Any] = {"config": CONFIG, "device": "cpu", "export": False}
    with pytest.raises(RunFolderError, match="is in use by process 1 on the host 'elsewhere'"):
        dfast.batch([row], tmp_path, progress=False, **options)
    found = dfast.batch([row], tmp_path, progress=False, take_over=True, **options)
    assert [row.state for row in found.rows] == ["done"]
    assert not (run.folder / "run.lock").exists()


def test_a_lock_is_stale_when_its_process_is_gone(tmp_path: Path) -> None:
    held = FolderLock(tmp_path)
    held.acquire()
    drop_stale_lock(tmp_path)
    assert held.path.exists()
    held.forget()  # as when its process ends without a word
    drop_stale_lock(tmp_path)
    assert not held.path.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "slurm"}, "engine: expected one of .*, got 'slurm'"),
        ({"jobs": 0}, "jobs: expected 1 to 4096, got 0"),
        ({"threads": 1.5}, "threads: expected 1 to 4096, got 1.5"),
        ({"retries": None}, "retries: expected 0 to 4096, got None"),
        ({"address": "auto"}, "address: expected that of a cluster, with the engine 'ray'"),
        ({"gpus_per_run": 2}, "gpus_per_run: expected 0 to 1, .*, got 2"),
        ({"gpus_per_run": 0.5, "device": "cpu"}, "device: expected cuda beside gpus_per_run 0.5"),
        ({"device": "cuda:1"}, "device: expected one of .*, got 'cuda:1'"),
    ],
)
def test_resources_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Resources(**options)  # type: ignore[arg-type]
