"""Distributions of lights, shading modes and timesteps."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from dfast.config import (
    CameraConfig,
    LightConfig,
    ShadingConfig,
)
from dfast.config.schedules import lit_probability
from dfast.scene.cameras import orbit
from dfast.training.sampling import sample_cameras, sample_lighting, sample_timesteps


def test_shading_modes_follow_their_odds(generator: torch.Generator) -> None:
    config = ShadingConfig(
        albedo=0.25, diffuse=0.375, textureless=0.375, ambient_only=0.5, ramp=0.2
    )
    assert [lit_probability(p, config) for p in (0.0, 0.49, 0.6, 0.9)] == pytest.approx(
        [0, 0, 0.5, 1]
    )
    cameras = orbit(4000)
    early = sample_lighting(config, LightConfig(), cameras, [0.1], generator)
    assert not early.lit and early.ambient.eq(1).all() and early.diffuse.eq(0).all()
    late = sample_lighting(config, LightConfig(ambient=(0.1, 0.1)), cameras, [1.0], generator)
    assert late.lit
    albedo, white = late.diffuse == 0, late.textureless == 1
    assert float(albedo.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(white.float().mean()) == pytest.approx(0.375, abs=0.03)
    assert not (albedo & white).any()
    assert_close(late.ambient[~albedo] + late.diffuse[~albedo], torch.ones(int((~albedo).sum())))


def test_lights_are_near_the_camera(generator: torch.Generator) -> None:
    cameras = orbit(500)
    light = LightConfig(distance=(2.0, 2.5), spread=0.1)
    position = sample_lighting(ShadingConfig(), light, cameras, [1.0], generator).light_position
    distance = position.norm(dim=-1)
    assert distance.min() >= 2.0 - 1e-5 and distance.max() <= 2.5 + 1e-5
    cosine = (position / distance[:, None] * cameras.origin / 3.0).sum(-1)
    assert cosine.mean() > 0.97


def test_timesteps_fill_their_range(generator: torch.Generator) -> None:
    t = sample_timesteps(500, [(0.02, 0.98)], 1000, generator)
    assert t.dtype == torch.int64 and 20 <= t.min() < 25 and 975 < t.max() <= 980
    assert sample_timesteps(3, [(1.0, 1.0)], 10, generator).tolist() == [9, 9, 9]


def test_focal_lengths_may_be_uniform(generator: torch.Generator) -> None:
    limits = tuple(math.degrees(2 * math.atan(0.5 / focal)) for focal in (1.35, 0.7))
    config = CameraConfig(fov=(limits[0], limits[1]), fov_mode="focal")
    fov = sample_cameras(config, 4, generator, 1000).fov
    focal = 0.5 / torch.tan(torch.deg2rad(0.5 * fov))
    assert 0.7 - 1e-5 <= focal.min() < 0.71 and 1.34 < focal.max() <= 1.35 + 1e-5
    assert float(focal.mean()) == pytest.approx(1.025, abs=0.01)


def test_lights_may_spread_around_the_position_of_the_camera(generator: torch.Generator) -> None:
    """A camera that is twice as far away has lights in half the angle."""
    angles = []
    for distance in (2.0, 4.0):
        cameras = orbit(4000, distance=distance)
        light = LightConfig(spread=0.1, around="position")
        position = sample_lighting(ShadingConfig(), light, cameras, [1.0], generator).light_position
        cosine = (normalize(position, dim=-1) * normalize(cameras.origin, dim=-1)).sum(-1)
        angles.append(float(torch.acos(cosine.clamp(max=1.0)).square().mean().sqrt()))
    # Two components of the offset turn the direction: sqrt(2) 0.1 / distance.
    assert angles == pytest.approx([0.1414 / 2, 0.1414 / 4], rel=0.05)


@pytest.mark.parametrize("stratified", [True, False])
def test_cameras_of_a_ring_are_evenly_around_the_object(
    stratified: bool, generator: torch.Generator
) -> None:
    config = CameraConfig(views=12, ring=4, stratified=stratified, fov=(20.0, 60.0))
    cameras = sample_cameras(config, 12, generator, 50)
    for values in (cameras.elevation, cameras.distance, cameras.fov):
        rings = values.view(-1, 4)
        assert_close(rings, rings[:, :1].expand(-1, 4), rtol=0, atol=1e-4)
        assert rings[:, 0].std() > 0.05
    turn = cameras.azimuth.view(-1, 4)
    assert_close(turn.diff(dim=1) % 360.0, torch.full((150, 3), 90.0), rtol=0, atol=1e-3)
    first = (turn[:, 0] % 90.0).view(50, 3)  # where the rings of a step begin
    if stratified:  # one in each third of a quarter, from wherever the first is
        gaps = first.sort(dim=1).values.diff(dim=1)
        assert gaps.max() <= 60.0 + 1e-3
    assert first.min() < 3.0 and first.max() > 87.0


def test_a_ring_has_one_light(generator: torch.Generator) -> None:
    """Each of its cameras has the light beside itself, equally far and equally strong."""
    cameras = sample_cameras(CameraConfig(views=256, ring=4), 256, generator)
    light = LightConfig(spread=0.0, ambient=(0.0, 1.0))
    got = sample_lighting(ShadingConfig(), light, cameras, [1.0], generator, 4)
    for values in (got.textureless, got.ambient, got.diffuse, got.light_position.norm(dim=-1)):
        rings = values.view(-1, 4)
        assert_close(rings, rings[:, :1].expand(-1, 4), rtol=0, atol=1e-4)
        assert rings[:, 0].std() > 0.01
    cosine = normalize(got.light_position, dim=-1) * normalize(cameras.origin, dim=-1)
    assert_close(cosine.sum(-1), torch.ones(256))
