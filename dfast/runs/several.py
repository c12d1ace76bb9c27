"""Several runs side by side on one device: `dfast.train` with a list of prompts."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from dfast._numbers import shown
from dfast.clip import ClipEncoder
from dfast.config import Config
from dfast.config.checks import check_seed
from dfast.config.methods import METHODS
from dfast.errors import ConfigError, DfastError, PromptError, RunsFailedError
from dfast.guidance.clip import ClipGuide
from dfast.priors import Prior
from dfast.runs.arguments import RunArguments, resolve_arguments
from dfast.runs.events import Callback, Event
from dfast.runs.folder import RunFolder
from dfast.runs.keeping import Keeper
from dfast.runs.names import slug
from dfast.runs.notices import notice
from dfast.runs.out_of_memory import check_memory, explain_out_of_memory
from dfast.runs.progress import LogLines, ProgressBar, progress_of
from dfast.runs.recording import Recorder, result_of
from dfast.runs.records import about_run
from dfast.runs.result import Result
from dfast.runs.signals import StopRequest, stop_on_signals, stopped_by
from dfast.training.build import build_trainer
from dfast.training.together import Together
from dfast.training.trainer import Metrics, Trainer

Finished = Callable[[RunFolder, torch.device], Result | None]
"""Returns the result of a run that has nothing left to do, None for any other."""


class _Run:
    """One of the runs, from its trainer to its result."""

    def __init__(self, trainer: Trainer, folder: RunFolder | None, request: StopRequest) -> None:
        self.trainer = trainer
        self.keeper = Keeper(folder, request) if folder else None
        self.recorder = Recorder(trainer, self.keeper, request)
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
    finished: Finished,
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
    at_once: int | None = None,
) -> list[Result]:
    """Make several objects side by side.

    A run ends where it would end alone: with its result, or with its error, which leaves the others
    going. The arguments are those of `dfast.train`.

    Args:
        prompts: what to make; one may stand there several times, with different seeds.
        finished: see `Finished`.
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
        at_once: most runs side by side; None for all.

    Returns:
        The results, in the order of the prompts.

    Raises:
        RunsFailedError: some runs failed, when the others are done.
    """
    each = _arguments(prompts, method, clip, prior, download, device, config, steps)
    seeds, first = _seeds(seed, len(each)), each[0]
    size = len(each) if at_once is None else at_once
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ConfigError(f"at_once: expected a whole number of at least 1, got {shown(at_once)}")
    folders = _folders(each, seeds, out, resume)
    results = [finished(folder, first.device) if folder else None for folder in folders]
    check_memory(first.device, first.config, first.prior)
    errors: dict[int, DfastError] = {}
    left = [i for i, result in enumerate(results) if result is None]
    listeners = list(callbacks)
    with ExitStack() as stack:
        stack.enter_context(explain_out_of_memory(first.device, first.config, first.prior))
        request = stack.enter_context(stop_on_signals(stop))
        for group in (left[i : i + size] for i in range(0, len(left), size)):
            if request.asked:
                break
            with ExitStack() as locks:
                runs = {
                    i: _Run(_begin(each[i], seeds[i], folders[i], locks), folders[i], request)
                    for i in group
                }
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

    errors: dict[_Run, DfastError] = {}
    going = [run for run in runs if not run.is_done]
    for run in runs:
        if run.is_done:
            finish(run)
    now: list[_Run] = []
    while going and not request.asked:
        least = min(run.trainer.step for run in going)
        behind = [run for run in going if run.trainer.step == least]
        if not behind[0].trainer.guidance.joins(behind[-1].trainer.guidance):
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
            event = run.recorder.record(end)
            for callback in callbacks:
                callback(event)
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


def _arguments(
    prompts: Sequence[str],
    method: str | None,
    clip: str | Path | ClipEncoder | None,
    prior: str | Prior,
    download: bool,
    device: str | torch.device | None,
    config: Config | Mapping[str, Any] | None,
    steps: int | None,
) -> list[RunArguments]:
    """Return the checked arguments of each run; the prior is loaded once."""
    if not prompts:
        raise PromptError("prompt: expected a description or a list of them, got an empty list")
    found: list[RunArguments] = []
    for prompt in prompts:
        first = found[0].prior if found else None
        settings = found[0].config if found else config
        found.append(
            resolve_arguments(
                prompt,
                method=method,
                clip=first if isinstance(first, ClipGuide) else clip,
                prior=first if isinstance(first, Prior) else prior,
                download=download,
                device=device,
                config=settings,
                steps=steps,
            )
        )
    return found


def _seeds(seed: int | Sequence[int], count: int) -> list[int]:
    """Return the seed of each run."""
    seeds = list(seed) if isinstance(seed, list | tuple | range) else [seed] * count
    if len(seeds) != count:
        raise ConfigError(f"seed: expected a number or {count} of them, got {len(seeds)}")
    return [check_seed(number) for number in seeds]


def _folders(
    each: Sequence[RunArguments], seeds: Sequence[int], out: str | Path | None, resume: bool
) -> list[RunFolder | None]:
    """Return the folder of each run: named after its prompt, with its seed where that is needed."""
    meanings = [arguments.prior.normal_form(arguments.prompt) for arguments in each]
    twice = [pair for pair, n in Counter(zip(meanings, seeds, strict=True)).items() if n > 1]
    if twice:
        prompt, number = twice[0]
        raise ConfigError(f'seed: expected different ones for "{prompt}", got {number} twice')
    if out is None:
        return [None] * len(each)
    if not isinstance(out, str | Path):
        raise ConfigError(f"out: expected a folder or None, got {shown(out)}")
    names = [slug(meaning) for meaning in meanings]
    count = Counter(names)
    folders: list[RunFolder | None] = []
    for arguments, name, number in zip(each, names, seeds, strict=True):
        about = about_run(arguments.prompt, number, arguments.prior.name, arguments.config)
        path = Path(out) / (f"{name}-seed-{number}" if count[name] > 1 else name)
        again = resume and path.exists()
        form = arguments.prior.normal_form
        folders.append(RunFolder(path, arguments.config, about, resume=again, normal_form=form))
    return folders


def _begin(
    arguments: RunArguments, seed: int, folder: RunFolder | None, stack: ExitStack
) -> Trainer:
    """Return the trainer of a run that begins or goes on."""
    prompt = folder.prompt if folder else arguments.prompt
    trainer = build_trainer(arguments.config, arguments.prior, prompt, seed, arguments.device)
    if folder is not None:
        stack.callback(folder.end)
        folder.begin()
        if (state := folder.load_checkpoint(trainer.state_dict())) is not None:
            trainer.load_state_dict(state)
    return trainer


def _bar(runs: Sequence[_Run], out: str | Path | None, total: int) -> ProgressBar | LogLines:
    """Say what is made, and return what shows its progress."""
    trainer = runs[0].trainer
    into = f", into '{out}'; Ctrl-C saves and stops" if out is not None else ""
    what = "1 object" if len(runs) == 1 else f"{len(runs)} objects side by side"
    of = f" of {total}" if total > len(runs) else ""
    steps = trainer.config.train.steps
    guide = METHODS[trainer.config.method.name].guide
    notice(
        f"making {what}{of}: {guide} {trainer.prior_name}, {trainer.device}, {steps} steps{into}"
    )
    for run in runs:
        notice(f'"{run.trainer.prompt}", seed {run.trainer.seed}, from step {run.trainer.step}')
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
