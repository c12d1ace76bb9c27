"""What the process of a run does beside training, and the engine that starts it."""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import wait
from pathlib import Path

import pytest

from dfast.batches import engine
from dfast.batches.engine import LocalEngine, visible_gpus
from dfast.batches.job import Job, Outcome, perform
from dfast.batches.process import finish
from dfast.batches.state import Status, look
from dfast.batches.summary import FAULTS, faults
from dfast.config import Config

FILES = ("object.glb", "contact_sheet.png", "turntable.gif", "report.html")


class Written:
    """A result whose files hold its name."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    def mesh(self, path: Path) -> None:
        path.write_text(self.name)

    contact_sheet = turntable = report = mesh


def job(folder: Path, **more: object) -> Job:
    given = {
        "batch": str(folder),
        "name": "a",
        "prompt": "a red cube",
        "seed": 0,
        "prior": "shapes",
        "config": Config().to_dict(),
        "device": "cpu",
        "threads": 3,
    }
    return Job(**given | more)  # type: ignore[arg-type]


def test_files_of_a_result_are_written_once(tmp_path: Path) -> None:
    run = job(tmp_path)
    run.folder.mkdir()
    result = run.folder / "result.safetensors"
    result.touch()
    finish(run, Written("first", run.folder))
    assert [(run.folder / name).read_text() for name in FILES] == ["first"] * 4
    (run.folder / "turntable.gif").unlink()
    finish(run, Written("second", run.folder))
    assert [(run.folder / name).read_text() for name in FILES] == [
        "first",
        "first",
        "second",
        "first",
    ]
    later = result.stat().st_mtime_ns + 10**12
    os.utime(result, ns=(later, later))  # the run was made longer
    finish(run, Written("third", run.folder))
    assert [(run.folder / name).read_text() for name in FILES] == ["third"] * 4


def test_a_process_gets_its_threads_and_devices_and_its_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = 'echo "$OMP_NUM_THREADS,$CUDA_VISIBLE_DEVICES," >&2; head -c 1 > /dev/null; exit 7'
    monkeypatch.setattr("dfast.batches.job.COMMAND", ("sh", "-c", shown))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    run = job(tmp_path)
    outcome = perform(run)
    assert (outcome.state, outcome.error) == (
        "crashed",
        "its process ended with exit code 7; see logs/a.log",
    )
    assert run.log.read_text().splitlines()[1] == "3,,"
    perform(job(tmp_path, device="cuda"), environment={"CUDA_VISIBLE_DEVICES": "1"})
    assert run.log.read_text().splitlines()[3] == "3,1,"


def test_each_gpu_gets_its_share_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert visible_gpus(2, {}) == ("0", "1")
    assert visible_gpus(2, {"CUDA_VISIBLE_DEVICES": "GPU-a, 3"}) == ("GPU-a", "3")
    used: list[str] = []
    all_at_once = threading.Barrier(4)

    def note(job: Job, stopping: object, environment: dict[str, str], ahead: object) -> Outcome:
        used.append(environment["CUDA_VISIBLE_DEVICES"])
        all_at_once.wait(timeout=60)
        return Outcome("done")

    monkeypatch.setattr(engine, "perform", note)
    local = LocalEngine(4, ("0", "3"))
    wait([local.submit(job(tmp_path)) for _ in range(8)])
    local.close()
    assert sorted(used) == ["0"] * 4 + ["3"] * 4


def test_a_layout_is_scored_by_its_parts(tmp_path: Path) -> None:
    scores = [{"prompt": "a mug", "seed": 0, "iou": 0.5}, {"prompt": "b", "iou": 0.7, "far": 1.0}]
    run = job(tmp_path)
    run.folder.mkdir()
    (run.folder / "scores.json").write_text(json.dumps({"scores": scores}))
    status = Status("a", run.prompt, 0, {})
    look(status, run)
    assert status.scores == {"iou": pytest.approx(0.6)}


def test_one_part_with_a_fault_is_enough_for_a_layout() -> None:
    scores = {"hazy": 0.5, "collapsed": 0.0, "rank": 3.0, "empty": False, "opaque": True}
    row = Status("a", "a red cube", 0, {}, state="done", scores=scores)
    assert faults(row) == [fault for fault in FAULTS if fault in ("hazy", "opaque")]


@pytest.mark.usefixtures("needs_native")
def test_notes_are_lines_of_the_log(tmp_path: Path) -> None:
    settings = {
        "field": {"grid": {"levels": 2, "log2_entries": 8}, "hidden": 8},
        "occupancy": {"resolution": 16},
        "march": {"step_size": 0.2},
        "camera": {"views": 1, "resolution": [[0.0, 8]]},
        "train": {"steps": 1},
    }
    config = Config.from_dict(settings).to_dict()
    run = job(tmp_path, prompt="a corgi", config=config, threads=1, export=False)
    assert perform(run).state == "done"
    lines = run.log.read_text().splitlines()
    assert "dfast: corgi: made as a dog" in lines
    assert not any(".py" in line for line in lines)
