"""Captions and cameras with which the tests look at the procedural world."""

from __future__ import annotations

from functools import cache

import torch

from dfast.priors.embedded import dataset
from dfast.priors.embedded.model import build_tokenizer
from dfast.scene.cameras import CameraBatch, aimed
from dfast.world import catalogue
from dfast.world.build import build_scene
from dfast.world.reading import read
from dfast.world.scenes import ProceduralScene

CAPTIONS = [*catalogue(), "an orange house with an orange roof", "a red cube next to a blue sphere"]
"""Every geometry of the world, and two captions with chosen colours."""


@cache
def geometries() -> dataset.Geometries:
    """Return the geometries on which the embedded prior is trained."""
    return dataset.Geometries(build_tokenizer(), torch.device("cpu"))


@cache
def scene_of(text: str) -> ProceduralScene:
    """Return the true object of a sentence of the larger world, which needs no weights."""
    return build_scene(read(text).sentence)


def views(*azimuth: float, elevation: float = 20.0) -> CameraBatch:
    """Return cameras at distance 3 that look at the origin, angles in degrees."""
    heading = torch.tensor(azimuth)
    fill = torch.ones_like(heading)
    return aimed(heading, elevation * fill, 3.0 * fill, 40.0 * fill)
