"""From a prompt to a `Result`: checks, then steps with metrics, previews and checkpoints.

`run` steps a trainer to the end of its configuration. The stage that may follow is in
`dfast.runs.refine`; it has a trainer of its own and takes its steps by `conduct`, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

import torch

from dfast._numbers import shown
from dfast.clip import ClipEncoder
from dfast.config import Config, Layout
from dfast.config.checks import check_seed
from dfast.errors import ConfigError
from dfast.guidance.clip import ClipGuide, Guide
from dfast.host.threads import threads_within_quota
from dfast.host.torchrun import is_started_by_torchrun
from dfast.ops.ambient import neutral_torch_state
from dfast.priors import Prior
from dfast.runs.announce import opening, understood
from dfast.runs.arguments import resolve_arguments
from dfast.runs.best_of import best_trainer, check_best_of, read_selection
from dfast.runs.conduct import check_running, conduct, shown_progress
from dfast.runs.events import Callback
from dfast.runs.folder import RunFolder
from dfast.runs.forecast import seconds_left
from dfast.runs.group import device_of_rank, joined
from dfast.runs.layouts import laid_out, normal_form_of, notes_of
from dfast.runs.loading import finished
from dfast.runs.notices import notice
from dfast.runs.out_of_memory import check_memory, explain_out_of_memory
from dfast.runs.particles import Particles, train_particles
from dfast.runs.plan import AtOnce
from dfast.runs.recording import result_of
from dfast.runs.records import about_run, read_about
from dfast.runs.result import Result
from dfast.runs.several import train_several
from dfast.training.build import build_trainer
from dfast.training.ranks import Ranks
from dfast.training.trainer import Trainer


class Options(TypedDict, total=False):
    """What `train` takes beside what to make and the seed."""

    method: str | None
    clip: str | Path | ClipEncoder | None
    prior: str | Prior
    download: bool
    out: str | Path | None
    steps: int | None
    device: str | torch.device | None
    config: Config | Mapping[str, Any] | None
    progress: bool
    callbacks: Sequence[Callback]
    resume: bool
    stop: threading.Event | None
    distributed: bool
    on_result: Callable[[Result], None] | None


@overload
def train(
    prompt: str, *, seed: int = 0, best_of: int = 1, **options: Unpack[Options]
) -> Result: ...
@overload
def train(
    prompt: str | None = None,
    *,
    layout: Layout | Mapping[str, Any] | str | Path,
    seed: int = 0,
    **options: Unpack[Options],
) -> Result: ...
@overload
def train(
    prompt: list[str] | tuple[str, ...],
    *,
    seed: int | Sequence[int] = 0,
    at_once: AtOnce = None,
    **options: Unpack[Options],
) -> list[Result]: ...
@overload
def train(
    prompt: str,
    *,
    particles: int,
    seed: int = 0,
    at_once: AtOnce = None,
    **options: Unpack[Options],
) -> Particles: ...
@neutral_torch_state()
@threads_within_quota()
def train(
    prompt: str | list[str] | tuple[str, ...] | None = None,
    *,
    layout: Layout | Mapping[str, Any] | str | Path | None = None,
    method: str | None = None,
    clip: str | Path | ClipEncoder | None = None,
    prior: str | Prior = "shapes",
    download: bool = False,
    out: str | Path | None = None,
    steps: int | None = None,
    seed: int | Sequence[int] = 0,
    best_of: int = 1,
    device: str | torch.device | None = None,
    config: Config | Mapping[str, Any] | None = None,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    stop: threading.Event | None = None,
    distributed: bool = False,
    on_result: Callable[[Result], None] | None = None,
    at_once: AtOnce = None,
    particles: int | None = None,
) -> Result | list[Result]:
    """Make a 3D object that matches a prompt, by score distillation or another method.

    On the CPU the same seed gives the same bytes, whether or not the run was interrupted, and
    whatever state of torch the caller has set. In the main thread Ctrl-C, SIGTERM and SIGHUP finish
    the step, save a checkpoint and raise, unless the host has handlers of its own; a second Ctrl-C
    raises at once. A `DfastWarning` says what is made in place of a word that the prior does not
    know itself, such as "corgi: made as a dog".

    Several prompts are made side by side: a GPU that one run leaves mostly idle works on all of
    them, and the prior sees their images in one batch. A run is then what it would be alone, up to
    rounding.

    Args:
        prompt: what to make, or a list of it; None with a layout, which has one.
        layout: several things in a scene, each with a field and a prompt of its own: a
            `dfast.Layout`, nested mappings, or a .toml or .json file; see docs/layouts.md.
        method: how, by one of the names in docs/methods.md; None takes that of `config`, which is
            "dfast" where it names none.
        clip: the CLIP of a method that a CLIP guides: a folder of transformers, a hub id, or what
            `dfast.clip.load_clip` returned; None is the embedded one, "shapes", which reads what
            the embedded prior does.
        prior: the diffusion model: "shapes" (embedded, knows only its own small world), "sd15",
            "sd21" or another that `dfast priors` has, a diffusers folder or a hub id; or an object
            with the interface of `dfast.priors.Prior`.
        download: fetch a named model that is not on this machine; without it the network is never
            used.
        out: run folder for settings, metrics, previews, checkpoints and the result; None keeps
            nothing on disk. With a list, the folder of the run folders.
        steps: length of the run, if not the configuration's. A run that is resumed can be made
            longer: schedules are fractions of the length, so they go on from where its steps are in
            the longer run.
        seed: of all randomness, in [0, 2**31); with a list, of every run, or one for each.
        best_of: so many seeds, from `seed` on, begin side by side; after a third of the steps the
            one whose views the prior predicts best goes on alone (`selection.json` in `out`).
        device: "cpu", "cuda" or "cuda:N"; None takes CUDA if it is there.
        config: all settings, or nested mappings of those to change, such as
            {"guidance": {"scale": 20}}; what is left out is that of `Config.default(device)`, or of
            `Config.for_prior` for a pretrained model.
        progress: say on stderr what is made, then show a bar, or in a log a line now and then.
        callbacks: called with an `Event` after each step.
        resume: continue from the checkpoint in `out`; a finished run is only read.
        stop: set it in any thread, and the run finishes its step, saves a checkpoint and returns;
            a callback can call `Event.stop` instead.
        distributed: make the object together with the other processes that torchrun started: each
            renders a share of the views on its own GPU. The first one writes and calls back.
        on_result: called with each result as soon as it is finished and written.
        at_once: with a list, most objects that are made side by side; None makes all, "fit" as many
            as fit into the free memory of the device (a tenth stays free). With particles, which
            step together, None or "fit".
        particles: make so many objects of the prompt, 2 to 64, with seeds from `seed` on, which
            share every call of the prior, and with VSD the copy that it trains. `out` is the folder
            of the run folders, and gets `particles.json`, which says how different they are.

    Returns:
        The finished object, or that of a stopped run, whose `steps` are those done. With a list,
        one for each prompt, or of a call that is stopped one for each run that began, which has its
        `prompt` and `seed`; with `particles`, a list with the attribute `diversity`.

    Raises:
        ConfigError: an argument or a setting that cannot be used.
        PromptError: an empty prompt, or one that the prior does not know.
        PriorError: a prior or a CLIP that is missing or damaged.
        RunFolderError: a run folder that cannot be used.
        DeviceError: a device that is not there.
        NativeMissingError: dfast has no kernels for the device. These six are raised before
            anything is written.
        NonFiniteError: gradients stay non-finite. Checkpoints are kept.
        CollapsedError: the scene stays empty or opaque. Checkpoints are kept.
        OutOfMemoryError: memory ran out, at any time. Checkpoints are kept.
        RunsFailedError: some of several runs failed; it holds the results of the others.
        KeyboardInterrupt: after Ctrl-C.
        Terminated: a SystemExit of `dfast.runs.signals`, after SIGTERM or SIGHUP.
    """
    check_running(out, callbacks, stop, resume)
    count = check_best_of(best_of)
    if layout is not None or prompt is None:
        prompt, config = laid_out(layout, prompt, config)
    if distributed:
        if count > 1 or not isinstance(prompt, str) or not is_started_by_torchrun():
            raise ConfigError(
                "distributed: expected one prompt, one seed and processes of torchrun, got others"
            )
        device = device_of_rank(device)
    if isinstance(prompt, list | tuple):
        if count > 1:
            raise ConfigError(f"best_of: expected 1 with a list of prompts, got {count}")
        if particles is not None:
            raise ConfigError("particles: expected one prompt, got a list")
        return train_several(
            prompt,
            method=method,
            clip=clip,
            prior=prior,
            download=download,
            out=out,
            steps=steps,
            seed=seed,
            device=device,
            config=config,
            progress=progress,
            callbacks=callbacks,
            resume=resume,
            stop=stop,
            on_result=on_result,
            at_once=at_once,
        )
    if particles is not None:
        others = {"best_of": count > 1, "distributed": distributed}
        others["at_once"] = at_once not in (None, "fit")
        if given := [name for name, is_given in others.items() if is_given]:
            raise ConfigError(
                "particles: expected without best_of, distributed and a number in at_once, got "
                f"{' and '.join(given)}"
            )
        return train_particles(
            prompt,
            particles,
            method=method,
            clip=clip,
            prior=prior,
            download=download,
            out=out,
            steps=steps,
            seed=check_seed(seed),
            device=device,
            config=config,
            progress=progress,
            callbacks=callbacks,
            resume=resume,
            stop=stop,
            on_result=on_result,
            at_once=at_once,
        )
    if at_once is not None:
        raise ConfigError("at_once: expected None with one prompt, got " + shown(at_once))
    number = check_seed(seed)
    check_seed(number + count - 1)  # the last of the seeds
    text, where, settings, model = resolve_arguments(
        prompt,
        method=method,
        clip=clip,
        prior=prior,
        download=download,
        device=device,
        config=config,
        steps=steps,
    )
    if count > 1 and settings.layout.parts:
        raise ConfigError(f"best_of: expected 1 with a layout, got {count}")
    if count > 1 and settings.guidance.variant == "vsd":
        raise ConfigError(
            "best_of: expected 1 with guidance.variant 'vsd', where each seed trains a copy of its "
            f"own, got {count}"
        )
    if isinstance(model, ClipGuide) and (count > 1 or distributed):
        name = "best_of: expected 1" if count > 1 else "distributed: expected False"
        got = count if count > 1 else True
        raise ConfigError(f"{name} with method {settings.method.name!r}, got {got}")
    with ExitStack() as stack:
        ranks = stack.enter_context(joined(where)) if distributed else Ranks()
        return _train(
            stack, text, number, count, where, settings, model, ranks, out=out, resume=resume,
            progress=progress, callbacks=callbacks, stop=stop, on_result=on_result,
        )  # fmt: skip


def _train(
    stack: ExitStack,
    text: str,
    number: int,
    count: int,
    where: torch.device,
    settings: Config,
    model: Guide,
    ranks: Ranks,
    *,
    out: str | Path | None,
    resume: bool,
    progress: bool,
    callbacks: Sequence[Callback],
    stop: threading.Event | None,
    on_result: Callable[[Result], None] | None,
) -> Result:
    """Do what `train` does after its arguments were checked."""
    folder, form = None, normal_form_of(settings, model)
    if out is not None:
        about = about_run(text, number, model, settings, notes_of(settings, model, text))
        if count > 1:
            about["best_of"] = count
        folder = RunFolder(out, settings, about, resume=resume, normal_form=form)
        text = folder.prompt
        begun = read_about(folder.path).get("best_of", 1) if folder.has_run else count
        if count not in (1, begun):
            seeds_of_it = "one seed" if begun == 1 else f"{begun} seeds"
            raise ConfigError(
                f"best_of: expected {begun} to resume '{folder.path}', which has {seeds_of_it}, "
                f"got {count}"
            )
        if (done := finished(Result, folder, where)) is not None:
            return done
    selection = None
    if folder is not None and folder.has_run:
        selection = read_selection(folder.path)
        count = max(count, check_best_of(begun))  # a choice that was interrupted
    seeds = [number + i for i in range(count)] if selection is None else [selection.chosen]
    ranks.any(False)  # all processes have looked at the folder before the first one writes it
    if not ranks.is_first:
        folder, progress, callbacks = None, False, ()
    check_memory(where, settings, model)
    with explain_out_of_memory(where, settings, model):
        trainers = [build_trainer(settings, model, text, s, where, ranks=ranks) for s in seeds]
    trainer = trainers[0]
    if folder is not None:
        stack.callback(folder.end)
        folder.begin()  # only now: the prior has read the prompt and loaded its weights
        if (state := folder.load_checkpoint(trainer.state_dict())) is not None:
            trainer.load_state_dict(state)
        _state_length(folder, trainer.step)
    if ranks.size > 1:  # the others go on from what the first one has loaded
        trainer.load_state_dict(ranks.broadcast(trainer.state_dict()))
    listeners = list(callbacks)
    if progress:
        before = folder.metrics() if folder and trainer.step else []
        lines = opening(
            understood(text, form(text), [part.name for part in settings.layout.parts]),
            prior=model.name,
            device=where,
            config=settings,
            seed=number,
            out=folder.path if folder else None,
            done=trainer.step,
            seconds=seconds_left(settings, model, where, done=trainer.step, metrics=before),
            lora=model.lora,
        )
        listeners.insert(0, shown_progress(stack, trainer, lines))
    stack.enter_context(explain_out_of_memory(where, settings, model))
    if len(trainers) > 1 and trainer.step == 0:
        trainer, chosen = best_trainer(trainers, folder, listeners, stop, result_of)
        if not chosen:  # the choice is made when the run goes on
            folder = None
    result = run(trainer, folder, listeners, stop)
    if on_result is not None and ranks.is_first and result.steps >= settings.train.steps:
        on_result(result)
    return result


def run(
    trainer: Trainer,
    folder: RunFolder | None,
    callbacks: Sequence[Callback] = (),
    stop: threading.Event | None = None,
) -> Result:
    """Step a trainer to the end of its configuration, or until it is stopped, see `conduct`."""
    return conduct(trainer, folder, callbacks, stop, result_of)


def _state_length(folder: RunFolder, step: int) -> None:
    """Say what a run's new length means for its schedules."""
    before, steps = folder.steps_before, folder.config.train.steps
    if before != steps:
        notice(
            f"step {step} of {before} goes on to {steps}: schedules are fractions of the length, "
            f"so they are at {step / steps:.0%} now"
        )
