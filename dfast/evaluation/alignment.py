"""Align true solids with a prediction: the best IoU over yaw, scale, translation and level set.

A pose takes points of a solid to the prediction: x' = s R(yaw) (x - c_S) + c_P + offset, with the
centroids c_S of the solid and c_P of the prediction. Only points inside the solid are ever sampled.
Let p(l) be the fraction of them whose density exceeds level l, V_S the solid's volume and V_P(l)
the prediction's volume at that level. Then the intersection is V_S p(l) and the union is
V_S + V_P(l) / s^3 - V_S p(l). One histogram thus gives every level, and matter outside the solid
counts wherever it is.

Shapes: S solids, K poses of each, P points of each.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dfast.evaluation.solids import LEVELS, Prediction, SolidPoints
from dfast.mesh.density_grid import sample

YAW, SCALE, OFFSET = 0, 1, slice(2, 5)
"""Columns of a pose [..., 5]: degrees, logarithm of the scale, world units."""
STEPS = torch.tensor([7.5, 0.10, 0.06, 0.06, 0.06], dtype=torch.float32, device="cpu")
"""First step sizes of the pattern search over poses."""
COARSE_YAWS = torch.arange(24, dtype=torch.float32, device="cpu") * 15.0
COARSE_SCALES = torch.tensor([-0.15, 0.0, 0.15], dtype=torch.float32, device="cpu")
"""Of the coarse search, added to the logarithm of the scale at which the spreads agree. That at
which the volumes agree is tried, too: it is better for solids of different shapes, and worse for
thin ones, whose volume depends on the level."""
POINTS_A_CHUNK = 2_000_000
"""Bounds the memory of `iou`."""


def align(
    prediction: Prediction, solids: list[SolidPoints], *, keep: int, rounds: int, count: int
) -> tuple[Tensor, Tensor]:
    """Search for the poses of S solids that agree best with a prediction.

    Args:
        prediction: the result.
        solids: the true solids.
        keep: number K of coarse poses of each solid that are refined.
        rounds: of the pattern search.
        count: points of each solid with which refinement scores poses.

    Returns:
        Poses [S, keep, 5] and their IoU [S, keep], in no particular order.
    """
    pose, _ = initial_poses(prediction, solids, keep)
    return refine(prediction, solids, pose, rounds=rounds, count=count)


def initial_poses(
    prediction: Prediction, solids: list[SolidPoints], keep: int, count: int = 512
) -> tuple[Tensor, Tensor]:
    """Search coarsely: 24 yaws, each at its best of four scales, centroid on centroid.

    Args:
        prediction: the result.
        solids: the true solids.
        keep: number of best yaws to return, at most 24.
        count: points of each solid with which poses are scored.

    Returns:
        Poses [S, keep, 5] and their IoU [S, keep], best first.
    """
    points, volume, centroid = batch(solids, count)
    volumes = (prediction.volume / volume).clamp_min(1e-6).log() / 3  # [S]
    spreads = prediction.spread / torch.tensor([solid.spread for solid in solids])
    scales = spreads.clamp_min(1e-2).log()[:, None] + COARSE_SCALES
    scales = torch.cat([scales, volumes[:, None]], 1)  # [S, 4]
    pose = torch.zeros(len(solids), len(COARSE_YAWS), scales.shape[1], 5)
    pose[..., YAW] = COARSE_YAWS[:, None]
    pose[..., SCALE] = scales[:, None]
    score = iou(prediction, points, volume, centroid, pose.flatten(1, 2)).reshape(pose.shape[:3])
    score, scale = score.max(2)  # [S, 24]
    pose = pose.gather(2, scale[..., None, None].expand(-1, -1, 1, 5))[:, :, 0]
    score, order = score.topk(keep, dim=1)
    return pose.gather(1, order[..., None].expand(-1, -1, 5)), score


def refine(
    prediction: Prediction, solids: list[SolidPoints], pose: Tensor, *, rounds: int, count: int
) -> tuple[Tensor, Tensor]:
    """Improve poses by pattern search.

    Args:
        prediction: the result.
        solids: the S true solids.
        pose: [S, K, 5], where to start.
        rounds: of the search.
        count: points of each solid with which poses are scored.

    Returns:
        Poses [S, K, 5] and their IoU [S, K].
    """
    points, volume, centroid = batch(solids, count)
    shape = pose.shape[:2]

    def objective(p: Tensor) -> Tensor:
        """Return the IoU [S K, C] of candidates [S K, C, 5]."""
        merged = p.reshape(shape[0], -1, 5)  # candidates of one solid share its points
        return iou(prediction, points, volume, centroid, merged).reshape(len(p), -1)

    best, score = pattern_search(objective, pose.reshape(-1, 5), STEPS, rounds)
    return best.reshape(*shape, 5), score.reshape(shape)


def pattern_search(
    objective: Callable[[Tensor], Tensor], start: Tensor, steps: Tensor, rounds: int
) -> tuple[Tensor, Tensor]:
    """Maximise a function from S starting points side by side, without gradients.

    In each round, a row moves to the best of its 2 D neighbours, one step away along each axis, if
    that is better; otherwise its steps are halved. Source: Hooke and Jeeves, "Direct search
    solution of numerical and statistical problems" (1961), without the pattern moves.

    Args:
        objective: parameters [S, K, D] to scores [S, K].
        start: [S, D].
        steps: first step along each axis, [D].
        rounds: number of rounds.

    Returns:
        Parameters [S, D] and their scores [S].
    """
    moves = torch.cat([torch.diag(steps), -torch.diag(steps)])  # [2 D, D]
    best, score = start.clone(), objective(start[:, None])[:, 0]
    size = torch.ones(len(start))
    for _ in range(rounds):
        trial = best[:, None] + size[:, None, None] * moves
        value, which = objective(trial).max(1)
        better = value > score
        best = torch.where(better[:, None], trial[torch.arange(len(best)), which], best)
        score = torch.where(better, value, score)
        size = torch.where(better, size, size * 0.5)
    return best, score


def iou(
    prediction: Prediction, points: Tensor, volume: Tensor, centroid: Tensor, pose: Tensor
) -> Tensor:
    """Return the best IoU over the level sets for S solids under K poses each, [S, K].

    Args:
        prediction: the result.
        points: inside the solids, [S, P, 3].
        volume: of the solids, [S].
        centroid: of the solids, [S, 3].
        pose: [S, K, 5].
    """
    rows = []
    chunk = max(1, POINTS_A_CHUNK // max(1, pose.shape[1] * points.shape[1]))
    for part in torch.arange(len(pose)).split(chunk):
        where = apply_pose(points[part], centroid[part], pose[part], prediction.centroid)
        values = sample(prediction.grid, where.reshape(-1, 3)).reshape(-1, where.shape[2])
        fractions = prediction.fractions_above(values).reshape(*pose[part].shape[:2], LEVELS)
        intersection = fractions * volume[part, None, None]
        own = prediction.volumes * (-3 * pose[part][..., SCALE, None]).exp()
        union = volume[part, None, None] + own - intersection
        rows.append((intersection / union).amax(-1))
    return torch.cat(rows)


def apply_pose(points: Tensor, centroid: Tensor, pose: Tensor, origin: Tensor) -> Tensor:
    """Return points of S solids under K poses each, in the prediction's space, [S, K, P, 3].

    Args:
        points: of the solids, [S, P, 3].
        centroid: of the solids, [S, 3].
        pose: [S, K, 5].
        origin: centroid of the prediction, [3].
    """
    angle = torch.deg2rad(pose[..., YAW])
    c, s = angle.cos()[..., None], angle.sin()[..., None]
    x, y, z = (points - centroid[:, None])[:, None].unbind(-1)  # each [S, 1, P]
    turned = torch.stack([c * x - s * y, s * x + c * y, z.expand_as(c * x)], -1)
    scale = pose[..., SCALE].exp()[..., None, None]
    return turned * scale + (pose[..., OFFSET] + origin)[..., None, :]


def batch(solids: list[SolidPoints], count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return points [S, count, 3], volumes [S] and centroids [S, 3] of S solids."""
    points = torch.stack([solid.sample(count) for solid in solids])
    volume = torch.tensor([solid.volume for solid in solids])
    return points, volume, torch.stack([solid.centroid for solid in solids])
