"""Quantities that change over a run, as pure functions of progress in [0, 1]."""

from __future__ import annotations

import math

from dfast.config import GuidanceConfig, OptimizerConfig, ShadingConfig


def ramp(progress: float, start: float, end: float, until: float) -> float:
    """From `start` at 0 to `end` at `until`, linear, constant after. until = 0 means `end`
    throughout.
    """
    amount = 1.0 if until <= 0.0 else min(max(progress / until, 0.0), 1.0)
    return start + (end - start) * amount


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Factor on the base rates: linear warm-up to 1, then a cosine to `config.final` at the last
    step.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    span = max(steps - config.warmup_steps, 1)
    amount = min((step - config.warmup_steps) / span, 1.0)
    return config.final + (1.0 - config.final) * 0.5 * (1.0 + math.cos(math.pi * amount))


def t_range(progress: float, config: GuidanceConfig) -> tuple[float, float]:
    """(low, high) of the noise level as a fraction of the prior's timesteps."""
    low = ramp(progress, config.t_min, config.t_min_end, config.t_until)
    high = ramp(progress, config.t_max, config.t_max_end, config.t_until)
    return low, max(high, low)


def lit_probability(progress: float, config: ShadingConfig) -> float:
    """Share of the diffuse and textureless odds that applies: 0 at first, then a ramp to 1."""
    if progress < config.ambient_only:
        return 0.0
    return ramp(progress - config.ambient_only, 0.0, 1.0, config.ramp)


def resolution(progress: float, schedule: tuple[tuple[float, int], ...]) -> int:
    """Pixels a side: the last (fraction, pixels) entry whose fraction has been reached."""
    return [pixels for start, pixels in schedule if start <= progress or start == 0.0][-1]
