"""Laying a prediction over a truth: the best IoU over yaw, scale, translation and level set.

A pose takes truth points to the prediction: ``x' = s R(yaw) (x - truth centroid) + prediction
centroid + offset``. Only points inside the truth are ever sampled. With p(l) the share of them
whose density exceeds l, and V_P(l) the prediction's own volume at that level, intersection = V_T
p(l) and union = V_T + V_P(l) / s^3 - V_T p(l), so every level is had from one histogram and matter
outside the truth is counted wherever it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dfast.mesh.density_grid import RADIUS, grid_points, sample, silhouette_level

FLOOR = 0.01  # densities are compared as log(1 + tau / FLOOR): zero stays zero, levels stay levels
LEVELS = 40
YAW, SCALE, OFFSET = (
    0,
    1,
    slice(2, 5),
)  # columns of a pose [.., 5]: degrees, log of the scale, world units
STEPS = torch.tensor([7.5, 0.10, 0.06, 0.06, 0.06])


@dataclass(frozen=True)
class Truth:
    """A solid as points spread evenly inside it."""

    inside: Tensor  # [N, 3], one a grid cell, in random order: any prefix is a fair sample
    volume: float

    @property
    def centroid(self) -> Tensor:
        """Mean of the points, [3]."""
        return self.inside.mean(0)

    @staticmethod
    def of(occupied: Callable[[Tensor], Tensor], n: int = 64) -> Truth:
        """From a predicate on world points [N, 3] -> bool [N], tried once in each of n**3 cells."""
        points = scattered(n)
        points = points[points.square().sum(-1) <= RADIUS**2]
        inside = points[occupied(points)]
        if not len(inside):
            raise ValueError("a truth must occupy at least one cell, got an empty solid")
        order = torch.randperm(len(inside), generator=torch.Generator().manual_seed(0))
        return Truth(inside[order], len(inside) * (2 * RADIUS / n) ** 3)

    def sample(self, count: int) -> Tensor:
        """``count`` points [count, 3] inside, repeating when there are fewer."""
        return self.inside[torch.arange(count) % len(self.inside)]


class Prediction:
    """A density grid [n, n, n] prepared for alignment.

    empty: there is nothing to see; level: the density of its silhouettes; centroid [3]; volumes
    [LEVELS]: world volume above each candidate level; thresholds [LEVELS] in the compared units.
    """

    def __init__(self, density: Tensor) -> None:
        n = density.shape[0]
        self.density = density
        self.grid = torch.log1p(density / FLOOR)
        self.level = silhouette_level(density)
        self.empty = self.level <= 0
        top = float(self.grid.max())
        self.low = min(math.log1p(0.1 / FLOOR), 0.2 * top)
        self.width = max((top - self.low) / LEVELS, 1e-6)
        # one jittered point a cell: the volume of the same interpolated field that poses are scored
        # with
        jitter = torch.rand(n**3, 3, generator=torch.Generator().manual_seed(0)) - 0.5
        points = grid_points(n) + jitter * (2 * RADIUS / n)
        values = sample(self.grid, points)
        self.volumes = self.shares(values[None])[0] * (2 * RADIUS) ** 3
        solid = points[values > math.log1p(self.level / FLOOR)]
        self.centroid = solid.mean(0) if len(solid) else torch.zeros(3)
        self.volume = len(solid) / n**3 * (2 * RADIUS) ** 3

    def shares(self, values: Tensor) -> Tensor:
        """Share of the values [B, P] above each threshold, [B, LEVELS]."""
        rows, count = values.shape
        bins = ((values - self.low) / self.width).ceil().clamp(0, LEVELS).long()
        bins += torch.arange(rows)[:, None] * (LEVELS + 1)
        histogram = torch.bincount(bins.ravel(), minlength=rows * (LEVELS + 1)).reshape(rows, -1)
        return histogram.flip(1).cumsum(1).flip(1)[:, 1:] / count


def scattered(n: int) -> Tensor:
    """One point [n**3, 3] at a random place of each cell (always the same places): unlike the
    centres, these measure volumes without bias for faces that follow the grid.
    """
    jitter = torch.rand(n**3, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    return grid_points(n) + jitter * (2 * RADIUS / n)


def place(points: Tensor, centroid: Tensor, pose: Tensor, origin: Tensor) -> Tensor:
    """Truth points [S, P, 3] (truth centroids [S, 3]) under poses [S, K, 5] about the prediction's
    centroid ``origin`` [3]: prediction points [S, K, P, 3]."""
    angle = torch.deg2rad(pose[..., YAW])
    c, s = angle.cos()[..., None], angle.sin()[..., None]
    x, y, z = (points - centroid[:, None])[:, None].unbind(-1)  # each [S, 1, P]
    turned = torch.stack([c * x - s * y, s * x + c * y, z.expand_as(c * x)], -1)
    return (
        turned * pose[..., SCALE].exp()[..., None, None]
        + (pose[..., OFFSET] + origin)[..., None, :]
    )


def iou(
    prediction: Prediction, points: Tensor, volume: Tensor, centroid: Tensor, pose: Tensor
) -> Tensor:
    """Best IoU over the level set, [S, K], of truths (points [S, P, 3], volumes [S], centroids [S,
    3]) under poses [S, K, 5].
    """
    rows = []
    budget = max(1, 2_000_000 // max(1, pose.shape[1] * points.shape[1]))
    for part in torch.arange(len(pose)).split(budget):
        where = place(points[part], centroid[part], pose[part], prediction.centroid)
        count = where.shape[2]
        values = sample(prediction.grid, where.reshape(-1, 3)).reshape(-1, count)
        common = (
            prediction.shares(values).reshape(*pose[part].shape[:2], LEVELS)
            * volume[part, None, None]
        )
        own = prediction.volumes * (-3 * pose[part][..., SCALE, None]).exp()
        rows.append((common / (volume[part, None, None] + own - common)).amax(-1))
    return torch.cat(rows)


def climb(
    objective: Callable[[Tensor], Tensor], start: Tensor, steps: Tensor, rounds: int
) -> tuple[Tensor, Tensor]:
    """Pattern search of S maxima side by side.

    objective: parameters [S, K, D] -> scores [S, K]; start [S, D]; steps [D], halved for a row
    whenever none of its 2 D neighbours is better. Returns (parameters [S, D], scores [S]).
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


