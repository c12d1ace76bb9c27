"""Several runs side by side on one device: `dfast.train` with a list of prompts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from dfast._numbers import amount
from dfast.clip import ClipEncoder
from dfast.config import Config
from dfast.config.methods import METHODS
from dfast.errors import ConfigError, DfastError, RunsFailedError
from dfast.guidance.base import Guidance
from dfast.guidance.clip import ClipGuide
from dfast.guidance.diffusion import DiffusionGuidance
from dfast.priors import Prior
from dfast.runs.arguments import RunArguments
from dfast.runs.each_run import (
    arguments_of_each,
    folders_of_each,
    names_of_each,
    seeds_of_each,
)
from dfast.runs.events import Callback, Event, call_back
from dfast.runs.fit import fit_runs
from dfast.runs.folder import RunFolder
from dfast.runs.keeping import Keeper
from dfast.runs.layouts import has_layout
from dfast.runs.loading import finished
from dfast.runs.notices import notice
from dfast.runs.out_of_memory import check_memory, explain_out_of_memory
from dfast.runs.plan import AtOnce, check_at_once
from dfast.runs.progress import LogLines, ProgressBar, progress_of
from dfast.runs.recording import Recorder, result_of
from dfast.runs.result import Result
from dfast.runs.signals import StopRequest, stop_on_signals, stopped_by
from dfast.training.build import build_trainer
from dfast.training.together import Together
from dfast.training.trainer import Metrics, Trainer


class _Run:
    """One of the runs, from its trainer to its result."""

    def __init__(
        self, trainer: Trainer, folder: RunFolder | None, request: StopRequest, name: str
    ) -> None:
        self.trainer = trainer
        self.keeper = Keeper(folder, request) if folder else None
        self.recorder = Recorder(trainer, self.keeper, request, name=name)
        self.result: Result | None = None

    @property
    def is_done(self) -> bool:
        """Whether no step is left."""
        return self.trainer.step >= self.trainer.config.train.steps

    def save(self) -> None:
        """Save a checkpoint, if there is a folder."""
        if self.keeper:
            self.keeper.checkpoint(self.trainer.state_dict(), self.trainer.step, last=True)

    def finish(self) -> None:
        """Make the result, and write it if there is a folder."""
        self.trainer.finish()
        self.result = result_of(self.trainer)
        if self.keeper:
            self.keeper.result(self.result)


def train_several(
    prompts: Sequence[str],
    *,
    method: str | None,
    clip: str | Path | ClipEncoder | None,
    prior: str | Prior,
    download: bool,
    out: str | Path | None,
    steps: int | None,
    seed: int | Sequence[int],
    device: str | torch.device | None,
    config: Config | Mapping[str, Any] | None,
    progress: bool,
    callbacks: Sequence[Callback],
    resume: bool,
    stop: threading.Event | None,
    on_result: Callable[[Result], None] | None = None,
    at_once: AtOnce = None,
    particles: bool = False,
) -> list[Result]:
    """Make several objects side by side.

    A run ends where it would end alone: with its result, or with its error, which leaves the others
    going. The arguments are those of `dfast.train`.

    Args:
        prompts: what to make; one may stand there several times, with different seeds.
        method: of all.
        clip: shared by all.
        prior: shared by all.
        download: fetch it.
        out: folder of the run folders, each named after its prompt.
        steps: of each run.
        seed: of every run, or one for each.
        device: of all.
        config: of all.
        progress: show it.
        callbacks: called with an `Event` after each step of each run.
        resume: continue from the checkpoints in `out`.
        stop: ends all runs after a step.
        on_result: called with each result as soon as it is finished.
        at_once: most runs side by side; None for all, "fit" for as many as the free memory takes.
        particles: the prompts are all the same, and the runs share one guidance.

    Returns:
        The results, in the order of the prompts.

    Raises:
        RunsFailedError: some runs failed, when the others are done.
    """
    if has_layout(config):
        raise ConfigError(
            f"layout: expected none where several objects are made side by side, got {len(prompts)}"
        )
    each = arguments_of_each(prompts, method, clip, prior, download, device, config, steps)
    seeds, first = seeds_of_each(seed, len(each)), each[0]
    if particles and isinstance(first.prior, ClipGuide):
        name = first.config.method.name
        raise ConfigError(f"particles: expected None with method {name!r}, got {len(each)}")
    check_at_once(at_once)
    folders = folders_of_each(each, seeds, out, resume, particles)
    names = names_of_each(each, seeds)
    results = [finished(Result, folder, first.device) if folder else None for folder in folders]
    check_memory(first.device, first.config, first.prior)
    errors: dict[int, DfastError] = {}
    left = [i for i, result in enumerate(results) if result is None]
    size = len(each) if at_once is None else at_once
    if isinstance(size, str):
        size = fit_runs(first, [folders[i] for i in left], particles, progress)
    listeners = list(callbacks)
    with ExitStack() as stack:
        stack.enter_context(explain_out_of_memory(first.device, first.config, first.prior))
        request = stack.enter_context(stop_on_signals(stop))
        for group in (left[i : i + size] for i in range(0, len(left), size)):
            if request.asked:
                break
            with ExitStack() as locks:
                trainers: dict[int, Trainer] = {}
                for i in group:
                    shared = next(iter(trainers.values())).guidance if trainers else None
                    trainers[i] = _begin(
                        each[i], seeds[i], folders[i], locks, shared if particles else None
                    )
                if particles:
                    _share_state(trainers, folders)
                runs = {i: _Run(trainers[i], folders[i], request, names[i]) for i in group}
                bar = _bar(list(runs.values()), out, len(each)) if progress else None
                if bar is not None:
                    locks.callback(bar.close)
                shown_too = [*listeners, _of_the_slowest(bar)] if bar is not None else listeners
                ended = _step_all(list(runs.values()), request, shown_too, on_result)
                for i, run in runs.items():
                    results[i] = run.result
                    if run in ended:
                        errors[i] = ended[run]
        if request.number is not None:
            raise stopped_by(request.number, Path(out) if out is not None else None)
        if request.asked and any(r is None or r.steps < first.config.train.steps for r in results):
            again = f": they are in '{out}'" if out is not None else ""
            notice(f"stopped before all runs are done; resume=True goes on with them{again}")
    if errors:
        raise RunsFailedError(
            f"{len(errors)} of {len(each)} runs failed: {next(iter(errors.values()))}",
            results,
            errors,
        )
    return [result for result in results if result is not None]


def _step_all(
    runs: Sequence[_Run],
    request: StopRequest,
    callbacks: Sequence[Callback],
    on_result: Callable[[Result], None] | None,
) -> dict[_Run, DfastError]:
    """Step all runs to their ends, those that are behind first; return the errors of some.

    Args:
        runs: begun.
        request: what asks all of them to stop.
        callbacks: called after each step of each run.
        on_result: called with each result that is finished.
    """

    def finish(run: _Run) -> None:
        run.finish()
        if on_result is not None and run.result is not None and run.is_done:
            on_result(run.result)

    def save() -> None:
        for run in going:
            run.save()

    errors: dict[_Run, DfastError] = {}
    going = [run for run in runs if not run.is_done]
    for run in runs:
        if run.is_done:
            finish(run)
    now: list[_Run] = []
    while going and not request.asked:
        least = min(run.trainer.step for run in going)
        behind = [run for run in going if run.trainer.step == least]
        first = behind[0].trainer.guidance
        if not all(first.joins(run.trainer.guidance) for run in behind):
            behind = behind[:1]  # a prior that takes one prompt at a time: one after the other
        if behind != now:
            now, step = behind, _stepper(behind)
        for run, end in zip(now, step(), strict=True):
            if isinstance(end, DfastError):
                errors[run] = end
                going.remove(run)
                others = "; the other runs go on" if going else ""
                notice(f'"{run.trainer.prompt}", seed {run.trainer.seed}: {end}{others}')
                continue
            call_back(callbacks, run.recorder.record(end), save)
            if run.is_done:
                finish(run)
                going.remove(run)
    for run in going:
        run.save()
        if request.number is None:
            finish(run)
    return errors


def _stepper(runs: Sequence[_Run]) -> Callable[[], Sequence[Metrics | DfastError]]:
    """Return what takes one step of each of some runs."""
    if len(runs) > 1:
        return Together([run.trainer for run in runs]).train_step
    trainer = runs[0].trainer

    def step() -> list[Metrics | DfastError]:
        try:
            return [trainer.train_step()]
        except DfastError as error:
            return [error]

    return step


def _begin(
    arguments: RunArguments,
    seed: int,
    folder: RunFolder | None,
    stack: ExitStack,
    guidance: Guidance | None,
) -> Trainer:
    """Return the trainer of a run that begins or goes on, perhaps with another run's guidance."""
    prompt = folder.prompt if folder else arguments.prompt
    assert guidance is None or isinstance(guidance, DiffusionGuidance)
    trainer = build_trainer(
        arguments.config, arguments.prior, prompt, seed, arguments.device, guidance=guidance
    )
    if folder is not None:
        stack.callback(folder.end)
        folder.begin()
        if (state := folder.load_checkpoint(trainer.state_dict())) is not None:
            trainer.load_state_dict(state)
    return trainer


