"""What is recorded after each step of a run: metrics, previews, checkpoints, and its event."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from dfast.io.images import encode_png, preview_image
from dfast.runs.events import Event
from dfast.runs.keeping import Keeper
from dfast.runs.result import Result
from dfast.runs.shown import Shown
from dfast.runs.signals import StopRequest
from dfast.training.trainer import Metrics, Trainer

FIRST_PREVIEW = 8
"""Step of the first preview, where previews are farther apart: seconds after the start on a CPU."""


class Recorder:
    """Records the steps of a run, from the one that its trainer is at.

    Args:
        trainer: makes the steps.
        keeper: writes into the run folder; None without one.
        request: what asks the run to stop.
        snapshot: returns the object as it is now; None takes `result_of` the trainer.
        name: of the run among several.
    """

    def __init__(
        self,
        trainer: Trainer,
        keeper: Keeper | None,
        request: StopRequest,
        snapshot: Callable[[], Shown] | None = None,
        *,
        name: str = "",
    ) -> None:
        self._trainer, self._keeper, self._request = trainer, keeper, request
        self._snapshot = snapshot or (lambda: result_of(trainer))
        self._name = name
        self._first, self._started = trainer.step, time.perf_counter()

    def record(self, values: Metrics) -> Event:
        """Write what is due after a step into the run folder, and return the step's event.

        Args:
            values: metrics of the step.
        """
        trainer, keeper = self._trainer, self._keeper
        plan, step = trainer.config.train, trainer.step
        last = step == plan.steps
        metrics: dict[str, float] = {}
        preview = None
        if last or _due(step, plan.log_every):
            metrics = read_metrics(values)
            elapsed = time.perf_counter() - self._started
            metrics["seconds_per_step"] = elapsed / (step - self._first)
        if keeper:
            if metrics:
                keeper.log({"step": step} | metrics)
            if _due(step, plan.preview_every) or step == min(FIRST_PREVIEW, plan.preview_every):
                preview = keeper.preview(step, encode_png(preview_image(self._snapshot())))
            if last or _due(step, plan.checkpoint_every):
                keeper.checkpoint(trainer.state_dict(), step)
        return Event(
            step,
            plan.steps,
            metrics,
            preview,
            self._request,
            trainer.prompt,
            trainer.seed,
            self._snapshot,
            keeper.folder.path if keeper else None,
            self._name,
        )


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


def read_metrics(values: Metrics) -> dict[str, float]:
    """Return all metrics as plain numbers, by one transfer from the device.

    Args:
        values: metrics of a step.
    """
    tensors = [value.double() for value in values.values() if isinstance(value, torch.Tensor)]
    read = iter(torch.stack(tensors).tolist())
    return {k: next(read) if isinstance(v, torch.Tensor) else v for k, v in values.items()}


def _due(step: int, every: int) -> bool:
    """Return whether something that happens every so many steps happens now; 0 means never."""
    return every > 0 and step % every == 0
