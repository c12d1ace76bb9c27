"""Settings that ask for more memory or time than there is: refused or estimated at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import OraclePrior
from tiny_runs import TINY, train_tiny

import dfast
from dfast.errors import ConfigError, DfastError, ExportError, OutOfMemoryError
from dfast.runs import out_of_memory
from dfast.runs.estimate import estimate
from dfast.runs.memory import available_bytes, least_bytes
from dfast.scene.scene import Scene
from dfast.scene.stored import object_bytes, object_shapes

pytestmark = pytest.mark.usefixtures("needs_native")

CPU = torch.device("cpu")
HUGE_GRID = {"levels": 32, "features": 8, "log2_entries": 24}
HUGE: list[dict[str, Any]] = [
    {"camera": {"views": 256, "resolution": [[0.0, 4096]]}},
    {"field": {"grid": HUGE_GRID | {"base_resolution": 1024, "max_resolution": 4096}}},
]
SLOW: list[dict[str, Any]] = [
    {"march": {"step_size": 1e-4}},
    {"camera": {"views": 64, "resolution": [[0.0, 512]]}},
]


@pytest.mark.parametrize("kind", ["random", "mlp"])
def test_shapes_are_those_of_a_scene(kind: str) -> None:
    for config in (TINY, dfast.Config.default(), TINY.replace(background={"kind": kind})):
        state = Scene.from_config(config).object_state()
        shapes = {name: (tuple(t.shape), t.dtype) for name, t in state.items()}
        assert object_shapes(config) == shapes
        assert object_bytes(config) == sum(t.nbytes for t in state.values())


@pytest.mark.parametrize("changes", HUGE)
def test_a_run_that_cannot_fit_is_refused_at_once(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out_of_memory, "available_bytes", lambda _: 2**34)
    with pytest.raises(OutOfMemoryError, match=r"need at least .* GiB free. In this order: lower"):
        train_tiny(config=TINY.replace(**changes), out=tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("changes", [*HUGE, *SLOW])
def test_an_estimate_does_not_take_what_it_estimates(changes: dict[str, Any]) -> None:
    config = TINY.replace(**changes)
    found = estimate("a ball", prior=OraclePrior(12), device="cpu", config=config)
    assert found.state + found.working["a step"] > 2**26 and "a step" in str(found)
    assert found.seconds_per_step > 0


def test_a_field_without_a_hash_grid_counts_none() -> None:
    """The settings of the grid are there, whatever the kind of the field."""
    grid = {"levels": 16, "features": 8, "log2_entries": 22, "max_resolution": 2048}
    small = TINY.replace(field={"kind": "ipe", "ipe": {"width": 8, "blocks": 1}})
    large = small.replace(field={"grid": grid})
    one, other = (
        estimate("a ball", prior=OraclePrior(12), device="cpu", config=config)
        for config in (small, large)
    )
    assert one.state == other.state < 2**20 and one.peak == pytest.approx(other.peak, rel=1e-3)
    assert one.disk == other.disk and least_bytes(small) == least_bytes(large)
    hashed = large.replace(field={"kind": "hash"})
    assert least_bytes(hashed) > 2**30 > least_bytes(large)


def test_ordinary_runs_are_small() -> None:
    for config in (TINY, dfast.Config.default(), dfast.Config.dreamfusion()):
        assert least_bytes(config) < 2**30


def test_free_memory_is_known_on_linux() -> None:
    free = available_bytes(CPU)
    assert (free is None) == (not Path("/proc/meminfo").exists())
    assert free is None or 2**20 < free < 2**50


@pytest.mark.parametrize("frames", [10**20, 10**7, 2.5, "36", None, True])
def test_frames_are_bounded(frames: Any, tmp_path: Path) -> None:
    result = train_tiny(steps=1)
    with pytest.raises((ExportError, ConfigError), match="frames"):
        result.turntable(tmp_path / "film.gif", frames=frames)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("resolution", [10**20, 10**6, -1, 0, 2.5])
def test_cells_of_a_mesh_are_bounded(resolution: Any) -> None:
    result = train_tiny(steps=1)
    with pytest.raises(DfastError, match="resolution"):
        result.mesh(resolution=resolution)


def test_small_steps_of_a_result_do_not_take_all_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from dfast.render import picture as module

    whole = train_tiny(config=TINY.replace(march={"step_size": 0.01}))
    before = whole.render(resolution=24)
    sizes = []
    split = module.RayBatch.split
    monkeypatch.setattr(
        module.RayBatch, "split", lambda rays, size: sizes.append(size) or split(rays, size)
    )
    monkeypatch.setattr(module, "CHUNK_SAMPLES", 10_000)
    assert (whole.render(resolution=24) == before).all() and sizes == [10_000 // 201]
