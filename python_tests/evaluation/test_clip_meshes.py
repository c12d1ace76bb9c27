"""Images of meshes for scores by a CLIP, beside those of the fields they were exported from."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dfast.evaluation import clip_meshes
from dfast.evaluation.clip_meshes import fitted, views_of_mesh
from dfast.evaluation.clip_views import DREAMFUSION_COLOR, DREAMFUSION_GEOMETRY, JANUS, Views
from dfast.mesh.reading import MeshPart

pytestmark = pytest.mark.usefixtures("needs_native")

SMALL = dataclasses.replace(JANUS, resolution=24, background=(0.0, 0.5, 1.0))
CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
SIDES = {"-x": (0, 1, 3, 2), "+x": (4, 6, 7, 5), "-y": (0, 4, 5, 1), "+y": (2, 3, 7, 6),
         "-z": (0, 2, 6, 4), "+z": (1, 5, 7, 3)}  # fmt: skip
RED, GREEN, BLUE = np.eye(3, dtype=np.float32)


def _sides(names: str, color: np.ndarray, **more: np.ndarray) -> MeshPart:
    """Return sides of a cube in one linear colour."""
    quads = [SIDES[name] for name in names.split()]
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))], np.int64)
    return MeshPart(CUBE, faces, np.tile(color, (8, 1)), more.get("uv"), more.get("texture"))


def _middle(images: Tensor) -> Tensor:
    return images[:, :, images.shape[2] // 2, images.shape[3] // 2]


def test_front_is_plus_x_and_left_is_plus_y() -> None:
    cube = [_sides("+x", RED), _sides("+y", GREEN), _sides("-x -y -z +z", BLUE)]
    level = dataclasses.replace(SMALL, elevations=(0.0,) * 12)
    middle = _middle(views_of_mesh(cube, level, "cpu"))
    torch.testing.assert_close(middle[[0, 3, 6, 9]], torch.eye(3)[[0, 1, 2, 2]])


def test_before_the_background_with_smooth_edges() -> None:
    images = views_of_mesh([_sides(" ".join(SIDES), RED)], SMALL, "cpu")
    assert images.shape == (12, 3, 24, 24)
    torch.testing.assert_close(images[:, :, 0, 0], torch.tensor([[0.0, 0.5, 1.0]]).expand(12, 3))
    red = images[:, 0]
    assert ((red > 0.01) & (red < 0.99)).sum() > 100  # shares of pixels
    covered = float(red[0].mean())
    # The cube inscribed in the unit sphere, seen from its front at distance 3 and elevation 15.
    half, focal = 1 / math.sqrt(3), 1 / math.tan(math.radians(20))
    assert 0.9 < covered / (half * focal / (3 - half)) ** 2 < 1.3


def test_linear_colours_are_encoded() -> None:
    grey = np.full(3, 0.2158605, np.float32)  # half of the display's scale
    middle = _middle(views_of_mesh([_sides(" ".join(SIDES), grey)], SMALL, "cpu"))
    torch.testing.assert_close(middle, torch.full((12, 3), 0.503), atol=2e-3, rtol=0)


def test_textures_are_upright_repeat_and_are_multiplied() -> None:
    texture = np.zeros((8, 8, 3), np.uint8)
    texture[:4], texture[4:] = (255, 255, 255), (255, 0, 0)  # white above red
    uv = np.stack([CUBE[:, 1], CUBE[:, 2] / 2 + 2.5], 1)  # v from 2 to 3, bottom to top
    part = _sides("+x", np.ones(3, np.float32), uv=uv, texture=texture)
    view = dataclasses.replace(SMALL, azimuths=(0.0,), elevations=(0.0,))
    (image,) = views_of_mesh([part], view, "cpu")
    above, below = image[:, 8, 12], image[:, 15, 12]
    torch.testing.assert_close(above, torch.ones(3), atol=0.02, rtol=0)
    torch.testing.assert_close(below, torch.tensor([1.0, 0, 0]), atol=0.02, rtol=0)
    half = dataclasses.replace(part, colors=np.tile(np.float32([0, 1, 1]), (8, 1)))
    (image,) = views_of_mesh([half], view, "cpu")
    torch.testing.assert_close(image[:, 8, 12], torch.tensor([0.0, 1, 1]), atol=0.02, rtol=0)


def test_textureless_surfaces_are_white_in_the_light_from_either_side() -> None:
    views = dataclasses.replace(DREAMFUSION_GEOMETRY, resolution=24)
    cube = [_sides(" ".join(SIDES), RED)]
    images = views_of_mesh(cube, views, "cpu")
    assert torch.equal(images[:, :1].expand(-1, 3, -1, -1), images)
    assert float(images[:, :, 0, 0].max()) == 0.0
    middle = _middle(images)[:, 0]
    assert float(middle.min()) > 0.29 and float(middle.max()) <= 1.0
    turned = [dataclasses.replace(part, faces=part.faces[:, ::-1].copy()) for part in cube]
    torch.testing.assert_close(views_of_mesh(turned, views, "cpu"), images)


def test_where_meshes_are_put() -> None:
    points = torch.tensor([[1.0, 2, 3], [5, 2, 3], [5, 4, 3], [5, 4, 3]])
    sphere = fitted(points, "sphere")
    assert float(sphere.norm(dim=1).max()) == pytest.approx(1.0)
    assert sphere.amax(0).tolist() == pytest.approx((-sphere.amin(0)).tolist())
    coordinate = fitted(points, "coordinate")
    assert float(coordinate.abs().max()) == pytest.approx(1.0)
    assert coordinate.mean(0).tolist() == pytest.approx([0, 0, 0], abs=1e-6)


def test_images_are_rendered_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cube = [_sides(" ".join(SIDES), GREEN)]
    whole = views_of_mesh(cube, SMALL, "cpu")
    monkeypatch.setattr(clip_meshes, "TOGETHER", 5)
    assert torch.equal(views_of_mesh(cube, SMALL, "cpu"), whole)


def test_other_shadings_are_refused() -> None:
    views: Views = dataclasses.replace(DREAMFUSION_COLOR, shading="clay")
    with pytest.raises(ValueError, match="shading: expected albedo or textureless, got 'clay'"):
        views_of_mesh([_sides("+x", RED)], views, "cpu")
