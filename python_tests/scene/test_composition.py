"""The scene of a layout: its tensors, its parts, and what is seen of them together and alone."""

from __future__ import annotations

import pytest
import torch
from tiny_runs import TINY
from torch import Tensor

from dfast.config import Config
from dfast.render.options import RenderOptions
from dfast.render.volume import render
from dfast.scene.cameras import orbit
from dfast.scene.composition import Composition, scene_from_config
from dfast.scene.lighting import fixed_lighting
from dfast.scene.scene import Scene
from dfast.scene.stored import empty_scene, find_fault, object_shapes

pytestmark = pytest.mark.usefixtures("needs_native")

ONE = {"name": "one", "prompt": "a cube", "position": [0.0, -0.5, 0.0], "size": 0.5}
TWO = {"name": "two", "prompt": "a ball", "position": [0.0, 0.6, 0.0], "size": 0.4, "heading": 90}
PAIR = TINY.replace(layout={"prompt": "a cube next to a ball", "parts": [ONE, TWO]})


def made(config: Config = PAIR) -> Composition:
    """Return a scene of random fields."""
    scene = scene_from_config(config, torch.Generator().manual_seed(0))
    assert isinstance(scene, Composition)
    return scene


def seen(scene: Scene, size: int = 32) -> tuple[Tensor, Tensor]:
    """Return images [1, 3, H, W] and opacities [1, 1, H, W] of a scene from its front."""
    cameras = orbit(1, elevation=0.0, distance=3.0, fov=40.0)
    march = PAIR.replace(march={"step_size": 0.004, "jitter": False}).march
    options = RenderOptions(march, normals="image")
    rendering = render(scene, cameras, fixed_lighting("diffuse", cameras), options, resolution=size)
    return rendering.image.detach(), rendering.opacity.detach()


@pytest.mark.parametrize("kind", ["hash", "ipe"])
def test_stored_shapes_are_those_of_the_scene(kind: str) -> None:
    config = PAIR.replace(field={"kind": kind})
    state = made(config).object_state()
    shapes = {name: (tuple(t.shape), t.dtype) for name, t in state.items()}
    assert shapes == object_shapes(config)
    assert find_fault(state) is None  # cells that were never visited hold -1
    other = empty_scene(config)
    other.load_object(state)
    assert all(torch.equal(t, other.object_state()[name]) for name, t in state.items())


def test_a_part_alone_is_the_scene_of_one_object() -> None:
    scene = made()
    part = scene.part(1)
    assert type(part) is Scene and part.field is scene.field.fields[1]
    first = Scene.from_config(TINY, torch.Generator().manual_seed(0))
    assert torch.equal(first.field.mlp, scene.field.fields[0].mlp)  # drawn one after the other


def test_a_part_covers_its_sphere_and_absorbs_what_it_does_alone() -> None:
    scene = made()
    alone = float(seen(scene.part(0), 1)[1])  # one ray, through the middle
    # A ray from the front through the middle of the first part, which is half as large.
    y = torch.linspace(-1.0, 1.0, 65)
    dense = scene.density(torch.stack([0 * y, y, 0 * y], 1))
    outside = ((y + 0.5).abs() > 0.5) & ((y - 0.6).abs() > 0.4)
    assert bool((dense[outside] == 0).all()) and float(dense[~outside].min()) > 0
    opacity = seen(scene, 33)[1][0, 0]
    left, right = opacity[:, :16], opacity[:, 17:]
    assert float(opacity[16, 16]) < 0.05  # between the parts
    assert float(left.max()) == pytest.approx(alone, abs=0.05)
    assert float(right.max()) == pytest.approx(float(seen(scene.part(1), 1)[1]), abs=0.05)


def test_one_part_that_fills_the_scene_is_that_object() -> None:
    whole = ONE | {"position": [0.0, 0.0, 0.0], "size": 1.0}
    scene = made(TINY.replace(layout={"prompt": "a cube", "parts": [whole]}))
    for together, alone in zip(seen(scene), seen(scene.part(0)), strict=True):
        torch.testing.assert_close(together, alone)


def test_grids_of_the_whole_and_of_the_parts_are_kept() -> None:
    scene = made()
    with torch.no_grad():  # the second part becomes empty
        scene.field.fields[1].mlp[-4:] = -1e4  # the biases of its last layer
    scene.rebuild_occupancy(torch.Generator().manual_seed(0))
    grids = [scene.part(i).occupancy for i in range(2)]
    assert float(grids[0].occupancy()) > 0.1 and float(grids[1].occupancy()) == 0.0
    kept = scene.occupancy.density.view(16, 16, 16)
    assert bool((kept[:, 10:] <= 0.0).all()) and float(kept[:, :7].max()) > 0.5
    scene.reset(torch.Generator().manual_seed(1))
    assert float(scene.part(1).occupancy.occupancy()) == 1.0 == float(scene.occupancy.occupancy())
