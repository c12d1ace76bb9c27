"""Which picture is due for whom, and how large it may be.

A visitor who turns the object gets small pictures at once, a larger one when the camera is still,
and one as large as the page when no step waits for it. An object that trains under a still camera
is drawn again when its run has time for it.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Literal

from dfast._device import ran_out
from dfast.runs.notices import notice
from dfast.runs.refined import Refined
from dfast.runs.result import Result
from dfast.viewer.page import Page
from dfast.viewer.pictures import Pose, draw

QUICK_SECONDS = 0.06
"""Time for a picture while the camera moves."""
STILL_SECONDS = 0.25
"""Time for a picture of a still camera; during a run `dfast.viewer.pace` says how often."""
SETTLED = 0.2
"""Seconds after which a camera counts as still."""
Level = Literal["quick", "still", "whole"]
"""How large a picture is: as the seconds above allow, or as large as the page."""
MOST_PIXELS = 1 << 20
"""Of a picture; a larger window shows it enlarged."""
LEAST_HEIGHT = 64
"""Pixels of a picture, however slow the machine is."""


@dataclass
class Drawn:
    """The last picture of one visitor."""

    pose: Pose
    mode: str
    step: int
    level: Level
    """How large it is."""
    time: float
    """When it was drawn, of `time.perf_counter`."""


class Painter:
    """Draws and sends what is due.

    Args:
        page: where it is shown.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._drawn: dict[int, Drawn] = {}
        self._seconds: dict[str, float] = {}
        """Of a pixel, by mode."""
        self._trouble = False

    def paint(
        self, result: Result | Refined, *, training: bool = False, refresh: bool = False
    ) -> float | None:
        """Draw for each visitor what is due.

        Args:
            result: the object.
            training: whether a step waits for this, so that it has to be brief; else still
                cameras get pictures as large as the page, which are given up when a visitor does
                something.
            refresh: draw also where nothing but the object has changed.

        Returns:
            Seconds until a picture is due for a camera that has stopped moving; None if none is.
        """
        self._page.wake.clear()  # before the cameras are read, so that no later move is missed
        visitors, waits = self._page.visitors(), []
        here = {client.client_id for client, _ in visitors}
        self._drawn = {key: drawn for key, drawn in self._drawn.items() if key in here}
        for client, pose in visitors:
            level = self._due(client.client_id, pose, result.steps, training, refresh)
            if level is not None:
                self._draw(client, pose, result, level)
            last = self._drawn.get(client.client_id)
            if last is None or last.level == "quick":
                waits.append(SETTLED)
            elif last.level == "still" and not training:
                waits.append(0.0)
        return min(waits, default=None)

    def _due(self, key: int, pose: Pose, step: int, training: bool, refresh: bool) -> Level | None:
        """Return how large a picture is due, None if none is."""
        last = self._drawn.get(key)
        if last is None or (last.pose, last.mode) != (pose, self._page.controls.mode):
            return "quick"
        if last.level == "quick":
            return "still" if time.perf_counter() - last.time >= SETTLED else None
        if last.level == "still" and not training:
            return "whole"
        return "still" if refresh and last.step != step else None

    def _draw(self, client: Any, pose: Pose, result: Result | Refined, level: Level) -> None:
        """Draw a picture, send it, and remember how long it took."""
        mode = self._page.controls.mode
        size = self._size(pose, mode, level)
        began = time.perf_counter()
        try:
            image = draw(result, pose, size, mode, self._still if level == "whole" else _always)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            self._say_once("no memory is left for a picture of the page; the run goes on")
        else:
            if image is None:
                return
            seconds = (time.perf_counter() - began) / (size[0] * size[1])
            self._page.send(client, image)
            # The first picture is slower than others, and an estimate comes down at once.
            mean = 0.5 * (self._seconds.get(mode, seconds) + seconds)
            self._seconds[mode] = min(seconds, mean)
        if size == self._size(pose, mode, "whole"):
            level = "whole"
        now = time.perf_counter()
        self._drawn[client.client_id] = Drawn(pose, mode, result.steps, level, now)

    def _say_once(self, text: str) -> None:
        """Print a line, the first time."""
        if not self._trouble:
            self._trouble = True
            notice(text)

    def _still(self) -> bool:
        """Return whether no visitor has done anything since the picture was begun."""
        return not self._page.wake.is_set()

    def _size(self, pose: Pose, mode: str, level: Level) -> tuple[int, int]:
        """Return width and height of a picture that takes no longer than it may."""
        whole = pose.width * pose.height
        pixels = float(min(whole, MOST_PIXELS))
        if level != "whole":
            known = self._seconds.get(mode) or max(self._seconds.values(), default=1e-5)
            pixels = min(pixels, (QUICK_SECONDS if level == "quick" else STILL_SECONDS) / known)
        scale = max(math.sqrt(pixels / whole), min(1.0, LEAST_HEIGHT / pose.height))
        return max(1, round(pose.width * scale)), max(1, round(pose.height * scale))


def _always() -> bool:
    return True
