"""Scenes of the procedural world: coloured parts with exact (or bounding) signed distances.

A `ProceduralScene` is the ground truth behind a caption: where matter is, which part it belongs to,
and the albedo of each part. Distances follow the usual closed forms (Inigo Quilez, "Distance
functions"). The same functions serve one scene on the CPU (the truth) and thousands of scenes at
once on a GPU (`PartTable`).
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

from dfast.world.parts import KINDS, PALETTE, Part


class PartTable(NamedTuple):
    """Parts as tensors. The axis K of parts is padded with kind -1, which is never the nearest."""

    kind: Tensor
    """[..., K] int64, indices of `KINDS`."""
    center: Tensor
    """[..., K, 3]."""
    rotation: Tensor
    """[..., K, 3, 3], from world to part axes."""
    size: Tensor
    """[..., K, 3]."""
    rounding: Tensor
    """[..., K]."""
    extra: Tensor
    """[..., K]."""
    blend: Tensor
    """[..., K]."""

    def to(self, device: torch.device | str) -> PartTable:
        """Return the same table on `device`."""
        return PartTable(*(t.to(device) for t in self))

    def select(self, index: Tensor) -> PartTable:
        """Return rows of a stacked table: [S, K, ...] and index [B] give [B, K, ...]."""
        return PartTable(*(t[index] for t in self))


@dataclass(frozen=True)
class ProceduralScene:
    """The object that a caption names, inside the unit sphere, front towards +x, z up."""

    caption: str
    """The canonical caption, which states every colour."""
    kind: str
    """"single", "stack", "pair" or "composed"."""
    shape: str
    """The caption without its colour words: the name of the geometry."""
    parts: tuple[Part, ...]
    slots: tuple[str, ...]
    """Colour words of the caption, in the caption's order."""
    has_front: bool
    """Whether the object looks different from the front and from behind."""

    @cached_property
    def table(self) -> PartTable:
        """Return the parts as tensors."""
        return part_table(self.parts, len(self.parts))

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
        table = self.table.to(x.device)
        rows = []
        for k, p in enumerate(self.parts):
            local = (x - table.center[k].to(x)) @ table.rotation[k].to(x).T
            size = (*table.size[k].to(x).unbind(-1), table.extra[k].to(x))
            rows.append(_distance(KINDS.index(p.kind), local.unbind(-1), size) - p.rounding)
        return _joined(torch.stack(rows, -1), table.blend.to(x))

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
        return self.colors.to(x)[self.sdf(x)[1]]


def part_table(parts: tuple[Part, ...], count: int) -> PartTable:
    """Return `parts` as tensors, padded to `count`."""
    pad = count - len(parts)
    return PartTable(
        kind=torch.tensor([KINDS.index(p.kind) for p in parts] + [-1] * pad),
        center=torch.tensor([p.center for p in parts] + [(0.0, 0.0, 0.0)] * pad),
        rotation=torch.stack([_world_to_part(p.rotation) for p in parts] + [torch.eye(3)] * pad),
        size=torch.tensor([p.size for p in parts] + [(1.0, 1.0, 1.0)] * pad),
        rounding=torch.tensor([p.rounding for p in parts] + [0.0] * pad),
        extra=torch.tensor([p.extra for p in parts] + [0.0] * pad),
        blend=torch.tensor([p.blend for p in parts] + [0.0] * pad),
    )


