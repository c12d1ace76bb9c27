"""Loop subdivision: known counts, known points, and what its limit surface is known to be."""

from __future__ import annotations

import pytest
import torch
from surfaces import cube, sphere
from torch import Tensor

from dfast.nn.loop_subdivision import Means, limit, limit_surface, loop_weight, split, subdivide
from dfast.scene.octasphere import octasphere

TETRAHEDRON = torch.tensor([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
POINTS = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)


def applied(maps: list[Means], points: Tensor) -> Tensor:
    for step in maps:
        points = step(points)
    return points


def closed(name: str) -> tuple[Tensor, Tensor]:
    """Return vertices [V, 3] float64 and faces of a mesh."""
    if name == "tetrahedron":
        return POINTS, TETRAHEDRON
    if name == "octasphere":
        found = octasphere(3)
        return found.positions.double(), found.faces
    points, faces = cube() if name == "cube" else sphere(6, 9)
    return points, faces.long()


MESHES = ("tetrahedron", "cube", "sphere", "octasphere")


@pytest.mark.parametrize("name", MESHES)
def test_counts_of_a_step(name: str) -> None:
    points, faces = closed(name)
    step, fine = subdivide(faces, len(points))
    edges = 3 * len(faces) // 2
    assert step.size == len(points) + edges and len(fine) == 4 * len(faces)
    assert len(fine.unique()) == step.size
    assert step.size - 3 * len(fine) // 2 + len(fine) == 2  # Euler: still a sphere
    # Orientation is kept: each directed edge is there once, and its reverse, too.
    directed = torch.stack([fine, fine.roll(-1, 1)], -1).view(-1, 2)
    assert len(directed.unique(dim=0)) == len(directed)
    assert torch.equal(directed.unique(dim=0), directed.flip(1).unique(dim=0))


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_points_are_affine_means_of_the_control_vertices(name: str, steps: int) -> None:
    points, faces = closed(name)
    maps, fine = limit_surface(faces, len(points), steps)
    found = applied(maps, points)
    assert len(found) == maps[-1].size and int(fine.max()) == len(found) - 1
    matrix = torch.rand(3, 3, dtype=torch.float64)
    shift = torch.rand(3, dtype=torch.float64)
    moved = applied(maps, points @ matrix + shift)
    torch.testing.assert_close(moved, found @ matrix + shift, atol=1e-5, rtol=0)


def test_the_weights_of_loop() -> None:
    weights = loop_weight(torch.tensor([3.0, 4.0, 6.0], dtype=torch.float64))
    expected = [3 / 16, (0.625 - 0.375**2) / 4, 1 / 16]
    torch.testing.assert_close(weights, torch.tensor(expected, dtype=torch.float64))
    step, _ = subdivide(TETRAHEDRON, 4)
    found = step(POINTS)
    # A corner: 1 - 3 * 3/16 of itself, 3/16 of the three others, which add up to minus itself.
    torch.testing.assert_close(found[:4], (7 / 16 - 3 / 16) * POINTS)
    # The middle of an edge: 3/8 of both ends, 1/8 of the two others, minus the ends' sum.
    edges = split(TETRAHEDRON, 4).edges
    torch.testing.assert_close(found[4:], (3 / 8 - 1 / 8) * POINTS[edges].sum(1))


@pytest.mark.parametrize("name", MESHES)
def test_the_limit_is_where_endless_subdivision_ends(name: str) -> None:
    """Control vertices converge by 5/8 - n beta a step: by 1/4 to 2/5 for these valences n."""
    points, faces = closed(name)
    expected, count = limit(faces, len(points))(points), len(points)
    distances = []
    for _ in range(4):
        step, faces = subdivide(faces, len(points))
        points = step(points)
        distances.append(float((points[:count] - expected).norm(dim=1).max()))
    assert distances[-1] < 0.03 * distances[0] and distances == sorted(distances, reverse=True)
    torch.testing.assert_close(
        limit(faces, len(points))(points)[:count], expected, atol=1e-5, rtol=0
    )


def test_the_surface_is_inside_the_hull_of_its_control_mesh_and_smooth() -> None:
    points, faces = closed("cube")
    maps, fine = limit_surface(faces, len(points), 4)
    found = applied(maps, points)
    assert float(found.abs().max()) < 1.0
    corner = found[fine]
    normal = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal = normal / normal.norm(dim=1, keepdim=True)
    # Neighbours of the middle triangle of four are the other three.
    four = normal.view(-1, 4, 3)
    bend = (four[:, :3] * four[:, 3:]).sum(-1).clamp(max=1.0).acos()
    assert float(bend.max()) < 0.2  # radians; at the cube's own edges it is pi / 2


def test_gradients_reach_every_control_vertex() -> None:
    points, faces = closed("octasphere")
    maps, _ = limit_surface(faces, len(points), 2)
    points = points.clone().requires_grad_()
    applied(maps, points).sum().backward()
    assert points.grad is not None and bool((points.grad > 0).all())


def test_an_open_mesh_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^faces must be a closed mesh: two triangles"):
        subdivide(TETRAHEDRON[:3], 4)
