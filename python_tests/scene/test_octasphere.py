"""The octahedral sphere: counts, orientation, and a texture that covers it once."""

from __future__ import annotations

import pytest
import torch

from dfast.scene.octasphere import octasphere


@pytest.mark.parametrize("n", [1, 2, 5])
def test_it_is_a_closed_sphere_that_faces_outward(n: int) -> None:
    found = octasphere(n)
    assert found.positions.shape == (4 * n * n + 2, 3)
    assert found.faces.shape == found.uv_faces.shape == (8 * n * n, 3)
    torch.testing.assert_close(found.positions.norm(dim=1), torch.ones(4 * n * n + 2))
    directed = torch.stack([found.faces, found.faces.roll(-1, 1)], -1).view(-1, 2)
    assert len(directed.unique(dim=0)) == len(directed)
    assert torch.equal(directed.unique(dim=0), directed.flip(1).unique(dim=0))
    corner = found.positions[found.faces]
    normal = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    assert float((normal * corner.mean(1)).sum(-1).min()) > 0


@pytest.mark.parametrize("n", [1, 4])
def test_the_texture_is_covered_once_and_not_mirrored(n: int) -> None:
    found = octasphere(n)
    assert torch.equal(found.source[found.uv_faces], found.faces)
    a, b, c = found.uv[found.uv_faces].unbind(1)
    one, two = b - a, c - a
    area = 0.5 * (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0])
    assert bool((area < 0).all())  # v grows downwards
    torch.testing.assert_close(area.sum(), torch.tensor(-1.0))
    assert float(found.uv.min()) == 0.0 and float(found.uv.max()) == 1.0


def test_the_middle_is_the_top_and_the_corners_are_the_bottom() -> None:
    found = octasphere(2)
    middle = (found.uv == 0.5).all(1)
    torch.testing.assert_close(found.positions[found.source[middle]], torch.tensor([[0.0, 0, 1]]))
    corners = ((found.uv == 0) | (found.uv == 1)).all(1)
    bottom = torch.tensor([[0.0, 0, -1]]).expand(4, 3)
    torch.testing.assert_close(found.positions[found.source[corners]], bottom)
