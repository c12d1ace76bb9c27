"""Quantities that change over a run, as pure functions of its progress in [0, 1]."""

from __future__ import annotations

import math

from dfast.config.guidance import GuidanceConfig
from dfast.config.render import ShadingConfig
from dfast.config.training import OptimizerConfig


def ramp(progress: float, start: float, end: float, until: float) -> float:
    """Return a value that changes linearly from `start` to `end`, and is constant after.

    Args:
        progress: fraction of the run, in [0, 1].
        start: value at progress 0.
        end: value from progress `until` on.
        until: fraction of the run; 0 means `end` throughout.
    """
    amount = 1.0 if until <= 0.0 else min(max(progress / until, 0.0), 1.0)
    return start + (end - start) * amount


def late(progress: float, start: float) -> float:
    """Return 0 up to a fraction `start` of the run, then a number that rises linearly to 1."""
    return 0.0 if progress <= start else (progress - start) / (1.0 - start)


def learning_rate(step: int, steps: int, config: OptimizerConfig) -> float:
    """Return the factor on the peak learning rates.

    It rises linearly to 1 in the warm-up, then follows half a cosine to `config.final`.

    Args:
        step: steps done, in [0, steps].
        steps: steps of the whole run.
        config: warm-up and final factor.

    Returns:
        A number in [0, 1].
    """
    warmup = max(config.warmup_steps, int(config.warmup_until * steps))
    if step < warmup:
        return (step + 1) / warmup
    amount = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return config.final + (1.0 - config.final) * 0.5 * (1.0 + math.cos(math.pi * amount))


def t_range(progress: float, config: GuidanceConfig) -> tuple[float, float]:
    """Return (low, high) of the timesteps, as fractions of the prior's number of timesteps.

    Args:
        progress: fraction of the run, in [0, 1].
        config: the ranges at its ends.
    """
    low = ramp(progress, config.t_min, config.t_min_end, config.t_until)
    high = ramp(progress, config.t_max, config.t_max_end, config.t_until)
    return low, max(high, low)


def lit_probability(progress: float, config: ShadingConfig) -> float:
    """Return the fraction of the odds of lit shading modes that applies: 0 at first, then 1.

    Args:
        progress: fraction of the run, in [0, 1].
        config: when the lit shading modes come in.
    """
    if progress < config.ambient_only:
        return 0.0
    return ramp(progress - config.ambient_only, 0.0, 1.0, config.ramp)


def resolution(progress: float, schedule: tuple[tuple[float, int], ...]) -> int:
    """Return the pixels a side of the images.

    Args:
        progress: fraction of the run, in [0, 1].
        schedule: (fraction from which it holds, pixels a side) in order, from fraction 0.
    """
    return [pixels for start, pixels in schedule if start <= progress or start == 0.0][-1]
