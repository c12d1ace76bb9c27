"""The page in a real browser: it shows an object that trains, and its buttons act."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tiny_runs import TINY, train_tiny

from dfast.config.views import BACKGROUNDS
from dfast.runs.events import Event
from dfast.runs.result import Result

pytestmark = [pytest.mark.usefixtures("needs_native"), pytest.mark.slow]
PATIENCE = 60.0
"""Seconds that anything on the page may take."""
LONG = TINY.replace(
    train={"steps": 100_000, "log_every": 5, "preview_every": 0, "checkpoint_every": 0}
)
SCENE = {"x": 0, "y": 190, "width": 500, "height": 410}
"""The part of the page that no widget covers."""


def until(holds: Callable[[], object], what: str) -> None:
    """Wait until something holds; fail if it never does."""
    limit = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < limit, f"waited {PATIENCE:g} s for {what}"
        time.sleep(0.1)


def picture(tab: Any) -> NDArray[np.int64]:
    """Return what the page shows of the object."""
    data = tab.screenshot(clip=SCENE, animations="disabled")
    return np.array(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def differ(a: NDArray[np.int64], b: NDArray[np.int64]) -> bool:
    """Return whether two pictures differ in more than noise of their compression."""
    return float(np.abs(a - b).mean()) > 1.0


def at_rest(tab: Any) -> NDArray[np.int64]:
    """Return what the page shows when it does not change any more."""
    seen = picture(tab)
    limit = time.monotonic() + PATIENCE
    while True:
        time.sleep(0.6)
        again = picture(tab)
        if np.array_equal(seen, again):
            return again
        assert time.monotonic() < limit, f"the picture still changes after {PATIENCE:g} s"
        seen = again


class Run:
    """A run in a thread of its own, with a page."""

    def __init__(self, **options: Any) -> None:
        import dfast

        self.viewer, self.step = dfast.Viewer(port=0), 0
        self.result: Result | None = None
        self.hold = threading.Event()
        self._thread = threading.Thread(target=self._train, kwargs=options)

    def _train(self, **options: Any) -> None:
        self.result = train_tiny(callbacks=[self._watch, self.viewer], **options)

    def _watch(self, event: Event) -> None:
        """Count steps, none faster than a page can follow."""
        self.step = event.step
        self.hold.wait(PATIENCE)
        time.sleep(0.005)

    def __enter__(self) -> Run:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hold.set()
        self.viewer._stop()  # wherever the test failed
        self.viewer.close()
        self.join()

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@pytest.fixture
def run(tab: Any, tmp_path: Path) -> Iterator[Run]:
    """Train with a page that the tab shows, until it shows the object."""
    with Run(config=LONG, out=tmp_path / "run") as run:
        tab.goto(run.viewer.url)
        run.hold.set()
        shown = tab.get_by_text(re.compile(r"step \d+ of 100000"))
        shown.wait_for(timeout=1e3 * PATIENCE)
        until(lambda: picture(tab).std() > 5, "a picture that is not empty")
        yield run


def press(tab: Any, name: str) -> None:
    tab.get_by_role("button", name=name).click(timeout=1e3 * PATIENCE)


def choose(tab: Any, label: str, entry: str) -> None:
    """Choose an entry of a list."""
    tab.get_by_role("combobox", name=label).click()
    tab.get_by_role("option", name=entry, exact=True).click()


def test_the_object_changes_while_it_trains(tab: Any, run: Run) -> None:
    first, step = picture(tab), run.step
    until(lambda: differ(first, picture(tab)), "another picture")
    assert run.step > step
    assert tab.get_by_text("a ball", exact=True).is_visible()
    assert tab.get_by_text("training", exact=True).is_visible()
    assert tab.get_by_text(re.compile("each · .* left")).is_visible()


def test_pausing_waits_and_going_on_goes_on(tab: Any, run: Run) -> None:
    press(tab, "Pause")
    tab.get_by_text("paused", exact=True).wait_for(timeout=1e3 * PATIENCE)
    step = run.step
    time.sleep(1.0)
    assert run.step == step and tab.get_by_text(f"step {step} of").is_visible()
    still = at_rest(tab)
    tab.mouse.move(250, 400)
    tab.mouse.down()
    tab.mouse.move(400, 380, steps=4)
    tab.mouse.up()
    until(lambda: differ(still, picture(tab)), "the object from another side")
    assert run.step == step
    press(tab, "Go on")
    until(lambda: run.step > step, "another step")
    tab.get_by_text("training", exact=True).wait_for(timeout=1e3 * PATIENCE)


def test_stopping_saves_and_returns(tab: Any, run: Run, tmp_path: Path) -> None:
    press(tab, "Stop and save")
    run.join()
    assert run.result is not None and 0 < run.result.steps == run.step < 100_000
    folder = tmp_path / "run"
    assert (folder / "checkpoint.safetensors").exists()
    assert Result.load(folder).steps == run.step
    tab.get_by_text("stopping").wait_for(timeout=1e3 * PATIENCE)
    run.viewer.announce(run.result, "stopped")
    tab.get_by_text("stopped before the end").wait_for(timeout=1e3 * PATIENCE)
    # Each widget is a message of its own.
    pause = tab.get_by_role("button", name="Pause")
    pause.wait_for(state="hidden", timeout=1e3 * PATIENCE)


def test_every_mode_shows_something_else(tab: Any, run: Run) -> None:
    press(tab, "Pause")
    before = at_rest(tab)
    modes = ("albedo", "textureless", "normals", "depth", "opacity", "colour")
    for mode in modes:
        choose(tab, "Show", mode)
        until(lambda: differ(before, picture(tab)), mode)  # noqa: B023  # called at once
        before = at_rest(tab)
        corner = np.array(BACKGROUNDS.get(mode, BACKGROUNDS["studio"])) * 255
        until(lambda: np.abs(picture(tab)[-1, 0] - corner).max() < 12, mode)  # noqa: B023


def test_the_mesh_can_be_saved_while_it_trains(tab: Any, run: Run, tmp_path: Path) -> None:
    import trimesh

    with tab.expect_download(timeout=1e3 * PATIENCE) as download:
        press(tab, "Export mesh")
    name = download.value.suggested_filename
    assert re.fullmatch(r"a-ball-step-\d+\.glb", name)
    download.value.save_as(tmp_path / name)
    mesh = trimesh.load(tmp_path / name, force="mesh")
    assert len(mesh.faces) > 100
    step = run.step
    until(lambda: run.step > step, "another step")


def test_curves_are_drawn_and_can_be_chosen(tab: Any, run: Run) -> None:
    chart = "Object.values(window.__viserTestpoints.uplots)[0].chart"
    until(lambda: tab.evaluate("!!window.__viserTestpoints?.uplots"), "a curve")
    until(lambda: tab.evaluate(f"{chart}.data[0].length") > 3, "points")
    steps = tab.evaluate(f"Array.from({chart}.data[0])")
    assert steps == sorted(steps) and steps[0] % 5 == 0
    choose(tab, "Curve", "mean opacity")
    until(lambda: tab.evaluate(f"{chart}.series[1].label") == "mean opacity", "another curve")
    assert all(0 <= value <= 1 for value in tab.evaluate(f"Array.from({chart}.data[1])"))


def test_a_watched_run_ends_in_the_same_bytes(tab: Any, tmp_path: Path) -> None:
    config = LONG.replace(train={"steps": 40, "checkpoint_every": 20, "preview_every": 0})
    with Run(config=config, out=tmp_path / "watched") as run:
        tab.goto(run.viewer.url)
        until(lambda: run.viewer._page.watched, "a visitor")
        run.hold.set()
        until(lambda: picture(tab).std() > 5, "a picture that is not empty")
        run.join()
    train_tiny(config=config, out=tmp_path / "alone")
    for file in ("checkpoint.safetensors", "result.safetensors"):
        watched, alone = (tmp_path / name / file for name in ("watched", "alone"))
        assert watched.read_bytes() == alone.read_bytes()


def test_a_finished_run_is_shown_until_the_page_is_closed(tab: Any) -> None:
    import dfast

    result = train_tiny(config=LONG.replace(train={"steps": 60}))
    history = [{"step": 10, "guidance": 1.0}, {"step": 20, "guidance": 0.5}]
    with dfast.Viewer(port=0) as viewer:
        thread = threading.Thread(target=viewer.show, args=(result, history))
        thread.start()
        tab.goto(viewer.url)
        tab.get_by_text("finished", exact=True).wait_for(timeout=1e3 * PATIENCE)
        until(lambda: picture(tab).std() > 5, "a picture that is not empty")
        assert not tab.get_by_role("button", name="Stop").is_visible()
        until(lambda: tab.evaluate("!!window.__viserTestpoints?.uplots"), "a curve")
    thread.join(PATIENCE)
    assert not thread.is_alive()
