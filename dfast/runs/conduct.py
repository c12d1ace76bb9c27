"""Step a trainer to its end: signals, callbacks, what is recorded and kept, how it is shown."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from dfast._numbers import shown
from dfast.errors import ConfigError
from dfast.runs.events import Callback, call_back
from dfast.runs.folder import RunFolder
from dfast.runs.keeping import Keeper
from dfast.runs.notices import notice
from dfast.runs.progress import progress_of
from dfast.runs.recording import Recorder
from dfast.runs.shown import Shown
from dfast.runs.signals import stop_on_signals, stopped_by
from dfast.runs.slow_steps import SlowSteps
from dfast.runs.unfinished import resume_command
from dfast.training.trainer import Trainer

AnyTrainer = TypeVar("AnyTrainer", bound=Trainer)
AnyShown = TypeVar("AnyShown", bound=Shown)


def check_running(out: object, callbacks: object, stop: object, resume: bool) -> None:
    """Raise ConfigError for arguments of `train` that say how a run proceeds and cannot be used.

    Args:
        out: the run folder, or None.
        callbacks: functions.
        stop: a `threading.Event`, or None.
        resume: whether a run in `out` is continued.
    """
    if out is not None and not isinstance(out, str | Path):
        raise ConfigError(f"out: expected a folder or None, got {shown(out)}")
    if not isinstance(callbacks, Iterable) or not all(map(callable, callbacks)):
        raise ConfigError(f"callbacks: expected a list of functions, got {shown(callbacks)}")
    if stop is not None and not isinstance(stop, threading.Event):
        raise ConfigError(f"stop: expected a threading.Event or None, got {shown(stop)}")
    if not isinstance(resume, bool):
        raise ConfigError(f"resume: expected True or False, got {shown(resume)}")
    if resume and out is None:
        raise ConfigError("resume: expected a run folder in `out`, got None")


def shown_progress(stack: ExitStack, trainer: Trainer, lines: Iterable[str]) -> Callback:
    """Say what begins, and return the callback that shows how it proceeds.

    Args:
        stack: closes what is shown.
        trainer: at the step from which it goes on.
        lines: what to say.
    """
    for line in lines:
        notice(line)
    bar = progress_of(trainer.config.train.steps, trainer.step)
    stack.callback(bar.close)
    return bar


def conduct(
    trainer: AnyTrainer,
    folder: RunFolder | None,
    callbacks: Sequence[Callback],
    stop: threading.Event | None,
    result_of: Callable[[AnyTrainer], AnyShown],
) -> AnyShown:
    """Step a trainer to the end of its configuration, or until it is stopped.

    Args:
        trainer: a trainer at any step.
        folder: gets metrics, previews, checkpoints and the result.
        callbacks: called after each step; when one raises, a checkpoint is saved first.
        stop: ends the run after the step in which it is set.
        result_of: returns the trainer's object as it is now; it may share tensors.

    Raises:
        KeyboardInterrupt: after Ctrl-C, when the step is done and a checkpoint is saved.
        Terminated: the same after SIGTERM or SIGHUP.
    """
    steps = trainer.config.train.steps
    slow = SlowSteps()
    with stop_on_signals(stop) as request:
        keeper = Keeper(folder, request) if folder else None
        recorder = Recorder(trainer, keeper, request, lambda: result_of(trainer))
        while trainer.step < steps and not trainer.ranks.any(request.asked):
            began = time.perf_counter()
            values = trainer.train_step()
            if trainer.device.type == "cpu":  # elsewhere the host does not wait for a step
                slow.add(time.perf_counter() - began)
            call_back(callbacks, recorder.record(values), lambda: _save(trainer, keeper))
        if trainer.step < steps:
            _save(trainer, keeper)
            if request.number is not None:
                raise stopped_by(request.number, keeper.folder.path if keeper else None)
            _tell_stopped(trainer, keeper)
        trainer.finish()  # changes the occupancy grid, so only after the checkpoint
        result = result_of(trainer)
        if keeper:
            keeper.result(result)
    if request.number is not None:  # it came with the last step, and nothing is left to save
        raise stopped_by(request.number)
    return result


def _save(trainer: Trainer, keeper: Keeper | None) -> None:
    """Save a checkpoint if there is a folder."""
    if keeper:
        keeper.checkpoint(trainer.state_dict(), trainer.step, last=True)


def _tell_stopped(trainer: Trainer, keeper: Keeper | None) -> None:
    """Say where a run was stopped by the program, and how it goes on."""
    hint = f"; resume with: {resume_command(keeper.folder.path)}" if keeper else ""
    notice(f"stopped after step {trainer.step} of {trainer.config.train.steps}{hint}")
