"""Cameras: axes, rays, the training distribution, view words."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from dfast.config import CameraConfig
from dfast.scene.cameras import look_at, orbit, spherical
from dfast.scene.views import view_words
from dfast.training.sampling import sample_cameras


def test_front_camera_axes() -> None:
    cameras = orbit(4, elevation=0.0, distance=2.0)
    assert_close(cameras.origin[0], torch.tensor([2.0, 0.0, 0.0]))
    right, up, back = cameras.rotation[0].unbind(-1)
    assert_close(right, torch.tensor([0.0, 1.0, 0.0]))  # image right is +y
    assert_close(up, torch.tensor([0.0, 0.0, 1.0]))
    assert_close(back, torch.tensor([1.0, 0.0, 0.0]))
    assert_close(
        cameras.origin[1], torch.tensor([0.0, 2.0, 0.0]), atol=1e-6, rtol=0
    )  # 90 degrees: +y


def test_rays_are_row_major_from_the_top_left() -> None:
    cameras = orbit(2, elevation=0.0)
    origins, directions = cameras.rays(5)
    assert origins.shape == directions.shape == (2 * 25, 3)
    assert_close(directions.norm(dim=-1), torch.ones(50))
    first = directions.view(2, 5, 5, 3)[0]
    assert_close(first[2, 2], torch.tensor([-1.0, 0.0, 0.0]))
    assert first[0, 0, 1] < 0 and first[0, 0, 2] > 0  # left, top
    # Pixel centres: the border ray leaves at 4/5 of the half angle's tangent.
    slope = first[2, 4, 1] / -first[2, 4, 0]
    assert_close(slope, 0.8 * torch.tan(torch.deg2rad(torch.tensor(20.0))))


@pytest.mark.parametrize("elevation", [90.0, -90.0, 89.99])
def test_poles_keep_their_heading(elevation: float) -> None:
    cameras = spherical(torch.tensor([0.0, 30.0]), elevation, 3.0, 40.0)
    eye = torch.eye(3).expand(2, 3, 3)
    assert_close(cameras.rotation @ cameras.rotation.transpose(1, 2), eye, atol=1e-5, rtol=0)
    assert_close(torch.linalg.det(cameras.rotation), torch.ones(2))
    assert_close(cameras.rotation[0, :, 0], torch.tensor([0.0, 1.0, 0.0]), atol=1e-5, rtol=0)
    above = look_at(
        cameras.origin[:1], torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]), torch.ones(1)
    )
    assert torch.isfinite(above.rotation).all()


def test_sampled_cameras_fit_the_configuration(generator: torch.Generator) -> None:
    config = CameraConfig(distance=(2.0, 2.5), fov=(30.0, 35.0), elevation=(-20.0, 70.0))
    cameras = sample_cameras(config, 2000, generator)
    for values, (low, high) in (
        (cameras.distance, config.distance),
        (cameras.fov, config.fov),
        (cameras.elevation, config.elevation),
    ):
        assert values.min() > low - 1e-3 and values.max() < high + 1e-3
        assert values.max() - values.min() > 0.95 * (high - low)
    toward = (cameras.rotation[:, :, 2] * cameras.origin).sum(-1)
    assert_close(toward, cameras.distance)  # looks at the origin


def test_elevation_modes(generator: torch.Generator) -> None:
    def mean(mode: str) -> float:
        config = CameraConfig(elevation=(0.0, 90.0), elevation_mode=mode)  # type: ignore[arg-type]
        return float(sample_cameras(config, 8000, generator).elevation.mean())

    angle, area = 45.0, 32.704  # 90 (1 - 2/pi) for the area
    assert mean("angle") == pytest.approx(angle, abs=1.0)
    assert mean("area") == pytest.approx(area, abs=1.0)
    assert mean("mixed") == pytest.approx((angle + area) / 2, abs=1.0)


def test_azimuths_of_a_step_are_stratified(generator: torch.Generator) -> None:
    for _ in range(20):
        azimuth = sample_cameras(CameraConfig(), 4, generator).azimuth.sort().values
        gaps = torch.cat([azimuth[1:], azimuth[:1] + 360.0]) - azimuth
        assert gaps.max() < 180.0 + 1e-3


def test_same_seed_same_cameras() -> None:
    a, b = (sample_cameras(CameraConfig(), 3, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(a.origin, b.origin) and torch.equal(a.rotation, b.rotation)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "words"),
    [
        (0, 0, "front view"),
        (45, 60, "front view"),
        (315, 0, "front view"),
        (46, 0, "side view"),
        (270, 10, "side view"),
        (135, 0, "back view"),
        (180, 0, "back view"),
        (-180, 0, "back view"),
        (0, 61, "overhead view"),
        (725, 0, "front view"),
    ],
)
def test_view_words_of_the_paper(azimuth: float, elevation: float, words: str) -> None:
    assert view_words(azimuth, elevation) == words
