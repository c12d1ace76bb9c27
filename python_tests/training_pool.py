"""A small pool of training images of the world, and untrained weights in a folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

from dfast.priors.embedded.model import build_scheduler, save_folder
from dfast.priors.embedded.training import things as all_things
from dfast.priors.embedded.training.captions import Captions
from dfast.priors.embedded.training.networks import (
    DESIGNS,
    TEXT_LENGTH,
    Denoiser,
    build_world_tokenizer,
    words,
)
from dfast.priors.embedded.training.pool import Pool
from dfast.priors.embedded.training.things import Things
from dfast.world.nouns import NOUNS

SMALL = ("chair", "mug", "dog", "sailboat", "bowl", "table", "cube", "bird")
"""Its nouns."""


@cache
def small_pool(device: str = "cpu") -> Pool:
    """Trace a few views of a few things."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(all_things, "NOUNS", {w: n for w, n in NOUNS.items() if w in SMALL})
        patch.setattr(all_things, "SHELTERS", ("table",))
        patch.setattr(all_things, "CONTAINERS", ("bowl",))
        things = Things(torch.device(device))
    captions = Captions(things, words(), TEXT_LENGTH)
    return Pool(things, captions, 40, seed=3, chunk=8, steps=32)


@cache
def untrained_networks(*, guided: bool = False) -> Denoiser:
    """Return small networks with random weights.

    Args:
        guided: the UNet is told a guidance scale.
    """
    torch.manual_seed(0)
    model = Denoiser(DESIGNS["small"], guided=guided)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval()


def save_untrained(folder: Path, *, guided: bool = False) -> Path:
    """Write a folder of weights with the networks of `untrained_networks`, and return it."""
    model = untrained_networks(guided=guided)
    parts = build_world_tokenizer(), build_scheduler()
    save_folder(folder, model.unet, model.text_encoder, *parts)
    return folder
