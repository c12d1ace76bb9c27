"""From a sentence of two things to the layout of its scene."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from dfast._numbers import shown
from dfast.config.layout import WHOLE, Layout, LayoutPart
from dfast.errors import PromptError
from dfast.mesh.density_grid import grid_points
from dfast.ops.ambient import neutral_torch_state
from dfast.world.arrange import FIRST_SCALE, Places, related, support_points
from dfast.world.build import build_scene, placed
from dfast.world.reading import read
from dfast.world.sentence import RELATIONS

JOINTS = {"on top of": "on top of", "on": "on top of", "next to": "next to", "beside": "next to"}
JOINTS |= {"in front of": "in front of", "behind": "behind"}
"""Words between two things, and the relation that each stands for."""
UNKNOWN_HALF = 0.55
"""Half the side of the cube that a thing is taken for whose shape nobody knows."""
CELLS = 32
"""Cells a side of the grid in which the extent of a thing of the procedural world is found."""
MARGIN = 0.999
"""Part of the unit sphere that an arrangement fills, so that rounding leaves nothing outside."""


@neutral_torch_state()
def layout_of(sentence: str, *, prior: str = "shapes") -> Layout:
    """Return the layout of a sentence of two things, such as "a red chair next to a blue table".

    Each thing becomes a part with a prompt of its own. Things of the procedural world stand as they
    do there; one that it does not know is taken for a cube. The embedded prior sees the whole only
    if it knows the sentence as one, else `whole` is 0.

    Args:
        sentence: two things, and between them on top of, on, next to, beside, in front of or
            behind.
        prior: name of the prior that has to know the things.

    Raises:
        PromptError: another sentence, or a thing that the embedded prior does not know.
    """
    if not isinstance(sentence, str):
        raise PromptError(f"parts: expected a sentence of two things, got {shown(sentence)}")
    text = " ".join(sentence.split()).rstrip(".!")
    joint = "|".join(JOINTS)
    found = re.split(rf"\s({joint})\s", text, flags=re.IGNORECASE)
    if len(found) != 3 or not found[0].strip() or not found[2].strip():
        raise PromptError(
            f"parts: expected two things with {', '.join(JOINTS)} between them, got "
            f"{shown(sentence)}"
        )
    things, relation = (found[0].strip(), found[2].strip()), JOINTS[found[1].lower()]
    whole = WHOLE
    if prior == "shapes":
        for thing in things:
            read(thing)
        whole = WHOLE if _is_known(text) else 0.0
    places = _in_the_world(text) or _arranged(things, relation)
    reach = max(torch.tensor(position).norm().item() + size for position, size in places)
    fit = min(1.0, MARGIN / reach)
    names = _names(things)
    parts = []
    for name, thing, (position, size) in zip(names, things, places, strict=True):
        x, y, z = (round(fit * value, 4) for value in position)
        parts.append(LayoutPart(name, thing, (x, y, z), round(fit * size, 4)))
    return Layout(text, whole, tuple(parts))


def _is_known(sentence: str) -> bool:
    """Return whether the embedded prior knows a sentence as one."""
    try:
        read(sentence)
    except PromptError:
        return False
    return True


Stands = list[tuple[tuple[float, float, float], float]]
"""Position and size of each thing."""


def _in_the_world(sentence: str) -> Stands | None:
    """Return where two things stand in the world of the embedded prior, None for other things."""
    if not _is_known(sentence) or (known := read(sentence).sentence).relation is None:
        return None
    return _stands(placed(known)[2])


def _arranged(things: tuple[str, str], relation: str) -> Stands:
    """Return where two things stand in a relation, by their extents."""
    points = torch.stack([support_points(_points_of(thing)) for thing in things])[None]
    return _stands(
        related(
            points,
            torch.tensor([RELATIONS.index(relation)]),
            torch.tensor([[FIRST_SCALE.get(relation, 1.0), 1.0]]),
            points[:, 1, :, 2].amax(1),
        )
    )


def _stands(places: Places) -> Stands:
    """Return the places of the things of one sentence as numbers."""
    found: Stands = []
    for (x, y, z), size in zip(places.offset[0].tolist(), places.scale[0].tolist(), strict=True):
        found.append(((x, y, z), size))
    return found


def _points_of(thing: str) -> Tensor:
    """Return points [N, 3] in a thing: the true one if the procedural world has it, else a cube."""
    grid = grid_points(CELLS)
    if _is_known(thing):
        return grid[build_scene(read(thing).sentence).occupancy(grid)]
    return grid[grid.abs().amax(1) <= UNKNOWN_HALF]


def _names(things: tuple[str, ...]) -> list[str]:
    """Return a name for each thing: its noun, with a number where it comes again."""
    names: list[str] = []
    for thing in things:
        words = re.findall(r"[^\W\d_]+", re.split(r"\swith\s", thing)[0].lower())
        noun = words[-1][:40] if words else "part"
        taken = sum(re.fullmatch(rf"{noun}( \d+)?", name) is not None for name in names)
        names.append(f"{noun} {taken + 1}" if taken else noun)
    return names
