"""Ground truth of the sentences of the procedural world: solids, surfaces, ellipsoids."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from dfast.evaluation.alignment import align, pattern_search
from dfast.evaluation.solids import Prediction, SolidPoints
from dfast.mesh.density_grid import grid_points
from dfast.world import grammar
from dfast.world.scenes import ProceduralScene

GRID = 64
"""Cells a side with which results and truths are sampled."""
SAME_SHAPE = 0.97
"""IoU above which two true solids count as one geometry."""
SURFACE_POINTS = 4000


@dataclass(frozen=True)
class Surface:
    """Points of a true object's visible surface."""

    points: Tensor
    """[N, 3]."""
    normals: Tensor
    """Outward unit normals [N, 3]."""
    part: Tensor
    """Index of the part of the scene, [N]."""
    albedo: Tensor
    """Display RGB in [0, 1], [N, 3]."""
    shares: Tensor
    """Share of each part in the surface's area, [K]."""


class GroundTruth:
    """The truth of one sentence. Each part is computed when it is first used, and kept."""

    def __init__(self, prompt: str) -> None:
        """Parse a sentence.

        Raises:
            PromptError: if it is not one of the grammar.
        """
        self.scene = grammar.parse(prompt)
        self._same: dict[str, bool] = {}

    @cached_property
    def solid(self) -> SolidPoints:
        """Return the object as points."""
        return SolidPoints.from_occupancy(self.scene.occupancy, GRID)

    @cached_property
    def surface(self) -> Surface:
        """Return points of the object's surface."""
        return visible_surface(self.scene)

    @cached_property
    def ellipsoid_iou(self) -> float:
        """Return the IoU of the ellipsoid that fits the object best."""
        return ellipsoid_iou(self.solid)

    def is_shape(self, name: str) -> bool:
        """Return whether a geometry of the catalogue is this one up to yaw, scale and shift."""
        if name not in self._same:
            inside = self.scene.occupancy(grid_points(GRID)).float().reshape(GRID, GRID, GRID)
            target = [catalogue()[name]]
            _, values = align(Prediction(50 * inside), target, keep=4, rounds=12, count=2048)
            self._same[name] = float(values.max()) >= SAME_SHAPE
        return self._same[name]


# These are the two caches of this package. Truths cost seconds and depend on nothing but the
# sentence, so that scoring many results in a process computes each only once.


@cache
def ground_truth(prompt: str) -> GroundTruth:
    """Return the truth of a sentence, the same object each time.

    Raises:
        PromptError: if it is not a sentence of the grammar.
    """
    return GroundTruth(prompt)


@cache
def catalogue() -> dict[str, SolidPoints]:
    """Return every geometry of the grammar by its name, a caption without colours."""
    scenes = [grammar.parse(caption) for caption in grammar.catalogue()]
    return {scene.shape: SolidPoints.from_occupancy(scene.occupancy, 48) for scene in scenes}


def visible_surface(scene: ProceduralScene, count: int = SURFACE_POINTS) -> Surface:
    """Sample up to `count` points of a scene's visible surface.

    Grid points near the surface are projected onto it by four Newton steps of the signed distance.
    """
    points = grid_points(96)
    points = points[points.square().sum(-1) <= 1.1]
    points = points[scene.sdf(points)[0].abs() < 0.04]
    generator = torch.Generator().manual_seed(0)
    points = points[torch.randperm(len(points), generator=generator)[: 2 * count]]
    for _ in range(4):
        normals = scene.normals(points)
        points = points - scene.sdf(points)[0][:, None] * normals
    normals = scene.normals(points)
    # A face where two parts touch is inside the object: a step outward does not leave it.
    visible = (scene.sdf(points)[0].abs() < 0.01) & (scene.sdf(points + 0.04 * normals)[0] > 0.015)
    points, normals = points[visible][:count], normals[visible][:count]
    part = scene.sdf(points)[1]
    shares = torch.bincount(part, minlength=len(scene.parts)).float() / max(1, len(part))
    return Surface(points, normals, part, scene.colors[part], shares)


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
