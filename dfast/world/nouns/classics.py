"""The simple solids, and the first things that the world had."""

from __future__ import annotations

from dataclasses import replace

from dfast.world.nouns.noun import Noun
from dfast.world.objects import OBJECTS, PRIMITIVES, ObjectType

SOLIDS: dict[str, Noun] = {
    name: Noun(
        (part,), "gray", has_front=False, seat=0.54 if name == "cone" else None
    )  # what stands on a tip overlaps it a little
    for name, part in PRIMITIVES.items()
}
"""Sphere, cube, cylinder, cone, torus and capsule."""


def _noun(kind: ObjectType) -> Noun:
    """Return an object as a noun: slot 0 is its own colour, slot 1 that of its part."""
    part = (kind.phrase.split()[-1], kind.defaults[-1]) if "with" in kind.phrase else None
    parts = kind.parts
    if part is not None and len(kind.defaults) == 1:  # such as a snowman, which was always white
        shown = {0: 1, "white": 0}
        parts = tuple(replace(p, color=shown.get(p.color, p.color)) for p in parts)
        return Noun(parts, "white", part, kind.has_front)
    return Noun(parts, kind.defaults[0], part, kind.has_front)


FIRST: dict[str, Noun] = {
    name: replace(_noun(kind), seat=-0.02 if name == "chair" else None)
    for name, kind in OBJECTS.items()
}
"""Chair, table, snowman, house, mug, car, duck, mushroom, tree, airplane and lamp."""
