"""The bar that shows how a run proceeds."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, TextIO

from dfast.runs.events import Event


class ProgressBar:
    """A callback for `dfast.train`: steps, speed, time left, opacity and gradient norm on one line.

    Without a stderr, or with one that cannot be written any more, nothing is shown.

    Args:
        total: steps of the whole run.
        done: steps already done, in a run that is resumed.
        file: where to write, by default stderr.
    """

    def __init__(self, total: int, done: int = 0, *, file: TextIO | None = None) -> None:
        from tqdm import tqdm

        self._bar: Any = None
        file = sys.stderr if file is None else file
        with suppress(OSError, ValueError, AttributeError):
            self._bar = file and tqdm(
                total=total,
                initial=done,
                file=file,
                unit="step",
                dynamic_ncols=True,
                smoothing=0.1,
            )

    def __call__(self, event: Event) -> None:
        """Move the bar to the event's step."""
        if self._bar is None:
            return
        try:
            self._show(event)
        except (OSError, ValueError, AttributeError):  # a terminal that was closed
            self._bar = None

    def _show(self, event: Event) -> None:
        """Draw the bar of an event."""
        if event.metrics:
            shown = {
                "opacity": f"{event.metrics['opacity']:.3f}",
                "grad": f"{event.metrics['gradient_norm']:.2g}",
            }
            if event.metrics.get("skipped"):
                shown["skipped"] = f"{event.metrics['skipped']:.0f}"
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update(event.step - self._bar.n)
        if event.step >= event.steps:
            self.close()

    def close(self) -> None:
        """Leave the bar as it is and begin the next line."""
        if self._bar is not None:
            with suppress(OSError, ValueError, AttributeError):
                self._bar.close()
