"""From a finished run to a refined mesh: checks, the field's surface, then the steps of the stage.

The stage is a run of its own: it has a run folder, a seed, previews, checkpoints and an end.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dfast._device import pick_device
from dfast._numbers import shown
from dfast.config import Config
from dfast.config.checks import check_seed
from dfast.config.stages import changed_refine_settings, refine_settings
from dfast.errors import ConfigError, DfastWarning, RunFolderError
from dfast.host.threads import threads_within_quota
from dfast.mesh.export import export_mesh
from dfast.mesh.scene import tensors_of_mesh
from dfast.ops.ambient import neutral_torch_state
from dfast.priors import Prior
from dfast.runs.announce import opening, understood
from dfast.runs.arguments import resolve_arguments
from dfast.runs.conduct import check_running, conduct, shown_progress
from dfast.runs.events import Callback
from dfast.runs.exports import REFINED
from dfast.runs.folder import RunFolder
from dfast.runs.loading import finished, load, needs_field
from dfast.runs.notices import notice
from dfast.runs.out_of_memory import check_memory, explain_out_of_memory
from dfast.runs.paths import as_path
from dfast.runs.records import ABOUT, IDENTITY, REFINE, about_run, read_about, read_settings
from dfast.runs.refined import Refined
from dfast.runs.refined_file import START, read_start, write_start
from dfast.runs.result import Result
from dfast.runs.unfinished import RESULT
from dfast.scene.mesh_scene import MeshTensors
from dfast.training.refine import MeshTrainer, build_mesh_trainer


class Source(NamedTuple):
    """What a stage begins with."""

    result: Result | None
    """The finished run, None where the stage has taken its mesh before."""
    identity: dict[str, Any]
    """Prompt, seed and prior."""
    config: Config
    """Settings of the run, or of the stage that is resumed."""


@neutral_torch_state()
@threads_within_quota()
def refine(
    run: Result | str | Path | None = None,
    *,
    prior: str | Prior | None = None,
    download: bool = False,
    out: str | Path | None = None,
    steps: int | None = None,
    seed: int | None = None,
    device: str | torch.device | None = None,
    config: Config | Mapping[str, Any] | None = None,
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    stop: threading.Event | None = None,
) -> Refined:
    """Turn the object of a finished run into a mesh, and optimise it under the prior of the run.

    The field's surface becomes a mesh with a texture, whose vertices and texels follow the guidance
    at a higher resolution (Magic3D, Lin et al. 2022). It stops, saves and resumes as `dfast.train`
    does, and raises what that raises. On the CPU the same seed gives the same bytes.

    Args:
        run: the run folder, its result.safetensors, or a `Result`. None with `resume`, where the
            stage has its mesh already.
        prior: the diffusion model; None takes that of the run by its name.
        download: fetch a named model that is not on this machine.
        out: run folder of the stage, another than that of the run; None keeps nothing on disk.
        steps: length of the stage, if not `refine.steps`.
        seed: of all randomness; None takes that of the run.
        device: "cpu", "cuda" or "cuda:N"; None takes CUDA if it is there.
        config: settings that replace those of the run: all, or nested mappings of those to change,
            such as {"refine": {"resolution": 256}}. Those of the stage follow from them, see
            `dfast.config.stages.refine_settings`.
        progress: say on stderr what is made, then show a bar, or in a log a line now and then.
        callbacks: called with an `Event` after each step.
        resume: continue from the checkpoint in `out`; a finished stage is only read.
        stop: set it in any thread, and the stage finishes its step, saves a checkpoint and returns.

    Returns:
        The refined mesh, or that of a stopped stage, whose `steps` are those done.

    Raises:
        ExportError: the field has no surface.
    """
    check_running(out, callbacks, stop, resume)
    source = _source(run, out, resume, device)
    settings = _settings(source, config)
    number = source.identity["seed"] if seed is None else check_seed(seed)
    text, where, settings, model = resolve_arguments(
        source.identity["prompt"],
        prior=source.identity["prior"] if prior is None else prior,
        download=download,
        device=device,
        config=settings,
        steps=steps,
    )
    assert isinstance(model, Prior), "refine_settings refuses the methods that a CLIP guides"
    with ExitStack() as stack:
        folder = None
        if out is not None:
            about = about_run(text, number, model, settings) | {"stage": REFINE}
            if source.result is not None and source.result.folder is not None:
                about["source"] = str(source.result.folder)
            folder = RunFolder(out, settings, about, resume=resume, normal_form=model.normal_form)
            text = folder.prompt
            if (done := finished(Refined, folder, where)) is not None:
                return done
        check_memory(where, settings, model)
        start = _start(source, folder, settings)
        with explain_out_of_memory(where, settings, model):
            trainer = build_mesh_trainer(settings, start, model, text, number, where)
        if folder is not None:
            stack.callback(folder.end)
            folder.begin()
            write_start(folder.path / START, start)
            if (state := folder.load_checkpoint(trainer.state_dict())) is not None:
                trainer.load_state_dict(state)
        listeners = list(callbacks)
        if progress:
            lines = opening(
                f"{understood(text, model.normal_form(text))}, {len(start.faces)} faces",
                prior=model.name,
                device=where,
                config=settings,
                seed=number,
                out=folder.path if folder else None,
                done=trainer.step,
                seconds=None,
                lora=model.lora,
                verb="refining",
            )
            listeners.insert(0, shown_progress(stack, trainer, lines))
        stack.enter_context(explain_out_of_memory(where, settings, model))
        return conduct(trainer, folder, listeners, stop, refined_of)


def refined_of(trainer: MeshTrainer) -> Refined:
    """Return the mesh as it is now; it shares the trainer's tensors.

    Args:
        trainer: a trainer at any step.
    """
    return Refined(
        trainer.mesh,
        trainer.config,
        prompt=trainer.prompt,
        seed=trainer.seed,
        prior=trainer.prior_name,
        steps=trainer.step,
    )


def _source(
    run: Result | str | Path | None,
    out: str | Path | None,
    resume: bool,
    device: str | torch.device | None,
) -> Source:
    """Return what the stage begins with, from its own folder where it has begun.

    Raises:
        ConfigError: `run` is nothing that can be refined.
        RunFolderError: there is no finished run, or `out` is its folder.
    """
    if resume and out is not None and (as_path(out, "out") / ABOUT).exists():
        folder = as_path(out, "out")
        _tell_of_a_longer_run(folder, run)
        about, has_mesh = read_about(folder), (folder / START).exists()
        if about.get("stage") == REFINE and (has_mesh or run is None):
            if not has_mesh:
                raise RunFolderError(
                    f"out: '{folder}' was begun and stopped before its mesh was saved; give the "
                    "run as well"
                )
            return Source(None, {key: about[key] for key in IDENTITY}, read_settings(folder))
    if run is None and resume:
        raise RunFolderError(f"out: no stage was begun in '{out}'; give the run as well")
    if isinstance(run, str | Path):
        run = needs_field(load(run, pick_device(device)), run)
    if not isinstance(run, Result):
        raise ConfigError(f"run: expected a run folder or a dfast.Result, got {shown(run)}")
    if out is not None and run.folder is not None:
        path = as_path(out, "out")
        if path.resolve() == run.folder.resolve():
            raise RunFolderError(
                f"out: expected another folder than that of the run, such as "
                f"'{path / REFINED}', got '{path}'"
            )
    identity = {"prompt": run.prompt, "seed": run.seed, "prior": run.prior}
    return Source(run, identity, refine_settings(run.config))


COPYING = 2.0
"""Seconds by which the files of a folder that was copied may be apart."""


def _tell_of_a_longer_run(stage: Path, run: Result | str | Path | None) -> None:
    """Warn where a run's object was made after a stage that is resumed had begun with another."""
    folder = run.folder if isinstance(run, Result) else run
    if folder is None:
        return
    with suppress(OSError, TypeError):
        began, made = (path.stat().st_mtime for path in (stage / START, Path(folder) / RESULT))
        if made - began > COPYING:
            warnings.warn(
                f"'{stage}' refines an object that '{folder}' has replaced since; remove it, or "
                "give another folder, to refine the new one",
                DfastWarning,
                stacklevel=4,
            )


def _settings(source: Source, config: Config | Mapping[str, Any] | None) -> Config:
    """Return the settings of the stage."""
    if config is None:
        return source.config
    if isinstance(config, Config):
        return refine_settings(config)
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"config: expected a dfast.Config, a dict of settings or None, got {shown(config)}"
        )
    base = source.config if source.result is None else source.result.config
    return changed_refine_settings(base, config)


def _start(source: Source, folder: RunFolder | None, settings: Config) -> MeshTensors:
    """Return the mesh that the stage begins with: its own, or the surface of the field."""
    if source.result is None:
        assert folder is not None
        return read_start(folder.path / START)
    plan = settings.refine
    mesh = export_mesh(source.result, faces=plan.faces, texture=plan.texture, resolution=plan.grid)
    for note in mesh.notes:
        notice(note)
    return tensors_of_mesh(mesh, pbr=plan.material == "pbr")
