"""`dfast.Viewer`: the callback that shows a run in a browser, and what shows its result."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from dfast.config.meshes import TEXELS, TEXTURED_FACES
from dfast.config.methods import METHODS
from dfast.runs.announce import duration
from dfast.runs.events import ClosingCallback, Event
from dfast.runs.notices import notice
from dfast.runs.refined import Refined
from dfast.runs.result import Result
from dfast.runs.signals import stop_on_signals, stopped_by
from dfast.viewer.address import HOST, PORT
from dfast.viewer.controls import State
from dfast.viewer.pace import Pace
from dfast.viewer.page import Page
from dfast.viewer.painter import Painter

IDLE = 0.25
"""Seconds between two looks at whether a paused run, or a page that only shows, is to end."""


class Viewer(ClosingCallback):
    """A page that shows an object, live while it trains; a callback of `dfast.train`.

    Pictures are drawn between steps, in the thread of the run, from the camera of each browser that
    shows the page. A page whose camera is still takes about 4 % of the time, and one that nobody
    shows nothing. No random number is drawn for it: a run that is watched ends in the same bytes.

    Attributes:
        url: address of the page, for a browser on this machine.

    Example:
        >>> import dfast
        >>> with dfast.Viewer() as viewer:  # doctest: +SKIP
        ...     result = dfast.train("a red chair", out="runs/chair", callbacks=[viewer])
        ...     viewer.show(result)  # until Ctrl-C
    """

    def __init__(self, host: str = HOST, port: int = PORT) -> None:
        """Start to serve the page.

        Args:
            host: an address of this machine. By default only this machine can see the page; whoever
                can see it can stop the run.
            port: 1 to 65535, or 0 for any that is free.

        Raises:
            ConfigError: the package viser is missing, or the page cannot be served there.
        """
        self._closed = False
        self._event: Event | None = None
        self._page = Page(host, port, on_stop=self._stop)
        self._controls = self._page.controls
        self._pace = Pace()
        self._painter = Painter(self._page)
        self._clock = _Clock()
        self.url = self._page.url

    def __call__(self, event: Event) -> None:
        """Show a step, and wait while the run is paused.

        Args:
            event: of a run.
        """
        if self._closed:
            return
        if self._event is not None and self._event.request is not event.request:  # another run
            self._controls.restart()
            self._clock = _Clock()
        self._event = event
        self._clock.step()
        self._controls.curves.add(event.step, event.metrics)
        if self._page.watched or self._controls.paused:
            self._serve(event)
        self._clock.go_on()

    def _serve(self, event: Event) -> None:
        """Do for the visitors what they wait for, then wait while the run is paused."""
        result = event.result()
        self._export(result)
        self._painter.paint(result, training=True)  # what a visitor waits for
        if self._pace.due():
            _finish_step(result)
            with self._pace.spending():
                self._tell(result, event, "training")
                self._painter.paint(result, training=True, refresh=True)
        if self._controls.paused:
            self._clock.pause()
            self._tell(result, event, "paused")
            while self._controls.paused and not event.stopping and not self._closed:
                self._show(result)
            self._tell(result, event, "training")
        elif event.stopping:
            self._tell(result, event, "training")

    def _tell(self, result: Result | Refined, event: Event, state: State) -> None:
        """Send numbers and curves."""
        if self._closed:
            return
        state = "stopping" if event.stopping else state
        self._controls.describe(result.prompt, _about(result), state)
        self._controls.progress(event.step, event.steps, self._clock.left(event.steps - event.step))
        self._controls.curves.show()

    def _show(self, result: Result | Refined) -> None:
        """Wait for a visitor, then draw and export; return at least every `IDLE` seconds."""
        self._export(result)
        wait = self._painter.paint(result, refresh=True)
        self._page.wake.wait(IDLE if wait is None else min(wait, IDLE))

    def _export(self, result: Result | Refined) -> None:
        """Send the mesh to the visitors who asked for it."""
        while self._controls.exports:
            send_mesh(self._controls.exports.popleft(), result)

    def _stop(self) -> None:
        """Stop the run; called in a thread of the page."""
        if self._event is not None:
            self._event.stop()

    def announce(self, result: Result | Refined, state: State) -> None:
        """Say on the page how far a run is that no step follows in.

        Args:
            result: the object.
            state: "writing" while nothing can be drawn; else "stopped" or "finished".
        """
        self._controls.paused = False
        self._controls.describe(result.prompt, _about(result), state)
        self._controls.progress(result.steps, result.config.train.steps, "")
        self._controls.curves.show()

    def show(self, result: Result | Refined, history: Iterable[Mapping[str, float]] = ()) -> None:
        """Show an object until Ctrl-C or `close`.

        Args:
            result: the object; nothing else may change it meanwhile.
            history: numbers of its run for the curves, each with its "step", as the lines of
                metrics.jsonl are. A run that this page has shown needs none.

        Raises:
            Terminated: a SystemExit of `dfast.runs.signals`, after SIGTERM or SIGHUP.
        """
        done = result.steps >= result.config.train.steps
        self.announce(result, "finished" if done else "stopped")
        self._controls.curves.extend(history)
        with stop_on_signals() as request:
            notice("the page stays until Ctrl-C")
            while not (request.asked or self._closed):
                self._show(result)
        if request.number not in (None, signal.SIGINT):
            raise stopped_by(request.number, result.folder)

    def close(self) -> None:
        """Stop serving; `show` returns, and a paused run goes on."""
        self._closed = True
        self._page.close()


class _Clock:
    """Tells how long a step takes, without the time that the run was paused."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._steps, self._paused_at = -1, 0.0

    def step(self) -> None:
        """Count a step; the first one only starts the clock, since it is slower than others."""
        self._steps += 1
        if self._began is None:
            self._began = time.perf_counter()

    def pause(self) -> None:
        """Begin time that does not count."""
        self._paused_at = time.perf_counter()

    def go_on(self) -> None:
        """End time that does not count, if it was begun."""
        if self._paused_at and self._began is not None:
            self._began += time.perf_counter() - self._paused_at
        self._paused_at = 0.0

    def left(self, steps: int) -> str:
        """Return as text how long a step takes, and so many steps; empty before it is known."""
        if self._steps < 1 or self._began is None:
            return ""
        now = self._paused_at or time.perf_counter()
        each = (now - self._began) / self._steps
        return f"{duration(each)} each · {duration(each * steps)} left"


