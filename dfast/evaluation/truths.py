"""Ground truth of sentences of the procedural world, each computed once a process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from dfast.evaluation.alignment import Truth, ellipsoid_iou
from dfast.mesh.density_grid import grid_points
from dfast.world import grammar
from dfast.world.scenes import Scene

GRID = 64


# --- truths, each computed once in a process ------------------------------------------------------


@dataclass(frozen=True)
class Surface:
    """Points of a truth's visible surface: points and outward normals [N, 3], part [N], albedo [N,
    3], and each part's share of the area [K].
    """

    points: Tensor
    normals: Tensor
    part: Tensor
    albedo: Tensor
    shares: Tensor


@cache
def _catalogue() -> dict[str, Truth]:
    """Every geometry of the grammar by its colourless name."""
    scenes = [grammar.parse(caption) for caption in grammar.catalogue()]
    return {scene.shape: Truth.of(scene.occupancy, 48) for scene in scenes}


@cache
def _truth(prompt: str) -> Truth:
    return Truth.of(grammar.parse(prompt).occupancy, GRID)


@cache
def _ellipsoid(prompt: str) -> float:
    return ellipsoid_iou(_truth(prompt))


@cache
def _surface(prompt: str, count: int = 4000) -> Surface:
    scene = grammar.parse(prompt)
    points = grid_points(96)
    points = points[points.square().sum(-1) <= 1.1]
    points = points[scene.sdf(points)[0].abs() < 0.04]
    generator = torch.Generator().manual_seed(0)
    points = points[torch.randperm(len(points), generator=generator)[: 2 * count]]
    for _ in range(4):  # Newton steps to the surface
        normals = _gradient(scene, points)
        points = points - scene.sdf(points)[0][:, None] * normals
    normals = _gradient(scene, points)
    # faces where two parts touch are inside the object: a step outward does not leave it
    visible = (scene.sdf(points)[0].abs() < 0.01) & (scene.sdf(points + 0.04 * normals)[0] > 0.015)
    points, normals = points[visible][:count], normals[visible][:count]
    part = scene.sdf(points)[1]
    shares = torch.bincount(part, minlength=len(scene.parts)).float() / max(1, len(part))
    return Surface(points, normals, part, scene.colors[part], shares)


def _gradient(scene: Scene, x: Tensor, h: float = 0.005) -> Tensor:
    """Unit gradient [N, 3] of the signed distance."""
    steps = h * torch.eye(3)
    difference = [scene.sdf(x + steps[a])[0] - scene.sdf(x - steps[a])[0] for a in range(3)]
    return F.normalize(torch.stack(difference, -1), dim=-1)
