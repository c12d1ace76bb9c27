"""Weights of the hash grid levels over a run, from coarse to fine."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dfast.config import CoarseToFineConfig
from dfast.config.schedules import ramp


def level_weights(
    progress: float, resolutions: tuple[int, ...], config: CoarseToFineConfig
) -> Tensor | None:
    """[L] weights in [0, 1] of the grid levels, float32 on the CPU; None when all are 1.

    Levels come in one by one, each over its own stretch of progress. The footprint is a Gaussian
    blur of standard
    deviation f world units: level l, whose cells measure c_l, is damped by exp(-0.5 (f / c_l)^2),
    which is mip-NeRF 360's factor with the frequency measured in cells.
    """
    count = len(resolutions)
    active = ramp(progress, min(config.levels_start, count), count, config.levels_until)
    footprint = ramp(progress, *config.footprint, config.footprint_until)
    if active >= count and footprint == 0.0:
        return None
    weights = []
    for level, cells in enumerate(resolutions):
        in_cells = footprint * cells / 2.0  # the grid spans [-1, 1]
        weights.append(min(max(active - level, 0.0), 1.0) * math.exp(-0.5 * in_cells**2))
    return torch.tensor(weights)
