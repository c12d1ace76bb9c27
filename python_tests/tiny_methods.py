"""Tiny settings of the methods that a CLIP guides, and small meshes, for tests."""

from __future__ import annotations

from typing import Any

import torch

from dfast.config import Config
from dfast.scene.loop_scene import LoopScene

TINY_MESH = Config.for_method("clip-mesh").replace(
    camera={"views": 3, "resolution": [[0.0, 24]]},
    clip_mesh={"control": 4, "texels": 16},
    train={"steps": 4, "log_every": 2, "preview_every": 2, "checkpoint_every": 2},
)
"""Settings of runs of a second."""
TINY_FIELD = Config.for_method("dream-fields").replace(
    field={"grid": {"levels": 3, "log2_entries": 10, "max_resolution": 32}, "hidden": 8},
    occupancy={"resolution": 16},
    march={"step_size": 0.1},
    camera={"resolution": [[0.0, 24]]},
    optimizer={"warmup_steps": 3},
    train={"steps": 4, "log_every": 2},
)


def loop_scene(seed: int = 0, **settings: Any) -> LoopScene:
    """Return a sphere with a random texture."""
    config = TINY_MESH.replace(clip_mesh=settings)
    return LoopScene(config, torch.Generator().manual_seed(seed))
