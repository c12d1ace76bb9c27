"""The processes that make one object together: each renders a share of a step's views.

All draw the same numbers and keep their share of them, average their gradients, and so take the
same step: a step of N processes is that of one with the same views, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dfast.errors import ConfigError, DfastError
from dfast.scene.tree import map_tensors
from dfast.training.step_inputs import StepInputs


@dataclass(frozen=True)
class Ranks:
    """A group of processes, and which of them this is; one that is alone needs no group."""

    rank: int = 0
    size: int = 1
    host: Any = None
    """Process group for tensors on the host; None is the default group."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    @property
    def share(self) -> tuple[int, int]:
        """Which of how many equal shares of the images is this process's."""
        return self.rank, self.size

    def check_views(self, views: int, ring: int = 1) -> None:
        """Raise ConfigError unless the views of a step can be shared equally, ring by ring."""
        if views % (self.size * ring):
            of_rings = f" times {ring}, the cameras of a ring" if ring > 1 else ""
            raise ConfigError(
                f"config key 'camera.views': expected a multiple of {self.size}, the number of "
                f"processes{of_rings}, got {views}"
            )

    def own(self, inputs: StepInputs) -> StepInputs:
        """Return the inputs of this process's views."""
        if self.size == 1:
            return inputs

        def rows(tensor: Tensor) -> Tensor:
            return tensor.chunk(self.size)[self.rank]

        return StepInputs(
            cameras=map_tensors(rows, inputs.cameras),
            lighting=map_tensors(rows, inputs.lighting),
            colors=rows(inputs.colors),
            t=rows(inputs.t),
            alpha=rows(inputs.alpha),
            sigma=rows(inputs.sigma),
            level_weights=inputs.level_weights,
            rate_factor=inputs.rate_factor,
            loss_weights=inputs.loss_weights,
            negative_weight=inputs.negative_weight,
            opacity_target=inputs.opacity_target,
        )

    def average(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the means of float32 tensors over all processes, by one reduction."""
        if self.size == 1:
            return tensors
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _together(flat):
            dist.all_reduce(flat)
        flat /= self.size
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        if self.size == 1:
            return flag
        found = torch.tensor([int(flag)])
        with _together(found):
            dist.all_reduce(found, dist.ReduceOp.MAX, group=self.host)
        return bool(found)

    def broadcast(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of the first process; all have the same names and shapes."""
        found = {}
        for name in sorted(state):
            tensor = state[name].detach().clone().contiguous()
            with _together(tensor):
                dist.broadcast(tensor, 0, group=None if tensor.is_cuda else self.host)
            found[name] = tensor
        return found


@contextmanager
def _together(tensor: Tensor) -> Iterator[None]:
    """Exchange a tensor with the other processes, within this context.

    Raises:
        DfastError: where another process has ended. torch has several errors for it: gloo's is a
            plain RuntimeError, which on a GPU may also be the recording of a CUDA graph that fails.
    """
    lost: type[Exception] = dist.DistError if tensor.is_cuda else RuntimeError
    try:
        yield
    except lost as error:
        raise DfastError(
            "distributed: another process has ended, and this one cannot go on without it; the "
            "last checkpoint is kept, and the same command with --resume goes on from it"
        ) from error
