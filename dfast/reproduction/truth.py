"""Exact images of what a prompt of the procedural world means, as a CLIP sees the runs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dfast.evaluation.clip_views import Views
from dfast.ops.ambient import neutral_torch_state
from dfast.scene.cameras import CameraBatch
from dfast.scene.lighting import fixed_lighting
from dfast.scene.tree import map_tensors
from dfast.world.build import build_scene
from dfast.world.reading import read
from dfast.world.tracer import shade, trace

TOGETHER = 8
"""Images traced at once."""


@neutral_torch_state()
@torch.no_grad()
def truth_images(prompt: str, device: str, views: Views) -> Tensor:
    """Return images of the true object of a prompt, anti-aliased 2 x 2.

    Args:
        prompt: a sentence of the world.
        device: where it is traced.
        views: from where, and how; their shading is "albedo" or "textureless".

    Returns:
        [C F, 3, H, W] display RGB in [0, 1].
    """
    scene, cameras = build_scene(read(prompt).sentence), views.cameras().to(torch.device(device))
    patterns = torch.tensor([scene.part_patterns], device=device)
    colors = torch.cat([scene.colors, scene.second_colors]).to(device)
    if views.shading == "textureless":
        colors = torch.ones_like(colors)
    background = colors.new_tensor(views.background)
    images = []
    for i in range(0, len(views), TOGETHER):
        some: CameraBatch = map_tensors(lambda values: values[i : i + TOGETHER], cameras)  # noqa: B023
        count, lighting = len(some), fixed_lighting(views.shading, some)
        buffer = trace(scene.table.to(device).repeated(count), some, 2 * views.resolution)
        images.append(
            shade(
                buffer.shifted(patterns.expand(count, -1)),
                colors.expand(count, *colors.shape),
                normalize(lighting.light_position, dim=-1),
                lighting.ambient,
                background.expand(count, 3),
            )
        )
    return torch.cat(images)
