"""Random sentences of the world without their colours, and where their things stand.

A situation is what a caption says apart from colours and patterns: those are drawn anew in every
batch, so that one traced view appears in all of them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dfast.priors.embedded.training.things import WORN_PARTS, Things
from dfast.world.arrange import (
    BIG,
    FIRST_SCALE,
    INSIDE,
    SMALL,
    UNDER,
    related,
    several,
    single,
    with_worn,
)
from dfast.world.nouns.accessories import ACCESSORIES
from dfast.world.parts import NOUN_PARTS
from dfast.world.random_sentences import RELATION_WEIGHTS, SIZED
from dfast.world.scenes import PartTable
from dfast.world.sentence import COUNTS, RELATIONS, SIZES

WORN_SHARE = 0.15
"""Probability that a thing with a head wears something where there are several things."""
STRETCH, TAPER = 0.08, 0.10
"""Largest random change of proportions, so that a noun is not one shape."""
INSTANCES = 3
"""Most things of a situation."""
BIG_SIZE, SMALL_SIZE = list(SIZES).index("big"), list(SIZES).index("small")


class Situations(NamedTuple):
    """B situations; negative indices stand for none."""

    noun: Tensor
    """[B, 2] the first and the second thing, rows of `Things`."""
    size: Tensor
    """[B, 2] index of `SIZES`."""
    relation: Tensor
    """[B] index of `RELATIONS`."""
    number: Tensor
    """[B] 1 to 3."""
    worn: Tensor
    """[B, 2] index of `ACCESSORIES`, of each thing."""
    row: Tensor
    """[B, 2 INSTANCES] row of each instance, then of what each wears."""
    thing: Tensor
    """[B, 2 INSTANCES] 0 or 1: the thing that an instance belongs to."""
    offset: Tensor
    """[B, 2 INSTANCES, 3]."""
    scale: Tensor
    """[B, 2 INSTANCES, 3]."""
    taper: Tensor
    """[B, 2 INSTANCES]."""

    @property
    def instances(self) -> Tensor:
        """Return how many things stand in the scene, [B]."""
        return (self.row[:, :INSTANCES] >= 0).sum(1)

    def table(self, things: Things) -> PartTable:
        """Return the parts of all instances, [B, K]: of T things, then of what they wear.

        All situations must have the same T.

        Args:
            things: of the world.
        """
        used = int(self.instances[0])
        tables = []
        for i in (*range(used), *range(INSTANCES, INSTANCES + used)):
            room = NOUN_PARTS if i < INSTANCES else WORN_PARTS
            own = things.table.select(self.row[:, i].clamp_min(0))
            own = PartTable(*(t[:, :room] for t in own))
            own = own._replace(kind=torch.where(self.row[:, i, None] >= 0, own.kind, -1))
            tables.append(own.placed(self.offset[:, i], self.scale[:, i], self.taper[:, i]))
        return PartTable(*(torch.cat(fields, 1) for fields in zip(*tables, strict=True)))


class _Said(NamedTuple):
    """What captions say of situations, see the fields of `Situations`."""

    noun: Tensor
    size: Tensor
    relation: Tensor
    number: Tensor
    worn: Tensor


def draw(things: Things, kind: str, count: int, generator: torch.Generator) -> Situations:
    """Draw situations of one kind.

    Args:
        things: of the world.
        kind: one of `dfast.world.sentence.SITUATIONS`.
        count: B.
        generator: on the device of the things.
    """
    device, g = things.device, generator

    def chance(p: float, *shape: int) -> Tensor:
        return torch.rand(*(shape or (count,)), device=device, generator=g) < p

    def among(allowed: Tensor) -> Tensor:
        rows = allowed.nonzero()[:, 0].to(device)
        return rows[torch.randint(len(rows), (count,), device=device, generator=g)]

    def spread(width: float, *shape: int) -> Tensor:
        return (torch.rand(*shape, device=device, generator=g) * 2 - 1) * width

    every = torch.ones(len(things.names), dtype=torch.bool)
    none = torch.full((count,), -1, device=device)
    relation, number = none.clone(), none.clone().fill_(COUNTS.get(kind, 1))
    first, second = among(every), none.clone()
    if kind == "dressed":
        first = among(things.head[:, 3].cpu() > 0)
    elif kind == "pair":
        weights = torch.tensor(RELATION_WEIGHTS, device=device).expand(count, -1)
        relation = torch.multinomial(weights, 1, generator=g)[:, 0]
        second = among(every)
        second = torch.where(relation == UNDER, among(things.shelter_mask), second)
        second = torch.where(relation == INSIDE, among(things.container_mask), second)
    noun = torch.stack([first, second], 1)
    size = torch.randint(len(SIZES), (count, 2), device=device, generator=g)
    size = torch.where(chance(SIZED, count, 2) & (noun >= 0), size, -1)
    share = {"alone": 0.0, "dressed": 1.0}.get(kind, WORN_SHARE)
    dressed = chance(share, count, 2) & (things.head[noun, 3] > 0) & (noun >= 0)
    worn = torch.randint(len(ACCESSORIES), (count, 2), device=device, generator=g)
    worn = torch.where(dressed, worn, -1)

    used = 2 if kind == "pair" else COUNTS.get(kind, 1)
    stretch, taper = 1 + spread(STRETCH, count, used, 3), spread(TAPER, count, used)
    if kind != "pair":  # several of a thing are alike
        stretch, taper = stretch[:, :1].expand(-1, used, -1), taper[:, :1].expand(-1, used)
    return _arranged(things, _Said(noun, size, relation, number, worn), stretch, taper)


def _arranged(things: Things, said: _Said, stretch: Tensor, taper: Tensor) -> Situations:
    """Return the situations of what is said, with all things where they stand.

    Args:
        things: of the world.
        said: of B situations of one kind.
        stretch: [B, T, 3] proportions of each of T instances, beside those of its size.
        taper: [B, T] of each.
    """
    noun, size, relation, _, worn = said
    (count, used), device = taper.shape, things.device
    pair = bool((relation >= 0).all())
    who = torch.zeros(count, used, dtype=torch.int64, device=device)
    if pair:
        who[:, 1] = 1
    row, wears = noun.gather(1, who), worn.gather(1, who)
    sizes = torch.tensor([*SIZES.values(), (1.0, 1.0, 1.0)], device=device)
    stretch = sizes[size.gather(1, who)] * stretch

    def shaped(points: Tensor) -> Tensor:
        """Return points [B, used, P, 3] of the things under their proportions."""
        wide = 1 + taper[..., None] * points[..., 2]
        return points * stretch[:, :, None] * torch.stack([wide, wide, torch.ones_like(wide)], -1)

    head = things.head[row]  # [B, used, 4]
    top = shaped(head[..., None, :3])[:, :, 0]
    hats = things.worn_points[wears.clamp_min(0)]
    points = with_worn(shaped(things.points[row]), top, head[..., 3], hats, wears >= 0)
    if pair:
        alike = things.solid.to(device)[noun].all(1)
        scales = torch.tensor([FIRST_SCALE.get(r, 1.0) for r in RELATIONS], device=device)
        relative = torch.where(alike, 1.0, scales[relation])
        factor = torch.ones_like(size, dtype=torch.float32)
        factor = torch.where(size == SMALL_SIZE, SMALL, factor)
        factor = torch.where(size == BIG_SIZE, BIG, factor)
        factor[:, 0] *= relative
        places = related(points, relation, factor, things.seat[noun[:, 1]] * stretch[:, 1, 2])
    elif used == 1:
        places = single(points, size[:, 0] == BIG_SIZE, size[:, 0] == SMALL_SIZE, worn[:, 0] >= 0)
    else:
        places = several(points)
    free = INSTANCES - used

    def both(own: Tensor, of_worn: Tensor, value: float = 0) -> Tensor:
        """Return what is true of the instances, then of what they wear."""
        spare = (0, 0) * (own.ndim - 2) + (0, free)
        parts = [torch.nn.functional.pad(t, spare, value=value) for t in (own, of_worn)]
        return torch.cat(parts, 1)

    size_of_worn = (places.scale * head[..., 3])[..., None].expand(-1, -1, 3)
    return Situations(
        *said,
        both(row, torch.where(wears >= 0, len(things.names) + wears, -1), -1),
        both(who, who),
        both(places.offset, places.offset + places.scale[..., None] * top),
        both(places.scale[..., None] * stretch, size_of_worn, 1.0),
        both(taper, torch.zeros_like(taper)),
    )  # fmt: skip
