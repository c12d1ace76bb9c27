"""The visible surface of a true object: points, normals, and the colour that is right at each."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from dfast.mesh.density_grid import grid_points
from dfast.world.scenes import ProceduralScene

SURFACE_POINTS = 4000
FREE = torch.linspace(0.04, 0.16, 7, dtype=torch.float32, device="cpu")
"""Distances from the surface at which it is asked whether it is still the nearest."""


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
    """Display RGB in [0, 1], also of patterns, [N, 3]."""
    region: Tensor
    """Index of the region, all of one thing that has one colour, [N]."""
    words: tuple[str, ...]
    """The colour word of each region."""
    free: Tensor
    """How far along the normal no other surface is near, one of `FREE`, [N]."""

    @property
    def shares(self) -> Tensor:
        """Return the share of each region in the surface's area."""
        return torch.bincount(self.region, minlength=len(self.words)) / max(1, len(self.region))


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
    part, albedo = scene.sdf(points)[1], scene.albedo(points)
    region, words = _regions(scene, part, albedo)
    return Surface(points, normals, part, albedo, region, words, _free(scene, points, normals))


def _free(scene: ProceduralScene, points: Tensor, normals: Tensor) -> Tensor:
    """Return how far along the normals [N, 3] of points [N, 3] no other surface is near, [N].

    There the signed distance grows; half the rate allows for what is only a bound of it.
    """
    outside = points + FREE[:, None, None] * normals
    distance = scene.sdf(outside.reshape(-1, 3))[0].view(len(FREE), -1)
    clear = (distance >= 0.5 * FREE[:, None]).long().cumprod(0).sum(0)
    return FREE[(clear - 1).clamp_min(0)]


def _regions(
    scene: ProceduralScene, part: Tensor, albedo: Tensor
) -> tuple[Tensor, tuple[str, ...]]:
    """Return the region of points [N], and the colour words of all that have points.

    Args:
        scene: parts with one placement are of one thing.
        part: of each point, [N].
        albedo: of each point, [N, 3].
    """
    is_second = (albedo - scene.colors[part]).abs().amax(1) > 0
    number: dict[tuple[Hashable, str], int] = {}
    region = torch.zeros_like(part)
    for k, color in enumerate(scene.part_colors):
        thing = scene.placements[k] if scene.placements else None
        pattern = pattern_of(scene, k)
        for second, word in enumerate((color, pattern[1]) if pattern else (color,)):
            mine = (part == k) & (is_second == bool(second))
            if bool(mine.any()):
                region[mine] = number.setdefault((thing, word), len(number))
    return region, tuple(word for _, word in number)


def pattern_of(scene: ProceduralScene, part: int) -> tuple[str, str] | None:
    """Return the pattern and the second colour of a part, None for a plain one."""
    slot = scene.parts[part].color
    return scene.patterns[slot] if scene.patterns and isinstance(slot, int) else None
