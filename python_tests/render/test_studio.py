"""Studio light on balls of one colour: what is white, what is black, how outlines look."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.testing import assert_close

from dfast.config import BackgroundConfig, FieldConfig, GridConfig, MarchConfig
from dfast.config.views import BACKGROUNDS
from dfast.nn.occupancy import OccupancyGrid
from dfast.render.picture import picture
from dfast.render.studio import decode, encode, light_pixels
from dfast.scene.background import Background
from dfast.scene.cameras import orbit
from dfast.scene.scene import Scene, build_field
from dfast.scene.tree import map_tensors

pytestmark = pytest.mark.usefixtures("needs_native")

SIZE = 128


def ball(albedo: float, sharpness: float = 400.0) -> Scene:
    """Return a ball of radius 0.6 and one grey albedo, display RGB."""
    config = FieldConfig(
        grid=GridConfig(levels=2, log2_entries=8, max_resolution=16),
        hidden=4,
        blob="linear",
        blob_height=sharpness,
        blob_width=0.6,
        density_scale=100.0,
    )
    field = build_field(config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        field.weights[-1].zero_()
        field.biases[-1][1:] = math.log(albedo / (1.0 - albedo))
    return Scene(field, OccupancyGrid(32), Background(BackgroundConfig()))


def shown(
    scene: Scene,
    shading: str = "studio",
    background: tuple[float, ...] = (0.0, 0.0, 0.0),
    elevation: float = 15.0,
) -> NDArray[np.float64]:
    """Return the display values [H, W] in [0, 255] of a grey scene."""
    image = picture(
        scene,
        orbit(1, elevation=elevation),
        MarchConfig(step_size=0.01),
        resolution=SIZE,
        shading=shading,
        background=torch.tensor(background),
    )
    return image[0].mean(-1).double().numpy() * 255.0


def disc(opaque: float = 0.999) -> NDArray[np.bool_]:
    """Return the pixels [H, W] that are as opaque as that."""
    return shown(ball(0.5), "opacity") >= 255.0 * opaque


@pytest.mark.parametrize("elevation", [-30.0, 15.0, 80.0])
def test_white_in_the_key_is_white_and_its_shade_is_grey(elevation: float) -> None:
    values = shown(ball(240 / 255), elevation=elevation)[disc()]
    assert 245 <= values.max() <= 255
    assert (values >= 254.5).mean() < 0.15  # form shows where a picture does not end at white
    assert np.median(values) > 200 and values.min() < 190


@pytest.mark.parametrize("elevation", [-30.0, 15.0, 80.0])
def test_black_has_form_and_stays_black(elevation: float) -> None:
    values = shown(ball(0.06), elevation=elevation)[disc()]
    assert np.median(values) < 60
    assert np.percentile(values, 99) - np.percentile(values, 1) > 30
    training = shown(ball(0.06), "diffuse", elevation=elevation)[disc()]
    assert training.max() - training.min() < 15


def at_the_outline() -> Tensor:
    """Return the light [H, W] that leaves the ball's outline in the direction of each pixel."""
    camera = orbit(1, elevation=15.0)
    _, directions = camera.rays(SIZE)
    across = directions @ camera.rotation[0]
    tilt = 0.6 / 3.0  # of the outline's normals towards the camera
    local = torch.nn.functional.normalize(across[:, :2], dim=-1) * math.sqrt(1.0 - tilt**2)
    normals = torch.cat([local, torch.full_like(local[:, :1], tilt)], -1) @ camera.rotation[0].T
    albedo = torch.full_like(normals, 0.95)
    return light_pixels(albedo, normals, directions, camera).mean(-1).view(SIZE, SIZE)


@pytest.mark.parametrize("sharpness", [40.0, 400.0])
@pytest.mark.parametrize("shade", [0.0, 0.5, 1.0])
def test_no_outline_is_darker_than_the_surface_beside_it(sharpness: float, shade: float) -> None:
    opacity = torch.from_numpy(shown(ball(0.95, sharpness), "opacity") / 255.0)
    image = shown(ball(0.95, sharpness), background=(shade,) * 3)
    light = torch.lerp(decode(torch.tensor(shade)).double(), at_the_outline().double(), opacity)
    edge = ((opacity > 0.02) & (opacity < 0.98)).numpy()
    assert edge.sum() > 40
    assert (image - 255.0 * encode(light).numpy())[edge].min() > -2.0


def test_normals_that_disagree_or_face_away_are_lit_like_a_surface_that_faces_the_camera() -> None:
    camera = orbit(1)
    towards = camera.origin / camera.origin.norm()
    normals = torch.cat([towards, torch.zeros(1, 3), -towards])
    light = light_pixels(torch.full((3, 3), 0.5), normals, (-towards).expand(3, 3), camera)
    assert torch.isfinite(light).all()
    assert_close(light[1], light[0])
    assert float(light[2].min()) > 0.05


def test_display_values_decode_and_encode() -> None:
    """The curve of sRGB, IEC 61966-2-1: 0.5 is 0.21404 in linear light."""
    values = torch.tensor([0.0, 0.02, 0.04045, 0.5, 1.0])
    assert_close(encode(decode(values)), values)
    assert float(decode(values)[3]) == pytest.approx(0.21404, abs=1e-5)


def test_clay_shows_no_colour() -> None:
    assert np.array_equal(shown(ball(0.06), "clay"), shown(ball(0.95), "clay"))


def test_depth_is_white_where_the_sphere_is_nearest() -> None:
    depth = shown(ball(0.5), "depth")
    # The ball of radius 0.6 is nearest at distance 2.4, 0.4 of the 2 units behind the sphere's.
    assert depth[SIZE // 2, SIZE // 2] == pytest.approx(255 * 0.8, abs=3)
    assert depth[0, 0] == 0.0


def test_a_background_keeps_its_display_value() -> None:
    color = BACKGROUNDS["studio"]
    corner: Tensor = picture(
        ball(0.5),
        orbit(2),
        MarchConfig(),
        resolution=16,
        shading="studio",
        background=torch.tensor(color),
    )[:, 0, 0]
    assert_close(corner, torch.tensor(color).expand(2, 3))


@pytest.mark.parametrize("shading", ["studio", "clay", "normal", "depth"])
def test_several_cameras_are_as_many_pictures(shading: str) -> None:
    scene, cameras, march = ball(0.5), orbit(3), MarchConfig()
    options = {"resolution": 24, "shading": shading, "background": torch.zeros(3)}
    together = picture(scene, cameras, march, **options)
    for i in range(3):
        alone = picture(scene, map_tensors(lambda t, i=i: t[i : i + 1], cameras), march, **options)
        assert_close(together[i], alone[0], atol=1e-5, rtol=0)
