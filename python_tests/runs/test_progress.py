"""What a run shows: a bar in a terminal, lines in a log, and what it says at the start."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_runs import TINY, train_tiny

from dfast._numbers import amount
from dfast.runs.announce import duration
from dfast.runs.events import Event
from dfast.runs.progress import LogLines, ProgressBar, progress_of


def test_progress_bar_shows_opacity_and_gradient() -> None:
    text = io.StringIO()
    bar = ProgressBar(4, done=1, file=text)
    metrics = {"opacity": 0.25, "gradient_norm": 1.5, "skipped": 2.0}
    bar(Event(2, 4, metrics))
    bar(Event(3, 4))
    bar(Event(4, 4, metrics))
    shown = text.getvalue()
    assert "opacity=0.250" in shown and "grad=1.5" in shown and "skipped=2" in shown
    assert "4/4" in shown


@pytest.mark.parametrize("total", [3, 40, 300, 10_000])
def test_a_log_gets_a_line_now_and_then(
    total: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr("dfast.runs.progress.time.perf_counter", lambda: clock[0])
    watch = progress_of(total)
    assert isinstance(watch, LogLines)
    for step in range(1, total + 1):
        clock[0] += 2.5
        numbers = {"opacity": 0.25, "gradient_norm": 1.5} if step % 10 == 0 else {}
        watch(Event(step, total, numbers))
    watch.close()
    lines = capsys.readouterr().err.splitlines()
    assert 1 <= len(lines) <= 25 and all(line.startswith("dfast: step ") for line in lines)
    assert f"step {min(3, total)} of {total}, 2.5 s each" in lines[0]
    assert f"step {total} of {total}" in lines[-1] and "left" not in lines[-1]
    if total >= 300:
        assert "left, opacity 0.250, grad 1.5" in lines[2]


def test_fast_steps_get_fewer_lines(capsys: pytest.CaptureFixture[str]) -> None:
    watch = LogLines(1000)
    for step in range(1, 1001):
        watch(Event(step, 1000))
    assert len(capsys.readouterr().err.splitlines()) <= 3


def test_one_thing_is_not_called_many() -> None:
    assert [amount(n, "thread") for n in (0, 1, 2)] == ["0 threads", "1 thread", "2 threads"]


def test_a_run_says_what_it_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_tiny("a ball", out=tmp_path / "a run", progress=True)
    first, second, *rest = capsys.readouterr().err.splitlines()
    threads = amount(torch.get_num_threads(), "thread")
    assert first == f'dfast: making "a ball": prior oracle, cpu ({threads}), 4 steps, seed 0'
    assert f"into '{tmp_path / 'a run'}', a preview every 2 steps" in second
    assert "Ctrl-C saves and stops" in second and "step 4 of 4" in rest[-1]


def test_what_a_short_run_never_does_is_not_promised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rarely = TINY.replace(train={"preview_every": 5, "checkpoint_every": 4})
    train_tiny("a ball", out=tmp_path / "run", progress=True, config=rarely)
    second = capsys.readouterr().err.splitlines()[1]
    assert "preview" not in second and "a checkpoint every 4" in second


NOTEBOOK = """
import sys, types
import IPython
kernel = types.SimpleNamespace(config={"IPKernelApp": {}})
IPython.get_ipython = lambda: kernel
if sys.argv[1] == "plain":
    for name in ("ipywidgets", "IPython.html.widgets"):
        sys.modules[name] = None
elif sys.argv[1] == "shell":
    kernel.config.clear()
from dfast.runs.progress import progress_of
print(type(progress_of(4)).__name__)
"""


@pytest.mark.parametrize("where", ["plain", "shell"])
def test_a_notebook_without_widgets_and_a_shell_get_lines(where: str) -> None:
    """test_notebook.py has a notebook with widgets."""
    pytest.importorskip("IPython")
    line = [sys.executable, "-W", "error::UserWarning", "-c", NOTEBOOK, where]
    done = subprocess.run(line, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "LogLines"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12.3 ms"), (2.5, "2.5 s"), (125, "2 min 5 s"), (7300, "2 h 1 min")],
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