def _share_state(trainers: Mapping[int, Trainer], folders: Sequence[RunFolder | None]) -> None:
    """Give a guidance that runs share the state of the run that is furthest behind.

    Each run's checkpoint has that state, and a crash may have left checkpoints of several steps.
    """
    last = min(trainers, key=lambda i: trainers[i].step)
    folder, trainer = folders[last], trainers[last]
    if folder is None or all(other.step == trainer.step for other in trainers.values()):
        return
    if (state := folder.load_checkpoint(trainer.state_dict())) is not None:
        trainer.load_state_dict(state)


def _bar(runs: Sequence[_Run], out: str | Path | None, total: int) -> ProgressBar | LogLines:
    """Say what is made, and return what shows its progress."""
    trainer = runs[0].trainer
    into = f", into '{out}'; Ctrl-C saves and stops" if out is not None else ""
    what = "1 object" if len(runs) == 1 else f"{len(runs)} objects side by side"
    of = f" of {total}" if total > len(runs) else ""
    steps = trainer.config.train.steps
    length = amount(steps, "step")
    guide = METHODS[trainer.config.method.name].guide
    notice(f"making {what}{of}: {guide} {trainer.prior_name}, {trainer.device}, {length}{into}")
    if isinstance(guidance := trainer.guidance, DiffusionGuidance):
        for line in guidance.prior.lora:
            notice(line)
    for run in runs:
        step = run.trainer.step
        begun = run.keeper.folder.steps_before if run.keeper else steps
        longer = "" if begun == steps else f" of {begun}, which is {step / steps:.0%} of {steps}"
        notice(f'"{run.trainer.prompt}", seed {run.trainer.seed}, from step {step}{longer}')
    return progress_of(steps, min(run.trainer.step for run in runs))


def _of_the_slowest(bar: Callback) -> Callback:
    """Return a callback that shows the first event of each step that no run had before."""
    last = 0

    def show(event: Event) -> None:
        nonlocal last
        if event.step > last:
            last = event.step
            bar(event)

    return show
