"""The page itself: a viser server, the browsers that show it and their cameras."""

from __future__ import annotations

import atexit
import io
import math
import threading
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfast.config.views import BACKGROUNDS
from dfast.runs.notices import notice
from dfast.viewer.address import HOST, PORT, check_address, url
from dfast.viewer.controls import Controls
from dfast.viewer.pictures import Pose

VIEW = (30.0, 20.0, 3.2)
"""Azimuth and elevation in degrees and distance of a new page's camera."""
FOV = 40.0
"""Degrees, vertical, of a new page's camera."""
QUALITY = 90
"""Of the JPEG that is sent."""


class Page:
    """Serves the page.

    Attributes:
        url: its address for a browser on this machine.
        wake: is set whenever a visitor does something.
        controls: the widgets.
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

        self.wake, self._open = threading.Event(), True
        with redirect_stdout(io.StringIO()):  # viser prints a box, whatever `verbose` says
            self._server: Any = viser.ViserServer(host, port, label="dfast", verbose=False)
        # A visitor may leave while a picture is drawn; nobody has to do anything about it.
        warnings.filterwarnings("ignore", "Queued a .* on a closed connection", UserWarning)
        atexit.register(self.close)  # before viser's own, which prints
        self.url = url(host, self._server.get_port())
        self._place_camera()
        empty = np.full((2, 2, 3), np.array(BACKGROUNDS["studio"]) * 255, np.uint8)
        self._server.scene.set_background_image(empty)  # until there is something to see
        gui = self._server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, brand_color=(45, 105, 175))
        gui.set_panel_label("dfast")
        gui.main_panel.dock_right()  # beside the picture, not over it
        self.controls = Controls(gui, self.wake, on_stop)
        self._server.on_client_connect(self._welcome)
        self._server.on_client_disconnect(self._nudge)
        notice(f"watch it at {self.url}")

    def _place_camera(self) -> None:
        """Decide where the cameras of new pages are."""
        azimuth, elevation, distance = math.radians(VIEW[0]), math.radians(VIEW[1]), VIEW[2]
        self._server.scene.set_up_direction("+z")
        camera = self._server.initial_camera
        camera.position = (
            distance * math.cos(elevation) * math.cos(azimuth),
            distance * math.cos(elevation) * math.sin(azimuth),
            distance * math.sin(elevation),
        )
        camera.look_at = (0.0, 0.0, 0.0)
        camera.fov = math.radians(FOV)

    @property
    def watched(self) -> bool:
        """Whether a browser shows the page."""
        return self._open and bool(self._server.get_clients())

    def visitors(self) -> list[tuple[Any, Pose]]:
        """Return viser's handle and the camera of each browser that shows the page."""
        found = []
        for client in self._server.get_clients().values() if self._open else ():
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

    def send(self, client: Any, image: NDArray[np.uint8]) -> None:
        """Show a picture to a visitor who is still there.

        Args:
            client: viser's handle of the browser.
            image: [H, W, 3] display RGB.
        """
        if self._open and client.client_id in self._server.get_clients():
            client.scene.set_background_image(image, format="jpeg", jpeg_quality=QUALITY)
            client.flush()

    def close(self) -> None:
        """Stop serving; nothing happens the second time."""
        atexit.unregister(self.close)
        if self._open:
            self._open = False
            self.wake.set()
            with redirect_stdout(io.StringIO()):  # viser prints that it stops
                self._server.stop()

    async def _welcome(self, client: Any) -> None:
        """Listen to the camera of a new visitor."""
        client.camera.on_update(self._nudge)
        self.wake.set()

    async def _nudge(self, _: Any) -> None:
        """Tell the thread that owns the object that a visitor did something."""
        self.wake.set()
