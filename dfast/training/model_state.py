"""What a rewind brings back and a checkpoint holds: the scene, its optimiser, the guidance."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dfast.guidance.base import Guidance
from dfast.scene.loop_scene import LoopScene
from dfast.scene.scene import Scene
from dfast.training.adam import NamedAdam
from dfast.training.average import ParameterAverage


class ModelState:
    """The trained tensors of a run, a `dfast.training.health.Checkpointable`.

    All tensors stay in their memory, so that CUDA graphs that read them remain valid.
    """

    def __init__(
        self,
        scene: Scene | LoopScene,
        optimizer: NamedAdam,
        guidance: Guidance,
        generator: torch.Generator,
        average: ParameterAverage | None = None,
    ) -> None:
        """Gather the parts of a run.

        Args:
            scene: the scene that is optimised.
            optimizer: of the scene's parameters.
            guidance: its state, if it has any, is saved and restored, too.
            generator: draws the scene anew in `reset`, on the host.
            average: of the parameters, for runs that end with it.
        """
        self.scene, self.optimizer, self.guidance = scene, optimizer, guidance
        self.average = average
        self._generator = generator

    def state(self) -> dict[str, Tensor]:
        """Return the tensors themselves: those of the scene, adam.*, average.*, guidance.*."""
        state = dict(self.scene.state_dict())
        state |= {f"adam.{k}": v for k, v in self.optimizer.state_dict().items()}
        if self.average is not None:
            state |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        return state | {f"guidance.{k}": v for k, v in self.guidance.state_dict().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Copy tensors by name into those of `state()`; other names are ignored.

        Raises:
            KeyError: when a tensor is missing.
            RuntimeError: when a tensor has the wrong shape.
        """
        self.scene.load_tensors(state)
        self.optimizer.load_state_dict(under(state, "adam."))
        if self.average is not None:
            self.average.load_state_dict(under(state, "average."))
        if guidance := under(state, "guidance."):
            self.guidance.load_state_dict(guidance)

    def reset(self) -> None:
        """Draw a new scene and clear the optimiser; the counts of skipped steps stay."""
        self.scene.reset(self._generator)
        self.optimizer.reset()
        if self.average is not None:
            self.average.clear()


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix`, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
