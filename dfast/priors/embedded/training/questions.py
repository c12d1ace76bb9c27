"""What is asked about images of the world, to measure the embedded prior by, and what is right.

A question that the image cannot answer measures nothing: a thing of a few pixels, a third thing
behind the other two, a long car seen from its front. Such questions are not asked.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dfast.priors.embedded.training.pool import Batch, Pool
from dfast.priors.embedded.training.situations import Situations
from dfast.priors.embedded.training.things import WHITE
from dfast.scene.cameras import position
from dfast.scene.views import view_weights
from dfast.world.sentence import PATTERNS, RELATIONS, SIZES

LEAST_PIXELS = 240
"""Fewest pixels (of 128 x 128) of a colour, or of one of several things, that is asked for."""
NOUN_PIXELS = 800
"""Fewest of a thing whose noun, size or pattern is asked for."""
LEAST_SEEN = 0.6
"""Smallest apparent length of the axis that a size stretches, over its true one."""
LEAST_VIEW = 0.6
"""Smallest share of a view word in what a camera shows."""
LEAST_GROWTH = 1.2
"""Smallest scale of a single thing that is big: those that fill the picture anyway are 1."""
_AXES = {"tall": 2, "short": 2, "wide": 1, "thin": 1, "long": 0}


class Attributes(NamedTuple):
    """What B images show; the same fields hold answers [B, n] and logits [B, n, classes]."""

    noun: Tensor
    """[B, 2] row of `Things`."""
    size: Tensor
    """[B, 2] index of `SIZES`, the last for none."""
    relation: Tensor
    """[B, 1] index of `RELATIONS`, the last for none."""
    number: Tensor
    """[B, 1] count less one."""
    color: Tensor
    """[B, SLOTS] colour index; in answers [B, SLOTS, 2], the two colours of a pattern or one
    twice. Which one a pattern begins with the image does not say."""
    pattern: Tensor
    """[B, 2] index of `PATTERNS`, the last for none."""
    view: Tensor
    """[B, 1] index of VIEW_WORDS."""


def labels(pool: Pool, batch: Batch) -> tuple[Attributes, Attributes]:
    """Return the true attributes of images, and where each can be asked for, bool [B, n].

    Args:
        pool: that the images are of.
        batch: B images.
    """
    s = Situations(*(t[batch.chosen] for t in pool.situations))
    noun, size = s.noun, s.size
    relation, number = s.relation[:, None], s.number[:, None]
    slots, things = pool.visible(batch.chosen)
    large = (noun >= 0) & (things >= NOUN_PIXELS)
    there = (noun >= 0) & (things >= LEAST_PIXELS)
    whole = there[:, :1] & (there[:, 1:] | (noun[:, 1:] < 0))
    each = pool.visible_instances(batch.chosen) >= LEAST_PIXELS
    counted = each.sum(1, keepdim=True) == s.instances[:, None]
    front = pool.things.has_front[noun.clamp_min(0)] & (noun >= 0)
    colored = (slots >= LEAST_PIXELS) & (batch.colors != WHITE)
    patterned = batch.pattern >= 0
    painted = colored[:, ::2] & (slots[:, ::2] >= NOUN_PIXELS)
    clear = torch.where(patterned, painted, colored[:, ::2])
    colored = torch.stack([clear, colored[:, 1::2]], 2).flatten(1)
    azimuth, elevation = (v[batch.chosen] for v in pool.camera[:2])
    from_one = view_weights(azimuth, elevation).amax(1, keepdim=True) >= LEAST_VIEW
    colors = batch.colors.clamp_max(WHITE)[..., None].expand(-1, -1, 2).clone()
    colors[:, ::2, 1] = torch.where(patterned, batch.second, colors[:, ::2, 1])
    truth = Attributes(
        noun.clamp_min(0),
        torch.where(size >= 0, size, len(SIZES)),
        torch.where(relation >= 0, relation, len(RELATIONS)),
        number - 1,
        colors,
        torch.where(patterned, batch.pattern, len(PATTERNS)),
        batch.view[:, None],
    )
    asked = Attributes(
        large,
        large & front & _shows_size(s, azimuth, elevation),
        whole,
        whole & counted,
        colored,
        painted,
        front[:, :1] & whole & from_one,
    )
    return truth, asked


def _shows_size(s: Situations, azimuth: Tensor, elevation: Tensor) -> Tensor:
    """Return whether images show what the size of each thing does to it, bool [B, 2]."""
    size, names = s.size, list(SIZES)
    towards = position(azimuth, elevation, torch.ones_like(azimuth))
    apparent = (1 - towards.square()).clamp_min(0).sqrt()
    seen = torch.ones_like(size, dtype=torch.bool)
    for name, axis in _AXES.items():  # no table of axes: a CUDA graph cannot copy one to the device
        seen &= (size != names.index(name)) | (apparent[:, axis, None] >= LEAST_SEEN)
    # Alone, a size is relative to the picture; of several things it says nothing.
    alone = (s.relation < 0)[:, None]
    grown = (s.scale[:, 0].mean(-1) >= LEAST_GROWTH)[:, None]
    several = (s.number > 1)[:, None]
    big, small = size == names.index("big"), size == names.index("small")
    return seen & ~(alone & big & ~grown) & ~(several & (big | small))


def right(logits: Attributes, truth: Attributes) -> Attributes:
    """Return where each attribute is right, bool [B, n]; of a pattern both colours must be."""
    found = {
        name: getattr(logits, name).argmax(-1) == getattr(truth, name)
        for name in Attributes._fields
        if name != "color"
    }
    first, second = truth.color.unbind(-1)
    most = logits.color.topk(2, -1).indices
    pair = (most.sort(-1).values == truth.color.sort(-1).values).all(-1)
    return Attributes(**found, color=torch.where(first == second, most[..., 0] == first, pair))
