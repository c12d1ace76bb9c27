"""Compare a mesh with the true surface: normals, distances, and area where nothing should be.

The mesh is first brought to the truth by the yaw, scale and translation at which its surface fits
best, as for the IoU. Lengths are in units of the radius of the bounding sphere, 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dfast.evaluation.alignment import OFFSET, SCALE, YAW, pattern_search
from dfast.evaluation.truths import GroundTruth
from dfast.mesh.mesh import Mesh
from dfast.world.scenes import ProceduralScene

SAMPLES = 8000
"""Points on the mesh, spread evenly over its area."""
FAR = 0.08
"""Distance from the true surface beyond which area is a floater, or a wall that should not be."""
STEEP = 30.0
"""Degrees beyond which a normal is wrong."""
TIGHT = 0.01
"""Distance within which the F-score counts a point as found."""
EDGE_REACH = 0.04
"""A point is at an edge if the true normal turns by more than `EDGE_TURN` within this distance."""
EDGE_TURN = 20.0
"""Degrees."""
POSE_STEPS = torch.tensor([2.0, 0.02, 0.02, 0.02, 0.02], dtype=torch.float32, device="cpu")
"""First steps of the search for the pose: degrees, logarithm of the scale, three lengths."""


@dataclass(frozen=True)
class SurfaceScore:
    """How a mesh differs from the true surface."""

    normals: float | None
    """Mean angle between the mesh's and the true normals away from edges, degrees; None where no
    area is near the true surface."""
    steep: float | None
    """Share of that area whose angle exceeds `STEEP`."""
    edges: float | None
    """Mean angle at edges, degrees; None for an object without any."""
    chamfer: float
    """Mean of the mean distances from mesh to truth and from truth to mesh, percent of the
    radius."""
    f_score: float
    """Harmonic mean of the shares of the mesh and of the truth that are within `TIGHT` of the
    other."""
    far: float
    """Share of the mesh's area farther than `FAR` from the true surface."""


@dataclass(frozen=True)
class _Samples:
    """Points of a mesh [N, 3] and the unit normals [N, 3] of the faces that they are on."""

    points: Tensor
    normals: Tensor


def surface_score(mesh: Mesh, truth: GroundTruth, pose: Tensor, centroid: Tensor) -> SurfaceScore:
    """Measure a mesh against the truth of a sentence.

    Args:
        mesh: in world axes, at least one face.
        truth: of the sentence.
        pose: [5], takes the truth to the result about `centroid`, see `dfast.evaluation.alignment`;
            the search for the best pose begins there.
        centroid: [3] of the result.
    """
    scene = truth.scene
    samples = _place(_sample(mesh), truth, pose, centroid)
    nearest, normals, distance = _project(scene, samples.points)
    angles = _angles(samples.normals, normals)
    near, edge = distance < FAR, _at_edges(scene, nearest, normals)
    smooth = angles[near & ~edge]
    back = _distances(truth.surface.points, samples)
    precision, recall = (float((d < TIGHT).float().mean()) for d in (distance, back))
    return SurfaceScore(
        normals=_mean(smooth),
        steep=_mean((smooth > STEEP).float()),
        edges=_mean(angles[near & edge]),
        chamfer=50.0 * float(distance.mean() + back.mean()),
        f_score=2 * precision * recall / max(precision + recall, 1e-9),
        far=float((~near).float().mean()),
    )


def _mean(values: Tensor) -> float | None:
    """Return the mean, None of none."""
    return float(values.mean()) if len(values) else None


