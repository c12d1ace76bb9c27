"""The mesh that is optimised: shapes, the seam of its maps, the Laplacian, state."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_methods import TINY_MESH, loop_scene

from dfast.scene.stored import empty_scene, find_misfit, object_bytes, object_shapes

pytestmark = pytest.mark.usefixtures("needs_native")


@pytest.mark.parametrize("settings", [{}, {"control": 1}, {"control": 3, "subdivisions": 0}])
def test_the_settings_decide_the_shapes_of_what_is_stored(settings: dict[str, int]) -> None:
    config = TINY_MESH.replace(clip_mesh=settings)
    state = empty_scene(config).object_state()
    shapes = object_shapes(config)
    assert {k: (tuple(v.shape), v.dtype) for k, v in state.items()} == shapes
    assert object_bytes(config) == sum(v.numel() * v.element_size() for v in state.values())


def test_corners_of_the_surface_and_of_the_maps_belong_together() -> None:
    for subdivisions in (0, 1, 2):
        scene = loop_scene(control=3, subdivisions=subdivisions)
        mesh = scene.topology
        assert len(mesh.faces) == 8 * 9 * 4**subdivisions
        assert torch.equal(mesh.source[mesh.uv_faces.long()], mesh.faces.long())
        assert int(mesh.faces.max()) + 1 == len(scene.positions())


def test_the_maps_agree_where_the_edges_of_the_square_meet() -> None:
    scene = loop_scene()
    with torch.no_grad():
        scene.normal_map.copy_(torch.rand(scene.normal_map.shape) - 0.5)
    maps = scene.maps().detach()
    for edge in (maps[0], maps[-1], maps[:, 0], maps[:, -1]):
        torch.testing.assert_close(edge[:, :3], edge.flip(0)[:, :3])
        torch.testing.assert_close(edge[:, 3:5], -edge.flip(0)[:, 3:5])
        torch.testing.assert_close(edge[:, 5], edge.flip(0)[:, 5])


def test_a_blur_leaves_even_maps_and_smooths_others() -> None:
    scene = loop_scene()
    rough = scene.texture.detach().diff(dim=0).abs().mean()
    smooth = scene.maps().detach()
    assert float(smooth[..., :3].diff(dim=0).abs().mean()) < 0.5 * float(rough)
    torch.testing.assert_close(smooth[..., 5], torch.ones_like(smooth[..., 5]))


def test_the_laplacian_is_that_of_an_octahedron() -> None:
    """Each vertex has four neighbours whose mean is the origin."""
    scene = loop_scene(control=1)
    assert float(scene.laplacian().detach()) == pytest.approx(1 / 3)
    with torch.no_grad():
        scene.control.mul_(2.0)
    assert float(scene.laplacian().detach()) == pytest.approx(4 / 3)


def test_finer_spheres_are_flatter() -> None:
    values = [float(loop_scene(control=n).laplacian().detach()) for n in (2, 4, 8)]
    assert values[0] > 8 * values[1] > 64 * values[2]


def test_the_limit_surface_of_a_sphere_is_nearly_one() -> None:
    length = loop_scene(control=8, radius=0.5).positions().detach().norm(dim=1)
    assert float(length.min()) > 0.48 and float(length.max()) < 0.5
    volume = 4 / 3 * math.pi * float(length.mean()) ** 3
    assert volume == pytest.approx(4 / 3 * math.pi * 0.5**3, rel=0.06)


def test_a_state_is_loaded_into_the_same_memory() -> None:
    one, other = loop_scene(0), loop_scene(1)
    before = other.texture.data_ptr()
    other.load_object(one.object_state())
    assert torch.equal(one.texture, other.texture) and other.texture.data_ptr() == before
    assert find_misfit(other.object_state(), one.object_state()) is None
    with pytest.raises(RuntimeError, match="control must have shape"):
        loop_scene(control=5).load_object(one.object_state())
    other.reset(torch.Generator().manual_seed(1))
    assert torch.equal(other.texture, loop_scene(1).texture)
