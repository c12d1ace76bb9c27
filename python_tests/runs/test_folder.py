"""The run folder: what it holds, what is refused, and what a crash leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from oracle import OraclePrior
from tiny_runs import TINY, train_tiny

import dfast
from dfast.config import Config
from dfast.errors import (
    RunFolderError,
)
from dfast.runs.events import Event

pytestmark = pytest.mark.usefixtures("needs_native")


def test_run_folder_holds_everything(tmp_path: Path) -> None:
    events: list[Event] = []
    out = tmp_path / "deep" / "run"
    train_tiny("a  ball\n", out=out, callbacks=(events.append,))
    names = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert names == {
        "run.json",
        "config.toml",
        "metrics.jsonl",
        "checkpoint.safetensors",
        "result.safetensors",
        "previews/step_000002.png",
        "previews/step_000004.png",
    }
    assert json.loads((out / "run.json").read_text())["prompt"] == "a ball"
    assert Config.load(out / "config.toml") == TINY
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    assert {"gradient_norm", "opacity", "guidance", "seconds_per_step"} <= lines[0].keys()
    assert [e.step for e in events] == [1, 2, 3, 4]
    assert [bool(e.metrics) for e in events] == [False, True, False, True]
    assert events[1].preview == out / "previews" / "step_000002.png"


def _foreign(out: Path) -> None:
    out.mkdir()
    (out / "thesis.tex").write_text("precious")


def _file(out: Path) -> None:
    out.write_text("precious")


def _other_prompt(out: Path) -> None:
    train_tiny("a cube", out=out)


def _same_run(out: Path) -> None:
    train_tiny(out=out)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_foreign, "holds files that are not a dfast run"),
        (_file, "expected a folder, got the file"),
        (_other_prompt, "holds another run (prompt 'a cube', not 'a ball')"),
        (_same_run, "already holds this run; resume it"),
    ],
)
def test_folders_of_others_are_left_alone(make: Any, message: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(out)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(RunFolderError) as error:
        train_tiny(out=out)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_resume_with_other_settings_is_refused(tmp_path: Path) -> None:
    train_tiny(out=tmp_path / "run")
    with pytest.raises(RunFolderError, match="begun with other settings"):
        train_tiny(out=tmp_path / "run", config=TINY.replace(march={"step_size": 0.2}), resume=True)


def test_a_run_can_be_made_longer_and_not_shorter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    train_tiny(out=out)
    with pytest.raises(RunFolderError, match=r"4 steps, and a run can be made longer, not shorter"):
        train_tiny(out=out, steps=3, resume=True)
    assert train_tiny(out=out, steps=9, resume=True).steps == 9
    assert "step 4 of 4 goes on to 9: schedules are fractions of" in capsys.readouterr().err
    assert Config.load(out / "config.toml").train.steps == 9 and dfast.load(out).steps == 9
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6, 8, 9]


@pytest.mark.parametrize("resume", [False, True])
def test_a_crash_while_beginning_leaves_a_usable_folder(resume: bool, tmp_path: Path) -> None:
    TINY.save(tmp_path / "config.toml")
    (tmp_path / ".run.x1_y.json").write_text('{"pro')
    train_tiny(out=tmp_path, resume=resume)
    assert (tmp_path / "result.safetensors").exists()


def test_settings_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[train]\nsteps = 5\n")
    with pytest.raises(RunFolderError, match="not a dfast run"):
        train_tiny(out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["config.toml"]


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be"):
        train_tiny(out=tmp_path / "file" / "run")


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_files_are_named(keep: int, tmp_path: Path) -> None:
    train_tiny(out=tmp_path / "run")
    for name in ("checkpoint.safetensors", "result.safetensors"):
        path = tmp_path / "run" / name
        path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        RunFolderError, match=r"checkpoint.safetensors.*damaged or cut short"
    ) as error:
        train_tiny(out=tmp_path / "run", resume=True)
    assert "\n" not in str(error.value)
    with pytest.raises(RunFolderError, match=r"result.safetensors.*damaged or cut short"):
        dfast.load(tmp_path / "run")


def test_a_folder_that_is_taken_is_refused_before_the_model_reads(tmp_path: Path) -> None:
    class Unread(OraclePrior):
        def encode_prompt(self, *_: object, **__: object) -> None:
            raise AssertionError("the prompt was read")

    (tmp_path / "precious").write_text("")
    with pytest.raises(RunFolderError, match="not a dfast run"):
        train_tiny(prior=Unread(), out=tmp_path)
    with pytest.raises(AssertionError, match="the prompt was read"):
        train_tiny(prior=Unread(), out=tmp_path / "new")
    assert not (tmp_path / "new").exists()
