"""What stands beside the picture: prompt, progress, buttons and curves.

viser calls the functions of the buttons in threads of its own. They note what is asked for, say so
on the page, and set `wake`; what touches an object is done by the thread that owns it.
"""

from __future__ import annotations

import html
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

from dfast.viewer.curves import Curves
from dfast.viewer.pictures import MODES

State = Literal[
    "waiting", "training", "pausing", "paused", "stopping", "writing", "stopped", "finished"
]
WORDS: dict[State, str] = {
    "waiting": "preparing: the prior reads the prompt",
    "training": "training",
    "pausing": "pausing: the step is finished first",
    "paused": "paused",
    "stopping": "stopping: the step is finished and saved",
    "writing": "done; its files are being written",
    "stopped": "stopped before the end",
    "finished": "finished",
}
"""What is said of a run."""
BUSY, OVER = ("waiting", "stopping", "writing"), ("writing", "stopped", "finished")
"""States in which something other than steps takes time, and in which no step follows."""
HELP = "Drag to turn, scroll to come nearer, drag with the right button to move."


class Controls:
    """The widgets of a page, and what its visitors ask for.

    Attributes:
        paused: whether the run is to wait.
        exports: viser's handles of visitors who want the mesh, in order.
        curves: numbers of the run.
    """

    def __init__(self, gui: Any, wake: threading.Event, on_stop: Callable[[], None]) -> None:
        """Make the widgets.

        Args:
            gui: of a viser server.
            wake: is set whenever a visitor asks for something.
            on_stop: called in another thread when a visitor stops the run.
        """
        self.paused, self.exports = False, deque[Any]()
        self._wake, self._on_stop, self._stopping = wake, on_stop, False
        self._said: tuple[str, str, State] = ("", "", "waiting")
        self._lock = threading.RLock()
        self._head = gui.add_html("")
        self._bar = gui.add_progress_bar(0.0)
        self._line = gui.add_html("")
        self._mode = gui.add_dropdown("Show", tuple(MODES), hint="What the picture shows")
        self._mode.on_update(self._choose)
        self._pause = gui.add_button("Pause", icon="player-pause", hint="Wait between two steps")
        self._pause.on_click(self._toggle)
        self._stop = gui.add_button(
            "Stop and save",
            icon="player-stop",
            color="red",
            hint="Finish this step, save a checkpoint, keep what is done",
        )
        self._stop.on_click(self._end)
        self._export = gui.add_button(
            "Export mesh (GLB)", icon="download", color="gray", hint="Make the mesh as it is now"
        )
        self._export.on_click(self._want_export)
        self.curves = Curves(gui)
        self._help = gui.add_html(_small(HELP))
        self._refresh()

    @property
    def mode(self) -> str:
        """What the pictures are to show, one of `MODES`."""
        return str(self._mode.value)

    def describe(self, title: str, about: str, state: State) -> None:
        """Say what is made, and how far it is.

        Args:
            title: the prompt.
            about: prior, seed and the like.
            state: of the run.
        """
        with self._lock:
            self._said = title, about, state
            self._refresh()

    def restart(self) -> None:
        """Forget what was asked of a run before, and its curves."""
        with self._lock:
            self.paused = self._stopping = False
            self.curves.clear()

    def progress(self, step: int, steps: int, text: str) -> None:
        """Show how many steps are done.

        Args:
            step: steps done.
            steps: of the whole run.
            text: what else to say, such as the time that is left.
        """
        _set(self._bar, "value", 100.0 * step / max(steps, 1))
        _set(self._line, "content", _small(f"step {step} of {steps}{' · ' * bool(text)}{text}"))

    def _refresh(self) -> None:
        """Bring the widgets up to date with the run and with what was asked for."""
        title, about, state = self._said
        if state == "training" and self.paused:
            state = "pausing"
        if self._stopping and state in ("training", "pausing", "paused"):
            state = "stopping"
        _set(self._head, "content", _heading(title, about, WORDS[state]))
        _set(self._bar, "animated", state in BUSY)
        _set(self._pause, "label", "Go on" if self.paused else "Pause")
        _set(self._pause, "icon", "player-play" if self.paused else "player-pause")
        for button in (self._pause, self._stop):
            _set(button, "visible", state not in OVER)
            _set(button, "disabled", state in BUSY)
        _set(self._export, "disabled", state in ("waiting", "writing"))

    def _choose(self, _: Any) -> None:
        self._wake.set()

    def _toggle(self, _: Any) -> None:
        with self._lock:
            self.paused = not self.paused
            self._refresh()
        self._wake.set()

    def _end(self, _: Any) -> None:
        with self._lock:
            self._stopping = True
            self._refresh()
        self._on_stop()
        self._wake.set()

    def _want_export(self, event: Any) -> None:
        if event.client is not None and event.client not in self.exports:
            self.exports.append(event.client)
            self._wake.set()


def _set(handle: Any, name: str, value: Any) -> None:
    """Change a widget, if it is not so already: what is equal costs no message."""
    if getattr(handle, name) != value:
        setattr(handle, name, value)


def _heading(title: str, about: str, state: str) -> str:
    """Return the head of the page as HTML; a prompt may hold anything."""
    lines = (("1.25em", "600", title), ("0.85em", "400", about), ("0.85em", "600", state))
    rows = (
        f"<div style='font-size:{size};font-weight:{weight}'>{html.escape(text)}</div>"
        for size, weight, text in lines
        if text
    )
    return f"<div style='padding:0.2em 0.9em 0.3em'>{''.join(rows)}</div>"


def _small(text: str) -> str:
    """Return a line of small text as HTML."""
    style = "padding:0.2em 1.06em 0.5em;font-size:0.8em;opacity:0.75"
    return f"<div style='{style}'>{html.escape(text)}</div>"
