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
from dfast.priors.embedded.training.pool import Batch, Pool
from dfast.priors.embedded.training.things import Things
from dfast.world.nouns import NOUNS
from dfast.world.parts import ALL_COLORS
from dfast.world.sentence import PATTERNS, RELATIONS, SIZES, WORN, Sentence, Thing

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


def sentence_of(pool: Pool, batch: Batch, b: int) -> Sentence:
    """Return what the caption of image b says; colours of a textureless one are white."""
    s, view = pool.situations, int(batch.chosen[b])
    colors = (*ALL_COLORS, "white")
    things = []
    for i in range(2 if s.relation[view] >= 0 else 1):
        noun, size = pool.things.names[int(s.noun[view, i])], int(s.size[view, i])
        worn = WORN[int(s.worn[view, i])] if s.worn[view, i] >= 0 else None
        has_part = NOUNS[noun].part is not None or worn is not None
        main, own = (colors[int(batch.colors[b, 2 * i + k])] for k in range(2))
        pattern = int(batch.pattern[b, i])
        things.append(
            Thing(
                noun,
                main,
                own if has_part else None,
                list(SIZES)[size] if size >= 0 else None,
                PATTERNS[pattern] if pattern >= 0 else None,
                colors[int(batch.second[b, i])] if pattern >= 0 else None,
                worn,
            )
        )
    relation = RELATIONS[int(s.relation[view])] if s.relation[view] >= 0 else None
    return Sentence(tuple(things), relation, int(s.number[view]))


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
