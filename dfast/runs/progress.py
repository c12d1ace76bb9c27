"""How a run shows that it proceeds: a bar in a terminal or a notebook, some lines in a log."""

from __future__ import annotations

import sys
import time
import warnings
from contextlib import suppress
from typing import Any, TextIO

from dfast.runs.announce import duration
from dfast.runs.events import Event
from dfast.runs.notices import notice

FIRST_STEPS = 3
"""Steps after which a log says how long the run takes: the first ones are slower."""
LINES = 20
"""About how many lines a log gets."""
PAUSE = 2.0
"""Seconds between lines, at least."""


def progress_of(total: int, done: int = 0) -> ProgressBar | LogLines:
    """Return what shows the progress of a run: on stderr, or in a notebook.

    Args:
        total: steps of the whole run.
        done: steps already done, in a run that is resumed.
    """
    if (widget := notebook_bar()) is not None:
        return ProgressBar(total, done, bar=widget)
    terminal = False
    with suppress(OSError, ValueError, AttributeError):
        terminal = sys.stderr.isatty()
    return ProgressBar(total, done) if terminal else LogLines(total, done)


def notebook_bar() -> Any:
    """Return tqdm's bar for notebooks, None outside of one and without ipywidgets."""
    if "IPython" not in sys.modules:  # as in every notebook
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm's, that ipywidgets is missing
        from tqdm.auto import tqdm
        from tqdm.notebook import tqdm as widget
    return tqdm if issubclass(tqdm, widget) else None


class LogLines:
    """A callback for `dfast.train`: some twenty lines for the whole run.

    Args:
        total: steps of the whole run.
        done: steps already done, in a run that is resumed.
    """

    def __init__(self, total: int, done: int = 0) -> None:
        self._total, self._done, self._began = total, done, time.perf_counter()
        self._next, self._last = done + FIRST_STEPS, 0.0
        self._shown: dict[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Print a line, if one is due."""
        self._shown = _numbers(event) or self._shown
        now = time.perf_counter()
        last = event.step >= self._total
        if not last and (event.step < self._next or now - self._last < PAUSE):
            return
        each = (now - self._began) / max(event.step - self._done, 1)
        left = "" if last else f", about {duration(each * (self._total - event.step))} left"
        numbers = "".join(f", {name} {value}" for name, value in self._shown.items())
        notice(f"step {event.step} of {self._total}, {duration(each)} each{left}{numbers}")
        self._last = now
        self._next = event.step + max(self._total // LINES, 1)

    def close(self) -> None:
        """Do nothing: each line is complete."""


def _numbers(event: Event) -> dict[str, str]:
    """Return the numbers of an event that are shown, as text."""
    if not event.metrics:
        return {}
    shown = {
        "opacity": f"{event.metrics['opacity']:.3f}",
        "grad": f"{event.metrics['gradient_norm']:.2g}",
    }
    if event.metrics.get("skipped"):
        shown["skipped"] = f"{event.metrics['skipped']:.0f}"
    return shown


class ProgressBar:
    """A callback for `dfast.train`: steps, speed, time left, opacity and gradient norm on one line.

    Without a stderr, or with one that cannot be written any more, nothing is shown.

    Args:
        total: steps of the whole run.
        done: steps already done, in a run that is resumed.
        file: where to write, by default stderr.
        bar: a class like tqdm's, by default its bar for terminals.
    """

    def __init__(
        self, total: int, done: int = 0, *, file: TextIO | None = None, bar: Any = None
    ) -> None:
        from tqdm import tqdm

        self._bar: Any = None
        file = sys.stderr if file is None else file
        with suppress(OSError, ValueError, AttributeError):
            self._bar = file and (bar or tqdm)(
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
        if shown := _numbers(event):
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update(event.step - self._bar.n)
        if event.step >= event.steps:
            self.close()

    def close(self) -> None:
        """Leave the bar as it is and begin the next line."""
        if self._bar is not None:
            with suppress(OSError, ValueError, AttributeError):
                self._bar.close()
