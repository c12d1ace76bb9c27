"""Analytic density fields for the tests of meshes."""

from __future__ import annotations

import torch
from torch import Tensor


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
