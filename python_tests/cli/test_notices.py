"""Warnings on the command line: dfast's own are one line each, those of others are as Python's."""

from __future__ import annotations

import ast
import io
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import TINY

import dfast
from dfast.cli.main import main
from dfast.errors import DfastWarning
from dfast.runs.events import Event
from dfast.runs.notices import notice
from dfast.runs.progress import ProgressBar

OLD = Path(__file__).parents[1] / "runs" / "unhashed_run"


def load_with(*what: Warning | str) -> Any:
    """Return a stand-in for `dfast.load` that warns, then fails."""

    def load(*_: object) -> None:
        for text in what:
            warnings.warn(text, stacklevel=2)
        raise dfast.RunFolderError("enough")

    return load


@pytest.mark.usefixtures("needs_native")
def test_an_old_file_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["render", str(OLD), "--out", str(tmp_path / "a.png"), "--resolution", "8"]
    assert main(line) == 0
    said = capsys.readouterr().err
    name = OLD / "result.safetensors"
    assert said.startswith(f"dfast: '{name}' was written by an earlier version, without a hash")
    assert said.count("\n") == 1 and "Warning" not in said and ".py" not in said


@pytest.mark.usefixtures("needs_native")
@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_what_is_made_in_place_of_a_word_is_told_in_one_line(
    quiet: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.toml").write_text(TINY.dumps())
    where = ["--out", str(tmp_path / "run"), "--config", str(tmp_path / "tiny.toml")]
    assert main(["train", "a corgi", *where, "--no-export", "--device", "cpu", *quiet]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "dfast: corgi: made as a dog"
    assert quiet or said[1].startswith('dfast: making "a brown dog" (understood from "a corgi")')
    assert len(said) == 1 if quiet else len(said) > 2


def test_warnings_of_others_stay_as_they_are(
    cube: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_: shown.append(str(message)))
    before = warnings.showwarning
    monkeypatch.setattr(dfast, "load", load_with(DfastWarning("two\nlines"), "theirs"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = before
        assert main(["export", "run", "a.glb"]) == 2
        assert warnings.showwarning is before
    assert capsys.readouterr().err == "dfast: two lines\ndfast: error: enough\n"
    assert shown == ["theirs"]


@pytest.mark.usefixtures("needs_native")
def test_in_python_they_are_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(dfast.DfastWarning, match="without a hash"):
        dfast.load(OLD)
    assert issubclass(DfastWarning, UserWarning) and capsys.readouterr().err == ""


def test_without_stderr_nothing_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    notice("a word")
    assert capsys.readouterr().out == ""


def test_every_warning_of_dfast_has_its_category() -> None:
    found = 0
    for path in Path(dfast.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
                assert ast.unparse(node.args[1]) == "DfastWarning", f"{path}:{node.lineno}"
                found += 1
    assert found >= 8


def test_a_bar_moves_below_a_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    bar = ProgressBar(4)
    bar(Event(2, 4))
    notice("the disk is full")
    bar.close()
    lines = screen.getvalue().replace("\r", "\n").split("\n")
    assert "dfast: the disk is full" in lines
    assert "4 [" in lines[-2]  # the bar is drawn again
