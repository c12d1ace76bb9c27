"""Scenes of the procedural world: coloured parts with exact (or bounding) signed distances.

A `ProceduralScene` is the ground truth behind a caption: where matter is, which part it belongs to,
and the albedo of each part. The same functions serve one scene on the CPU (the truth) and thousands
of scenes at once on a GPU (`PartTable`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import cos, radians, sin
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from dfast.ops import transforms
from dfast.ops.world import scene_distance
from dfast.world.distances import distance, dot, joined
from dfast.world.parts import IN_PLACE, KINDS, PALETTE, Part, Placement
from dfast.world.patterns import PATTERNS, bits_of


class PartTable(NamedTuple):
    """Parts as tensors. The axis K of parts is padded with kind -1, which is never the nearest."""

    kind: Tensor
    """[..., K] int64, indices of `KINDS`."""
    center: Tensor
    """[..., K, 3]."""
    rotation: Tensor
    """[..., K, 3, 3], from thing to part axes."""
    size: Tensor
    """[..., K, 3]."""
    rounding: Tensor
    """[..., K]."""
    extra: Tensor
    """[..., K]."""
    blend: Tensor
    """[..., K]."""
    offset: Tensor
    """[..., K, 3], where the origin of the part's thing is in the world."""
    scale: Tensor
    """[..., K, 3], world units in a unit of the thing, along each axis."""
    taper: Tensor
    """[..., K], see `Placement`."""

    def to(self, device: torch.device | str) -> PartTable:
        """Return the same table on `device`."""
        return PartTable(*(t.to(device) for t in self))

    def like(self, x: Tensor) -> PartTable:
        """Return the same table on the device and with the dtype of `x`."""
        return PartTable(self.kind.to(x.device), *(t.to(x) for t in self[1:]))

    def repeated(self, count: int) -> PartTable:
        """Return one scene's table [K] as that of `count` scenes, [count, K]."""
        return PartTable(*(t.expand(count, *t.shape) for t in self))

    def select(self, index: Tensor) -> PartTable:
        """Return rows of a stacked table: [S, K, ...] and index [B] give [B, K, ...]."""
        return PartTable(*(t[index] for t in self))

    def placed(self, offset: Tensor, scale: Tensor, taper: Tensor) -> PartTable:
        """Return B things [B, K] placed in the world, all parts of one alike.

        Args:
            offset: [B, 3].
            scale: [B, 3].
            taper: [B].
        """
        count = self.kind.shape[-1]
        return self._replace(
            offset=offset[:, None].expand(-1, count, -1),
            scale=scale[:, None].expand(-1, count, -1),
            taper=taper[:, None].expand(-1, count),
        )


