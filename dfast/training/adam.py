"""Adam for a training run: moments, counters and schedule live on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dfast.ops.adam import STEP, adam_step, gradient_norm, workspace
from dfast.scene.tree import copy_into


class NamedAdam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980) over named parameters, on one device.

    A step is two launches and never waits for the device. One whose gradients are not all finite
    changes nothing but the counts. All state stays in its memory, `reset` and `load_state_dict`
    included, so that CUDA graphs of a step remain valid. See "Adam" in docs/math.md.

    Attributes:
        parameters: by name, in the order in which `step` takes gradients.
        status: [4] on the device: norm of the gradients, steps taken, steps skipped, and steps
            skipped in a row; see `dfast.ops.adam`.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Mapping[str, Tensor], float]],
        *,
        betas: tuple[float, float],
        eps: float,
    ) -> None:
        """Make an optimiser whose moments are zero.

        Args:
            groups: named parameters, at most 16 in all, and the base learning rate of each group.
            betas: decay of the two moments.
            eps: added to the root of the second moment.
        """
        self.parameters = {name: p for named, _ in groups for name, p in named.items()}
        self.betas, self.eps = betas, eps
        self._rates = [rate for named, rate in groups for _ in named]
        values = [p.detach() for p in self.parameters.values()]
        self._exp_avg = [torch.zeros_like(p) for p in values]
        self._exp_avg_sq = [torch.zeros_like(p) for p in values]
        self.status = values[0].new_zeros(4)
        self._workspace = workspace(self.status.device)

    def step(
        self,
        gradients: Sequence[Tensor],
        factor: Tensor,
        half_copies: Mapping[str, Tensor | None] | None = None,
    ) -> None:
        """Take one step, unless a gradient is not finite.

        Args:
            gradients: one for each parameter, in the order of `parameters`.
            factor: [1] on the device, multiplies every learning rate.
            half_copies: by the parameter's name, float16 copies to bring up to date.
        """
        copies = half_copies or {}
        halves = [copies.get(name) for name in self.parameters]
        gradient_norm(gradients, self.status, self._workspace)
        adam_step(
            list(self.parameters.values()),
            gradients,
            self._exp_avg,
            self._exp_avg_sq,
            halves,
            self._rates,
            factor,
            self.status,
            betas=self.betas,
            eps=self.eps,
        )

    def reset(self) -> None:
        """Set the moments and the count of steps to zero; the counts of skipped steps stay."""
        for moment in (*self._exp_avg, *self._exp_avg_sq):
            moment.zero_()
        self.status[STEP] = 0

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors themselves: step, exp_avg.<name> and exp_avg_sq.<name>."""
        state = {"step": self.status[STEP]}
        for name, m, v in zip(self.parameters, self._exp_avg, self._exp_avg_sq, strict=True):
            state[f"exp_avg.{name}"], state[f"exp_avg_sq.{name}"] = m, v
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy what `state_dict` returned into the optimiser's own tensors.

        Raises:
            KeyError: when a tensor is missing.
            RuntimeError: when a tensor has the wrong shape.
        """
        copy_into(self.state_dict(), state)
