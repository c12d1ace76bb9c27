"""From a prompt to a `Result`: checks at the door, then steps, logs, previews, checkpoints."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from dfast._numbers import whole
from dfast.config import Config
from dfast.errors import ConfigError
from dfast.io.tensors import write_bytes
from dfast.priors import Prior
from dfast.runs.arguments import resolve_arguments
from dfast.runs.events import Callback, Event
from dfast.runs.folder import RunFolder
from dfast.runs.out_of_memory import explain_out_of_memory
from dfast.runs.result import Result
from dfast.training.trainer import Metrics, Trainer


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
    """Make a 3D object that matches `prompt`, by Score Distillation through a diffusion model.

    prior: "shapes" (embedded, knows only its own small world); the name of a real diffusion model:
    "sd15", "sd21", "sdxl", "if-m", "if-l", "if-xl", a diffusers folder or a hub id; or any object
    with the `dfast.priors.Prior` protocol. download: fetch a named model that is not on this
    machine; without it the network is never touched.
    out: run folder for settings, metrics, previews, checkpoints and the result; None keeps nothing
    on disk.
    steps: length of the run, if not the configuration's. seed: >= 0; on the CPU the same seed gives
    the same bytes.
    device: "cpu", "cuda" or "cuda:N"; None takes CUDA if it is there. config: None is
    `Config.default(device)`, or `Config.for_prior` for a real diffusion model.
    progress: show a bar. callbacks: called with an `Event` after each step. resume: go on from the
    checkpoint in `out`.

    Ctrl-C finishes the step, saves a checkpoint and raises KeyboardInterrupt.
    Raises ConfigError, PromptError, PriorError, RunFolderError, DeviceError, NativeMissingError
    before anything is written, NonFiniteError or CollapsedError when a run cannot be saved, and
    OutOfMemoryError at any time; checkpoints stay.
    """
    number = whole(seed)
    if number is None or not 0 <= number < 2**31:
        raise ConfigError(f"seed: expected a whole number in [0, 2147483648), got {seed!r}")
    if resume and out is None:
        raise ConfigError("resume: expected a run folder in `out`, got None")
    prompt, where, config, model = resolve_arguments(
        prompt, prior=prior, download=download, device=device, config=config, steps=steps
    )
    folder = None
    if out is not None:
        from dfast._version import __version__

        about = {"prompt": prompt, "seed": number, "prior": model.name, "dfast": __version__}
        folder = RunFolder(out, config, about, resume=resume)
    with explain_out_of_memory(where, config, model):
        trainer = Trainer(config, model, prompt, number, where)
    if folder is not None:
        folder.begin()  # not before the prior has read the prompt and loaded its weights
        if (state := folder.load_checkpoint()) is not None:
            trainer.load_state_dict(state)
    listeners = list(callbacks)
    with ExitStack() as stack:
        if progress:
            from dfast.runs.progress import ProgressBar

            bar = ProgressBar(config.train.steps, trainer.step)
            stack.callback(bar.close)
            listeners.insert(0, bar)
        stack.enter_context(explain_out_of_memory(where, config, model))
        return run(trainer, folder, listeners)


def run(trainer: Trainer, folder: RunFolder | None, callbacks: Sequence[Callback] = ()) -> Result:
    """Step `trainer` to the end of its configuration, keeping `folder` up to date."""
    plan = trainer.config.train
    began, first = time.perf_counter(), trainer.step
    with _gentle_interrupt() as interrupted:
        while trainer.step < plan.steps and not interrupted.is_set():
            values = trainer.train_step()
            step, metrics, preview = trainer.step, {}, None
            if step % plan.log_every == 0 or step == plan.steps:
                metrics = _read(values)
                metrics["seconds_per_step"] = (time.perf_counter() - began) / (step - first)
                if folder:
                    folder.log({"step": step} | metrics)
            if folder and plan.preview_every and step % plan.preview_every == 0:
                preview = folder.preview_path(step)
                write_bytes(preview, _png(result_of(trainer)))
            if folder and (step == plan.steps or _due(step, plan.checkpoint_every)):
                folder.save_checkpoint(trainer.state_dict(), step)
            for callback in callbacks:
                callback(Event(step, plan.steps, metrics, preview))
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
    """The object as it is now; it shares the trainer's tensors."""
    return Result(
        trainer.field,
        trainer.occupancy,
        trainer.config,
        prompt=trainer.prompt,
        seed=trainer.seed,
        prior=trainer.prior.name,
        steps=trainer.step,
    )


def _read(values: Metrics) -> dict[str, float]:
    """All as plain numbers, by one transfer from the device."""
    tensors = [value.double() for value in values.values() if isinstance(value, torch.Tensor)]
    read = iter(torch.stack(tensors).tolist())
    return {k: next(read) if isinstance(v, torch.Tensor) else v for k, v in values.items()}


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _png(result: Result) -> bytes:
    """Three views side by side, 128 pixels each."""
    import io

    import numpy as np
    from PIL import Image

    views = [result.render(azimuth=az, resolution=128) for az in (0.0, 120.0, 240.0)]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(views, 1)).save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def _gentle_interrupt() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, so that a step is never cut in two; a second one stops at once."""
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
