"""Health of a run: rewind after non-finite steps, reset a collapsed scene, or raise an error.

A step whose gradients are not finite is skipped on the device (`dfast.training.adam`), without a
synchronisation. Every `train.log_every` steps the trainer checks the run: many skipped steps in a
row rewind it to its last good state, and a scene that stays empty or fully opaque is reset once.
Non-finite numbers are never replaced by zeros in silence: `skipped` counts the steps.

On CUDA the checked values are copied to the host asynchronously and each check acts on those of the
check before, so the device always has work. The last check of a run waits for its own values.
"""

from __future__ import annotations

from typing import NamedTuple, NoReturn, Protocol

import torch
from torch import Tensor

from dfast.config import TrainConfig
from dfast.errors import CollapsedError, NonFiniteError
from dfast.ops.adam import SKIPPED, STREAK
from dfast.training.cuda_graphs import AsyncReadback

EMPTY, OPAQUE = 1e-3, 0.98
"""A scene counts as collapsed when the mean opacity inside the bounding sphere is below the first
or above the second."""

State = dict[str, Tensor]


class Remedies(NamedTuple):
    """What an error advises to change in the settings."""

    empty: str = "lower regularizer.opacity"
    opaque: str = "raise regularizer.opacity"
    rates: str = "optimizer.lr_grid and lr_mlp"
    """Learning rates."""
    guide: str = "the prior and its precision (prior.precision)"
    """What may be at fault itself."""


REMEDIES = {
    "dream-fields": Remedies(
        "lower dream_fields.transmittance", "raise dream_fields.transmittance", guide="the CLIP"
    ),
    "clip-mesh": Remedies(
        "lower clip_mesh.lr_vertices",
        "raise clip_mesh.laplacian",
        "clip_mesh.lr_vertices and lr_maps",
        "the CLIP",
    ),
}
"""By method, where others matter than in a field that a prior guides."""


class Checkpointable(Protocol):
    """State that a run can go back to. Its tensors stay in their memory, for CUDA graphs."""

    def state(self) -> State:
        """Return the tensors themselves, by name; later steps change them."""

    def restore(self, state: State) -> None:
        """Copy tensors by name into those of `state()`."""

    def reset(self) -> None:
        """Begin anew from random values."""


class HealthCheck:
    """Checks one run and repairs it where that is possible.

    Attributes:
        skipped: scalar on the device, non-finite steps so far.
        delayed: whether a check acts on the values of the check before.
        rewinds: how often the run went back to its last good state.
        collapsed_checks: checks in a row that found the scene collapsed.
        was_reset: whether the scene has been reset.
        remedies: what its errors advise.
    """

    def __init__(
        self,
        config: TrainConfig,
        status: Tensor,
        model: Checkpointable,
        remedies: Remedies = Remedies(),  # noqa: B008 (a tuple of constants)
    ) -> None:
        """Check a run from its first step on.

        Args:
            config: limits.
            status: [4] on the device, the optimiser's counts: see `dfast.training.adam.NamedAdam`.
            model: what a rewind and a reset act on.
            remedies: what its errors advise.
        """
        self.config, self.remedies = config, remedies
        self.skipped = status[SKIPPED]
        self.delayed = status.device.type == "cuda"
        self.rewinds = 0
        self.collapsed_checks = 0
        self.was_reset = False
        self._streak = status[STREAK]
        self._model = model
        self._good: State | None = None
        self._pending: tuple[AsyncReadback, State] | None = None

    def check(self, fill: Tensor, parameters: list[Tensor], *, last: bool = False) -> None:
        """Check the run now.

        On CUDA the values are copied asynchronously, so each call acts on those of the previous
        call; the last call waits.

        Args:
            fill: scalar, mean opacity inside the bounding sphere.
            parameters: tensors that must be finite.
            last: whether this is the last step of the run.

        Raises:
            NonFiniteError: when rewinding did not help, or the run ends with non-finite values.
            CollapsedError: when resetting did not help, or the run ends with a collapsed scene.
        """
        finite = torch.isfinite(torch.stack(torch._foreach_norm(parameters))).all()
        values = torch.stack([self._streak, fill.to(self._streak), finite.to(self._streak)])
        pending, self._pending = self._pending, None
        if last or not self.delayed:
            self._act(values, None, last=last)
        elif pending is None or not self._act(pending[0].read(), pending[1]):
            self._pending = AsyncReadback(values), self._copy()

    def _act(self, values: Tensor, checked: State | None, *, last: bool = False) -> bool:
        """Act on the values of a check.

        Args:
            values: [3] streak of skipped steps, mean opacity, whether parameters are finite.
            checked: the state that was checked, or None if it is the present one.
            last: whether the run ends here.

        Returns:
            Whether the run was rewound or reset, so that the state it had before is gone.
        """
        streak, opacity, finite = values.tolist()
        if last:
            self._fail_at_the_end(streak, opacity, bool(finite))
        if streak >= self.config.skip_limit or not finite:
            self._rewind()
            return True
        if streak > 0:
            return False
        if self._reset_if_collapsed(opacity):
            self._good = self._copy()
            return True
        self._good = self._copy() if checked is None else checked
        return False

    def _copy(self) -> State:
        return {key: value.clone() for key, value in self._model.state().items()}

    def _fail_at_the_end(self, streak: float, opacity: float, finite: bool) -> None:
        """Raise if the run ends in a bad state, which no later step can repair."""
        if not finite or streak >= min(self.config.skip_limit, self.config.steps):
            self._fail_non_finite()
        if _collapsed(opacity):
            self._fail_collapsed(opacity, "ended {}")

    def _rewind(self) -> None:
        if self.rewinds >= self.config.rewind_limit or self._good is None:
            self._fail_non_finite()
        assert self._good is not None
        self.rewinds += 1
        self._streak.zero_()
        self._model.restore(self._good)

    def _reset_if_collapsed(self, opacity: float) -> bool:
        """Return whether the scene was reset."""
        self.collapsed_checks = self.collapsed_checks + 1 if _collapsed(opacity) else 0
        if self.collapsed_checks < self.config.collapse_limit:
            return False
        if self.was_reset:
            self._fail_collapsed(opacity, "became {} again after it was re-seeded")
        self.was_reset, self.collapsed_checks = True, 0
        self._model.reset()
        return True

    def _fail_non_finite(self) -> NoReturn:
        raise NonFiniteError(
            f"gradients are not finite: {int(self.skipped)} steps skipped and {self.rewinds} "
            f"rewinds did not help; lower {self.remedies.rates}, or check {self.remedies.guide}"
        )

    def _fail_collapsed(self, opacity: float, how: str) -> NoReturn:
        empty = opacity < EMPTY
        raise CollapsedError(
            f"the scene {how.format('empty' if empty else 'fully opaque')}; try another seed, or "
            f"{self.remedies.empty if empty else self.remedies.opaque}"
        )

    def state_dict(self) -> State:
        """Return the counts as tensors, for a checkpoint."""
        counts = [self.rewinds, self.collapsed_checks, int(self.was_reset)]
        return {"skipped": self.skipped, "streak": self._streak, "counts": torch.tensor(counts)}

    def load_state_dict(self, state: State) -> None:
        """Continue from what `state_dict` returned; the present model is the last good state."""
        self.skipped.copy_(state["skipped"])
        self._streak.copy_(state["streak"])
        self.rewinds, self.collapsed_checks, was_reset = (int(v) for v in state["counts"])
        self.was_reset = bool(was_reset)
        self._good, self._pending = self._copy(), None


def _collapsed(opacity: float) -> bool:
    return opacity < EMPTY or opacity > OPAQUE
