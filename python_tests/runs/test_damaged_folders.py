"""Run folders whose text files are damaged, and paths that cannot be: one line each."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import train_tiny

import dfast
from dfast.cli.main import main
from dfast.errors import DfastError, RunFolderError
from dfast.runs.events import Event
from dfast.runs.records import read_metrics

pytestmark = pytest.mark.usefixtures("needs_native")


def _stop(event: Event) -> None:
    if event.step == 2:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that stopped after two of four steps."""
    out = tmp_path_factory.mktemp("runs") / "run"
    with pytest.raises(KeyboardInterrupt):
        train_tiny(out=out, callbacks=[_stop])
    return out


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    return out


def _about(**changes: Any) -> bytes:
    about = {"prompt": "a ball", "seed": 0, "prior": "oracle", "dfast": "0.1.0"}
    return json.dumps(about | changes).encode()


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"[]", b"3", b"null", b'"run"', b"{", b"{}", b"nan", b"\xff\xfe{}", b"\0\0"),
        *(b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000),
        *(_about(prompt=value) for value in (None, 3, ["a ball"], {})),
        *(_about(seed=value) for value in (None, "0", 0.5, True, [0])),
        *(_about(prior=value) for value in (None, 1, {})),
        *(_about(prompt="x" * 5000), _about(seed=10**300)),
    ],
)
def test_a_damaged_run_json_is_named(
    data: bytes, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "run.json").write_bytes(data)
    with pytest.raises(RunFolderError) as error:
        train_tiny(out=run, resume=True)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600
    line = ["train", "--resume", "--out", str(run), "--quiet", "--device", "cpu", "--no-export"]
    assert main(line) == 2
    said = capsys.readouterr().err
    assert said.startswith("dfast: error: ") and said.count("\n") == 1


@pytest.mark.parametrize("name", ["run.json", "config.toml", "metrics.jsonl"])
@pytest.mark.parametrize("kind", ["link to itself", "folder"])
def test_what_is_no_file_is_named(name: str, kind: str, run: Path) -> None:
    path = run / name
    path.unlink()
    path.mkdir() if kind == "folder" else path.symlink_to(path)
    with pytest.raises(RunFolderError, match=r"out: |cannot be read") as error:
        train_tiny(out=run, resume=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe",
        b"[train",
        b"train = 3",
        b"[train]\nsteps = 1e400",
        b"[train]\nsteps = [[[]]]",
        b"[train]\nsteps = " + b"9" * 5000,
        b"[train]\nsteps = " + b"[" * 50_000 + b"]" * 50_000,
        b"[unknown]\nsteps = 3",
        b"[train]\nsteps = 0",
    ],
)
def test_a_damaged_config_is_named(data: bytes, run: Path) -> None:
    (run / "config.toml").write_bytes(data)
    with pytest.raises(RunFolderError, match="config") as error:
        train_tiny(out=run, resume=True)
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


GOOD = [b'{"step": 1, "opacity": 0.5}', b'{"step": 2, "opacity": 0.25}']


@pytest.mark.parametrize(
    "line",
    [
        *(b"3", b"null", b"[]", b'"step"', b"{", b"{}", b"\xff\xfe", b"\0", b"x"),
        *(b'{"step": null}', b'{"step": "2"}', b'{"step": 1.5}', b'{"opacity": 1}'),
        *(b'{"step": 1, "opacity": "x"}', b'{"step": true}', b"[" * 100_000, b"9" * 5000),
    ],
)
def test_a_damaged_line_of_metrics_costs_no_other(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"\n".join([GOOD[0], line, GOOD[1], b""]))
    with pytest.warns(UserWarning, match="1 damaged lines were skipped, the first is line 2"):
        lines = read_metrics(path)
    assert [values["step"] for values in lines] == [1, 2]


def test_a_last_line_that_was_cut_short_is_nothing_to_say(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == []
    path.write_bytes(b"\n".join([*GOOD, b'{"step": 3, "opa']))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [values["step"] for values in read_metrics(path)] == [1, 2]


def test_later_metrics_survive_a_resumed_run(run: Path) -> None:
    path = run / "metrics.jsonl"
    path.write_bytes(b"[]\n" + path.read_bytes())
    with pytest.warns(UserWarning, match="1 damaged lines were skipped"):
        train_tiny(out=run, resume=True)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [2, 4]


BAD_PATHS = ["a\0b", "x" * 5000, "y/" * 3000, "\ud800", 3, None, b"bytes"]


@pytest.mark.parametrize("path", BAD_PATHS)
@pytest.mark.parametrize("use", [dfast.load, lambda path: train_tiny(out=path)])
def test_paths_that_cannot_be_are_named(path: Any, use: Callable[[Any], object]) -> None:
    if path is None and use is not dfast.load:
        pytest.skip("no folder is a choice")
    with pytest.raises(DfastError) as error:
        use(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("command", [["render", "--out", "x.png"], ["export", "x.glb"]])
@pytest.mark.parametrize("path", BAD_PATHS[:3])
def test_commands_name_paths_that_cannot_be(
    command: list[str], path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main([command[0], path, *command[1:]])
    except SystemExit as ended:  # of the parser
        code = ended.code
    assert code == 2
    said = capsys.readouterr().err
    assert said.startswith("dfast: error: ") and said.count("\n") == 1 and len(said) < 400