def starts(
    prediction: Prediction, truths: list[Truth], keep: int, count: int = 512
) -> tuple[Tensor, Tensor]:
    """Coarse search: the ``keep`` best of 24 yaws (each at its best of three scales), centroid on
    centroid.

    Returns (poses [S, keep, 5], IoU [S, keep]).
    """
    yaws = torch.arange(24) * 15.0
    points, volume, centroid = batch(truths, count)
    fit = (prediction.volume / volume).clamp_min(1e-6).log() / 3  # [S]
    shifts = torch.tensor([-0.15, 0.0, 0.15])
    pose = torch.zeros(len(truths), len(yaws), len(shifts), 5)
    pose[..., YAW] = yaws[:, None]
    pose[..., SCALE] = fit[:, None, None] + shifts
    score = iou(prediction, points, volume, centroid, pose.flatten(1, 2)).reshape(pose.shape[:3])
    score, shift = score.max(2)  # [S, 24]
    pose = pose.gather(2, shift[..., None, None].expand(-1, -1, 1, 5))[:, :, 0]
    score, order = score.topk(keep, dim=1)
    return pose.gather(1, order[..., None].expand(-1, -1, 5)), score


def align(
    prediction: Prediction, truths: list[Truth], *, keep: int, rounds: int, count: int
) -> tuple[Tensor, Tensor]:
    """The ``keep`` best coarse poses of each truth, each climbed: (poses [S, keep, 5], IoU [S,
    keep]), unordered.
    """
    pose, _ = starts(prediction, truths, keep)
    return refine(prediction, truths, pose, rounds=rounds, count=count)


def refine(
    prediction: Prediction, truths: list[Truth], pose: Tensor, *, rounds: int, count: int
) -> tuple[Tensor, Tensor]:
    """Poses [S, K, 5] climbed with ``count`` points: (poses [S, K, 5], IoU [S, K])."""
    points, volume, centroid = batch(truths, count)
    shape = pose.shape[:2]
    row = torch.arange(shape[0]).repeat_interleave(shape[1])

    def objective(p: Tensor) -> Tensor:  # [S * K, C, 5]
        merged = p.reshape(shape[0], -1, 5)  # the same truth's candidates share its points
        return iou(prediction, points, volume, centroid, merged).reshape(len(row), -1)

    best, score = climb(objective, pose.reshape(-1, 5), STEPS, rounds)
    return best.reshape(*shape, 5), score.reshape(shape)


def batch(truths: list[Truth], count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points [S, count, 3], volumes [S] and centroids [S, 3] of several truths."""
    points = torch.stack([t.sample(count) for t in truths])
    volume = torch.tensor([t.volume for t in truths])
    return points, volume, torch.stack([t.centroid for t in truths])


def ellipsoid_iou(truth: Truth, count: int = 4096) -> float:
    """IoU of the ellipsoid that fits a truth best (centre, axes, and the better of two
    orientations).
    """
    points = truth.sample(count) - truth.centroid
    moments, frame = torch.linalg.eigh(points.T @ points / count)
    # world axes, beside the principal ones
    spread = (points.square().mean(0), moments.clamp_min(1e-8))
    local = torch.stack([points, points @ frame])  # [2, P, 3]
    start = torch.cat([torch.zeros(2, 3), 0.5 * (5 * torch.stack(spread)).log()], 1)

    def objective(p: Tensor) -> Tensor:  # centre (3), log semi-axes (3); [2, K, 6]
        unit = (local[:, None] - p[:, :, None, :3]) / p[:, :, None, 3:].exp()
        common = truth.volume * (unit.square().sum(-1) <= 1).float().mean(-1)
        own = 4 / 3 * math.pi * p[..., 3:].sum(-1).exp()
        return common / (truth.volume + own - common)

    return float(climb(objective, start, torch.tensor([0.05] * 3 + [0.08] * 3), 40)[1].max())
