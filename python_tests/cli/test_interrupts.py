"""Signals to the command, readers that are gone, and places named on the command line."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import dfast
from dfast import _files
from dfast.cli.checks import read_lines
from dfast.cli.main import main
from dfast.runs.names import run_name
from dfast.runs.signals import Terminated

Calls = list[dict[str, Any]]
"""Arguments of the calls to `dfast.train`."""
TINY = ["--set", "camera.views=2", "--set", "camera.resolution=[[0.0,16]]", "--device", "cpu"]


def start(*line: str, **options: Any) -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    command = [sys.executable, "-m", "dfast", *line]
    return subprocess.Popen(command, env=environment, text=True, **pipes)


@pytest.mark.parametrize("delay", [0.15, 0.6, 1.8])
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_in_the_first_seconds(name: str, code: int, delay: float, tmp_path: Path) -> None:
    process = start("train", "a red sphere", "--out", str(tmp_path / "run"), *TINY)
    time.sleep(delay)
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=180)
    if process.returncode == -getattr(signal, name):  # Python itself had not started yet
        assert delay < 1
        return
    assert process.returncode == code, said
    assert "Traceback" not in said and said.count("dfast: interrupted") == 1


def test_a_stopped_run_is_resumed_by_its_hint(tmp_path: Path, needs_native: None) -> None:
    out = tmp_path / "my runs"
    line = ["train", "a red sphere", "--out", str(out), "--quiet", "--no-export", *TINY]
    process = start(*line, "--steps", "400", "--set", "train.log_every=1")
    limit = time.monotonic() + 300
    while not (out / "metrics.jsonl").exists() and time.monotonic() < limit:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=180)
    assert process.returncode == 143, said
    hint = shlex.split(said.partition("resume with: ")[2])
    assert hint == ["dfast", "train", "--resume", "--out", str(out), "--device", "cpu"]
    assert (out / "checkpoint.safetensors").exists() and not list(out.glob(".*"))
    assert not (out / "run.lock").exists()


def test_a_reader_that_has_seen_enough() -> None:
    process = start("priors")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(180) == 141 and said == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_the_terminal_cannot_show(encoding: str) -> None:
    names = ["\u00fc.toml", "\u2603.toml", "\udcff.toml"]
    code = (
        "import sys\n"
        "from dfast import __main__\n"
        "import dfast.cli\n"
        "dfast.cli.main = lambda: [print(name) for name in sys.argv[1:]] and 0\n"
        "__main__.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *names],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr.decode()
    shown = done.stdout.decode(encoding).splitlines()
    assert len(shown) == len(names) and all(line.endswith(".toml") for line in shown)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_no_streams_at_all(stream: str) -> None:
    redirect = {"stdout": ">&-", "stderr": "2>&-"}[stream]
    shell = f"{shlex.quote(sys.executable)} -m dfast config {redirect}"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0 and "Traceback" not in done.stderr


def test_a_current_folder_that_is_gone(tmp_path: Path) -> None:
    shell = (
        f"cd '{tmp_path}' && mkdir a && cd a && rmdir ../a && '{sys.executable}' -m dfast config"
    )
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, timeout=180)
    assert done.returncode == 2
    assert done.stderr == "dfast: error: the current folder is gone; change to one that exists\n"


def test_files_are_made_without_a_reader(
    tmp_path: Path, cube: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone:
        closed = False

        def write(self, *_: object) -> None:
            raise BrokenPipeError

        flush = write

    monkeypatch.setattr(sys, "stdout", Gone())
    out = tmp_path / "run"
    main(["train", "a red cube", "--out", str(out)])
    names = {"object.glb", "contact_sheet.png", "turntable.gif", "report.html"}
    assert {p.name for p in out.iterdir()} == names


@pytest.mark.parametrize(
    "line",
    [
        ["render", "run", "--resolution", "16", "--out=~/a.png"],
        ["render", "run", "--resolution", "16", "--sheet", "--out", "~/a.png"],
        ["render", "run", "--resolution", "16", "--frames", "2", "--out=~/a.gif"],
        ["export", "run", "~/a.glb", "--resolution", "16"],
        ["train", "a red cube", "--out=~/a"],
    ],
)
def test_the_home_folder_in_outputs(
    line: list[str],
    tmp_path: Path,
    cube: Calls,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert main(line) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["home"]
    assert [p.name for p in Path().iterdir()] == ["run"]
    assert str(tmp_path / "home" / "a") in capsys.readouterr().out


def test_a_disk_that_is_full_names_the_file(
    tmp_path: Path, cube: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_files, "_flush", full)
    lines = [["export", "run", f"{tmp_path}/a.{kind}"] for kind in ("glb", "ply", "obj", "stl")]
    lines += [["render", "run", "--out", f"{tmp_path}/a.{kind}"] for kind in ("png", "gif")]
    for line in lines:
        assert main([*line, "--resolution", "16"]) == 2
        said, name = capsys.readouterr().err, next(a for a in line if str(tmp_path) in a)
        assert said == f"dfast: error: '{name}': cannot be written (No space left on device)\n"
    assert not list(tmp_path.iterdir())


def test_prompts_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"\xef\xbb\xbfa red cube\r\n# none\r\n")
    assert read_lines(str(tmp_path / "p.txt"), "--prompts", "prompt") == ["a red cube"]


def test_sentences_of_one_meaning_share_a_folder() -> None:
    assert {run_name(p, "shapes") for p in ("A Red Chair.", "the red chair", "a red chair")} == {
        "a-red-chair"
    }
    assert run_name("the red chair", "sd15") == "the-red-chair"
    assert run_name("a red glorb", "shapes") == "a-red-glorb"


@pytest.mark.parametrize("stopped", [KeyboardInterrupt(), Terminated(143), Terminated(129)])
def test_the_hint_names_the_folder_that_was_saved(
    stopped: BaseException,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def train(prompt: str, **options: object) -> None:
        raise stopped

    rescued = tmp_path / "it's"
    rescued.mkdir()
    (rescued / "checkpoint.safetensors").touch()
    monkeypatch.setattr(dfast, "train", train, raising=False)
    monkeypatch.setattr(stopped, "folder", rescued, raising=False)
    code = main(["train", "a red cube", "--out", str(tmp_path / "lost")])
    assert code == getattr(stopped, "code", 130)
    hint = shlex.quote(str(rescued))
    assert f"resume with: dfast train --resume --out {hint}\n" in capsys.readouterr().err


def test_only_files_that_are_missing_or_older_than_the_object_are_exported_again(
    tmp_path: Path, cube: Calls
) -> None:
    line, names = ["train", "a red cube", "--out", str(tmp_path)], ("object.glb", "turntable.gif")
    for name in names:
        (tmp_path / name).write_bytes(b"mine")
    assert main(line) == 0
    assert all((tmp_path / name).read_bytes() == b"mine" for name in names)
    assert (tmp_path / "contact_sheet.png").exists()
    result = tmp_path / "result.safetensors"
    result.touch()
    later = result.stat().st_mtime_ns + 10**12
    os.utime(result, ns=(later, later))  # a longer run has replaced the object
    assert main(line) == 0
    assert all((tmp_path / name).read_bytes() != b"mine" for name in names)
