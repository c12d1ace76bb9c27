"""Analytic density fields for the tests of meshes and scores."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from dfast.evaluation.score import score
from dfast.evaluation.scorecard import Score
from dfast.world.build import build_scene
from dfast.world.reading import read


class Ball:
    """A soft-edged ball; red where x > 0, blue elsewhere."""

    def __init__(
        self,
        radius: float = 0.5,
        center: tuple[float, float, float] = (0, 0, 0),
        peak: float = 60.0,
    ) -> None:
        self.radius, self.peak = radius, peak
        self.center = torch.tensor(center, dtype=torch.float32)

    def density(self, x: Tensor) -> Tensor:
        distance = (x - self.center).norm(dim=-1) - self.radius
        return self.peak * torch.sigmoid(-distance / 0.01)

    def albedo(self, x: Tensor) -> Tensor:
        red = (x[:, :1] > 0).float()
        return torch.cat([red, torch.zeros_like(red), 1 - red], -1)


class SceneField:
    """A field made from a procedural scene, turned, scaled, moved, with soft edges.

    `yaw` is in degrees, `haze` is a density everywhere, and `flat` squeezes the object along y.
    """

    def __init__(
        self,
        caption: str,
        *,
        yaw: float = 0.0,
        scale: float = 1.0,
        shift: tuple[float, float, float] = (0.0, 0.0, 0.0),
        colors: str | None = None,
        haze: float = 0.0,
        flat: float = 1.0,
        peak: float = 60.0,
    ) -> None:
        self.prompt, self.scale, self.haze, self.flat, self.peak = caption, scale, haze, flat, peak
        self.scene = build_scene(read(caption).sentence)
        self.painted = build_scene(read(colors or caption).sentence)
        c, s = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
        self.turn = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        self.shift = torch.tensor(shift)

    def local(self, x: Tensor) -> Tensor:
        """Return world points [N, 3] in the axes of the scene."""
        return ((x - self.shift) @ self.turn) / self.scale / torch.tensor([1.0, self.flat, 1.0])

    def density(self, x: Tensor) -> Tensor:
        """Return the density [N] at world points x [N, 3]."""
        distance = self.scene.sdf(self.local(x))[0] * self.scale * self.flat
        return self.peak * torch.sigmoid(-distance / 0.015) + self.haze

    def albedo(self, x: Tensor) -> Tensor:
        """Return display RGB [N, 3] at world points x [N, 3]."""
        return self.painted.albedo(self.local(x))


@functools.cache
def score_of_truth(caption: str) -> Score:
    """Return the score of the true object of a caption, of seed 3 and 1.5 seconds of training."""
    return score(SceneField(caption), seed=3, seconds=1.5)
