"""Schedules: values at given fractions of a run."""

from __future__ import annotations

import pytest

from dfast.config import (
    GuidanceConfig,
    OptimizerConfig,
)
from dfast.config.schedules import learning_rate, ramp, resolution, t_range


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
