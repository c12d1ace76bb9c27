"""Gaussian blur of images, each with a width of its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def blurred(images: Tensor, std: Tensor, reach: int) -> Tensor:
    """Blur each image; edges are repeated. Differentiable in the images.

    Args:
        images: [N, C, S, S].
        std: [N] standard deviations in pixels; 0 blurs nothing.
        reach: pixels at which the kernel ends.
    """
    offset = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offset / std.clamp(min=1e-3)[:, None]).square())
    kernel = kernel / kernel.sum(1, keepdim=True)
    for _ in range(2):  # along rows, then along columns
        padded = pad(images, (reach, reach, 0, 0), mode="replicate")
        size = images.shape[-1]
        parts = [
            padded.narrow(3, i, size) * kernel[:, i].view(-1, 1, 1, 1) for i in range(2 * reach + 1)
        ]
        images = torch.stack(parts).sum(0).mT
    return images
