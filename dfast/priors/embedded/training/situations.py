"""Random sentences of the world without their colours, and where their things stand.

A situation is what a caption says apart from colours and patterns: those are drawn anew in every
batch, so that one traced view appears in all of them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dfast.priors.embedded.training.things import Things
from dfast.world.arrange import BIG, FIRST_SCALE, INSIDE, SMALL, UNDER, related, several, single
from dfast.world.nouns.accessories import ACCESSORIES
from dfast.world.parts import NOUN_PARTS
from dfast.world.scenes import PartTable
from dfast.world.sentence import COUNTED_PARTS, COUNTS, RELATIONS, SIZES

SHARES: dict[str, float] = {"alone": 0.52, "dressed": 0.06, "two": 0.06, "three": 0.06, "pair": 0.3}
"""Probability of each kind of situation."""
SIZED = 0.25
"""Probability that a thing has a size."""
RELATION_WEIGHTS = (0.3, 0.3, 0.15, 0.1, 0.07, 0.08)
"""Of `RELATIONS`."""
STRETCH, TAPER = 0.08, 0.10
"""Largest random change of proportions, so that a noun is not one shape."""
INSTANCES = 3
"""Most things of a situation, accessories included."""
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
    """[B] index of `ACCESSORIES`."""
    row: Tensor
    """[B, INSTANCES] row of each instance."""
    thing: Tensor
    """[B, INSTANCES] 0 or 1: the thing that an instance belongs to."""
    offset: Tensor
    """[B, INSTANCES, 3]."""
    scale: Tensor
    """[B, INSTANCES, 3]."""
    taper: Tensor
    """[B, INSTANCES]."""

    def table(self, things: Things) -> PartTable:
        """Return the parts of all instances, [B, K]; K is a multiple of the parts of one.

        Args:
            things: of the world.
        """
        used = int((self.row >= 0).any(0).sum())
        room = NOUN_PARTS if used < INSTANCES else COUNTED_PARTS
        tables = []
        for i in range(used):
            own = things.table.select(self.row[:, i].clamp_min(0))
            own = PartTable(*(t[:, :room] for t in own))
            own = own._replace(kind=torch.where(self.row[:, i, None] >= 0, own.kind, -1))
            tables.append(own.placed(self.offset[:, i], self.scale[:, i], self.taper[:, i]))
        return PartTable(*(torch.cat(fields, 1) for fields in zip(*tables, strict=True)))


def draw(things: Things, kind: str, count: int, generator: torch.Generator) -> Situations:
    """Draw situations of one kind.

    Args:
        things: of the world.
        kind: a key of `SHARES`.
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
    relation, worn, number = none.clone(), none.clone(), torch.ones_like(none)
    first, second = among(every), none.clone()
    if kind == "dressed":
        first = among(things.head[:, 3].cpu() > 0)
        worn = torch.randint(len(ACCESSORIES), (count,), device=device, generator=g)
    elif kind in COUNTS:
        first = among(things.few_parts if kind == "three" else every)
        number = torch.full_like(none, COUNTS[kind])
    elif kind == "pair":
        weights = torch.tensor(RELATION_WEIGHTS, device=device).expand(count, -1)
        relation = torch.multinomial(weights, 1, generator=g)[:, 0]
        second = among(every)
        second = torch.where(relation == UNDER, among(things.shelter_mask), second)
        second = torch.where(relation == INSIDE, among(things.container_mask), second)
    noun = torch.stack([first, second], 1)
    size = torch.randint(len(SIZES), (count, 2), device=device, generator=g)
    size = torch.where(chance(SIZED, count, 2) & (noun >= 0), size, -1)

    used = 1 if kind in ("alone", "dressed") else 3 if kind == "three" else 2
    who = torch.zeros(count, used, dtype=torch.int64, device=device)
    if kind == "pair":
        who[:, 1] = 1
    row = noun.gather(1, who)
    stretch = torch.tensor([*SIZES.values(), (1.0, 1.0, 1.0)], device=device)[size.gather(1, who)]
    one = stretch * (1 + spread(STRETCH, count, 1, 3)), spread(TAPER, count, 1)
    own = stretch * (1 + spread(STRETCH, count, used, 3)), spread(TAPER, count, used)
    stretch, taper = own if kind == "pair" else (one[0].expand_as(stretch), one[1].expand_as(row))
    points = things.points[row] * stretch[:, :, None]
    points[..., :2] *= 1 + (taper[..., None] * things.points[row][..., 2])[..., None]
    if kind == "pair":
        alike = things.solid.to(device)[noun].all(1)
        scales = torch.tensor([FIRST_SCALE.get(r, 1.0) for r in RELATIONS], device=device)
        relative = torch.where(alike, 1.0, scales[relation])
        factor = torch.ones_like(size, dtype=torch.float32)
        factor = torch.where(size == SMALL_SIZE, SMALL, factor)
        factor = torch.where(size == BIG_SIZE, BIG, factor)
        factor[:, 0] *= relative
        seat = things.seat[second] * stretch[:, 1, 2]
        places = related(points, relation, factor, seat)
    elif used == 1:
        places = single(points, size[:, 0] == BIG_SIZE, size[:, 0] == SMALL_SIZE)
    else:
        places = several(points)
    scale, offset = places.scale[..., None] * stretch, places.offset
    if kind == "dressed":
        head = things.head[first]
        wide = 1 + taper[:, 0] * head[:, 2]
        top = head[:, :3] * torch.stack([wide, wide, torch.ones_like(wide)], 1)
        row = torch.cat([row, len(things.names) + worn[:, None]], 1)
        who = torch.cat([who, torch.zeros_like(who)], 1)
        offset = torch.cat([offset, (offset[:, 0] + scale[:, 0] * top)[:, None]], 1)
        hat = places.scale * head[:, 3:]
        scale = torch.cat([scale, hat[..., None].expand(-1, 1, 3)], 1)
        taper = torch.cat([taper, torch.zeros_like(taper)], 1)
    free = INSTANCES - row.shape[1]
    return Situations(
        noun, size, relation, number, worn,
        torch.nn.functional.pad(row, (0, free), value=-1),
        torch.nn.functional.pad(who, (0, free)),
        torch.nn.functional.pad(offset, (0, 0, 0, free)),
        torch.nn.functional.pad(scale, (0, 0, 0, free), value=1.0),
        torch.nn.functional.pad(taper, (0, free)),
    )  # fmt: skip
