"""Weights of the levels of a field's encoding over a run, from coarse to fine."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dfast.config import CoarseToFineConfig
from dfast.config.schedules import ramp


def level_weights(
    progress: float, resolutions: Sequence[float], config: CoarseToFineConfig
) -> Tensor | None:
    """Return the weight of each grid level at a moment of the run.

    Two factors make a weight. Levels are switched on one after the other, each over its own stretch
    of the run. A low-pass filter, a Gaussian blur of standard deviation f in world units, damps
    level l, whose cells have the size c_l, by exp(-0.5 (f / c_l)^2): the factor of mip-NeRF's
    integrated encoding (Barron et al. 2021, arXiv 2103.13415) with frequency in cells. A field of
    the kind "ipe" has one over its frequencies for c_l, and then this is that encoding, of
    Gaussians of the standard deviation f. See "Schedules" in docs/math.md.

    Args:
        progress: fraction of the run, in [0, 1].
        resolutions: cells a side of each level, coarse to fine: 2 / c_l.
        config: when levels are switched on, and how the low-pass filter shrinks.

    Returns:
        [L] float32 in [0, 1] on the CPU, or None when all weights are 1.
    """
    count = len(resolutions)
    active = ramp(progress, min(config.levels_start, count), count, config.levels_until)
    lowpass_std = _lowpass_std(progress, config)
    if active >= count and lowpass_std == 0.0:
        return None
    weights = []
    for level, cells in enumerate(resolutions):
        in_cells = lowpass_std * cells / 2.0  # the grid spans [-1, 1], so c_l = 2 / cells
        weights.append(min(max(active - level, 0.0), 1.0) * math.exp(-0.5 * in_cells**2))
    return torch.tensor(weights)


def _lowpass_std(progress: float, config: CoarseToFineConfig) -> float:
    """Return the low-pass filter's standard deviation; it or its square changes linearly."""
    start, end = config.lowpass_std
    if config.lowpass_linear_in == "std":
        return ramp(progress, start, end, config.lowpass_std_until)
    return math.sqrt(ramp(progress, start**2, end**2, config.lowpass_std_until))
