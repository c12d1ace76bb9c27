"""What is seen where the object is not: a solid or random colour, or a function of direction."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dfast.config import BackgroundConfig


class Background(nn.Module):
    """Colour of each ray. Only "mlp" has parameters, two layers on products of the direction."""

    def __init__(self, config: BackgroundConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("color", torch.tensor(config.color), persistent=False)
        self.color: Tensor
        if config.kind == "mlp":
            hidden = config.hidden
            self.weights = nn.ParameterList([torch.empty(hidden, 9), torch.empty(3, hidden)])
            self.biases = nn.ParameterList([torch.zeros(hidden), torch.zeros(3)])
            with torch.no_grad():
                for weight in self.weights:
                    draw = 2.0 * torch.rand(weight.shape, generator=generator) - 1.0
                    weight.copy_(draw * math.sqrt(6.0 / weight.shape[1]))

    def sample_colors(self, n: int, generator: torch.Generator) -> Tensor:
        """[n,3] one colour a view, on the generator's device; the solid one unless random."""
        if self.config.kind == "random":
            return torch.rand(n, 3, generator=generator, device=generator.device)
        return torch.tensor(self.config.color, device=generator.device).expand(n, 3)

    def forward(self, directions: Tensor, colors: Tensor) -> Tensor:
        """[R,3] in [0, 1] for unit directions [R,3]; colors [B,3] of the views, R / B rays each."""
        if self.config.kind != "mlp":
            return colors.repeat_interleave(directions.shape[0] // max(colors.shape[0], 1), 0)
        d = directions  # beside it: xy, yz, zx and the squares
        products = torch.cat([d, d * d.roll(-1, -1), d * d], -1)
        hidden = torch.relu(torch.addmm(self.biases[0], products, self.weights[0].t()))
        return torch.sigmoid(torch.addmm(self.biases[1], hidden, self.weights[1].t()))
