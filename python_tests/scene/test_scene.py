"""The scene: built, saved, loaded, moved and reset in one place."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from dfast.config import BackgroundConfig, Config
from dfast.nn.occupancy import OccupancyGrid
from dfast.scene.background import Background
from dfast.scene.coarse_to_fine import level_weights
from dfast.scene.scene import Scene, build_field

pytestmark = pytest.mark.usefixtures("needs_native")

TINY = Config().replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
    occupancy={"resolution": 16},
    background={"kind": "mlp"},
    coarse_to_fine={"lowpass_std": [0.1, 0.05]},
)
"""A learned background, and level weights that are not 1 at the end of a run."""


def _scene(seed: int = 0, **changes: Any) -> Scene:
    return Scene.from_config(TINY.replace(**changes), torch.Generator().manual_seed(seed))


def _points(n: int = 50) -> Tensor:
    return 2.0 * torch.rand(n, 3, generator=torch.Generator().manual_seed(9)) - 1.0


def test_keys_of_the_state_are_those_of_old_checkpoints() -> None:
    background = [f"background.{part}.{i}" for part in ("weights", "biases") for i in (0, 1)]
    assert sorted(_scene().state_dict()) == sorted(
        ["field.table", "field.mlp", "occupancy.density", "occupancy.bits", *background]
    )
    assert "background.color" not in _scene(background={"kind": "solid"}).state_dict()
    names = ["field.mlp", "field.table", "occupancy.bits", "occupancy.density"]
    assert sorted(_scene().object_state()) == names


def test_parts_are_drawn_as_if_built_one_by_one() -> None:
    generator = torch.Generator().manual_seed(4)
    field = build_field(TINY.field, generator)
    background = Background(TINY.background, generator)
    scene = _scene(4)
    assert torch.equal(scene.field.table, field.table) and torch.equal(scene.field.mlp, field.mlp)
    for a, b in zip(scene.background.parameters(), background.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [name for name, _ in scene.named_parameters()][:2] == ["field.table", "field.mlp"]


def test_density_and_albedo_are_the_fields_at_the_final_weights() -> None:
    scene, points = _scene(), _points()
    with torch.no_grad():
        scene.field.table.mul_(1e4)
    final = level_weights(1.0, scene.field.spec.grid.resolutions, TINY.coarse_to_fine)
    assert final is not None and scene.level_weights is not None
    assert torch.equal(scene.level_weights, final)
    assert torch.equal(scene.density(points), scene.field.density(points, final))
    assert torch.equal(scene.albedo(points), scene.field(points, level_weights=final).albedo)
    assert not torch.equal(scene.density(points), scene.field.density(points))
    assert not scene.albedo(points).requires_grad
    plain = _scene(coarse_to_fine={"lowpass_std": [0.1, 0.0]})
    assert plain.level_weights is None
    assert torch.equal(plain.density(points), plain.field.density(points))


@pytest.mark.parametrize("method", ["load_tensors", "load_state_dict"])
def test_round_trip_in_the_same_memory(method: str) -> None:
    scene, other = _scene(0), _scene(1)
    scene.refresh_occupancy(torch.Generator().manual_seed(2))
    places = {name: tensor.data_ptr() for name, tensor in other.state_dict().items()}
    getattr(other, method)(scene.state_dict())
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, scene.state_dict()[name]) and places[name] == tensor.data_ptr()
    assert torch.equal(other.density(_points()), scene.density(_points()))


def test_an_object_is_loaded_without_its_background() -> None:
    scene, other = _scene(0), _scene(1)
    before = copy.deepcopy(other.background.state_dict())
    other.load_object({**scene.object_state(), "something.else": torch.zeros(1)})
    assert torch.equal(other.field.table, scene.field.table)
    assert all(torch.equal(v, before[k]) for k, v in other.background.state_dict().items())


def test_a_state_that_does_not_fit_is_refused() -> None:
    scene = _scene()
    state = scene.state_dict()
    with pytest.raises(KeyError, match=r"field\.mlp"):
        scene.load_tensors({k: v for k, v in state.items() if k != "field.mlp"})
    with pytest.raises(KeyError, match="background"):
        scene.load_tensors(scene.object_state())
    with pytest.raises(RuntimeError, match=r"field.mlp must have shape \[\d+\], got \[3\]"):
        scene.load_tensors({**state, "field.mlp": torch.zeros(3)})


def test_half_copies_follow_the_table(device: torch.device) -> None:
    scene = _scene(0, field={"precision": "half"}).to(device)
    (half,) = scene.half_copies().values()
    assert half is not None and half.device.type == device.type == scene.device.type
    assert torch.equal(half, scene.field.table.half())
    other = _scene(1, field={"precision": "half"}).to(device)
    for load in (other.load_tensors, other.load_state_dict):
        with torch.no_grad():
            other.field.table.zero_()
        load(scene.state_dict())
        assert torch.equal(other.half_copies()["field.table"], half)  # type: ignore[arg-type]
    assert _scene(0, field={"precision": "float"}).half_copies() == {"field.table": None}


def test_reset_draws_a_new_object_and_keeps_the_background() -> None:
    scene = _scene()
    scene.rebuild_occupancy(torch.Generator().manual_seed(0))
    before = copy.deepcopy(scene.state_dict())
    scene.reset(torch.Generator().manual_seed(7))
    after = scene.state_dict()
    assert not torch.equal(after["field.table"], before["field.table"])
    assert torch.equal(after["background.weights.0"], before["background.weights.0"])
    fresh = OccupancyGrid(16)
    assert torch.equal(after["occupancy.density"], fresh.density)
    assert torch.equal(after["occupancy.bits"], fresh.bits)


def test_rebuilding_the_occupancy_visits_every_cell() -> None:
    scene, twin = _scene(), _scene()
    for s in (scene, twin):
        s.rebuild_occupancy(torch.Generator().manual_seed(0))
    inside = OccupancyGrid(16).density < 0
    assert bool((scene.occupancy.density[inside] >= 0).all())
    assert torch.equal(scene.occupancy.density, twin.occupancy.density)
    assert 0.0 < float(scene.occupancy.occupancy()) < 1.0


def test_a_scene_can_be_made_of_parts() -> None:
    field = build_field(TINY.field, torch.Generator().manual_seed(0))
    scene = Scene(field, OccupancyGrid(16), Background(BackgroundConfig()))
    assert scene.level_weights is None and scene.device == torch.device("cpu")
    assert torch.equal(scene.density(_points()), field.density(_points()))
