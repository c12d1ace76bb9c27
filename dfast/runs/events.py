"""What a run reports to its callbacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Event:
    """What a callback gets after every step."""

    step: int
    """Steps done, from 1 to `steps`."""
    steps: int
    """Steps of the whole run."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Numbers of this step, on every `train.log_every`-th step and the last; else empty."""
    preview: Path | None = None
    """A preview image that was just written."""


Callback = Callable[[Event], None]
"""Called after every step of a run; what it raises ends the run."""
