"""Which pictures are drawn for whom: small while a camera moves, large when it is still."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import TINY, train_tiny

from dfast.viewer import painter
from dfast.viewer.painter import Painter
from dfast.viewer.pictures import Pose


class OneVisitor:
    """A page with one visitor, whose camera is still."""

    def __init__(self) -> None:
        self.wake, self.controls = threading.Event(), SimpleNamespace(mode="colour")
        self.images: list[Any] = []

    def visitors(self) -> list[tuple[Any, Pose]]:
        pose = Pose((3.0, 0.0, 0.0), (0.5, 0.5, -0.5, -0.5), 0.7, 90, 64)
        return [(SimpleNamespace(client_id=1), pose)]

    def send(self, client: Any, image: Any) -> None:
        self.images.append(image)


@pytest.mark.usefixtures("needs_native")
def test_drawing_between_steps_leaves_a_run_as_it_is(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painter, "SETTLED", 0.0)
    page = OneVisitor()
    ours = Painter(page)  # type: ignore[arg-type]
    config = TINY.replace(train={"steps": 12, "preview_every": 0})
    drawn = train_tiny(
        device=device,
        config=config,
        callbacks=[lambda event: ours.paint(event.result(), training=True, refresh=True)],
    )
    assert len(page.images) == 12 and np.ptp(page.images[-1]) > 20
    assert any((image != page.images[-1]).any() for image in page.images)
    table = drawn.scene.field.table
    assert drawn.steps == 12 and bool(table.isfinite().all())
    if device.type == "cpu":  # elsewhere the order of atomic additions changes the last bits
        assert torch.equal(table, train_tiny(config=config).scene.field.table)


class Stage:
    """A page with cameras that move when told to, a clock, and pictures that only take time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.wake, self.controls = threading.Event(), SimpleNamespace(mode="colour")
        self.poses: dict[int, Pose] = {}
        self.sent: list[tuple[int, tuple[int, int]]] = []
        self.now, self.seconds, self.interrupted = 0.0, seconds, False
        self.result = SimpleNamespace(steps=1)
        monkeypatch.setattr(painter, "draw", self._draw)
        monkeypatch.setattr(painter, "time", SimpleNamespace(perf_counter=lambda: self.now))
        self.painter = Painter(self)  # type: ignore[arg-type]

    def _draw(self, result: Any, pose: Pose, size: Any, mode: str, wanted: Any) -> Any:
        self.now += self.seconds * size[0] * size[1]
        if self.interrupted:
            self.wake.set()
        return np.zeros((size[1], size[0], 3), np.uint8) if wanted() else None

    def visitors(self) -> list[tuple[Any, Pose]]:
        return [(SimpleNamespace(client_id=key), pose) for key, pose in self.poses.items()]

    def send(self, client: Any, image: Any) -> None:
        self.sent.append((client.client_id, (image.shape[1], image.shape[0])))

    def look(self, key: int, angle: float) -> None:
        self.poses[key] = Pose((angle, 0.0, 3.0), (1.0, 0.0, 0.0, 0.0), 0.7, 800, 600)

    def paint(self, **options: Any) -> list[tuple[int, tuple[int, int]]]:
        """Return what one call sends."""
        before = len(self.sent)
        self.painter.paint(self.result, **options)  # type: ignore[arg-type]
        return self.sent[before:]


def test_a_moving_camera_gets_small_pictures_and_a_still_one_a_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch, 1e-5)
    stage.look(1, 0.0)
    sizes = []
    for angle in range(5):
        stage.look(1, float(angle))
        began = stage.now
        ((_, size),) = stage.paint()
        assert stage.now - began <= 1.01 * painter.QUICK_SECONDS or angle == 0
        sizes.append(size)
    assert all(width < 200 for width, _ in sizes)
    assert stage.painter.paint(stage.result) == painter.SETTLED  # type: ignore[arg-type]
    assert stage.paint() == []  # it may be moving still
    stage.now += painter.SETTLED
    ((_, middle),) = stage.paint()  # what can be had soon, then the whole
    assert sizes[-1] < middle < (800, 600)
    assert stage.paint() == [(1, (800, 600))]
    assert stage.paint() == [] and stage.painter.paint(stage.result) is None  # type: ignore[arg-type]


def test_a_run_draws_its_object_again_when_it_has_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, 1e-5)
    stage.look(1, 0.0)
    stage.paint(training=True, refresh=True)
    stage.now += painter.SETTLED
    began = stage.now
    assert len(stage.paint(training=True, refresh=False)) == 1
    assert stage.now - began <= 1.01 * painter.STILL_SECONDS
    stage.result.steps += 1
    assert stage.paint(training=True, refresh=False) == []
    assert len(stage.paint(training=True, refresh=True)) == 1
    assert stage.paint(training=True, refresh=True) == []  # nothing has changed
    stage.controls.mode = "depth"
    assert len(stage.paint(training=True, refresh=False)) == 1  # somebody waits for it


def test_a_pause_shows_the_last_step_at_full_size(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, 1e-5)
    stage.look(1, 0.0)
    stage.paint(training=True)
    stage.now += painter.SETTLED
    ((_, size),) = stage.paint(training=True)
    assert size != (800, 600)
    assert stage.paint() == [(1, (800, 600))] and stage.paint() == []


def test_a_large_picture_is_given_up_when_a_visitor_does_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch, 1e-5)
    stage.look(1, 0.0)
    stage.paint()
    stage.now += painter.SETTLED
    assert len(stage.paint()) == 1
    stage.interrupted = True
    assert stage.paint() == []
    stage.interrupted = False
    assert stage.paint() == [(1, (800, 600))]


def test_a_picture_without_memory_ends_no_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = Stage(monkeypatch, 1e-5)
    draw = painter.draw

    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(painter, "draw", fail)
    for angle in range(3):
        stage.look(1, float(angle))
        assert stage.paint(training=True) == []
    assert capsys.readouterr().err.count("no memory is left for a picture") == 1
    monkeypatch.setattr(painter, "draw", draw)
    stage.look(1, 9.0)
    assert len(stage.paint(training=True)) == 1


def test_visitors_have_cameras_of_their_own_and_come_and_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch, 1e-5)
    assert stage.paint() == []
    stage.look(1, 0.0)
    stage.look(2, 1.0)
    assert [key for key, _ in stage.paint()] == [1, 2]
    stage.look(2, 2.0)
    assert [key for key, _ in stage.paint()] == [2]
    del stage.poses[1]
    stage.paint()
    stage.look(1, 0.0)
    assert [key for key, _ in stage.paint()] == [1]  # a page that was loaded again is empty


def test_a_fast_machine_draws_at_full_size_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, 1e-8)
    stage.look(1, 0.0)
    stage.paint(training=True)
    stage.look(1, 1.0)
    assert stage.paint(training=True) == [(1, (800, 600))]
    stage.now += painter.SETTLED
    assert stage.paint(training=True) == []


def test_however_slow_a_machine_is_a_picture_has_some_pixels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch, 1.0)
    stage.look(1, 0.0)
    for angle in (1.0, 2.0):
        stage.look(1, angle)
        ((_, size),) = stage.paint(training=True)
    assert size == (85, painter.LEAST_HEIGHT)
