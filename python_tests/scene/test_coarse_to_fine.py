"""Weights of grid levels over a run."""

from __future__ import annotations

import math

import torch
from torch.testing import assert_close

from dfast.config import (
    CoarseToFineConfig,
)
from dfast.scene.coarse_to_fine import level_weights


def test_levels_come_in_one_by_one() -> None:
    config = CoarseToFineConfig(levels_start=2, levels_until=0.5, lowpass_std=(0.0, 0.0))
    start = level_weights(0.0, (8, 16, 32, 64), config)
    half = level_weights(0.375, (8, 16, 32, 64), config)
    assert start is not None and half is not None
    assert start.tolist() == [1, 1, 0, 0] and half.tolist() == [1, 1, 1, 0.5]
    assert level_weights(0.5, (8, 16, 32, 64), config) is None


def test_lowpass_damps_fine_levels() -> None:
    config = CoarseToFineConfig(levels_start=2, lowpass_std=(0.1, 0.1))
    weights = level_weights(0.0, (10, 40), config)
    assert_close(weights, torch.tensor([math.exp(-0.5 * 0.5**2), math.exp(-0.5 * 2.0**2)]))


def test_lowpass_may_be_linear_in_the_variance() -> None:
    config = CoarseToFineConfig(
        levels_start=1, lowpass_std=(0.4, 0.2), lowpass_std_until=1.0, lowpass_linear_in="variance"
    )
    weights = level_weights(0.5, (2,), config)
    assert_close(weights, torch.tensor([math.exp(-0.5 * (0.16 + 0.04) / 2)]))
