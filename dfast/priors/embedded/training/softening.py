"""Make true renders look as images do that a prior or a run makes: less sharp, and noisy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class Softening:
    """Blurs some images, and adds noise to all."""

    def __init__(self, noise: float, blurred: float, device: torch.device) -> None:
        """Make the filter of the blur, which a CUDA graph could not copy to its device.

        Args:
            noise: standard deviation.
            blurred: share of images.
            device: of the images.
        """
        self.noise, self.blurred = noise, blurred
        row = torch.tensor([0.25, 0.5, 0.25], device=device)
        self.filter = (row[:, None] * row).expand(3, 1, 3, 3).contiguous()

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Return softened images.

        Args:
            image: [B, 3, H, W].
            generator: on their device.
        """
        device = image.device
        blurred = F.conv2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), self.filter, groups=3)
        chosen = torch.rand(len(image), 1, 1, 1, device=device, generator=generator) < self.blurred
        noise = torch.randn(image.shape, device=device, generator=generator)
        return torch.where(chosen, blurred, image) + self.noise * noise
