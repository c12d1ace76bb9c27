"""The mean of the parameters over the last part of a run.

The steps of score distillation are noisy, and the surface keeps the noise of the last ones. The
mean of many late parameters has less. Source: Izmailov et al., "Averaging weights leads to wider
optima and better generalization" (2018, arXiv 1803.05407).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dfast.scene.tree import copy_into


class ParameterAverage:
    """The running mean of named parameters; its tensors stay in their memory."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        """Begin with nothing.

        Args:
            parameters: by name; they are read by `include` and written by `apply`.
        """
        self._parameters = dict(parameters)
        self._mean = {name: torch.zeros_like(p) for name, p in self._parameters.items()}
        self._count = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def include(self) -> None:
        """Add the parameters as they are now."""
        self._count += 1
        for name, parameter in self._parameters.items():
            self._mean[name].lerp_(parameter, 1.0 / int(self._count))

    @torch.no_grad()
    def apply(self) -> None:
        """Give the parameters their mean, if any were added."""
        if self._count > 0:
            for name, parameter in self._parameters.items():
                parameter.copy_(self._mean[name])

    def clear(self) -> None:
        """Forget what was added."""
        self._count.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the tensors themselves: count and mean.<name>."""
        return {"count": self._count, **{f"mean.{k}": v for k, v in self._mean.items()}}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy what `state_dict` returned.

        Raises:
            KeyError: when a tensor is missing.
            RuntimeError: when a tensor has the wrong shape.
        """
        copy_into(self.state_dict(), state)
