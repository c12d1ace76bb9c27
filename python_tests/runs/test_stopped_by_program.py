"""A run that a callback or another thread stops: what it saves, what it returns, how it goes on."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import TINY, train_tiny

import dfast
from dfast.errors import ConfigError
from dfast.runs.events import Event

pytestmark = pytest.mark.usefixtures("needs_native")
RARELY = TINY.replace(train={"checkpoint_every": 0, "preview_every": 0})
"""No checkpoints but those of a stop and of the end."""


def stop_at(step: int) -> Any:
    """Return a callback that stops the run after a step."""
    return lambda event: event.stop() if event.step == step else None


def test_a_callback_stops_a_run_that_goes_on_to_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    stopped = train_tiny(out=out, config=RARELY, callbacks=[stop_at(3)])
    assert stopped.steps == 3 and stopped.folder == out
    assert f"stopped after step 3 of 4; resume with: dfast train --resume --out {out}" in (
        capsys.readouterr().err
    )
    assert dfast.load(out).steps == 3  # it can be rendered and exported
    assert stopped.render(resolution=16).shape == (16, 16, 3)
    again = train_tiny(out=out, config=RARELY, resume=True)
    assert again.steps == 4
    train_tiny(out=tmp_path / "whole", config=RARELY)
    for file in ("checkpoint.safetensors", "result.safetensors"):
        assert (out / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_another_thread_stops_a_run() -> None:
    stop, begun = threading.Event(), threading.Event()

    def other() -> None:
        begun.wait(60)
        stop.set()

    thread = threading.Thread(target=other)
    thread.start()

    def wait(event: Event) -> None:  # until the other thread has run
        begun.set()
        thread.join(60)
        assert event.stopping

    result = train_tiny(stop=stop, callbacks=[wait])
    assert result.steps == 1 and result.folder is None


def test_a_request_before_the_first_step_makes_none(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert train_tiny(out=tmp_path / "run", stop=stop).steps == 0
    assert train_tiny(out=tmp_path / "run", resume=True).steps == 4


def test_a_stop_with_the_last_step_is_a_finished_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert train_tiny(callbacks=[stop_at(4)]).steps == 4
    assert "stopped" not in capsys.readouterr().err


def test_a_signal_raises_beside_a_stop() -> None:
    def both(event: Event) -> None:
        event.stop()
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_tiny(callbacks=[both])


def test_a_callback_sees_a_signal() -> None:
    seen = []

    def watch(event: Event) -> None:
        seen.append(event.stopping)
        signal.raise_signal(signal.SIGINT)
        seen.append(event.stopping)

    with pytest.raises(KeyboardInterrupt):
        train_tiny(callbacks=[watch])
    assert seen == [False, True]


def test_an_event_shows_the_object_of_its_step() -> None:
    tables: list[torch.Tensor] = []

    def look(event: Event) -> None:
        result = event.result()
        assert result.steps == event.step and result.prompt == "a ball"
        tables.append(result.scene.field.table.clone())

    result = train_tiny(callbacks=[look])
    assert len(tables) == 4 and not tables[0].equal(tables[1])
    assert tables[-1].equal(result.scene.field.table)


def test_an_event_of_no_run_says_so() -> None:
    with pytest.raises(ValueError, match="belongs to no run"):
        Event(1, 2).result()


@pytest.mark.parametrize("stop", [True, "now", signal])
def test_what_cannot_stop_a_run_is_refused(stop: Any) -> None:
    with pytest.raises(ConfigError, match=r"stop: expected a threading\.Event or None, got"):
        train_tiny(stop=stop)


def fail_at(step: int) -> Any:
    """Return a callback that raises after a step."""

    def callback(event: Event) -> None:
        if event.step == step:
            raise OSError("the disk of the host is full")

    return callback


def test_a_callback_that_raises_costs_no_step(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(OSError, match="disk of the host"):
        train_tiny(out=out, config=RARELY, callbacks=[fail_at(3)])
    seen: list[int] = []
    train_tiny(out=out, config=RARELY, resume=True, callbacks=[lambda e: seen.append(e.step)])
    assert seen == [4]


def test_a_callback_that_raises_costs_no_step_of_several_runs(tmp_path: Path) -> None:
    out, prompts = tmp_path / "runs", ["a red chair", "a blue mug"]
    with pytest.raises(OSError, match="disk of the host"):
        train_tiny(prompts, out=out, config=RARELY, callbacks=[fail_at(3)])
    seen: list[int] = []
    train_tiny(
        prompts, out=out, config=RARELY, resume=True, callbacks=[lambda e: seen.append(e.step)]
    )
    assert seen == [3, 4, 4]  # the second had made two
