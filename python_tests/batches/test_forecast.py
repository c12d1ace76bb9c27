"""What a batch would take, before it starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import TINY

import dfast
from dfast.batches import forecast as module
from dfast.batches.forecast import BESIDE_SECONDS, EXPORT_SECONDS, forecast
from dfast.batches.job import Job
from dfast.batches.state import Status
from dfast.config import Config
from dfast.errors import ConfigError
from dfast.runs.estimated import Estimate

pytestmark = pytest.mark.usefixtures("needs_native")
STEPS = 10


def one(seconds: float, peak: int, device: str = "cpu") -> Estimate:
    """Return the estimate of a run."""
    return Estimate("shapes", device, {"unet": peak}, {}, 0, 0, {}, seconds, STEPS, 900, (), disk=7)


def runs(count: int, device: str = "cpu", **train: Any) -> list[tuple[Status, Job]]:
    """Return rows that wait, with their runs."""
    config = TINY.replace(train={"steps": STEPS, **train}).to_dict()
    job = Job("/b", "x", "a red cube", 0, "shapes", config, device, 1)
    return [(Status(f"x{i}", "a red cube", i, {}), replace(job, seed=i)) for i in range(count)]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Make every run take 2 s a step and 100 bytes; return those that are measured."""
    seen: list[Job] = []

    def measure(job: Job) -> Estimate:
        seen.append(job)
        return one(2.0 * job.config["camera"]["views"], 100 * job.config["camera"]["views"])

    monkeypatch.setattr(module, "_measured", measure)
    return seen


def with_views(pair: tuple[Status, Job], views: int) -> tuple[Status, Job]:
    row, job = pair
    camera = {**job.config["camera"], "views": views}
    return row, replace(job, config={**job.config, "camera": camera})


def test_runs_wait_for_a_free_place(measured: list[Job]) -> None:
    views = TINY.camera.views
    a_run = BESIDE_SECONDS + EXPORT_SECONDS + STEPS * 2.0 * views
    found = forecast(runs(5), 2, 1, 2)
    assert len(measured) == 1 and found.runs == 5 and found.at_once == 2
    assert found.seconds == pytest.approx(3 * a_run)
    assert found.peak == 2 * 100 * views and found.disk == 5 * 7
    assert found.again == BESIDE_SECONDS + TINY.train.checkpoint_every * 2.0 * views
    short, never = runs(1, checkpoint_every=STEPS + 1), runs(1, checkpoint_every=0)
    assert forecast(short, 1, 1, 2).again == forecast(never, 1, 1, 2).again
    assert forecast(never, 1, 1, 2).again == BESIDE_SECONDS + STEPS * 2.0 * views
    assert forecast(runs(5), 8, 1, 2).seconds == pytest.approx(a_run)
    assert "estimate for 5 runs, 2 at once on cpu" in str(found)


def test_what_is_done_is_not_done_again(measured: list[Job]) -> None:
    begun = runs(1)
    begun[0][0].metrics = {"step": 4}
    whole, rest = (forecast(pairs, 1, 1, 0).seconds for pairs in (runs(1), begun))
    assert whole - rest == pytest.approx(4 * 2.0 * TINY.camera.views)


def test_runs_that_share_a_gpu_wait_for_each_other(measured: list[Job]) -> None:
    alone, shared = (forecast(runs(8, "cuda"), n, 2, 0) for n in (2, 8))
    beside = BESIDE_SECONDS + EXPORT_SECONDS
    assert alone.seconds - 4 * beside == pytest.approx(shared.seconds - beside)
    assert shared.peak == 4 * alone.peak


def test_different_settings_are_measured_up_to_a_number(measured: list[Job]) -> None:
    pairs = [with_views(pair, i + 1) for i, pair in enumerate(runs(12))]
    found = forecast(pairs, 1, 1, 0)
    assert len(measured) == 6 and "6 other settings" in found.note
    assert found.peak == 1100  # of those measured
    measured.clear()
    longer = runs(1, steps=20, checkpoint_every=5)
    assert forecast([*runs(2), *longer], 1, 1, 0).note == "" and len(measured) == 1


def test_the_estimate_is_that_of_the_run(tmp_path: Path) -> None:
    rows = [{"prompt": "a red cube", "seed": seed} for seed in range(3)]
    options: dict[str, Any] = {"jobs": 2, "device": "cpu", "config": TINY, "progress": False}
    found = dfast.batch(rows, tmp_path / "b", dry_run=True, **options)
    alone = dfast.estimate("a red cube", device="cpu", config=TINY, export=True)
    assert found.estimate is not None and found.estimate.peak == 2 * alone.peak
    assert found.estimate.disk == 3 * alone.disk and not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("row", "config"),
    [
        ({"prompt": "a red cube"}, Config.for_method("dream-fields")),
        ({"prompt": "a red cube"}, {"method": {"name": "clip-mesh"}}),
        ({"prompt": "a red cube", "method.name": "dream-fields"}, TINY),
    ],
)
def test_a_method_of_a_clip_is_refused_at_the_door(row: Any, config: Any, tmp_path: Path) -> None:
    for dry_run in (True, False):
        with pytest.raises(ConfigError, match="method: expected one that a prior guides, got '"):
            dfast.batch([row], tmp_path / "b", device="cpu", config=config, dry_run=dry_run)
    assert not (tmp_path / "b" / "logs").exists()


def test_what_cannot_be_told_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(job: Job) -> Estimate:
        raise dfast.DfastError("the GPUs are elsewhere")

    monkeypatch.setattr(module, "_measured", refuse)
    found = dfast.batch(
        [{"prompt": "a red cube"}], tmp_path / "b", device="cpu", config=TINY, dry_run=True
    )
    assert found.estimate is None and found.note == "no estimate: the GPUs are elsewhere"


def test_first_steps_of_each_run_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_measured", lambda job: replace(one(2.0, 100), starting=3.0))
    a_run = BESIDE_SECONDS + EXPORT_SECONDS + STEPS * 2.0 + 3.0
    assert forecast(runs(4), 2, 1, 2).seconds == pytest.approx(2 * a_run)
