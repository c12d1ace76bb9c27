"""Pictures from a browser's camera: the same as those of `Result.render`, in every mode."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_methods import TINY_MESH, loop_scene
from tiny_refine import coarse_run, refine_tiny
from tiny_runs import TINY, train_tiny

from dfast.config.views import BACKGROUNDS
from dfast.runs.refined import Refined
from dfast.runs.result import Result
from dfast.scene.cameras import spherical
from dfast.viewer.pictures import MODES, Pose, draw

pytestmark = pytest.mark.usefixtures("needs_native")


@pytest.fixture(scope="module")
def ball() -> Result:
    return train_tiny(config=TINY.replace(train={"steps": 60, "preview_every": 0}))


@pytest.fixture(scope="module")
def refined() -> Refined:
    return refine_tiny(coarse_run())


def pose(azimuth: float, elevation: float, width: int = 40, height: int = 40) -> Pose:
    """Return the camera of `Result.render` as a browser would describe it."""
    camera = spherical(torch.tensor([azimuth]), elevation, 3.0, 40.0)
    matrix = (camera.rotation[0] * torch.tensor([1.0, -1.0, -1.0])).double().numpy()
    return Pose(
        tuple(camera.origin[0].tolist()), quaternion(matrix), math.radians(40.0), width, height
    )


def quaternion(m: np.ndarray) -> tuple[float, ...]:
    """Return the unit quaternion of a rotation, by the eigenvector of Bar-Itzhack's matrix."""
    k = np.array(
        [
            [m[0, 0] + m[1, 1] + m[2, 2], 0, 0, 0],
            [m[2, 1] - m[1, 2], m[0, 0] - m[1, 1] - m[2, 2], 0, 0],
            [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], 0],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1]],
        ]
    )
    return tuple(np.linalg.eigh(k / 3.0, UPLO="L")[1][:, -1].tolist())


@pytest.mark.parametrize(("mode", "shading"), MODES.items())
@pytest.mark.parametrize(("azimuth", "elevation"), [(0.0, 0.0), (130.0, 35.0), (250.0, -60.0)])
def test_a_browser_sees_what_result_render_shows(
    ball: Result, mode: str, shading: str, azimuth: float, elevation: float
) -> None:
    ours = draw(ball, pose(azimuth, elevation), (40, 40), mode)
    expected = ball.render(
        azimuth=azimuth,
        elevation=elevation,
        distance=3.0,
        resolution=40,
        shading=shading,
        background=BACKGROUNDS.get(shading, BACKGROUNDS["studio"]),
    )
    assert ours is not None
    assert np.abs(ours.astype(int) - expected).max() <= 3  # rounding of the quaternion


def test_a_wide_window_shows_more_at_its_sides(ball: Result) -> None:
    square = draw(ball, pose(30.0, 20.0), (40, 40), "colour")
    wide = draw(ball, pose(30.0, 20.0, 80, 40), (80, 40), "colour")
    assert square is not None and wide is not None and wide.shape == (40, 80, 3)
    assert np.abs(wide[:, 20:60].astype(int) - square).max() <= 3


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_shows_the_object_before_its_background(ball: Result, mode: str) -> None:
    image = draw(ball, pose(30.0, 20.0), (32, 32), mode)
    assert image is not None and image.dtype == np.uint8
    corner = image[0, 0].astype(int)
    expected = 255.0 * np.array(BACKGROUNDS.get(MODES[mode], BACKGROUNDS["studio"]))
    assert np.abs(corner - expected).max() <= 8
    assert np.abs(image[8:24, 8:24] - corner).max() > 30


def test_near_things_are_bright_in_the_depth(ball: Result) -> None:
    image = draw(ball, pose(0.0, 0.0), (32, 32), "depth")
    opacity = draw(ball, pose(0.0, 0.0), (32, 32), "opacity")
    assert image is not None and opacity is not None
    assert image[16, 16, 0] > 127  # its front half faces the camera
    assert opacity[16, 16, 0] > image[16, 16, 0]


def test_a_picture_that_is_not_wanted_any_more_is_given_up(ball: Result) -> None:
    looks = iter([True, False])
    assert draw(ball, pose(0.0, 0.0, 300, 300), (300, 300), "albedo", lambda: next(looks)) is None


def test_pictures_are_the_same_on_every_device(
    ball: Result, device: torch.device, tmp_path: Path
) -> None:
    there = Result.load(ball.save(tmp_path), device)
    for mode in MODES:
        ours, expected = (draw(r, pose(30.0, 20.0), (32, 32), mode) for r in (there, ball))
        assert ours is not None and expected is not None
        assert np.abs(ours.astype(int) - expected).mean() <= 1.0  # half the table on a GPU


def test_drawing_uses_no_random_numbers_and_no_graph(ball: Result) -> None:
    state = torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in ball.scene.state_dict().items()}
    with torch.enable_grad():
        draw(ball, pose(10.0, 20.0), (16, 16), "normals")
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in ball.scene.state_dict().items())


@pytest.mark.parametrize("mode", MODES)
def test_an_optimised_mesh_is_drawn_as_the_result_renders_it(mode: str) -> None:
    scene = loop_scene(control=8)
    result = Result(scene, TINY_MESH, "a ball", 0, "clip", 0)
    shading = MODES[mode]
    background = BACKGROUNDS.get(shading, BACKGROUNDS["studio"])
    expected = result.render(
        azimuth=20.0, elevation=30.0, resolution=40, shading=shading, background=background
    )
    image = draw(result, pose(20.0, 30.0), (40, 40), mode)
    assert image is not None
    assert (image.astype(int) - expected.astype(int)).max() <= 1
    wide = draw(result, pose(20.0, 30.0, 60, 40), (60, 40), mode)
    assert wide is not None and wide.shape == (40, 60, 3)
    assert abs(wide[:, 10:50].astype(int) - expected.astype(int)).mean() < 1.0


@pytest.mark.parametrize("mode", MODES)
def test_a_browser_sees_a_refined_mesh(refined: Refined, mode: str) -> None:
    shading = MODES[mode]
    background = BACKGROUNDS.get(shading, BACKGROUNDS["studio"])
    ours = draw(refined, pose(130.0, 35.0), (48, 48), mode)
    view = {"azimuth": 130.0, "elevation": 35.0, "distance": 3.0, "resolution": 48}
    expected = refined.render(**view, shading=shading, background=background)
    assert ours is not None
    far = np.abs(ours.astype(int) - expected).max(2) > 3
    assert far.mean() < 0.01  # a pixel of the outline may fall to the other side
    wide = draw(refined, pose(130.0, 35.0, 96, 48), (96, 48), mode)
    tall = draw(refined, pose(130.0, 35.0, 24, 48), (24, 48), mode)
    assert wide is not None and tall is not None and tall.shape == (48, 24, 3)
    assert (np.abs(wide[:, 24:72].astype(int) - ours).max(2) > 3).mean() < 0.01
    assert (np.abs(ours[:, 12:36].astype(int) - tall).max(2) > 3).mean() < 0.01