def _finish_step(result: Result | Refined) -> None:
    """Wait for what the device still has to do, which is no cost of what comes after it."""
    if result.device.type == "cuda":
        torch.cuda.synchronize(result.device)


def _about(result: Result | Refined) -> str:
    """Return what a page says of a run beside its prompt."""
    guide = METHODS[result.config.method.name].guide
    return f"{guide} {result.prior}, seed {result.seed}, {result.device}"


def send_mesh(client: Any, result: Result | Refined) -> None:
    """Let a browser save the mesh of an object; say there what is wrong where there is none.

    Args:
        client: viser's handle of the browser.
        result: the object.
    """
    note = client.add_notification("Mesh", "is being made ...", loading=True)
    client.flush()
    name = re.sub(r"[^a-z0-9]+", "-", result.prompt.lower()).strip("-")[:60] or "object"
    name = f"{name}-step-{result.steps}.glb"
    try:
        own = isinstance(result, Refined)  # it has its faces and texels already
        options: dict[str, Any] = {} if own else {"faces": TEXTURED_FACES, "texture": TEXELS}
        data = result.mesh(**options).glb()
    except Exception as error:  # whatever it is, a click ends no run
        note.title, note.color, note.loading = "No mesh", "red", False
        note.body = " ".join(str(error).split())
        return
    client.send_file_download(name, data, save_immediately=True)
    note.body, note.loading, note.auto_close_seconds = name, False, 6.0
