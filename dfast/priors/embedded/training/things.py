"""Every thing of the world as tensors: parts, colour slots, outermost points."""

from __future__ import annotations

import torch

from dfast.world.build import WORN_REACH, outermost
from dfast.world.nouns import NOUNS
from dfast.world.nouns.accessories import ACCESSORIES
from dfast.world.nouns.classics import SOLIDS
from dfast.world.parts import ALL_COLORS, NOUN_PARTS, PALETTE
from dfast.world.scenes import PartTable, part_table
from dfast.world.sentence import CONTAINERS, SHELTERS

WHITE = len(ALL_COLORS)
"""Row of the palette for textureless things."""
HELD_OUT = 17
"""One of so many pairs of noun and colour is left out of training."""
WORN_PARTS = 6
"""Largest number of parts of what is worn."""


class Things:
    """R rows, one a noun, then one an accessory; all tensors are on one device."""

    def __init__(self, device: torch.device) -> None:
        """Make the tensors.

        Args:
            device: where training runs.
        """
        self.device = device
        self.names = tuple(NOUNS)
        every = [*NOUNS.values(), *ACCESSORIES.values()]
        tables = [part_table(noun.parts, NOUN_PARTS) for noun in every]
        self.table = PartTable(*(torch.stack(f).to(device) for f in zip(*tables, strict=True)))
        slot, fixed = [], []
        for noun in every:
            pad = [-1] * (NOUN_PARTS - len(noun.parts))
            colors = [p.color for p in noun.parts]
            slot.append([c if isinstance(c, int) else -1 for c in colors] + pad)
            fixed.append([ALL_COLORS.index(c) if isinstance(c, str) else 0 for c in colors] + pad)
        self.slot = torch.tensor(slot, device=device)
        """[R, NOUN_PARTS] slot of each part, negative for a fixed colour."""
        self.fixed = torch.tensor(fixed, device=device).clamp_min(0)
        """[R, NOUN_PARTS] fixed colour of each part."""
        nouns = list(NOUNS.values())
        self.points = torch.stack([outermost(n.parts) for n in nouns]).to(device)
        """[N, P, 3] outermost points."""
        hats = [outermost(a.parts, WORN_REACH) for a in ACCESSORIES.values()]
        self.worn_points = torch.stack(hats).to(device)
        """[A, P, 3] outermost points of what is worn, in units of a head's radius."""
        seats = [torch.nan if n.seat is None else n.seat for n in nouns]
        self.seat = torch.tensor(seats, device=device)
        """[N] height on which others stand, NaN for the top."""
        heads = [n.head if n.head and not n.part else (0.0, 0.0, 0.0, 0.0) for n in nouns]
        self.head = torch.tensor(heads, device=device)
        """[N, 4] where a hat sits; radius 0 for none."""
        self.has_front = torch.tensor([n.has_front for n in nouns], device=device)
        self.solid = torch.tensor([name in SOLIDS for name in self.names])
        self.shelter_mask = torch.tensor([name in SHELTERS for name in self.names])
        self.container_mask = torch.tensor([name in CONTAINERS for name in self.names])
        self.palette = torch.tensor([*PALETTE.values(), (1.0, 1.0, 1.0)], device=device)
        pair = torch.arange(len(nouns))[:, None] * 7 + torch.arange(len(ALL_COLORS)) * 3
        self.held_out = (pair % HELD_OUT == 0).to(device)
        """[N, colours] pairs that training never shows."""
