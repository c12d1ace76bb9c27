"""A stand-in for a prior, with which all but the prior can be timed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dfast.priors.base import Approximation, Condition, Prior


class SilentPrior(Prior):
    """Stands in for a prior: the same shapes, at no cost and without weights."""

    cuda_graph_safe = True

    def __init__(self, prior: Prior) -> None:
        """Take the shapes of a prior.

        Args:
            prior: the prior; its `check_text` is used as well.
        """
        self._prior, self.name, self.image_size = prior, prior.name, prior.image_size
        self.conditions, self.is_latent = prior.conditions, prior.is_latent
        self.joint_views = prior.joint_views

    def noise_schedule(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the prior's own noise schedule."""
        return self._prior.noise_schedule(device)

    def encode_prompt(self, prompt: str, *, views: str = "camera", negative: str = "") -> None:
        """Raise what the prior would raise for the text."""
        self._prior.check_text(prompt, negative)

    def encode_images(self, images: Tensor, *, approximate: Approximation = False) -> Tensor:
        """Return the mean of the pixels under each latent, if the prior is latent."""
        if not self.is_latent:
            return images
        return torch.nn.functional.adaptive_avg_pool2d(images, self._prior.latent_size)

    def predict_noise(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: None,
        *,
        cameras: Any,
        textureless: Tensor,
        conditions: tuple[Condition, ...] = ("text",),
    ) -> Tensor:
        """Return what is given, once for each condition."""
        return noisy.expand(len(conditions), *noisy.shape)
