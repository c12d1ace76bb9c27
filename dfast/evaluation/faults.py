"""Faults of a result that need no ground truth: empty, opaque, hazy, flat."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dfast.evaluation.alignment import Prediction, Truth
from dfast.mesh.density_grid import RADIUS, grid_points, projections


def faults(density: Tensor, prediction: Prediction) -> tuple[bool, bool, bool, float]:
    """(empty, opaque, hazy, haze) from five parallel views of a density grid [n, n, n].

    empty: less than 0.5 % of the bounding disc is more than half opaque; opaque: more than 95 % is;
    haze: mean opacity of the disc outside the silhouette at the chosen level, grown by 5 % of the
    disc's diameter; hazy: haze above 0.05.
    """
    peak, opacity = projections(density)
    n = density.shape[0]
    line = grid_points(n).reshape(n, n, n, 3)[0, :, 0, 1]
    disc = (line[:, None].square() + line[None].square() <= RADIUS**2).expand_as(opacity)
    cover = float((opacity[disc] > 0.5).float().mean())
    margin = 2 * round(0.05 * n) + 1
    shape = (
        F.max_pool2d((peak > prediction.level).float(), margin, stride=1, padding=margin // 2) > 0
    )
    beside = disc & ~shape
    haze = float(opacity[beside].mean()) if bool(beside.any()) else 0.0
    return cover < 0.005, cover > 0.95, haze > 0.05, haze


def _flatness(prediction: Prediction, truth: Truth, log_scale: float) -> float:
    """Thinnest extent of the prediction, relative to the truth's at the same scale (1 is right, 0 a
    sheet).
    """
    n = prediction.density.shape[0]
    solid = grid_points(n)[(prediction.density > prediction.level).ravel()]
    if len(solid) < 10:
        return 0.0
    mine = torch.linalg.eigvalsh(solid.T.cov())[0].clamp_min(0).sqrt()
    true = torch.linalg.eigvalsh(truth.inside.T.cov())[0].clamp_min(1e-8).sqrt()
    return float(mine / (true * torch.tensor(log_scale).exp()))
