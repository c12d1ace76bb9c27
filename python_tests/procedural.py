"""Sentences, scenes and cameras with which the tests look at the procedural world."""

from __future__ import annotations

from functools import cache

import torch

from dfast.scene.cameras import CameraBatch, aimed
from dfast.world import ProceduralScene, build_scene, read
from dfast.world.nouns.classics import FIRST, SOLIDS

SENTENCES = (
    *SOLIDS,
    *FIRST,
    "a green cone on top of a yellow cube",
    "a red cube next to a blue sphere",
    "an orange house with an orange roof",
    "two dogs with red hats",
    "three small red and white striped apples",
    "a big cat under a wide table",
    "a small white and blue dotted rabbit inside a bowl",
    "a checkered horse in front of a long barn",
)
"""Sentences of every kind."""


@cache
def scene_of(text: str) -> ProceduralScene:
    """Return the true object of a sentence."""
    return build_scene(read(text).sentence)


def views(*azimuth: float, elevation: float = 20.0) -> CameraBatch:
    """Return cameras at distance 3 that look at the origin, angles in degrees."""
    heading = torch.tensor(azimuth)
    fill = torch.ones_like(heading)
    return aimed(heading, elevation * fill, 3.0 * fill, 40.0 * fill)
