"""What a run tells those who watch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Event:
    """What a callback is told after every step."""

    step: int
    """Steps done, from 1 to `steps`."""
    steps: int
    metrics: dict[str, float] = field(default_factory=dict)
    """Numbers of this step, on every `train.log_every`-th step and the last; else empty."""
    preview: Path | None = None
    """A preview picture that was just written."""


Callback = Callable[[Event], None]
