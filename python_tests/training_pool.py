"""A small pool of training images of the larger world."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from dfast.priors.embedded.training import things as all_things
from dfast.priors.embedded.training.captions import Captions
from dfast.priors.embedded.training.networks import TEXT_LENGTH, words
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
