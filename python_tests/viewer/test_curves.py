"""Curves of a run's numbers: which points are kept, and when they are sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dfast.viewer.curves import MOST_POINTS, Curves, thinned


class Widgets:
    """Stands for viser's gui: its folder, its choice and its plot."""

    def __init__(self) -> None:
        self.plot = SimpleNamespace(sent=0)

    def add_folder(self, label: str) -> Widgets:
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def add_dropdown(self, label: str, options: tuple[str, ...], **_: Any) -> Any:
        self.choice = SimpleNamespace(value=options[0], on_update=self.listen)
        return self.choice

    def listen(self, call: Any) -> None:
        self.chosen = call

    def add_uplot(self, data: Any, series: Any, **options: Any) -> Any:
        self.plot.data, self.plot.series, self.plot.visible = data, series, options["visible"]
        return self.plot


def test_curves_appear_with_their_second_point_and_can_be_chosen() -> None:
    gui = Widgets()
    curves = Curves(gui)
    curves.add(10, {"guidance": 1.0, "opacity": 0.5})
    curves.show()
    assert not gui.plot.visible
    first = gui.plot.data
    curves.show()
    assert gui.plot.data is first  # nothing is sent twice
    curves.add(20, {"guidance": 2.0, "opacity": 0.25})
    curves.add(30, {"guidance": float("nan"), "opacity": 0.125})
    curves.add(31, {})
    curves.show()
    assert gui.plot.visible and gui.plot.data is not first
    assert [array.tolist() for array in gui.plot.data] == [[10, 20], [1, 2]]
    gui.choice.value = "mean opacity"
    gui.chosen(None)
    assert [array.tolist() for array in gui.plot.data] == [[10, 20, 30], [0.5, 0.25, 0.125]]
    assert gui.plot.series[1]["label"] == "mean opacity"


@pytest.mark.parametrize("count", [0, 1, 2, MOST_POINTS, MOST_POINTS + 1, 12345])
def test_long_curves_are_thinned(count: int) -> None:
    points = [(step, step * 0.5) for step in range(count)]
    steps, values = thinned(points)
    assert len(steps) == len(values) <= MOST_POINTS + 1
    assert np.array_equal(values, steps * 0.5)
    if count:
        assert steps[0] == 0 and steps[-1] == count - 1
    if count <= MOST_POINTS:
        assert len(steps) == count
