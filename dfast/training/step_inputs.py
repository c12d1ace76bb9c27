"""What the host decides about a step before the device computes it: draws and schedules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dfast.config import Config
from dfast.config.schedules import learning_rate, ramp, t_range
from dfast.scene.background import Background
from dfast.scene.cameras import CameraBatch
from dfast.scene.coarse_to_fine import level_weights
from dfast.scene.lighting import Lighting
from dfast.training.sampling import sample_cameras, sample_lighting, sample_timesteps


@dataclass(frozen=True)
class StepInputs:
    """B views and the numbers of one step. Only `shading.lit` is a fact for the host."""

    cameras: CameraBatch
    shading: Lighting
    colors: Tensor
    """[B,3] backgrounds"""
    t: Tensor
    """[B] int64"""
    alpha: Tensor
    """[B] of t"""
    sigma: Tensor
    """[B] of t"""
    levels: Tensor
    """[L] weights of the grid's levels"""
    factor: Tensor
    """[1] of the learning rates"""
    orientation: Tensor
    """[1] weight of that regulariser"""
    against: Tensor
    """[1] share of CSD's pull away from the negative prompt"""

    def tensors(self) -> list[Tensor]:
        """All of them, in a fixed order."""
        c, s = self.cameras, self.shading
        return [
            c.origin, c.rotation, c.fov, c.azimuth, c.elevation, c.distance,
            s.light_position, s.ambient, s.diffuse, s.textureless,
            self.colors, self.t, self.alpha, self.sigma, self.levels, self.factor,
            self.orientation, self.against,
        ]  # fmt: skip

    def replace(self, tensors: Sequence[Tensor]) -> StepInputs:
        """The same step with its tensors replaced by others in the order of `tensors()`."""
        light_position, ambient, diffuse, textureless = tensors[6:10]
        lit = self.shading.lit
        shading = Lighting(light_position, ambient, diffuse, textureless, lit)
        return StepInputs(CameraBatch(*tensors[:6]), shading, *tensors[10:])


def draw(
    config: Config,
    step: int,
    schedule: tuple[Tensor, Tensor],
    background: Background,
    resolutions: tuple[int, ...],
    generator: torch.Generator,
) -> StepInputs:
    """The inputs of step number `step`, on the host.

    schedule: the prior's (alpha, sigma) [T] on the host; resolutions: of the grid's levels.
    """
    now, n = step / config.train.steps, config.camera.views
    cameras = sample_cameras(config.camera, n, generator)
    shading = sample_lighting(config.shading, config.light, cameras, now, generator)
    colors = background.sample_colors(n, generator)
    alpha, sigma = schedule
    t = sample_timesteps(n, *t_range(now, config.guidance), len(alpha), generator)
    levels = level_weights(now, resolutions, config.coarse_to_fine)
    regularizer = config.regularizer
    toward = ramp(now, *regularizer.orientation, regularizer.orientation_until)
    return StepInputs(
        cameras,
        shading,
        colors,
        t,
        alpha[t],
        sigma[t],
        # Recorded launches cannot change with the schedule: ones in place of no weights.
        torch.ones(len(resolutions)) if levels is None else levels,
        torch.tensor([learning_rate(step, config.train.steps, config.optimizer)]),
        torch.tensor([toward]),
        torch.tensor([ramp(now, *config.guidance.negative_weight, 1.0)]),
    )