@dataclass(frozen=True)
class ProceduralScene:
    """The object that a caption names, inside the unit sphere, front towards +x, z up."""

    caption: str
    """The canonical caption, which states every colour."""
    kind: str
    """"single" or "several" things."""
    shape: str
    """The nouns of the caption."""
    parts: tuple[Part, ...]
    slots: tuple[str, ...]
    """Colour words: of each thing of the caption, and of its part."""
    has_front: bool
    """Whether the object looks different from the front and from behind."""
    placements: tuple[Placement, ...] = ()
    """Of the thing of each part; by default all are where their parts say."""
    patterns: tuple[tuple[str, str] | None, ...] = ()
    """Pattern and second colour of each slot; by default none has one."""

    @cached_property
    def table(self) -> PartTable:
        """Return the parts as tensors."""
        return part_table(self.parts, len(self.parts), self.placements)

    @property
    def part_colors(self) -> tuple[str, ...]:
        """Return the colour word of every part."""
        return tuple(
            self.slots[p.color] if isinstance(p.color, int) else p.color for p in self.parts
        )

    @property
    def colors(self) -> Tensor:
        """Return the albedo of every part, display RGB, [K, 3]."""
        return torch.tensor([PALETTE[c] for c in self.part_colors])

    def sdf(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the signed distance.

        Args:
            x: world points [N, 3].

        Returns:
            The distance [N], negative inside and differentiable in x, and the index of the nearest
            part [N].
        """
        if x.device.type == "cpu" and not _is_differentiated(x):
            d, part = scene_distance(self.table.like(x).repeated(1), x[None])
            return d[0], part[0]
        table = self.table.to(x.device)
        rows = []
        for k, p in enumerate(self.parts):
            local, slope = self._local(table, k, x)
            size = (*table.size[k].to(x).unbind(-1), table.extra[k].to(x))
            own = distance(KINDS.index(p.kind), local, size) - table.rounding[k].to(x)
            rows.append(own * slope)
        return joined(torch.stack(rows, -1), table.blend.to(x))

    def _local(self, table: PartTable, k: int, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return points in the axes of part k, and the factor that bounds distances from below."""
        row = (table.offset[k].to(x), table.scale[k].to(x), table.taper[k].to(x))
        own, slope = into_thing(x.unbind(-1), row[0].unbind(-1), row[1].unbind(-1), row[2])
        offset = [v - c for v, c in zip(own, table.center[k].to(x), strict=True)]
        rotation = table.rotation[k].to(x)
        return [dot(rotation[i].unbind(-1), offset) for i in range(3)], slope

    def normals(self, x: Tensor, h: float = 0.005) -> Tensor:
        """Return the outward unit normals [N, 3] of the level sets of the distance.

        Args:
            x: world points [N, 3].
            h: half the step of the central differences, world units.
        """
        steps = h * torch.eye(3, device=x.device)
        difference = [self.sdf(x + steps[a])[0] - self.sdf(x - steps[a])[0] for a in range(3)]
        return F.normalize(torch.stack(difference, -1), dim=-1)

    def occupancy(self, x: Tensor) -> Tensor:
        """Return whether world points x [N, 3] are inside the object, bool [N]."""
        return self.sdf(x)[0] <= 0

    def albedo(self, x: Tensor) -> Tensor:
        """Return the albedo [N, 3] of the part nearest to world points x [N, 3]."""
        part = self.sdf(x)[1]
        albedo = self.colors.to(x)[part]
        which = torch.tensor(self.part_patterns, device=x.device)[part]
        bits = self.pattern_bits(x, part).long()
        second = (which >= 0) & ((bits >> which.clamp_min(0)) & 1 == 1)
        return torch.where(second[:, None], self.second_colors.to(x)[part], albedo)

    def pattern_bits(self, x: Tensor, part: Tensor) -> Tensor:
        """Return where each pattern shows its second colour, as bits, uint8 [N].

        Args:
            x: world points [N, 3].
            part: index of the part at each point, [N].
        """
        table, bits = self.table.to(x.device), torch.zeros_like(part, dtype=torch.uint8)
        for k in range(len(self.parts) if any(self.patterns) else 0):
            local, _ = self._local(table, k, x)
            own = bits_of(local, table.size[k].to(x).unbind(-1))
            bits = torch.where(part == k, own, bits)
        return bits

    @property
    def part_patterns(self) -> list[int]:
        """Return the pattern of every part, an index of `PATTERNS`, -1 for none."""
        found = [self._pattern(p) for p in self.parts]
        return [PATTERNS.index(p[0]) if p else -1 for p in found]

    @property
    def second_colors(self) -> Tensor:
        """Return the second colour of every part, display RGB, [K, 3]; black for a plain one."""
        found = [self._pattern(p) for p in self.parts]
        return torch.tensor([PALETTE[p[1]] if p else (0.0, 0.0, 0.0) for p in found])

    def _pattern(self, part: Part) -> tuple[str, str] | None:
        """Return the pattern and the second colour of a part, None for a plain one."""
        slot = part.color
        return self.patterns[slot] if self.patterns and isinstance(slot, int) else None


def part_table(
    parts: Sequence[Part], count: int, placements: Sequence[Placement] = ()
) -> PartTable:
    """Return `parts` as tensors, padded to `count`.

    Args:
        parts: of a scene or of a thing.
        count: of rows.
        placements: one for each part; by default all are where the parts say.
    """
    pad = count - len(parts)
    places = [*(placements or [IN_PLACE] * len(parts)), *[IN_PLACE] * pad]
    numbers = {
        "center": [p.center for p in parts] + [(0.0, 0.0, 0.0)] * pad,
        "size": [p.size for p in parts] + [(1.0, 1.0, 1.0)] * pad,
        "rounding": [p.rounding for p in parts] + [0.0] * pad,
        "extra": [p.extra for p in parts] + [0.0] * pad,
        "blend": [p.blend for p in parts] + [0.0] * pad,
        "offset": [p.offset for p in places],
        "scale": [p.scale for p in places],
        "taper": [p.taper for p in places],
    }
    return PartTable(
        kind=torch.tensor([KINDS.index(p.kind) for p in parts] + [-1] * pad),
        rotation=torch.stack([_world_to_part(p.rotation) for p in parts] + [torch.eye(3)] * pad),
        **{name: torch.tensor(rows, dtype=torch.float32) for name, rows in numbers.items()},
    )


def into_thing(
    x: Sequence[Tensor], offset: Sequence[Tensor], scale: Sequence[Tensor], taper: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Take world points, by components, into the axes of a thing.

    Returns:
        The points, and the factor by which a distance there bounds the one in the world.
    """
    u, v, w = ((a - b) / c for a, b, c in zip(x, offset, scale, strict=True))
    narrow = 1 + taper * w.clamp(-1.2, 1.2)
    smallest = torch.minimum(scale[0], torch.minimum(scale[1], scale[2]))
    return [u / narrow, v / narrow, w], smallest * (1 - 1.5 * taper.abs())


def table_local(table: PartTable, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """Take points of B scenes into the axes of every part.

    Args:
        table: parts of the scenes, [B, K].
        x: points [B, P, 3], P of each scene.

    Returns:
        The three components, and the factor of distances, each [B, P, K].
    """
    return rows_local(PartTable(*(t[:, None] for t in table)), x)  # [B, 1, K] against [B, P, 1]


def rows_local(rows: PartTable, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """Take points [..., 3] into the axes of the parts of rows that broadcast against [..., K]."""
    points = [x[..., None, i] for i in range(3)]
    own, slope = into_thing(points, rows.offset.unbind(-1), rows.scale.unbind(-1), rows.taper)
    offset = [own[i] - rows.center[..., i] for i in range(3)]
    return [dot(rows.rotation[..., i, :].unbind(-1), offset) for i in range(3)], slope


def table_distance(table: PartTable, x: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate the signed distances of B scenes at once.

    Args:
        table: parts of the scenes, [B, K].
        x: points [B, P, 3], P of each scene.

    Returns:
        The distance and the index of the nearest part, each [B, P].
    """
    p, slope = table_local(table, x)
    rows = PartTable(*(t[:, None] for t in table))
    size = (*rows.size.unbind(-1), rows.extra)
    d = torch.full_like(p[0], 1e9)
    for kind in range(len(KINDS)):
        d = torch.where(rows.kind == kind, (distance(kind, p, size) - rows.rounding) * slope, d)
    return joined(d, rows.blend.expand_as(d))


def _is_differentiated(x: Tensor) -> bool:
    """Return whether a derivative in x may be asked for."""
    return transforms.active() or (torch.is_grad_enabled() and x.requires_grad)


def _world_to_part(rotation: tuple[float, float, float]) -> Tensor:
    """Return the matrix [3, 3] that undoes rotations about x, then y, then z, in degrees."""
    ax, ay, az = (radians(v) for v in rotation)
    rx = torch.tensor([[1, 0, 0], [0, cos(ax), -sin(ax)], [0, sin(ax), cos(ax)]])
    ry = torch.tensor([[cos(ay), 0, sin(ay)], [0, 1, 0], [-sin(ay), 0, cos(ay)]])
    rz = torch.tensor([[cos(az), -sin(az), 0], [sin(az), cos(az), 0], [0, 0, 1]])
    return (rz @ ry @ rx).T.contiguous().float()