def table_distance(table: PartTable, x: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate the signed distances of B scenes at once.

    Args:
        table: parts of the scenes, [B, K].
        x: points [B, P, 3], P of each scene.

    Returns:
        The distance and the index of the nearest part, each [B, P].
    """
    rows = PartTable(*(t[:, None] for t in table))  # [B, 1, K, ...] against points [B, P, 1]
    offset = [x[..., None, i] - rows.center[..., i] for i in range(3)]
    p = [_dot(rows.rotation[..., i, :].unbind(-1), offset) for i in range(3)]
    size = (*rows.size.unbind(-1), rows.extra)
    d = torch.full_like(offset[0], 1e9)
    for kind in range(len(KINDS)):
        d = torch.where(rows.kind == kind, _distance(kind, p, size), d)
    return _joined(d - rows.rounding, rows.blend.expand_as(d))


def _joined(d: Tensor, blend: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance to the union of parts, and the nearest part, each [...].

    The two nearest parts are joined by the polynomial smooth minimum of Quilez, which takes no
    order of the parts.

    Args:
        d: distances to the parts, [..., K].
        blend: width of the joint of each part, [..., K] or [K].
    """
    best = d.min(dim=-1)
    if d.shape[-1] == 1:
        return best.values, best.indices
    nearest = best.indices[..., None]
    others = d.scatter(-1, nearest, torch.inf)
    second = others.min(dim=-1)
    blend = blend.expand_as(d)
    first_width = blend.gather(-1, nearest)[..., 0]
    width = torch.minimum(first_width, blend.gather(-1, second.indices[..., None])[..., 0])
    overlap = (width - (second.values - best.values)).clamp_min(0)
    return best.values - overlap**2 / (4 * width.clamp_min(1e-6)), best.indices


def _distance(kind: int, p: Sequence[Tensor], size: Sequence[Tensor]) -> Tensor:
    """Return the signed distance of local points (x, y, z) to a primitive of size (a, b, c, extra).

    Coordinates and sizes broadcast against each other. Superquadrics, wedges, pyramids, lathes and
    bowls have bounds, which are exact where the surface is.
    """
    name = KINDS[kind]
    x, y, z = p
    a, b, c, extra = size
    if name == "ellipsoid":  # first-order bound, exact for a sphere
        k0 = _length(x / a, y / b, z / c)
        k1 = _length(x / (a * a), y / (b * b), z / (c * c))
        return k0 * (k0 - 1) / k1.clamp_min(1e-6)
    if name == "box":
        qx, qy, qz = x.abs() - a, y.abs() - b, z.abs() - c
        outside = _length(qx.clamp_min(0), qy.clamp_min(0), qz.clamp_min(0))
        return outside + torch.maximum(qx, torch.maximum(qy, qz)).clamp_max(0)
    if name == "superquadric":
        n = extra.clamp_min(1.0)
        u, v, w = (x / a).abs(), (y / b).abs(), (z / c).abs()
        largest = torch.maximum(u, torch.maximum(v, w)).clamp_min(1e-4)
        u, v, w = u / largest, v / largest, w / largest
        k = (u**n + v**n + w**n) ** (1 / n)  # the norm is k * largest
        slopes = ((q / k) ** (n - 1) for q in (u, v, w))
        gradient = _length(*(slope / r for slope, r in zip(slopes, (a, b, c), strict=True)))
        return (k * largest - 1) / gradient
    if name == "wedge":
        edge = extra * a
        right = ((x - edge) * 2 * c + (z - c) * (a - edge)) / _length(2 * c, a - edge)
        left = ((edge - x) * 2 * c + (z - c) * (a + edge)) / _length(2 * c, a + edge)
        sides = torch.maximum(torch.maximum(left, right), -c - z)
        return torch.maximum(sides, y.abs() - b)
    if name == "pyramid":
        widest = torch.maximum(x.abs(), y.abs())
        side = ((widest - (a + b) / 2) * 2 * c + z * (a - b)) / _length(2 * c, a - b)
        return torch.maximum(side, z.abs() - c)
    if name == "bowl":
        return torch.maximum((_length(x, y, z) - a).abs() - b, z - c)
    radial = _length(x, y)
    if name == "arc":
        half = torch.deg2rad(c)
        end_x, end_y = a * half.cos(), a * half.sin()
        to_end = _length(x - end_x, y.abs() - end_y, z)
        inside = torch.atan2(y.abs(), x) <= half
        return torch.where(inside, _length(radial - a, z), to_end) - b
    if name == "lathe":
        t = (z / c).clamp(-1, 1)
        linear, square = (extra - a) / 2, (extra + a) / 2 - b
        profile = b + linear * t + square * t * t
        steepest = (linear.abs() + 2 * square.abs()) / c
        q_r, q_z = (radial - profile) / (1 + steepest**2).sqrt(), z.abs() - c
        outside = _length(q_r.clamp_min(0), q_z.clamp_min(0))
        return outside + torch.maximum(q_r, q_z).clamp_max(0)
    if name == "tube":
        q_r, q_z = (radial - a + b).abs() - b, z.abs() - c
        outside = _length(q_r.clamp_min(0), q_z.clamp_min(0))
        return outside + torch.maximum(q_r, q_z).clamp_max(0)
    if name == "cone":
        ca_r = radial - torch.minimum(radial, torch.where(z < 0, a, b))
        ca_z = z.abs() - c
        slope_r, slope_z = b - a, 2 * c
        along = ((b - radial) * slope_r + (c - z) * slope_z) / (slope_r**2 + slope_z**2)
        along = along.clamp(0, 1)
        cb_r, cb_z = radial - b + slope_r * along, z - c + slope_z * along
        inside = (cb_r < 0) & (ca_z < 0)
        d = torch.minimum(ca_r**2 + ca_z**2, cb_r**2 + cb_z**2).sqrt()
        return torch.where(inside, -d, d)
    if name == "torus":
        return _length(radial - a, z) - b
    return _length(radial, z - torch.maximum(torch.minimum(z, b), -b)) - a  # capsule


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return the dot product of vectors given by components, summed from left to right."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _length(*components: Tensor) -> Tensor:
    """Return the length of a vector given by components, squares summed from left to right."""
    total = components[0] * components[0]
    for v in components[1:]:
        total = total + v * v
    return total.sqrt()


def _world_to_part(rotation: tuple[float, float, float]) -> Tensor:
    """Return the matrix [3, 3] that undoes rotations about x, then y, then z, in degrees."""
    ax, ay, az = (radians(v) for v in rotation)
    rx = torch.tensor([[1, 0, 0], [0, cos(ax), -sin(ax)], [0, sin(ax), cos(ax)]])
    ry = torch.tensor([[cos(ay), 0, sin(ay)], [0, 1, 0], [-sin(ay), 0, cos(ay)]])
    rz = torch.tensor([[cos(az), -sin(az), 0], [sin(az), cos(az), 0], [0, 0, 1]])
    return (rz @ ry @ rx).T.contiguous().float()
