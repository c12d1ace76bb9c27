"""Training of several things in a scene: steps that show the whole, and steps that show one alone.

A part alone is shown as if it were the only object of a run: in its own frame, where it fills the
picture, under its own prompt. The whole is shown under the prompt of the whole, and its gradient
reaches every part that is seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dfast.config import Config
from dfast.errors import CollapsedError, NonFiniteError
from dfast.guidance.base import Guidance
from dfast.ops.adam import STREAK
from dfast.scene.composition import Composition
from dfast.scene.scene import Scene
from dfast.training.generators import Generators
from dfast.training.health import EMPTY
from dfast.training.losses import Loss
from dfast.training.ranks import Ranks
from dfast.training.trainer import Metrics, Step, Trainer

FILLS = "layout.fills"
"""Name, in a checkpoint, of the opacity with which each subject was last seen."""
STREAKS = "layout.streaks"
"""Name, in a checkpoint, of how many of the last steps of each subject were skipped."""
UNSEEN = 0.5
"""Opacity of a subject that was not seen yet: neither empty nor opaque."""


class LayoutTrainer(Trainer):
    """A run whose scene is a composition; `Layout.subject` says what a step shows.

    Attributes:
        guidances: of the whole, None where no step shows it; then of each part.
    """

    scene: Composition

    def __init__(
        self,
        config: Config,
        scene: Composition,
        guidances: Sequence[Guidance | None],
        generators: Generators,
        *,
        losses: Mapping[str, Loss] | None = None,
        prompt: str = "",
        prior_name: str = "",
        ranks: Ranks | None = None,
    ) -> None:
        """Begin a run.

        Args:
            config: with a layout.
            scene: what its layout describes, on the device of the run.
            guidances: see the attribute.
            generators: of the run.
            losses: as of `Trainer`; they apply to the whole and to each part.
            prompt: what the whole is to show.
            prior_name: of the prior behind the guidances.
            ranks: the processes that make the scene together; None for this one alone.
        """
        self.guidances = tuple(guidances)
        super().__init__(
            config,
            scene,
            next(guidance for guidance in guidances if guidance is not None),
            generators,
            losses=losses,
            prompt=prompt,
            prior_name=prior_name,
            ranks=ranks,
        )
        self._fills = torch.full((len(self.guidances),), UNSEEN, device=self.device)
        self._streaks = torch.zeros_like(self._fills)
        self._covered = min(1.0, sum(part.size**2 for part in config.layout.parts))
        self._streak = self.optimizer.status[STREAK]

    def begin_step(self) -> Step:
        """Draw a step's inputs, and choose what it shows."""
        subject = self._subject()
        self._streak.copy_(self._streaks[subject])  # steps in a row are those that show the same
        return super().begin_step()._replace(subject=subject)

    def end_step(self, metrics: dict[str, Tensor]) -> Metrics:
        """Do on the host what follows the work on the device, see `Trainer.end_step`."""
        subject, fill = self._subject(), metrics["fill"]
        if not subject:  # is empty by what its parts can cover, and opaque by all that is there
            fill = (fill / self._covered).clamp(max=UNSEEN).maximum(fill)
        self._fills[subject].copy_(fill)
        self._streaks[subject].copy_(self._streak)
        self._streak.copy_(self._streaks.max())
        return super().end_step(metrics)

    def _subject(self) -> int:
        return self.config.layout.subject(self.step)

    def _shown(self, step: Step) -> Scene:
        return self.scene.part(step.subject - 1) if step.subject else self.scene

    def _guide(self, step: Step) -> Guidance:
        guidance = self.guidances[step.subject]
        assert guidance is not None, "a step shows the whole, which has no guidance"
        return guidance

    def _check_health(self, fill: Tensor) -> None:
        """Check the emptiest of all subjects where one is empty, else the most opaque one.

        Raises:
            NonFiniteError: see `Trainer.end_step`; like the other, it says which part.
            CollapsedError: see `Trainer.end_step`.
        """
        low, high = self._fills.aminmax()
        repairs = self.health.rewinds + self.health.was_reset
        try:
            super()._check_health(torch.where(low < EMPTY, low, high))
        except NonFiniteError as error:
            raise NonFiniteError(f"{self._name(self._streaks.argmax())}: {error}") from error
        except CollapsedError as error:
            worst = self._fills.argmin() if low < EMPTY else self._fills.argmax()
            raise CollapsedError(f"{self._name(worst)}: {error}") from error
        if self.health.rewinds + self.health.was_reset != repairs:  # of a state that is gone
            self._fills.fill_(UNSEEN)
            self._streaks.zero_()

    def _name(self, subject: Tensor) -> str:
        """Return what a subject is called in a message."""
        index = int(subject)
        return f"part {self.config.layout.parts[index - 1].name!r}" if index else "the whole"

    def state_dict(self) -> dict[str, Tensor]:
        """Return flat tensors: those of `Trainer`, and what the health check goes by."""
        return super().state_dict() | {FILLS: self._fills, STREAKS: self._streaks}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what `state_dict` returned, see `Trainer.load_state_dict`."""
        super().load_state_dict(state)
        self._fills.copy_(state[FILLS])
        self._streaks.copy_(state[STREAKS])
