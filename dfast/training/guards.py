"""What keeps a run alive: skip, rewind, re-seed, and a named error when none of it helps.

A step whose gradients are not finite is skipped on the device (`dfast.nn.adam`), without a
synchronisation. Every `train.log_every` steps the trainer looks: many skips in a row rewind the run
to its last good state, and a scene that stays empty or fully opaque is re-seeded once. Nothing is
ever replaced by zeros in silence: `skipped` counts.

On CUDA nobody waits for what a look sees: it is judged at the next look, so the device always has
work. The last look of a run waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import torch
from torch import Tensor

from dfast.config import TrainConfig
from dfast.errors import CollapsedError, NonFiniteError
from dfast.ops.adam import SKIPPED, STREAK
from dfast.training.cuda_graphs import AsyncReadback

EMPTY, OPAQUE = 1e-3, 0.98
"""Mean opacity inside the bounding sphere below, above which a scene counts as collapsed."""

State = dict[str, Tensor]


class HealthCheck:
    """Watches one optimiser. `state` and `restore` read and write what a rewind brings back."""

    def __init__(
        self,
        config: TrainConfig,
        status: Tensor,
        state: Callable[[], State],
        restore: Callable[[State], None],
        reseed: Callable[[], None],
    ) -> None:
        """status: the optimiser's, see `dfast.nn.adam.Adam`."""
        self.config = config
        self.skipped = status[SKIPPED]
        """scalar: non-finite steps so far"""
        self._streak = status[STREAK]
        self._state, self._restore, self._reseed = state, restore, reseed
        self._good: State | None = None
        self._waiting: tuple[AsyncReadback, State] | None = None
        self.late = status.device.type == "cuda"
        """Whether looks are judged at the next one."""
        self.rewinds = 0
        self.collapsed_looks = 0
        self.reseeded = False

    def look(self, fill: Tensor, parameters: list[Tensor], *, last: bool = False) -> None:
        """Judge the run; fill: mean opacity inside the bounding sphere. On CUDA what is judged is
        the look before this one, unless this is the last.

        Raises NonFiniteError or CollapsedError when rewinding or re-seeding did not help, and at
        the last step when the run ends badly, since nothing can help then.
        """
        finite = torch.isfinite(torch.stack(torch._foreach_norm(parameters))).all()
        seen = torch.stack([self._streak, fill.to(self._streak), finite.to(self._streak)])
        waiting, self._waiting = self._waiting, None
        if last or not self.late:
            self._judge(seen, None, last=last)
        elif waiting is None or not self._judge(waiting[0].read(), waiting[1]):
            self._waiting = AsyncReadback(seen), self._copy()

    def _judge(self, seen: Tensor, then: State | None, *, last: bool = False) -> bool:
        """Act on a look: streak, opacity, soundness; `then` is the state it was made in, None for
        the present one. Returns whether that state is history.
        """
        streak, opacity, sound = seen.tolist()
        if last:
            self._judge_the_end(streak, opacity, bool(sound))
        if streak >= self.config.skip_limit or not sound:
            self._rewind()
            return True
        if streak > 0:
            return False
        if self._watch_opacity(opacity):
            self._good = self._copy()
            return True
        self._good = self._copy() if then is None else then
        return False

    def _copy(self) -> State:
        return {key: value.clone() for key, value in self._state().items()}

    def _judge_the_end(self, streak: float, opacity: float, sound: bool) -> None:
        if not sound or streak >= min(self.config.skip_limit, self.config.steps):
            self._fail_non_finite()
        if _collapsed(opacity):
            self._fail_collapsed(opacity, "ended {}")

    def _rewind(self) -> None:
        if self.rewinds >= self.config.rewind_limit or self._good is None:
            self._fail_non_finite()
        assert self._good is not None
        self.rewinds += 1
        self._streak.zero_()
        self._restore(self._good)

    def _watch_opacity(self, opacity: float) -> bool:
        """Whether the scene was re-seeded."""
        self.collapsed_looks = self.collapsed_looks + 1 if _collapsed(opacity) else 0
        if self.collapsed_looks < self.config.collapse_limit:
            return False
        if self.reseeded:
            self._fail_collapsed(opacity, "became {} again after it was re-seeded")
        self.reseeded, self.collapsed_looks = True, 0
        self._reseed()
        return True

    def _fail_non_finite(self) -> NoReturn:
        raise NonFiniteError(
            f"gradients are not finite: {int(self.skipped)} steps skipped and {self.rewinds} "
            "rewinds did not help; lower optimizer.lr_grid and lr_mlp, or check the prior and its "
            "precision (prior.precision)"
        )

    def _fail_collapsed(self, opacity: float, how: str) -> NoReturn:
        empty = opacity < EMPTY
        raise CollapsedError(
            f"the scene {how.format('empty' if empty else 'fully opaque')}; try another seed, or "
            f"{'lower' if empty else 'raise'} regularizer.opacity"
        )

    def state_dict(self) -> State:
        """Counts as tensors, for a checkpoint."""
        counts = [self.rewinds, self.collapsed_looks, int(self.reseeded)]
        return {"skipped": self.skipped, "streak": self._streak, "counts": torch.tensor(counts)}

    def load_state_dict(self, state: State) -> None:
        """Counts from a checkpoint; the state just loaded is the last good one."""
        self.skipped.copy_(state["skipped"])
        self._streak.copy_(state["streak"])
        self.rewinds, self.collapsed_looks, reseeded = (int(v) for v in state["counts"])
        self.reseeded = bool(reseeded)
        self._good, self._waiting = self._copy(), None


def _collapsed(opacity: float) -> bool:
    return opacity < EMPTY or opacity > OPAQUE
