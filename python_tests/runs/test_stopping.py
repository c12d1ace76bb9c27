"""Stopping a run: what each signal saves, what a folder says then, and how a run goes on."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oracle import OraclePrior
from tiny_runs import TINY, train_tiny

import dfast
from dfast import _files
from dfast.cli.main import main
from dfast.errors import RunFolderError
from dfast.priors.embedded import ShapesPrior
from dfast.runs import keeping
from dfast.runs.events import Event
from dfast.runs.folder import RunFolder
from dfast.runs.signals import Terminated

pytestmark = pytest.mark.usefixtures("needs_native")
RARELY = TINY.replace(train={"checkpoint_every": 0, "preview_every": 0})
"""No checkpoints but those of a stop and of the end."""


def at_step(step: int, do: Callable[[], object]) -> Callable[[Event], None]:
    """Return a callback that does something after one step."""

    def call(event: Event) -> None:
        if event.step == step:
            do()

    return call


def send(*numbers: int) -> Callable[[], None]:
    return lambda: [signal.raise_signal(number) for number in numbers] and None


def step_saved(out: Path) -> int:
    from safetensors import safe_open

    with safe_open(str(out / "checkpoint.safetensors"), "pt") as file:
        return int(json.loads(file.metadata()["dfast"])["step"])


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_saves_the_step(name: str, tmp_path: Path) -> None:
    number, out = getattr(signal, name), tmp_path / "run"
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    expected = KeyboardInterrupt if name == "SIGINT" else Terminated
    with pytest.raises(expected) as stopped:
        train_tiny(out=out, config=RARELY, callbacks=[at_step(3, send(number))])
    if expected is Terminated:
        assert stopped.value.code == 128 + number
    assert stopped.value.folder == out and step_saved(out) == 3
    assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    train_tiny(out=out, config=RARELY, resume=True)
    train_tiny(out=tmp_path / "whole", config=RARELY)
    for file in ("checkpoint.safetensors", "result.safetensors"):
        assert (out / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    twice = [at_step(3, send(signal.SIGINT, signal.SIGINT))]
    with pytest.raises(KeyboardInterrupt):
        train_tiny(out=tmp_path / "run", callbacks=twice)
    assert step_saved(tmp_path / "run") == 2  # the third is lost, what was saved is not


def test_several_requests_of_a_terminal_that_closes_are_one(tmp_path: Path) -> None:
    several = [at_step(3, send(signal.SIGHUP, signal.SIGHUP, signal.SIGTERM))]
    with pytest.raises(Terminated):
        train_tiny(out=tmp_path / "run", callbacks=several)
    assert step_saved(tmp_path / "run") == 3


def test_an_interrupt_while_the_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = RunFolder.save_checkpoint

    def interrupted(self: RunFolder, *args: Any) -> None:
        send(signal.SIGINT, signal.SIGINT)()
        save(self, *args)

    monkeypatch.setattr(RunFolder, "save_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(out=tmp_path / "run", config=RARELY, callbacks=[at_step(3, send(signal.SIGINT))])
    assert step_saved(tmp_path / "run") == 3


def test_a_signal_with_the_last_step_keeps_the_result(tmp_path: Path) -> None:
    with pytest.raises(Terminated):
        train_tiny(out=tmp_path / "run", callbacks=[at_step(4, send(signal.SIGTERM))])
    assert dfast.load(tmp_path / "run").steps == 4


@pytest.mark.parametrize("command", ["render", "export", "evaluate"])
@pytest.mark.parametrize("name", ["run", "my runs/it's a ball"])
def test_an_unfinished_folder_says_how_to_go_on(
    command: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name
    with pytest.raises(KeyboardInterrupt):
        train_tiny(out=out, callbacks=[at_step(1, send(signal.SIGINT))])
    rest = {"render": ["--out", "a.png"], "export": ["a.glb"], "evaluate": ["--device", "cpu"]}
    assert main([command, str(out), *rest[command]]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"dfast: error: '{out}': unfinished, resume with: dfast train")
    pasted = shlex.split(said.partition("resume with: ")[2])
    assert pasted == ["dfast", "train", "--resume", "--out", str(out)]


def test_a_folder_that_was_only_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / ".run.dfast-0123abcd.json").write_text('{"pro')
    TINY.save(out / "config.toml")
    with pytest.raises(RunFolderError, match="begun and stopped before anything was saved"):
        dfast.load(out)
    assert main(["train", "--resume", "--out", str(out)]) == 2
    assert "begun and stopped before anything was saved" in capsys.readouterr().err
    train_tiny(out=out, resume=True)
    assert dfast.load(out).steps == 4 and not list(out.glob(".*"))


def test_resuming_a_finished_run_only_reads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    train_tiny(out=out)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*") if p.is_file()}
    again = train_tiny(out=out, resume=True, callbacks=[lambda event: pytest.fail("a step")])
    assert again.steps == 4 and again.folder == out
    assert "is finished: 4 of 4 steps are done" in capsys.readouterr().err
    now = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*") if p.is_file()}
    assert now == before


def test_sentences_of_one_meaning_are_one_run(tmp_path: Path) -> None:
    class Grammatical(OraclePrior):
        normal_form = ShapesPrior.normal_form

    prior, out = Grammatical(12), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_tiny("A Red Chair.", prior=prior, out=out, callbacks=[at_step(1, send(2))])
    with pytest.raises(RunFolderError, match="already holds this run; resume it"):
        train_tiny("a red chair", prior=prior, out=out)
    with pytest.raises(RunFolderError, match=r"another run \(prompt 'A Red Chair.', not 'a blue"):
        train_tiny("a blue chair", prior=prior, out=out, resume=True)
    train_tiny("the red chair", prior=prior, out=out, resume=True)
    train_tiny("A Red Chair.", prior=prior, out=tmp_path / "whole")
    whole, resumed = (tmp_path / name / "result.safetensors" for name in ("whole", "run"))
    assert whole.read_bytes() == resumed.read_bytes()


def test_other_priors_read_what_is_written(tmp_path: Path) -> None:
    train_tiny("a  red chair ", out=tmp_path / "run")
    with pytest.raises(RunFolderError, match="already holds this run"):
        train_tiny("a red chair", out=tmp_path / "run")
    with pytest.raises(RunFolderError, match="holds another run"):
        train_tiny("A red chair.", out=tmp_path / "run")


def test_a_folder_that_vanishes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    result = train_tiny(out=out, callbacks=[at_step(1, lambda: shutil.rmtree(out))])
    rescued = tmp_path / "run-rescued"
    assert result.folder == rescued and dfast.load(rescued).steps == 4 and not out.exists()
    assert f"'{out}' is gone; the run goes on in '{rescued}'" in capsys.readouterr().err
    assert json.loads((rescued / "run.json").read_text())["prompt"] == "a ball"
    assert train_tiny(out=rescued, steps=5, resume=True).steps == 5


def test_a_folder_that_vanishes_before_a_stop(tmp_path: Path) -> None:
    out = tmp_path / "run"

    def lose() -> None:
        shutil.rmtree(out)
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Terminated) as stopped:
        train_tiny(out=out, config=RARELY, callbacks=[at_step(3, lose)])
    assert stopped.value.folder == tmp_path / "run-rescued"
    assert step_saved(tmp_path / "run-rescued") == 3


def test_a_folder_that_cannot_be_written_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, elsewhere, create = tmp_path / "run", tmp_path / "elsewhere", _files._create

    def full(folder: Path, *rest: Any) -> Any:
        if elsewhere not in folder.parents:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return create(folder, *rest)

    monkeypatch.setattr(keeping, "_other_places", lambda path: iter([elsewhere / "run"]))
    fill = at_step(1, lambda: monkeypatch.setattr(_files, "_create", full))
    result = train_tiny(out=out, callbacks=[fill])
    assert result.folder == elsewhere / "run" and dfast.load(elsewhere / "run").steps == 4
    said = capsys.readouterr().err
    assert said.count("goes on without a preview") == said.count("without a checkpoint") == 1
    assert "No space left on device" in said and f"the run is in '{elsewhere / 'run'}'" in said