def _sample(mesh: Mesh, count: int = SAMPLES) -> _Samples:
    """Return points spread evenly over the area of a mesh, the same ones each time."""
    corners = torch.from_numpy(mesh.vertices).float()[torch.from_numpy(mesh.faces).long()]
    cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    generator = torch.Generator().manual_seed(0)
    # One point from each equal share of the area: less noise than independent draws.
    area = cross.norm(dim=-1).double().cumsum(0)
    where = (torch.arange(count) + torch.rand(count, generator=generator)) / count * area[-1]
    face = torch.searchsorted(area, where.double()).clamp(max=len(area) - 1)
    u, v = torch.rand(2, count, generator=generator)
    u = u.sqrt()
    weights = torch.stack([1 - u, u * (1 - v), u * v], 1)
    points = (weights[..., None] * corners[face]).sum(1)
    return _Samples(points, F.normalize(cross[face], dim=-1))


def _place(samples: _Samples, truth: GroundTruth, pose: Tensor, centroid: Tensor) -> _Samples:
    """Bring samples to the truth's place, by the pose at which they are nearest to its surface."""
    few = samples.points[:: max(1, len(samples.points) // 1500)]
    origin = truth.solid.centroid

    def misfit(poses: Tensor) -> Tensor:
        """Return minus the mean distance [S, K] of poses [S, K, 5]; far points count alike."""
        rows = [_undo(few, p, origin, centroid) for p in poses.reshape(-1, 5)]
        distance = truth.scene.sdf(torch.cat(rows))[0].abs().clamp(max=FAR)
        return -distance.view(len(rows), -1).mean(1).view(poses.shape[:-1])

    home = torch.zeros(5)  # where the world puts the object
    home[OFFSET] = origin - centroid
    best, score = pattern_search(misfit, torch.stack([pose, home]), POSE_STEPS, 14)
    best = best[score.argmax()]
    turn = _undo(samples.normals, torch.cat([best[:1], torch.zeros(4)]), *[torch.zeros(3)] * 2)
    return _Samples(_undo(samples.points, best, origin, centroid), turn)


def _undo(points: Tensor, pose: Tensor, origin: Tensor, centroid: Tensor) -> Tensor:
    """Return the points [N, 3] that a pose [5] takes to `points`, as `apply_pose` defines it."""
    x, y, z = ((points - centroid - pose[OFFSET]) / pose[SCALE].exp()).unbind(-1)
    angle = math.radians(float(pose[YAW]))
    c, s = math.cos(angle), math.sin(angle)
    return torch.stack([c * x + s * y, c * y - s * x, z], -1) + origin


def _project(scene: ProceduralScene, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the nearest points of a scene's surface, the normals there, and the distances."""
    nearest = points
    for _ in range(4):
        nearest = nearest - scene.sdf(nearest)[0][:, None] * scene.normals(nearest)
    return nearest, scene.normals(nearest), (points - nearest).norm(dim=-1)


def _at_edges(scene: ProceduralScene, points: Tensor, normals: Tensor) -> Tensor:
    """Return whether the normal of a surface turns near its points, bool [N]."""
    generator, edge = torch.Generator().manual_seed(0), torch.zeros(len(points), dtype=torch.bool)
    for _ in range(8):
        step = F.normalize(torch.randn(points.shape, generator=generator), dim=-1)
        reach = EDGE_REACH * torch.rand(len(points), 1, generator=generator).sqrt()
        _, other, _ = _project(scene, points + reach * step)
        edge |= _angles(other, normals) > EDGE_TURN
    return edge


def _angles(a: Tensor, b: Tensor) -> Tensor:
    """Return the angles [N] between unit vectors [N, 3], degrees."""
    return torch.rad2deg(torch.acos((a * b).sum(-1).clamp(-1, 1)))


def _distances(points: Tensor, samples: _Samples) -> Tensor:
    """Return the distances [N] of points to the surface that samples are of.

    The surface near a sample is taken for its plane, so that the distance does not depend on how
    dense the samples are; points without a sample nearby are as far as the nearest one.
    """
    distances = []
    for part in points.split(1000):
        between, index = torch.cdist(part, samples.points).min(1)
        to_plane = ((part - samples.points[index]) * samples.normals[index]).sum(-1).abs()
        distances.append(torch.where(between < EDGE_REACH, to_plane, between))
    return torch.cat(distances)
