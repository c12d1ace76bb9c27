"""Colours of a result, read at the surface of the truth under a pose."""

from __future__ import annotations

import torch
from torch import Tensor

from dfast.evaluation.alignment import SCALE, apply_pose
from dfast.evaluation.scorecard import PartScore
from dfast.evaluation.solids import Prediction
from dfast.evaluation.truths import GroundTruth
from dfast.mesh.density_grid import DensityField, device_of, query, sample
from dfast.world.parts import ALL_COLORS, PALETTE

COLOR_TOLERANCE = 0.3
"""Largest Euclidean distance in RGB at which a colour is right."""
RAY = torch.linspace(0.16, -0.12, 15, dtype=torch.float32, device="cpu")
"""Distances along the outward normal of a surface point, from outside to inside, world units; a ray
begins where no other surface of the truth is near."""


def visible_colors(
    result: DensityField, prediction: Prediction, truth: GroundTruth, pose: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Return the colours that surface points show under a pose, and which of them are right.

    A short ray runs along the normal from outside to inside. The colour is the field's albedo at
    the mean depth where the ray is absorbed. Rays that are hardly absorbed have no colour and are
    wrong.

    Args:
        result: the field.
        prediction: its density grid, prepared.
        truth: of the sentence.
        pose: [5], takes the truth to the prediction.
        count: number of surface points to use, from the first on.

    Returns:
        RGB [n, 3], nan where there is no colour, and bool [n].
    """
    surface = truth.surface
    points, normals = surface.points[:count], surface.normals[:count]
    ray = (points[:, None] + RAY[:, None] * normals[:, None]).reshape(1, -1, 3)
    center = truth.solid.centroid[None]
    placed = apply_pose(ray, center, pose[None, None], prediction.centroid)[0, 0]
    density = sample(prediction.density, placed).reshape(len(points), -1)
    density = density * (surface.free[:count, None] + 1e-4 >= RAY)
    step = 0.02 * float(pose[SCALE].exp())
    transmittance = torch.exp(-step * density).cumprod(1)
    before = torch.cat([torch.ones(len(points), 1), transmittance[:, :-1]], 1)
    weight = before - transmittance
    opacity = weight.sum(1, keepdim=True)
    placed = placed.reshape(len(points), -1, 3)
    depth = (weight[..., None] * placed).sum(1) / opacity.clamp_min(1e-6)
    colors = query(result.albedo, depth, device_of(result))
    colors = torch.where(opacity > 0.3, colors, torch.nan)
    return colors, (colors - surface.albedo[:count]).norm(dim=-1) <= COLOR_TOLERANCE


def part_scores(truth: GroundTruth, colors: Tensor, right: Tensor) -> tuple[PartScore, ...]:
    """Score each region of a surface: what one thing has in one colour.

    Args:
        truth: of the sentence.
        colors: seen at the points of its surface, [N, 3], nan where there is none.
        right: whether they are right, [N].
    """
    palette = torch.tensor([PALETTE[c] for c in ALL_COLORS])
    parts = []
    for k, word in enumerate(truth.surface.words):
        mine = truth.surface.region == k
        shown = colors[mine]
        shown = shown[~shown[:, 0].isnan()]
        seen = ""
        if len(shown) > 0.3 * int(mine.sum()):
            seen = ALL_COLORS[int((palette - shown.median(0).values).norm(dim=-1).argmin())]
        accuracy = float(right[mine].float().mean())
        parts.append(PartScore(word, float(truth.surface.shares[k]), accuracy, seen))
    return tuple(parts)
