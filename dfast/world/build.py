"""Make the scene of a sentence: the same places as in training, in exact parts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from dfast.ops.world import scene_distance
from dfast.world.arrange import (
    BIG,
    FIRST_SCALE,
    SMALL,
    Places,
    related,
    several,
    single,
    support_points,
    with_worn,
)
from dfast.world.nouns.accessories import ACCESSORIES
from dfast.world.nouns.classics import SOLIDS
from dfast.world.parts import Part, Placement
from dfast.world.scenes import ProceduralScene, part_table
from dfast.world.sentence import RELATIONS, SIZES, WORN, Sentence, Thing

CELLS = 72
"""Cells along an axis of the grid on which the outermost points of a thing are found."""
WORN_REACH = 1.6
"""Largest coordinate of what is worn, in units of the head's radius."""


def build_scene(sentence: Sentence) -> ProceduralScene:
    """Return the scene of a sentence.

    Args:
        sentence: what it says.
    """
    things, stretch, places = placed(sentence)
    parts: list[Part] = []
    placements: list[Placement] = []
    for i, thing in enumerate(things):
        first_slot = 0 if sentence.count > 1 else 2 * i
        scale, offset = places.scale[0, i] * stretch[i], places.offset[0, i]
        _place(parts, placements, thing.kind.parts, scale, offset, first_slot)
        if thing.wears is not None and thing.kind.head is not None:
            head = torch.tensor(thing.kind.head)
            worn = ACCESSORIES[thing.wears].parts
            at, size = offset + scale * head[:3], places.scale[0, i] * head[3].expand(3)
            _place(parts, placements, worn, size, at, first_slot)
    named = sentence.things
    return ProceduralScene(
        caption=" ".join(sentence.words()),
        kind="single" if len(things) == 1 else "several",
        shape=" ".join(w.noun for w in named),
        parts=tuple(parts),
        slots=tuple(c for t in named for c in (t.color, t.part_color or t.color)),
        has_front=any(t.kind.has_front for t in named) or sentence.relation is not None,
        placements=tuple(placements),
        patterns=tuple(p for t in named for p in (_pattern(t), None)),
    )


def placed(sentence: Sentence) -> tuple[tuple[Thing, ...], Tensor, Places]:
    """Return the N things of a sentence, what their sizes do to them [N, 3], and where they are.

    Args:
        sentence: what it says.
    """
    things = sentence.things * sentence.count if sentence.count > 1 else sentence.things
    stretch = torch.tensor([SIZES[t.size] if t.size else (1.0, 1.0, 1.0) for t in things])
    points = torch.stack([_points(t, s) for t, s in zip(things, stretch, strict=True)])[None]
    return things, stretch, _places(sentence, points)


def _points(thing: Thing, stretch: Tensor) -> Tensor:
    """Return the outermost points of a thing and of what it wears, [P, 3]."""
    head = torch.tensor(thing.kind.head or (0.0, 0.0, 0.0, 0.0))
    return with_worn(
        outermost(thing.kind.parts) * stretch,
        head[:3] * stretch,
        head[3],
        outermost(ACCESSORIES[thing.wears or WORN[0]].parts, WORN_REACH),
        torch.tensor(thing.wears is not None),
    )


@cache
def outermost(parts: tuple[Part, ...], reach: float = 1.0) -> Tensor:
    """Return the outermost points of a thing, [P, 3].

    Args:
        parts: of the thing.
        reach: the largest coordinate that is looked at.
    """
    axis = ((torch.arange(CELLS) + 0.5) / CELLS * 2 - 1) * reach
    x = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).view(1, -1, 3)
    table = type(t := part_table(parts, len(parts)))(*(v[None] for v in t))
    distance, _ = scene_distance(table, x)
    return support_points(x[0][distance[0] <= 0])


def _places(sentence: Sentence, points: Tensor) -> Places:
    """Return where the things stand, one sentence."""
    sizes = [t.size for t in sentence.things]
    if sentence.relation is not None:
        first, second = sentence.things
        alike = {first.noun, second.noun} <= set(SOLIDS)
        relative = 1.0 if alike else FIRST_SCALE.get(sentence.relation, 1.0)
        size = [{"small": SMALL, "big": BIG}.get(s or "", 1.0) for s in sizes]
        seat = torch.nan if second.kind.seat is None else second.kind.seat
        seat *= SIZES[sizes[1]][2] if sizes[1] else 1.0
        return related(
            points,
            torch.tensor([RELATIONS.index(sentence.relation)]),
            torch.tensor([[relative * size[0], size[1]]]),
            torch.tensor([seat]),
        )
    if sentence.count > 1:
        return several(points)
    facts = (sizes[0] == "big", sizes[0] == "small", sentence.things[0].wears is not None)
    return single(points, *(torch.tensor([fact]) for fact in facts))


def _place(
    parts: list[Part],
    placements: list[Placement],
    new: tuple[Part, ...],
    scale: Tensor,
    offset: Tensor,
    first_slot: int,
) -> None:
    """Add the parts of a thing, its slots counted from `first_slot`."""
    x, y, z = offset.tolist()
    a, b, c = scale.tolist()
    for part in new:
        slot = first_slot + part.color if isinstance(part.color, int) else part.color
        parts.append(replace(part, color=slot))
        placements.append(Placement((x, y, z), (a, b, c)))


def _pattern(thing: Thing) -> tuple[str, str] | None:
    """Return the pattern and the second colour of a thing."""
    if thing.pattern is None or thing.second is None:
        return None
    return thing.pattern, thing.second
