"""`dfast.Viewer` without a browser: it costs nothing, waits while paused, and hears signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import TINY, train_tiny

import dfast
from dfast.cli.main import main
from dfast.errors import ConfigError
from dfast.runs.events import Event
from dfast.runs.signals import Terminated
from dfast.viewer.live import Viewer, _Clock

pytest.importorskip("viser", reason='needs viser: pip install ".[test]"')
pytestmark = pytest.mark.usefixtures("needs_native")


def later(seconds: float, do: Any, *arguments: Any) -> threading.Timer:
    """Do something in another thread after a while."""
    timer = threading.Timer(seconds, do, arguments)
    timer.start()
    return timer


def test_a_run_that_nobody_watches_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Event, "result", lambda self: pytest.fail("the object was looked at"))
    with Viewer(port=0) as viewer:
        assert train_tiny(callbacks=[viewer]).steps == 4


def test_the_page_comes_from_this_machine_alone_and_prints_one_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Viewer(port=0) as viewer:
        assert viewer.url.startswith("http://127.0.0.1:")
        port = int(viewer.url.rpartition(":")[2])
        with urllib.request.urlopen(viewer.url, timeout=30) as answer:
            assert b"<html" in answer.read(1000).lower()
        with pytest.raises(ConfigError, match=f"port: {port} is in use"):
            Viewer(port=port)
        other = socket.gethostbyname(socket.gethostname())
        if not other.startswith("127."):
            with pytest.raises(OSError):
                socket.create_connection((other, port), timeout=5).close()
    viewer.close()
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", f"dfast: watch it at {viewer.url}\n")


@pytest.mark.parametrize(
    ("name", "error"), [("SIGINT", KeyboardInterrupt), ("SIGTERM", Terminated)]
)
def test_a_signal_ends_a_paused_run_and_saves_it(
    name: str, error: type[BaseException], tmp_path: Path
) -> None:
    with Viewer(port=0) as viewer:
        viewer._controls.paused = True
        timer = later(0.7, os.kill, os.getpid(), getattr(signal, name))
        with pytest.raises(error) as stopped:
            train_tiny(out=tmp_path / "run", callbacks=[viewer])
        timer.join()
    assert stopped.value.folder == tmp_path / "run"  # type: ignore[attr-defined]
    assert train_tiny(out=tmp_path / "run", resume=True).steps == 4


def test_a_paused_run_goes_on_when_the_page_is_closed_or_it_is_stopped() -> None:
    for end in ("close", "stop"):
        with Viewer(port=0) as viewer:
            viewer._controls.paused = True
            stop = threading.Event()
            timer = later(0.5, viewer.close if end == "close" else stop.set)
            began = time.monotonic()
            result = train_tiny(callbacks=[viewer], stop=stop)
            timer.join()
            assert time.monotonic() - began > 0.4
            assert result.steps == (4 if end == "close" else 1)


def test_a_viewer_serves_one_run_after_another() -> None:
    with Viewer(port=0) as viewer:
        stopped = train_tiny(callbacks=[lambda event: event.stop(), viewer])
        assert stopped.steps == 1
        viewer._controls._end(None)  # pressed when the first run is over
        assert train_tiny(callbacks=[viewer]).steps == 4


def test_show_ends_with_the_signal_and_gives_the_handlers_back() -> None:
    result = train_tiny()
    before = signal.getsignal(signal.SIGTERM)
    with Viewer(port=0) as viewer:
        later(0.3, os.kill, os.getpid(), signal.SIGINT)
        viewer.show(result)
        later(0.3, os.kill, os.getpid(), signal.SIGTERM)
        with pytest.raises(Terminated):
            viewer.show(result)
        later(0.3, viewer.close)
        viewer.show(result)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_clock_leaves_pauses_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("dfast.viewer.live.time.perf_counter", lambda: now[0])
    clock = _Clock()
    clock.step()
    assert clock.left(10) == ""  # nothing is known after the first step
    for _ in range(4):
        now[0] += 2.0
        clock.step()
    assert clock.left(100) == "2.0 s each · 3 min 20 s left"
    clock.pause()
    now[0] += 1000.0
    assert clock.left(100) == "2.0 s each · 3 min 20 s left"
    clock.go_on()
    assert clock.left(100) == "2.0 s each · 3 min 20 s left"


@pytest.mark.parametrize("live", [True, False])
def test_the_command_shows_until_ctrl_c(live: bool, tmp_path: Path) -> None:
    out = tmp_path / "run"
    if live:
        tiny = ["--set", "camera.views=2", "--set", "camera.resolution=[[0.0,16]]"]
        line = ["train", "a red sphere", "--out", str(out), "--steps", "3", "--quiet"]
        line += ["--no-export", "--view", *tiny]
    else:
        train_tiny(out=out)
        line = ["view", str(out)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "dfast", *line, "--port", "0", "--device", "cpu"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    while "until Ctrl-C" not in said:
        read = process.stderr.readline()
        assert read, said
        said += read
    url = re.match(r"dfast: watch it at (\S+)\ndfast: the page stays until Ctrl-C\n$", said)
    assert url is not None, said
    with urllib.request.urlopen(url[1], timeout=30) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    printed, rest = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, "")
    assert printed == (f"{out}/result.safetensors\n" if live else "")
    assert dfast.load(out).steps == (3 if live else TINY.train.steps)


def test_an_unfinished_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_tiny(out=tmp_path / "run", callbacks=[lambda event: signal.raise_signal(2)])
    assert main(["view", str(tmp_path / "run"), "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"dfast: error: '{tmp_path / 'run'}': unfinished, resume with:")
