"""What is seen where the object is not: a solid colour, a random one a view, or a small function of direction."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .config import BackgroundConfig


class Background(nn.Module):
    """Colour of each ray. Only "mlp" has parameters: two layers on the direction and its squares."""

    def __init__(self, config: BackgroundConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("color", torch.tensor(config.color), persistent=False)
        self.color: Tensor
        if config.kind == "mlp":
            self.weights = nn.ParameterList([torch.empty(config.hidden, 9), torch.empty(3, config.hidden)])
            self.biases = nn.ParameterList([torch.zeros(config.hidden), torch.zeros(3)])
            with torch.no_grad():
                for weight in self.weights:
                    bound = math.sqrt(6.0 / weight.shape[1])
                    weight.copy_((2.0 * torch.rand(weight.shape, generator=generator) - 1.0) * bound)

    def sample_colors(self, n: int, generator: torch.Generator) -> Tensor:
        """[n,3] one colour a view on the generator's device: random if that is the kind, else the solid one."""
        if self.config.kind == "random":
            return torch.rand(n, 3, generator=generator, device=generator.device)
        return torch.tensor(self.config.color, device=generator.device).expand(n, 3)

    def forward(self, directions: Tensor, colors: Tensor) -> Tensor:
        """[R,3] in [0, 1] for unit directions [R,3], R a multiple of the B views that colors [B,3] belong to."""
        if self.config.kind != "mlp":
            return colors.repeat_interleave(directions.shape[0] // max(colors.shape[0], 1), 0)
        x, y, z = directions.unbind(-1)
        harmonics = torch.stack([x, y, z, x * y, y * z, z * x, x * x, y * y, z * z], -1)
        hidden = torch.relu(harmonics @ self.weights[0].t() + self.biases[0])
        return torch.sigmoid(hidden @ self.weights[1].t() + self.biases[1])
