"""A prior whose prediction is known exactly: that of a model whose data is one image a camera."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dfast.guidance import GuidanceBatch
from dfast.priors.base import Condition, Prior
from dfast.scene.cameras import CameraBatch, orbit
from dfast.scene.lighting import fixed_lighting

AXES = (0.62, 0.48, 0.4)


def cosine_schedule(count: int = 100) -> tuple[Tensor, Tensor]:
    """Return (alpha, sigma) [T] of the cosine schedule, kept off its ends."""
    angle = (torch.arange(count) + 0.5) / count * (0.5 * torch.pi)
    return torch.cos(angle), torch.sin(angle)


def guidance_batch(
    schedule: tuple[Tensor, Tensor], views: int = 4, level: float = 0.6
) -> GuidanceBatch:
    """Return a batch of views from around, whose timesteps are near `level` of all of them."""
    alpha, sigma = schedule
    cameras = orbit(views, azimuth=20.0, elevation=25.0)
    t = (int(level * len(alpha)) + torch.arange(views) % 2).clamp(max=len(alpha) - 1)
    lighting = fixed_lighting("diffuse", cameras)
    return GuidanceBatch(cameras, lighting, t, alpha[t], sigma[t], torch.ones(1))


def ellipsoid(cameras: CameraBatch, resolution: int, samples: int = 3) -> Tensor:
    """Return images [B, 3, H, W] in [0, 1] of an ellipsoid of varied colour on white."""
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


class OraclePrior(Prior):
    """The data is one image, x* = `picture(cameras, image_size)`: eps_hat = (z - alpha x*) / sigma.

    Attributes:
        poison: how many predictions will be NaN before they are right again.
    """

    name = "oracle"

    def __init__(
        self, image_size: int = 32, picture: Callable[[CameraBatch, int], Tensor] = ellipsoid
    ) -> None:
        self.image_size, self.picture = image_size, picture
        self.alpha, self.sigma = cosine_schedule()
        self.poison = 0

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
        conditions: tuple[Condition, ...] = ("text",),
    ) -> Tensor:
        assert cameras is not None
        if self.poison > 0:
            self.poison -= 1
            return torch.full((len(conditions), *noisy.shape), torch.nan, device=noisy.device)
        target = 2.0 * self.picture(cameras, self.image_size) - 1.0
        alpha, sigma = (v.to(noisy.device)[t].view(-1, 1, 1, 1) for v in (self.alpha, self.sigma))
        return ((noisy - alpha * target) / sigma).expand(len(conditions), *noisy.shape)
