"""The colour behind the object: solid, random, or learned as a function of the ray's direction."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dfast.config import BackgroundConfig


class Background(nn.Module):
    """The colour of each ray behind the object.

    Only the kind "mlp" has parameters: a network of two layers on the components of the direction,
    their products and their squares, nine inputs that span the spherical harmonics up to degree 2.
    """

    def __init__(self, config: BackgroundConfig, generator: torch.Generator | None = None) -> None:
        """Make a background, with random parameters if it has any.

        Args:
            config: kind, colour, and width of the network.
            generator: draws the parameters, on the host.
        """
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

    @property
    def is_learned(self) -> bool:
        """Whether the colour depends on the direction and has parameters."""
        return self.config.kind == "mlp"

    def sample_colors(self, n: int, generator: torch.Generator) -> Tensor:
        """Return one colour for each of n views.

        Args:
            n: number of views.
            generator: source of the colours if they are random.

        Returns:
            [n, 3] in [0, 1] on the generator's device.
        """
        if self.config.kind == "random":
            return torch.rand(n, 3, generator=generator, device=generator.device)
        return torch.tensor(self.config.color, device=generator.device).expand(n, 3)

    def forward(self, directions: Tensor, colors: Tensor) -> Tensor:
        """Return the colour behind each ray; differentiable in the parameters.

        Args:
            directions: [R, 3] unit vectors.
            colors: [B, 3] colours of the views, which have R / B neighbouring rays each. A learned
                background ignores them.

        Returns:
            [R, 3] in [0, 1].
        """
        if not self.is_learned:
            return colors.repeat_interleave(directions.shape[0] // max(colors.shape[0], 1), 0)
        d = directions
        inputs = torch.cat([d, d * d.roll(-1, -1), d * d], -1)  # x y z, xy yz zx, squares
        hidden = torch.relu(torch.addmm(self.biases[0], inputs, self.weights[0].t()))
        return torch.sigmoid(torch.addmm(self.biases[1], hidden, self.weights[1].t()))
