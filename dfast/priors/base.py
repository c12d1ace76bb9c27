"""What the trainer asks of a diffusion model, and nothing more."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..cameras import CameraBatch

Condition = Any
"""Whatever `Prior.embed` made of a prompt; only the prior that made it looks inside."""


@runtime_checkable
class Prior(Protocol):
    """A text-conditioned diffusion model of images in model space [-1, 1].

    Methods that cannot serve a request raise `dfast.errors.PriorError` or `PromptError`, each with
    one line.

    A prior may have an attribute `capturable`, False if it has none. True promises that
    `predict_noise` launches the same work for equal shapes whatever the tensors hold, asks the host
    for nothing and keeps nothing there: on CUDA it is then recorded once and replayed, and its
    Python runs no more.
    """

    name: str
    """A short name for logs and run folders."""
    image_size: int
    """Pixels a side of the images it sees; the trainer resizes renders to it."""

    def alphas(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(alpha [T], sigma [T]) float32 with alpha^2 + sigma^2 = 1, from clean to noise."""
        ...

    def embed(self, prompt: str, *, views: str = "camera") -> Condition:
        """All the text work of a run, done once.

        views: how the camera will be told: "camera" (the finest this prior knows), "words" (the
        paper's four) or "none".
        """
        ...

    def predict_noise(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: Condition,
        *,
        cameras: CameraBatch | None,
        textureless: Tensor,
        guidance: float,
    ) -> Tensor:
        """The guided noise eps_hat [B,3,H,W] float32, with no graph.

        noisy [B,3,H,W] float32 = alpha x + sigma eps; t [B] int64; cameras: B views or None;
        textureless [B] bool: the picture shows the shape in white; guidance: the paper's w, see
        `dfast.sds.guided`.
        """
        ...
