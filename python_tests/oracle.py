"""Priors whose answer is known exactly: what the diffusion model would say if the data were one
picture a camera.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dfast.scene.cameras import CameraBatch

AXES = (0.62, 0.48, 0.4)


def cosine_schedule(count: int = 100) -> tuple[Tensor, Tensor]:
    """(alpha, sigma) [T] of the cosine schedule, kept off its ends."""
    angle = (torch.arange(count) + 0.5) / count * (0.5 * torch.pi)
    return torch.cos(angle), torch.sin(angle)


def ellipsoid(cameras: CameraBatch, resolution: int, samples: int = 3) -> Tensor:
    """[B,3,H,W] in [0, 1]: an ellipsoid of varied colour on white, anti-aliased."""
    size = resolution * samples
    origins, directions = cameras.rays(size)
    scale = origins.new_tensor(AXES)
    o, d = origins / scale, directions / scale
    a, b, c = d.square().sum(-1), (o * d).sum(-1), o.square().sum(-1) - 1.0
    root = b * b - a * c
    t = (-b - root.clamp(min=0.0).sqrt()) / a
    color = 0.5 + 0.4 * (o + t[:, None] * d)
    color = torch.where((root > 0)[:, None], color, 1.0)
    image = color.view(len(cameras), size, size, 3).permute(0, 3, 1, 2)
    return torch.nn.functional.avg_pool2d(image, samples)


class OraclePrior:
    """A delta at `picture(cameras, image_size)`: eps_hat = (z - alpha x*) / sigma."""

    name = "oracle"

    def __init__(
        self, image_size: int = 32, picture: Callable[[CameraBatch, int], Tensor] = ellipsoid
    ) -> None:
        self.image_size, self.picture = image_size, picture
        self.alpha, self.sigma = cosine_schedule()
        self.poison = 0
        """Answers that will be NaN before it speaks the truth again."""

    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return self.alpha.to(device), self.sigma.to(device)

    def encode_prompt(self, prompt: str, *, views: str = "camera", negative: str = "") -> str:
        return prompt

    def predict_noise(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: str,
        *,
        cameras: CameraBatch | None,
        textureless: Tensor,
        conditions: tuple[str, ...] = ("text",),
    ) -> Tensor:
        assert cameras is not None
        if self.poison > 0:
            self.poison -= 1
            return torch.full((len(conditions), *noisy.shape), torch.nan, device=noisy.device)
        target = 2.0 * self.picture(cameras, self.image_size) - 1.0
        alpha, sigma = (v.to(noisy.device)[t].view(-1, 1, 1, 1) for v in (self.alpha, self.sigma))
        return ((noisy - alpha * target) / sigma).expand(len(conditions), *noisy.shape)
