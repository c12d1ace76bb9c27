"""Everything random or scheduled in one training step, drawn on the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dfast.config import Config
from dfast.config.dream_fields import opacity_target
from dfast.config.schedules import learning_rate, ramp, t_range
from dfast.guidance.base import GuidanceBatch
from dfast.scene.background import Background
from dfast.scene.cameras import CameraBatch
from dfast.scene.coarse_to_fine import level_weights
from dfast.scene.lighting import Lighting
from dfast.scene.tree import Tree, map_tensors
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
    """[L] in [0, 1], weights of the levels of the field's encoding"""
    rate_factor: Tensor
    """[1] in [0, 1], factor of all learning rates"""
    loss_weights: Tensor
    """[K], weights of the losses beside the guidance, in the order of their table"""
    negative_weight: Tensor
    """[1], how much of CSD's pull away from the negative prompt applies"""
    opacity_target: Tensor
    """[1] in [0, 1], mean opacity that Dream Fields leaves to an object"""

    def guidance_batch(self, share: tuple[int, int] = (0, 1)) -> GuidanceBatch:
        """Return the part of these inputs that a guidance may know.

        Args:
            share: see `GuidanceBatch.share`.
        """
        return GuidanceBatch(
            self.cameras,
            self.lighting,
            self.t,
            self.alpha,
            self.sigma,
            self.negative_weight,
            share,
        )


def draw(
    config: Config,
    steps: Sequence[int],
    schedule: tuple[Tensor, Tensor],
    background: Background,
    resolutions: Sequence[float],
    generator: torch.Generator,
    loss_weights: Callable[[float], Sequence[float]] = lambda progress: (),
) -> StepInputs:
    """Draw the inputs of S steps on the host.

    Args:
        config: distributions and schedules.
        steps: numbers of the steps, from 0.
        schedule: the guidance's (alpha [T], sigma [T]) on the host.
        background: draws the background colours.
        resolutions: of the levels of the field's encoding, see `RadianceField.resolutions`.
        generator: source of randomness, on the host.
        loss_weights: weights of the losses beside the guidance at a fraction of the run.

    Returns:
        The inputs, each tensor with a first axis [S, ...] before its own; `lighting.lit` says
        whether any step is lit.
    """
    total, n, count = config.train.steps, config.camera.views, len(steps)
    ring = config.camera.ring
    progress = [min(step / total, 1.0) for step in steps]
    cameras = sample_cameras(config.camera, n, generator, count)
    lighting = sample_lighting(config.shading, config.light, cameras, progress, generator, ring)
    colors = background.sample_colors(n * count // ring, generator).repeat_interleave(ring, 0)
    alpha, sigma = schedule
    ranges = [t_range(p, config.guidance) for p in progress]
    t = sample_timesteps(n // ring, ranges, len(alpha), generator).repeat_interleave(ring)
    # A CUDA graph cannot switch from weights to no weights when the schedule ends, so ones stand
    # for no weights.
    ones = torch.ones(len(resolutions))
    levels = [level_weights(p, resolutions, config.coarse_to_fine) for p in progress]
    rates = [learning_rate(min(step, total), total, config.optimizer) for step in steps]
    weights = [list(loss_weights(p)) for p in progress]
    targets = [opacity_target(p, config.dream_fields) for p in progress]
    pulls = [ramp(p, *config.guidance.negative_weight, 1.0) for p in progress]

    def rows(values: Tree) -> Tree:
        """Return what was drawn for all images, a step a row."""
        return map_tensors(lambda tensor: tensor.unflatten(0, (count, n)), values)

    return StepInputs(
        cameras=rows(cameras),
        lighting=rows(lighting),
        colors=rows(colors),
        t=rows(t),
        alpha=rows(alpha[t]),
        sigma=rows(sigma[t]),
        level_weights=torch.stack([ones if level is None else level for level in levels]),
        rate_factor=torch.tensor(rates)[:, None],
        loss_weights=torch.tensor(weights, dtype=torch.float32).view(count, len(weights[0])),
        negative_weight=torch.tensor(pulls)[:, None],
        opacity_target=torch.tensor(targets)[:, None],
    )
