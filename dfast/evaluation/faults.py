"""Faults of a result: empty, opaque, hazy, flat."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from dfast.evaluation.solids import Prediction, SolidPoints
from dfast.mesh.density_grid import RADIUS, grid_points, projections


class Faults(NamedTuple):
    """What can be wrong with a result whatever it should show."""

    empty: bool
    """Less than 0.5 % of the bounding disc is more than half opaque."""
    opaque: bool
    """More than 95 % of it is."""
    hazy: bool
    """Whether `haze` is above 0.05."""
    haze: float
    """Mean opacity of the disc outside the silhouette grown by 5 % of the disc's diameter."""


def faults(density: Tensor, prediction: Prediction) -> Faults:
    """Find faults that need no ground truth, from five parallel views of a density grid.

    Args:
        density: [n, n, n].
        prediction: the same grid, prepared: its `level` defines the silhouette.
    """
    peak, opacity = projections(density)
    n = density.shape[0]
    line = grid_points(n).reshape(n, n, n, 3)[0, :, 0, 1]
    disc = (line[:, None].square() + line[None].square() <= RADIUS**2).expand_as(opacity)
    cover = float((opacity[disc] > 0.5).float().mean())
    margin = 2 * round(0.05 * n) + 1
    silhouette = (peak > prediction.level).float()
    grown = F.max_pool2d(silhouette, margin, stride=1, padding=margin // 2) > 0
    beside = disc & ~grown
    haze = float(opacity[beside].mean()) if bool(beside.any()) else 0.0
    return Faults(cover < 0.005, cover > 0.95, haze > 0.05, haze)


def flatness(prediction: Prediction, solid: SolidPoints, log_scale: float) -> float:
    """Return the thinnest extent of a prediction relative to the truth's at the same scale.

    Extents are standard deviations along the thinnest principal axis; 1 is right, 0 a sheet.

    Args:
        prediction: the result.
        solid: the truth.
        log_scale: logarithm of the scale that takes the truth to the prediction.
    """
    n = prediction.density.shape[0]
    points = grid_points(n)[(prediction.density > prediction.level).ravel()]
    if len(points) < 10:
        return 0.0
    thinnest = torch.linalg.eigvalsh(points.T.cov())[0].clamp_min(0).sqrt()
    true = torch.linalg.eigvalsh(solid.inside.T.cov())[0].clamp_min(1e-8).sqrt()
    return float(thinnest / (true * torch.tensor(log_scale).exp()))
