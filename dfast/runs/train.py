"""From a prompt to a `Result`: checks, then steps with metrics, previews and checkpoints.

A run has one stage today: `run` steps a trainer to the end of its configuration. Another stage,
such as refining a mesh, would begin in `train` after `run` returned, with a trainer of its own that
starts from the scene of the result: `run` needs of a trainer no more than `config`, `step`,
`train_step`, `state_dict`, `finish` and what `result_of` reads.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from dfast._numbers import whole
from dfast._version import __version__
from dfast.config import Config
from dfast.errors import ConfigError
from dfast.io.images import encode_png, preview_image
from dfast.io.tensors import write_bytes
from dfast.priors import Prior
from dfast.runs.arguments import resolve_arguments
from dfast.runs.events import Callback, Event
from dfast.runs.folder import RunFolder
from dfast.runs.out_of_memory import check_memory, explain_out_of_memory
from dfast.runs.progress import ProgressBar
from dfast.runs.result import Result
from dfast.training.build import build_trainer
from dfast.training.trainer import Metrics, Trainer

SEED_LIMIT = 2**31
"""Seeds are below this."""


def train(
    prompt: str,
    *,
    prior: str | Prior = "shapes",
    download: bool = False,
    out: str | Path | None = None,
    steps: int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    config: Config | None = None,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
) -> Result:
    """Make a 3D object that matches a prompt, by score distillation through a diffusion model.

    On the CPU the same seed gives the same bytes, whether or not the run was interrupted. Ctrl-C
    finishes the step, saves a checkpoint and raises KeyboardInterrupt.

    Args:
        prompt: what to make.
        prior: the diffusion model: "shapes" (embedded, knows only its own small world), "sd15",
            "sd21", "sdxl", "if-m", "if-l", "if-xl", a diffusers folder or a hub id; or an object
            with the interface of `dfast.priors.Prior`.
        download: fetch a named model that is not on this machine; without it the network is never
            used.
        out: run folder for settings, metrics, previews, checkpoints and the result; None keeps
            nothing on disk.
        steps: length of the run, if not the configuration's.
        seed: of all randomness, in [0, 2**31).
        device: "cpu", "cuda" or "cuda:N"; None takes CUDA if it is there.
        config: all settings; None takes `Config.default(device)`, or `Config.for_prior` for a
            pretrained model.
        progress: show a bar.
        callbacks: called with an `Event` after each step.
        resume: continue from the checkpoint in `out`.

    Returns:
        The finished object.

    Raises:
        ConfigError: an argument or a setting that cannot be used.
        PromptError: an empty prompt, or one that the prior does not know.
        PriorError: a prior that is missing or damaged.
        RunFolderError: a run folder that cannot be used.
        DeviceError: a device that is not there.
        NativeMissingError: dfast has no kernels for the device. These six are raised before
            anything is written.
        NonFiniteError: gradients stay non-finite. Checkpoints are kept.
        CollapsedError: the scene stays empty or opaque. Checkpoints are kept.
        OutOfMemoryError: memory ran out, at any time. Checkpoints are kept.
    """
    number = whole(seed)
    if number is None or not 0 <= number < SEED_LIMIT:
        raise ConfigError(f"seed: expected a whole number in [0, {SEED_LIMIT}), got {seed!r}")
    if resume and out is None:
        raise ConfigError("resume: expected a run folder in `out`, got None")
    prompt, where, config, model = resolve_arguments(
        prompt, prior=prior, download=download, device=device, config=config, steps=steps
    )
    folder = None
    if out is not None:
        about = {"prompt": prompt, "seed": number, "prior": model.name, "dfast": __version__}
        folder = RunFolder(out, config, about, resume=resume)
    check_memory(where, config, model)
    with explain_out_of_memory(where, config, model):
        trainer = build_trainer(config, model, prompt, number, where)
    with ExitStack() as stack:
        if folder is not None:
            stack.callback(folder.end)
            folder.begin()  # only now: the prior has read the prompt and loaded its weights
            if (state := folder.load_checkpoint(trainer.state_dict())) is not None:
                trainer.load_state_dict(state)
        listeners = list(callbacks)
        if progress:
            bar = ProgressBar(config.train.steps, trainer.step)
            stack.callback(bar.close)
            listeners.insert(0, bar)
        stack.enter_context(explain_out_of_memory(where, config, model))
        return run(trainer, folder, listeners)


def run(trainer: Trainer, folder: RunFolder | None, callbacks: Sequence[Callback] = ()) -> Result:
    """Step a trainer to the end of its configuration.

    Args:
        trainer: a trainer at any step.
        folder: gets metrics, previews, checkpoints and the result.
        callbacks: called after each step.

    Raises:
        KeyboardInterrupt: after Ctrl-C, when the step is done and a checkpoint is saved.
    """
    steps = trainer.config.train.steps
    started = _Start(time.perf_counter(), trainer.step)
    with _finish_step_on_interrupt() as interrupted:
        while trainer.step < steps and not interrupted.is_set():
            values = trainer.train_step()
            event = _record(trainer, values, folder, started)
            for callback in callbacks:
                callback(event)
        if interrupted.is_set():
            if folder:
                folder.save_checkpoint(trainer.state_dict(), trainer.step)
            raise KeyboardInterrupt
    trainer.finish()
    result = result_of(trainer)
    if folder:
        result.save(folder.path)
    return result


def result_of(trainer: Trainer) -> Result:
    """Return the object as it is now; it shares the trainer's tensors.

    Args:
        trainer: a trainer at any step.
    """
    return Result(
        trainer.scene,
        trainer.config,
        prompt=trainer.prompt,
        seed=trainer.seed,
        prior=trainer.prior_name,
        steps=trainer.step,
    )


class _Start(NamedTuple):
    """When this process began to step."""

    time: float
    """Of `time.perf_counter`, in seconds."""
    step: int
    """Steps done until then."""


def _record(trainer: Trainer, values: Metrics, folder: RunFolder | None, started: _Start) -> Event:
    """Write what is due after a step into the run folder, and return the step's event."""
    plan, step = trainer.config.train, trainer.step
    last = step == plan.steps
    metrics: dict[str, float] = {}
    preview = None
    if last or _due(step, plan.log_every):
        metrics = _read(values)
        elapsed = time.perf_counter() - started.time
        metrics["seconds_per_step"] = elapsed / (step - started.step)
    if folder:
        if metrics:
            folder.log({"step": step} | metrics)
        if _due(step, plan.preview_every):
            preview = folder.preview_path(step)
            write_bytes(preview, encode_png(preview_image(result_of(trainer))))
        if last or _due(step, plan.checkpoint_every):
            folder.save_checkpoint(trainer.state_dict(), step)
    return Event(step, plan.steps, metrics, preview)


def _read(values: Metrics) -> dict[str, float]:
    """Return all metrics as plain numbers, by one transfer from the device."""
    tensors = [value.double() for value in values.values() if isinstance(value, torch.Tensor)]
    read = iter(torch.stack(tensors).tolist())
    return {k: next(read) if isinstance(v, torch.Tensor) else v for k, v in values.items()}


def _due(step: int, every: int) -> bool:
    """Return whether something that happens every so many steps happens now; 0 means never."""
    return every > 0 and step % every == 0


@contextmanager
def _finish_step_on_interrupt() -> Iterator[threading.Event]:
    """Make Ctrl-C set the event, so that no step ends halfway; a second Ctrl-C stops at once.

    Outside the main thread, where signals cannot be handled, the event is never set.
    """
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = signal.getsignal(signal.SIGINT)

    def handle(*_: object) -> None:
        flag.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, handle)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, previous)
