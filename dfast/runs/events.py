"""What a run reports to its callbacks, and what they can ask of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dfast.runs.signals import StopRequest

if TYPE_CHECKING:
    from dfast.runs.result import Result


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
    request: StopRequest = field(default_factory=StopRequest, repr=False, compare=False)
    """What asks the run to stop."""
    prompt: str = ""
    """What the run makes."""
    seed: int = 0
    """Of the run."""
    snapshot: Callable[[], Any] | None = field(default=None, repr=False, compare=False)
    """Makes `result`; None in an event that belongs to no run."""
    folder: Path | None = None
    """The run folder, where it is now; None without one."""
    name: str = ""
    """Of the run among those of one call, unlike every other's; "" for a run alone."""

    def stop(self) -> None:
        """Ask the run to stop after this step; any thread may, at any time.

        The run saves its checkpoint, and `dfast.train` returns what is done so far.
        """
        self.request.flag.set()

    @property
    def stopping(self) -> bool:
        """Whether the run stops after this step, whoever asked for it.

        A callback that waits for something must look at it, or signals cannot end the run.
        """
        return self.request.asked

    def result(self) -> Result:
        """Return the object as it is now; in a refine stage it is a `dfast.Refined`.

        It shares the tensors of the run, which the next step changes: look at it before the
        callback returns, in the callback's thread.

        Raises:
            ValueError: the event was made by hand and belongs to no run.
        """
        if self.snapshot is None:
            raise ValueError("this event belongs to no run")
        return self.snapshot()


Callback = Callable[[Event], None]
"""Called after every step of a run; what it raises ends the run when a checkpoint is saved."""


class ClosingCallback(AbstractContextManager[Any]):
    """A callback that holds something open; a `with` block closes it at its end."""

    @abstractmethod
    def __call__(self, event: Event) -> None:
        """Do what is to be done after a step."""

    @abstractmethod
    def close(self) -> None:
        """Close what is open; there may be nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def call_back(callbacks: Iterable[Callback], event: Event, save: Callable[[], object]) -> None:
    """Call callbacks with an event; when one raises, save first: a fault of theirs costs no step.

    Args:
        callbacks: of the run.
        event: of the step that was just done.
        save: writes a checkpoint.
    """
    try:
        for callback in callbacks:
            callback(event)
    except Exception:
        save()
        raise
