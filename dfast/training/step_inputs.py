"""Everything random or scheduled in one training step, drawn on the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dfast.config import Config
from dfast.config.schedules import learning_rate, ramp, t_range
from dfast.guidance.base import GuidanceBatch
from dfast.scene.background import Background
from dfast.scene.cameras import CameraBatch
from dfast.scene.coarse_to_fine import level_weights
from dfast.scene.lighting import Lighting
from dfast.training.sampling import sample_cameras, sample_lighting, sample_timesteps


@dataclass(frozen=True)
class StepInputs:
    """Everything random or scheduled in one training step, for B views.

    All fields are tensors, on the host when drawn and on the device when used, except
    `lighting.lit`, which Python may branch on. `dfast.scene.tree` lists and replaces the tensors.
    """

    cameras: CameraBatch
    lighting: Lighting
    colors: Tensor
    """[B, 3] in [0, 1], background colours"""
    t: Tensor
    """[B] int64 timesteps"""
    alpha: Tensor
    """[B] signal level at t"""
    sigma: Tensor
    """[B] noise level at t"""
    level_weights: Tensor
    """[L] in [0, 1], weights of the hash grid's levels"""
    rate_factor: Tensor
    """[1] in [0, 1], factor of all learning rates"""
    loss_weights: Tensor
    """[K], weights of the losses beside the guidance, in the order of their table"""
    negative_weight: Tensor
    """[1], how much of CSD's pull away from the negative prompt applies"""

    def guidance_batch(self) -> GuidanceBatch:
        """Return the part of these inputs that a guidance may know."""
        return GuidanceBatch(
            self.cameras, self.lighting, self.t, self.alpha, self.sigma, self.negative_weight
        )


def draw(
    config: Config,
    step: int,
    schedule: tuple[Tensor, Tensor],
    background: Background,
    resolutions: tuple[int, ...],
    generator: torch.Generator,
    loss_weights: Sequence[float] = (),
) -> StepInputs:
    """Draw the inputs of one step on the host.

    Args:
        config: distributions and schedules.
        step: number of the step, from 0.
        schedule: the guidance's (alpha [T], sigma [T]) on the host.
        background: draws the background colours.
        resolutions: cells a side of the hash grid's levels.
        generator: source of randomness, on the host.
        loss_weights: weights of the losses beside the guidance in this step.
    """
    progress, n = step / config.train.steps, config.camera.views
    cameras = sample_cameras(config.camera, n, generator)
    lighting = sample_lighting(config.shading, config.light, cameras, progress, generator)
    colors = background.sample_colors(n, generator)
    alpha, sigma = schedule
    t = sample_timesteps(n, *t_range(progress, config.guidance), len(alpha), generator)
    levels = level_weights(progress, resolutions, config.coarse_to_fine)
    return StepInputs(
        cameras=cameras,
        lighting=lighting,
        colors=colors,
        t=t,
        alpha=alpha[t],
        sigma=sigma[t],
        # A CUDA graph cannot switch from weights to no weights when the schedule ends, so ones
        # stand for no weights.
        level_weights=torch.ones(len(resolutions)) if levels is None else levels,
        rate_factor=torch.tensor([learning_rate(step, config.train.steps, config.optimizer)]),
        loss_weights=torch.tensor(list(loss_weights), dtype=torch.float32),
        negative_weight=torch.tensor([ramp(progress, *config.guidance.negative_weight, 1.0)]),
    )
