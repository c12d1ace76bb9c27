"""Schedules, lights and looks."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from dfast.config import (
    CoarseToFineConfig,
    GuidanceConfig,
    LightConfig,
    OptimizerConfig,
    ShadingConfig,
)
from dfast.config.schedules import learning_rate, lit_probability, ramp, resolution, t_range
from dfast.scene.cameras import orbit
from dfast.scene.coarse_to_fine import level_weights
from dfast.scene.lighting import fixed_lighting
from dfast.training.sampling import sample_lighting


def test_ramp() -> None:
    assert [ramp(p, 1.0, 3.0, 0.5) for p in (0.0, 0.25, 0.5, 1.0)] == [1.0, 2.0, 3.0, 3.0]
    assert ramp(0.0, 1.0, 3.0, 0.0) == 3.0


def test_learning_rate_warms_up_and_decays() -> None:
    config = OptimizerConfig(warmup_steps=10, final=0.1)
    rates = [learning_rate(s, 100, config) for s in range(101)]
    assert rates[0] == pytest.approx(0.1) and rates[10] == 1.0 and rates[100] == pytest.approx(0.1)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_t_range_moves_and_stays_ordered() -> None:
    config = GuidanceConfig(t_min=0.1, t_max=0.9, t_min_end=0.2, t_max_end=0.5, t_until=0.5)
    assert t_range(0.0, config) == (0.1, 0.9)
    assert t_range(0.25, config) == pytest.approx((0.15, 0.7))
    assert t_range(0.9, config) == (0.2, 0.5)


def test_resolution_schedule() -> None:
    schedule = ((0.0, 64), (0.5, 128))
    assert [resolution(p, schedule) for p in (0.0, 0.49, 0.5, 1.0)] == [64, 64, 128, 128]


def test_levels_come_in_one_by_one() -> None:
    config = CoarseToFineConfig(levels_start=2, levels_until=0.5, footprint=(0.0, 0.0))
    start = level_weights(0.0, (8, 16, 32, 64), config)
    half = level_weights(0.375, (8, 16, 32, 64), config)
    assert start is not None and half is not None
    assert start.tolist() == [1, 1, 0, 0] and half.tolist() == [1, 1, 1, 0.5]
    assert level_weights(0.5, (8, 16, 32, 64), config) is None


def test_footprint_damps_fine_levels() -> None:
    config = CoarseToFineConfig(levels_start=2, footprint=(0.1, 0.1))
    weights = level_weights(0.0, (10, 40), config)
    assert_close(weights, torch.tensor([math.exp(-0.5 * 0.5**2), math.exp(-0.5 * 2.0**2)]))


def test_looks_follow_their_odds(generator: torch.Generator) -> None:
    config = ShadingConfig(
        albedo=0.25, diffuse=0.375, textureless=0.375, ambient_only=0.5, ramp=0.2
    )
    assert [lit_probability(p, config) for p in (0.0, 0.49, 0.6, 0.9)] == pytest.approx(
        [0, 0, 0.5, 1]
    )
    cameras = orbit(4000)
    early = sample_lighting(config, LightConfig(), cameras, 0.1, generator)
    assert not early.lit and early.ambient.eq(1).all() and early.diffuse.eq(0).all()
    late = sample_lighting(config, LightConfig(ambient=(0.1, 0.1)), cameras, 1.0, generator)
    assert late.lit
    albedo, white = late.diffuse == 0, late.textureless == 1
    assert float(albedo.float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(white.float().mean()) == pytest.approx(0.375, abs=0.03)
    assert not (albedo & white).any()
    assert_close(late.ambient[~albedo] + late.diffuse[~albedo], torch.ones(int((~albedo).sum())))


def test_lights_are_near_the_camera(generator: torch.Generator) -> None:
    cameras = orbit(500)
    light = LightConfig(distance=(2.0, 2.5), spread=0.1)
    position = sample_lighting(ShadingConfig(), light, cameras, 1.0, generator).light_position
    distance = position.norm(dim=-1)
    assert distance.min() >= 2.0 - 1e-5 and distance.max() <= 2.5 + 1e-5
    cosine = (position / distance[:, None] * cameras.origin / 3.0).sum(-1)
    assert cosine.mean() > 0.97


def test_unknown_look_is_named() -> None:
    with pytest.raises(ValueError, match="shading: expected one of albedo, diffuse, textureless"):
        fixed_lighting("shiny", orbit(1))
