"""Weights of the hash grid's levels over a run, from coarse to fine."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dfast.config import CoarseToFineConfig
from dfast.config.schedules import ramp


def level_weights(
    progress: float, resolutions: tuple[int, ...], config: CoarseToFineConfig
) -> Tensor | None:
    """Return the weight of each grid level at a moment of the run.

    Two factors make a weight. Levels are switched on one after the other, each over its own stretch
    of the run. A low-pass filter, a Gaussian blur of standard deviation f in world units, damps
    level l, whose cells have the size c_l, by exp(-0.5 (f / c_l)^2): the factor of mip-NeRF's
    integrated encoding (Barron et al. 2021, arXiv 2103.13415) with frequency in cells. See
    "Schedules" in docs/math.md.

    Args:
        progress: fraction of the run, in [0, 1].
        resolutions: cells a side of each level, coarse to fine.
        config: when levels are switched on, and how the low-pass filter shrinks.

    Returns:
        [L] float32 in [0, 1] on the CPU, or None when all weights are 1.
    """
    count = len(resolutions)
    active = ramp(progress, min(config.levels_start, count), count, config.levels_until)
    lowpass_std = ramp(progress, *config.lowpass_std, config.lowpass_std_until)
    if active >= count and lowpass_std == 0.0:
        return None
    weights = []
    for level, cells in enumerate(resolutions):
        in_cells = lowpass_std * cells / 2.0  # the grid spans [-1, 1], so c_l = 2 / cells
        weights.append(min(max(active - level, 0.0), 1.0) * math.exp(-0.5 * in_cells**2))
    return torch.tensor(weights)
