"""How well the best ellipsoid does: a result that is no better has not found the shape."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dfast.evaluation.alignment import pattern_search
from dfast.evaluation.solids import SolidPoints


def ellipsoid_iou(solid: SolidPoints, count: int = 4096) -> float:
    """Return the IoU of a solid with the ellipsoid that fits it best.

    The search is over the centre and the semi-axes, along the world axes and along the solid's
    principal axes; the better of the two counts.

    Args:
        solid: the solid.
        count: number of its points to use.
    """
    points = solid.sample(count) - solid.centroid
    moments, frame = torch.linalg.eigh(points.T @ points / count)
    spread = (points.square().mean(0), moments.clamp_min(1e-8))  # world axes, principal axes
    local = torch.stack([points, points @ frame])  # [2, P, 3]
    # A solid ellipsoid with semi-axis a has the variance a^2 / 5 along it.
    start = torch.cat([torch.zeros(2, 3), 0.5 * (5 * torch.stack(spread)).log()], 1)

    def objective(p: Tensor) -> Tensor:
        """Return the IoU [2, K] for centres (3) and log semi-axes (3), p [2, K, 6]."""
        unit = (local[:, None] - p[:, :, None, :3]) / p[:, :, None, 3:].exp()
        intersection = solid.volume * (unit.square().sum(-1) <= 1).float().mean(-1)
        own = 4 / 3 * math.pi * p[..., 3:].sum(-1).exp()
        return intersection / (solid.volume + own - intersection)

    steps = torch.tensor([0.05] * 3 + [0.08] * 3)
    _, values = pattern_search(objective, start, steps, 40)
    return float(values.max())
