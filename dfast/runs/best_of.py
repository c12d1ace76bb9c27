"""Best of n: several seeds of a prompt side by side for a part of the run, then the best alone.

Which is best is judged without knowing the object: by how well the prior, told the prompt and the
camera, predicts noise that was added to views of the scene (as a diffusion model's likelihood is
bounded by, Ho et al. 2020, and classifiers were made of, Li et al. 2023, arXiv 2303.16203).
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dfast._numbers import shown, whole
from dfast.errors import CollapsedError, ConfigError, DfastError, RunFolderError
from dfast.guidance.diffusion import DiffusionGuidance
from dfast.io.tensors import write_bytes
from dfast.render.options import RenderOptions
from dfast.render.volume import render
from dfast.runs.events import Callback, Event
from dfast.runs.folder import RunFolder
from dfast.runs.notices import notice
from dfast.runs.plan import shared_steps
from dfast.runs.signals import StopRequest, stop_on_signals, stopped_by
from dfast.scene.cameras import orbit
from dfast.scene.lighting import fixed_lighting
from dfast.training.together import Together
from dfast.training.trainer import Trainer

if TYPE_CHECKING:
    from dfast.runs.result import Result

SELECTION = "selection.json"
"""In a run folder: what was chosen, and why."""
VIEWS = 8
"""Views from all around by which a seed is judged, in colour and textureless."""
MOST = 64
"""Most seeds."""


@dataclass(frozen=True)
class Selection:
    """Which of several seeds goes on."""

    chosen: int
    """The seed."""
    step: int
    """Steps that all had taken."""
    errors: dict[int, float | None]
    """Error of the prior's predictions by seed, the smallest is best; None for a seed that
    failed."""


def check_best_of(count: int) -> int:
    """Return a number of seeds.

    Raises:
        ConfigError: if it cannot be used.
    """
    number = whole(count)
    if number is None or not 1 <= number <= MOST:
        raise ConfigError(f"best_of: expected a number from 1 to {MOST}, got {shown(count)}")
    return number


def read_selection(folder: Path) -> Selection | None:
    """Return what was chosen in a run folder, None if nothing was.

    Raises:
        RunFolderError: the file cannot be read.
    """
    path = folder / SELECTION
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        errors = {int(seed): error for seed, error in values["errors"].items()}
        return Selection(int(values["chosen"]), int(values["step"]), errors)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"'{path}': cannot be read ({shown(error)})") from error


def write_selection(folder: Path, selection: Selection) -> None:
    """Write what was chosen.

    Raises:
        RunFolderError: if it cannot be written.
    """
    text = json.dumps(asdict(selection), indent=2) + "\n"
    write_bytes(folder / SELECTION, text.encode())


def best_trainer(
    trainers: Sequence[Trainer],
    folder: RunFolder | None,
    callbacks: Sequence[Callback],
    stop: threading.Event | None,
    result_of: Callable[[Trainer], Result],
) -> tuple[Trainer, bool]:
    """Return the best of some seeds, after the steps that they take side by side.

    Args:
        trainers: of the seeds, at step 0.
        folder: gets what was chosen.
        callbacks: called after each step with an event of the first seed that has not failed. What
            they raise ends the run; nothing is saved then.
        stop: ends the steps early.
        result_of: returns a trainer's object as it is now.

    Returns:
        The trainer, and whether it was chosen: if the program stops the steps early it is the first
        one, which is not to be saved.

    Raises:
        CollapsedError: all failed.
        KeyboardInterrupt: after Ctrl-C; nothing is saved then.
        Terminated: the same after SIGTERM or SIGHUP.
    """
    steps, path = trainers[0].config.train.steps, None if folder is None else folder.path
    with stop_on_signals(stop) as request:

        def show(first: Trainer) -> None:
            event = Event(
                first.step,
                steps,
                request=request,
                prompt=first.prompt,
                seed=first.seed,
                snapshot=lambda: result_of(first),
                folder=path,
            )
            for callback in callbacks:
                callback(event)

        best, selection = choose(trainers, request, show)
        if request.number is not None:
            raise stopped_by(request.number)
    if selection is None:
        notice("stopped before a seed was chosen: nothing is saved")
    elif path is not None:
        write_selection(path, selection)
    return best, selection is not None


def choose(
    trainers: Sequence[Trainer], request: StopRequest, show: Callable[[Trainer], None]
) -> tuple[Trainer, Selection | None]:
    """Step some seeds of a run together, and return the best.

    Args:
        trainers: of one prompt, at step 0.
        request: ends the steps early when it asks.
        show: called with the first seed that has not failed, after each step.

    Returns:
        The best trainer, which goes on from there, and how it was chosen; the first one and None
        where the steps ended early.

    Raises:
        CollapsedError: all failed.
    """
    until = shared_steps(trainers[0].config.train.steps)
    going, failed = list(trainers), dict[int, DfastError]()
    together = Together(going)
    while going and going[0].step < until and not request.asked:
        for trainer, end in zip(list(going), together.train_step(), strict=True):
            if isinstance(end, DfastError):
                failed[trainer.seed] = end
                together.drop(trainer)
                going.remove(trainer)
        if going:
            show(going[0])
    if not going:
        raise CollapsedError(f"all {len(trainers)} seeds failed: {next(iter(failed.values()))}")
    if request.asked:
        return going[0], None
    errors = {trainer.seed: prediction_error(trainer) for trainer in going}
    best = min(going, key=lambda trainer: errors[trainer.seed])
    every = {trainer.seed: errors.get(trainer.seed) for trainer in trainers}
    listed = ", ".join(f"{s}: {'failed' if e is None else f'{e:.4f}'}" for s, e in every.items())
    notice(f"seed {best.seed} goes on, the best of {len(trainers)} after {best.step} steps")
    notice(f"errors of the prior's predictions by seed: {listed}")
    return best, Selection(best.seed, best.step, every)


@torch.no_grad()
def prediction_error(trainer: Trainer) -> float:
    """Return how badly the prior predicts noise in views of a scene, from all around.

    Args:
        trainer: of a diffusion prior, at any step. Nothing of it changes.
    """
    guidance, config = trainer.guidance, trainer.config
    assert isinstance(guidance, DiffusionGuidance), "only a diffusion prior predicts noise"
    distance, fov = (sum(span) / 2 for span in (config.camera.distance, config.camera.fov))
    ring = guidance.prior.joint_views
    count = math.ceil(VIEWS / ring) * ring
    cameras = orbit(count, distance=distance, fov=fov, device=trainer.device, ring=ring)
    errors = []
    for mode in ("albedo", "textureless"):
        lighting = fixed_lighting(mode, cameras)
        rendering = render(
            trainer.scene,
            cameras,
            lighting,
            RenderOptions(config.march, normals="shading" if lighting.lit else "none"),
            resolution=guidance.prior.image_size,
            colors=torch.full((count, 3), 0.5, device=trainer.device),
            generator=torch.Generator(trainer.device).manual_seed(0),
        )
        errors.append(guidance.prediction_error(rendering.image, cameras, lighting))
    return float(torch.stack(errors).mean())
