"""The table of losses beside the guidance: name, value, weight.

A `Trainer` takes any such table, so that another loss needs no change of the trainer:

    losses = regularizer_losses(config.regularizer)
    losses["depth"] = Loss(lambda rendering, inputs: rendering.depth.var(), weight=0.1)
    Trainer(config, scene, guidance, generators, losses=losses)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dfast.config import DreamFieldsConfig, RegularizerConfig
from dfast.config.dream_fields import DISTANCE, FOCAL, ZOOM
from dfast.config.schedules import late, ramp
from dfast.render.options import Normals
from dfast.render.outputs import Rendering
from dfast.training import regularizers
from dfast.training.step_inputs import StepInputs


@dataclass(frozen=True)
class Loss:
    """One term of the objective beside the guidance."""

    value: Callable[[Rendering, StepInputs], Tensor]
    """Differentiable scalar of a step. It may be captured in a CUDA graph: it must launch the same
    work at every step, and must not read tensors on the host."""
    weight: float | Callable[[float], float]
    """A constant, or a function of the fraction of the run. A loss whose weight is 0 now is
    computed all the same, so that every step launches the same work."""
    normals: Normals = "none"
    """What the value reads: "shading" for `RayRender.orientation`, which is 0 without normals,
    "image" for `Rendering.normal`, which is None otherwise."""

    def weight_at(self, progress: float) -> float:
        """Return the weight at a fraction of the run, in [0, 1]."""
        return self.weight if isinstance(self.weight, float | int) else self.weight(progress)


def regularizer_losses(config: RegularizerConfig) -> dict[str, Loss]:
    """Return the losses of the settings; those whose weight is 0 throughout are left out.

    Args:
        config: the weights.
    """
    losses = {}
    if max(config.orientation) > 0:
        start, end = config.orientation
        losses["orientation"] = Loss(
            lambda rendering, _: regularizers.orientation(rendering.rays.orientation),
            partial(ramp, start=start, end=end, until=config.orientation_until),
            normals="shading",
        )
    if config.normal_variation > 0:
        losses["normal_variation"] = Loss(
            _normal_variation,
            lambda progress: config.normal_variation * late(progress, config.normal_variation_from),
            normals="image",
        )
    if max(config.darkness) > 0:
        start, end = config.darkness
        losses["darkness"] = Loss(
            lambda rendering, inputs: regularizers.darkness(
                rendering.image, rendering.opacity, (inputs.lighting.diffuse == 0).float()
            ),
            partial(ramp, start=start, end=end, until=config.darkness_until),
        )
    on_opacity: Mapping[str, tuple[Callable[[Tensor], Tensor], float]] = {
        "opacity": (regularizers.opacity, config.opacity),
        "entropy": (regularizers.entropy, config.entropy),
        "total_variation": (regularizers.total_variation, config.total_variation),
    }
    for name, (function, weight) in on_opacity.items():
        if weight > 0:
            losses[name] = Loss(partial(_of_opacity, function), weight)
    return losses


def dream_fields_losses(config: DreamFieldsConfig) -> dict[str, Loss]:
    """Return the loss of Dream Fields beside the guidance.

    Args:
        config: its weight; its target is that of the step's inputs.
    """
    if config.transmittance <= 0:
        return {}
    return {"transmittance": Loss(_transmittance, config.transmittance)}


def _transmittance(rendering: Rendering, inputs: StepInputs) -> Tensor:
    """Return the loss with the target scaled as the paper's code does it for other cameras."""
    cameras = inputs.cameras
    focal = 0.5 / torch.tan(torch.deg2rad(cameras.fov) / 2)
    zoom = (focal / FOCAL) / (cameras.distance / DISTANCE)
    most = (inputs.opacity_target * zoom.square() / ZOOM).clamp(max=1.0)
    return regularizers.transmittance(rendering.opacity, most)


def _normal_variation(rendering: Rendering, inputs: StepInputs) -> Tensor:
    assert rendering.normal is not None
    return regularizers.normal_variation(rendering.normal, rendering.opacity, rendering.depth)


def _of_opacity(
    function: Callable[[Tensor], Tensor], rendering: Rendering, inputs: StepInputs
) -> Tensor:
    return function(rendering.opacity)
