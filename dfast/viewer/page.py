"""The page itself: a viser server with its widgets, and what people ask for by them.

The server and the functions of the buttons run in threads of viser's. They only note what is asked
for and set `wake`; everything that touches an object is done by the thread that owns it.
"""

from __future__ import annotations

import atexit
import html
import io
import math
import threading
from collections import deque
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any, Literal

from dfast.runs.notices import notice
from dfast.viewer.address import HOST, PORT, check_address, url
from dfast.viewer.curves import Curves
from dfast.viewer.pictures import MODES, Pose

State = Literal["waiting", "training", "paused", "stopping", "writing", "stopped", "finished"]
WORDS: dict[State, str] = {
    "waiting": "preparing: the prior reads the prompt",
    "training": "training",
    "paused": "paused",
    "stopping": "stopping: the step is finished and saved",
    "writing": "done; its files are being written",
    "stopped": "stopped before the end",
    "finished": "finished",
}
"""What a page says of a run."""
VIEW = (30.0, 20.0, 3.2)
"""Azimuth and elevation in degrees and distance of a new page's camera."""
FOV = 40.0
"""Degrees, vertical, of a new page's camera."""
HELP = "Drag to turn, scroll to come nearer, drag with the right button to move."


class Page:
    """Serves the page, and holds what its visitors ask for.

    Attributes:
        url: its address for a browser on this machine.
        wake: is set whenever a visitor does something.
        paused: whether the run is to wait.
        exports: visitors who want the mesh, in order.
    """

    def __init__(self, host: str = HOST, port: int = PORT, *, on_stop: Callable[[], None]) -> None:
        """Start to serve.

        Args:
            host: an address of this machine; by default only this machine can see the page.
            port: 1 to 65535, or 0 for any that is free.
            on_stop: called in another thread when a visitor stops the run.

        Raises:
            ConfigError: the package viser is missing, or the page cannot be served there.
        """
        host, port = check_address(host, port)
        import viser

        self.wake, self.paused = threading.Event(), False
        self.exports: deque[Any] = deque()
        self._on_stop = on_stop
        with redirect_stdout(io.StringIO()):  # viser prints a box, whatever `verbose` says
            self._server: Any = viser.ViserServer(host, port, label="dfast", verbose=False)
        atexit.register(self.close)  # before viser's own, which prints
        self.url = url(host, self._server.get_port())
        self._arrange()
        self._server.on_client_connect(self._welcome)
        self._server.on_client_disconnect(self._nudge)
        notice(f"watch it at {self.url}")

    def _arrange(self) -> None:
        """Make the widgets and place the camera of new pages."""
        server, gui = self._server, self._server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, brand_color=(45, 105, 175))
        gui.set_panel_label("dfast")
        server.scene.set_up_direction("+z")
        azimuth, elevation, distance = VIEW
        az, el = math.radians(azimuth), math.radians(elevation)
        server.initial_camera.position = (
            distance * math.cos(el) * math.cos(az),
            distance * math.cos(el) * math.sin(az),
            distance * math.sin(el),
        )
        server.initial_camera.look_at = (0.0, 0.0, 0.0)
        server.initial_camera.fov = math.radians(FOV)
        self._head = gui.add_html("")
        self._bar = gui.add_progress_bar(0.0)
        self._line = gui.add_html("")
        self._mode = gui.add_dropdown("Show", tuple(MODES), hint="What the picture shows")
        self._mode.on_update(self._nudge)
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
        self.describe("", "", "waiting")

    @property
    def mode(self) -> str:
        """What the pictures are to show, one of `MODES`."""
        return str(self._mode.value)

    @property
    def watched(self) -> bool:
        """Whether a browser shows the page."""
        return bool(self._server.get_clients())

    def visitors(self) -> list[tuple[Any, Pose]]:
        """Return viser's handle and the camera of each browser that shows the page."""
        found = []
        for client in self._server.get_clients().values():
            camera = client.camera
            if camera.image_width and camera.image_height:  # a hidden window has neither
                pose = Pose(
                    tuple(camera.position.tolist()),
                    tuple(camera.wxyz.tolist()),
                    float(camera.fov),
                    camera.image_width,
                    camera.image_height,
                )
                found.append((client, pose))
        return found

    def describe(self, title: str, about: str, state: State) -> None:
        """Say what is made, and how far it is.

        Args:
            title: the prompt.
            about: prior, seed and the like.
            state: of the run.
        """
        paused = state == "paused"
        self._set(self._head, "content", _heading(title, about, WORDS[state]))
        self._set(self._bar, "animated", state in ("waiting", "stopping", "writing"))
        self._set(self._pause, "label", "Go on" if paused else "Pause")
        self._set(self._pause, "icon", "player-play" if paused else "player-pause")
        for button in (self._pause, self._stop):
            self._set(button, "visible", state not in ("writing", "stopped", "finished"))
            self._set(button, "disabled", state in ("waiting", "stopping"))
        self._set(self._export, "disabled", state in ("waiting", "writing"))

    def progress(self, step: int, steps: int, text: str) -> None:
        """Show how many steps are done.

        Args:
            step: steps done.
            steps: of the whole run.
            text: what else to say, such as the time that is left.
        """
        self._set(self._bar, "value", 100.0 * step / max(steps, 1))
        words = f"step {step} of {steps}{' · ' * bool(text)}{text}"
        self._set(self._line, "content", _small(words))

    def close(self) -> None:
        """Stop serving; nothing happens the second time."""
        atexit.unregister(self.close)
        if (server := getattr(self, "_server", None)) is None:
            return
        self._server = None
        self.wake.set()
        with redirect_stdout(io.StringIO()):  # and that it stops
            server.stop()

    def _set(self, handle: Any, name: str, value: Any) -> None:
        """Change a widget, if it is not so already: what is equal costs no message."""
        if getattr(handle, name) != value:
            setattr(handle, name, value)

    async def _welcome(self, client: Any) -> None:
        """Listen to the camera of a new visitor."""
        client.camera.on_update(self._nudge)
        self.wake.set()

    async def _nudge(self, _: Any) -> None:
        """Tell the thread that owns the object that a visitor did something."""
        self.wake.set()

    def _toggle(self, _: Any) -> None:
        self.paused = not self.paused
        self.wake.set()

    def _end(self, _: Any) -> None:
        self._on_stop()
        self.wake.set()

    def _want_export(self, event: Any) -> None:
        if event.client is not None and event.client not in self.exports:
            self.exports.append(event.client)
            self.wake.set()


def _heading(title: str, about: str, state: str) -> str:
    """Return the head of the page as HTML; a prompt may hold anything."""
    lines = (("1.25em", "600", title), ("0.85em", "400", about), ("0.85em", "600", state))
    return (
        "<div style='padding:0.2em 0.9em 0.3em'>"
        + "".join(
            f"<div style='font-size:{size};font-weight:{weight}'>{html.escape(text)}</div>"
            for size, weight, text in lines
            if text
        )
        + "</div>"
    )


def _small(text: str) -> str:
    """Return a line of small text as HTML."""
    style = "padding:0.2em 1.06em 0.5em;font-size:0.8em;opacity:0.75"
    return f"<div style='{style}'>{html.escape(text)}</div>"
