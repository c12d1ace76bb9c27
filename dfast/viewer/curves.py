"""Curves of a run's numbers on a page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

CURVES = {
    "guidance gradient (RMS)": "guidance",
    "mean opacity": "opacity",
    "gradient norm": "gradient_norm",
    "samples a step": "samples",
    "seconds a step": "seconds_per_step",
}
"""Curves by their name on the page, and the number of an event's metrics that each shows."""
MOST_POINTS = 400
"""Points of a curve; of longer ones every n-th is shown, so that a page costs the same at any
length of a run."""
COLOR = "#2d69af"


class Curves:
    """Numbers by step, and the widget that shows one of them.

    Args:
        gui: of a viser server; its current container gets the widgets.
    """

    def __init__(self, gui: Any) -> None:
        self._values: dict[str, list[tuple[int, float]]] = {name: [] for name in CURVES.values()}
        with gui.add_folder("Curves"):
            self._choice = gui.add_dropdown("Curve", tuple(CURVES), hint="A number of each step")
            empty = np.zeros(0)
            self._plot = gui.add_uplot(
                (empty, empty),
                _series(self._choice.value),
                scales={"x": {"time": False}},
                legend={"show": True},
                height=190,
                visible=False,  # a plot that was drawn without points never gets its scale right
            )
        self._changed, self._drawn = False, self._choice.value
        self._choice.on_update(lambda _: self.show())

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """Remember the numbers of a step; nothing is sent.

        Args:
            step: steps done.
            metrics: numbers by name, as an event has them.
        """
        for name, values in self._values.items():
            number = metrics.get(name)
            if number is not None and math.isfinite(number):
                values.append((step, float(number)))
                self._changed = True

    def clear(self) -> None:
        """Forget all numbers."""
        self._changed = any(self._values.values())
        for values in self._values.values():
            values.clear()

    def extend(self, lines: Iterable[Mapping[str, float]]) -> None:
        """Remember numbers of several steps, each with its "step", and show them."""
        for line in lines:
            self.add(int(line["step"]), line)
        self.show()

    def show(self) -> None:
        """Send the chosen curve to the page, if it has changed."""
        name = self._choice.value
        if not self._changed and name == self._drawn:
            return
        if name != self._drawn:  # else it would be made anew, and forget what was enlarged
            self._plot.series = _series(name)
        self._changed, self._drawn = False, name
        steps, values = thinned(self._values[CURVES[name]])
        self._plot.data = steps, values
        self._plot.visible = len(steps) > 1


def _series(name: str) -> Any:
    """Return how the steps and a curve over them are drawn."""
    line = {"label": name, "stroke": COLOR, "width": 2, "points": {"show": False}}
    return ({"label": "step"}, line)


def thinned(points: list[tuple[int, float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return steps and values of a curve, at most `MOST_POINTS` + 1, always with the last one.

    Args:
        points: (step, value) in order.
    """
    every = max(1, math.ceil(len(points) / MOST_POINTS))
    kept = points[::every]
    if points and kept[-1] != points[-1]:
        kept.append(points[-1])
    array = np.array(kept, dtype=np.float64).reshape(-1, 2)
    return array[:, 0].copy(), array[:, 1].copy()
