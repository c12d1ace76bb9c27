"""A mesh that is optimised: the limit surface of control vertices, with texture and normal map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from dfast.config import Config
from dfast.nn.loop_subdivision import Means, limit_surface, neighbours_of, split
from dfast.ops.antialias import half_edge_twins
from dfast.scene.background import Background
from dfast.scene.blur import blurred
from dfast.scene.octasphere import octasphere
from dfast.scene.tree import copy_into

REACH = 2
"""Texels at which the kernel of the maps' blur ends: a kernel of 5 (CLIP-Mesh, paper.yml)."""
STEEPEST = 0.2
"""Least part of a normal of the map along that of the mesh."""


class Topology(NamedTuple):
    """What the settings alone decide of a mesh: how points and triangles belong together."""

    maps: tuple[Means, ...]
    """From the control vertices to those of the surface."""
    mean: Means
    """From each control vertex to the mean of its neighbours."""
    faces: Tensor
    """[F, 3] int32, counterclockwise as seen from outside"""
    twins: Tensor
    """[F, 3] `half_edge_twins` of the faces"""
    uv: Tensor
    """[A, 2] float32 positions in the maps"""
    uv_faces: Tensor
    """[F, 3] int32 rows of `uv`"""
    source: Tensor
    """[A] int64, the vertex that each row of `uv` is"""

    def to(self, device: torch.device | str) -> Topology:
        """Return the same on a device."""
        maps = tuple(step.to(device) for step in self.maps)
        rest = (tensor.to(device) for tensor in self[2:])
        return Topology(maps, self.mean.to(device), *rest)


class LoopScene(nn.Module):
    """The object of a method that optimises a mesh.

    Keys of the `state_dict`: `control`, `texture`, `normal_map`.

    Attributes:
        control: [C, 3] control vertices, world coordinates.
        texture: [T, T, 3] display RGB in [0, 1], row 0 at v = 0.
        normal_map: [T, T, 3] normals in the axes tangent (u grows), bitangent (v falls), normal.
        topology: the rest of the mesh.
        background: the colour behind the object.
    """

    def __init__(self, config: Config, generator: torch.Generator | None = None) -> None:
        """Make a sphere with a random texture, on the CPU.

        Args:
            config: its sections clip_mesh and background are read.
            generator: draws the texture.
        """
        super().__init__()
        self.config = config.clip_mesh
        sphere = octasphere(self.config.control)
        self.topology = _topology(self.config.control, self.config.subdivisions)
        self.background = Background(config.background)
        self.register_buffer("sphere", sphere.positions * self.config.radius, persistent=False)
        self.sphere: Tensor
        self.register_buffer("across", torch.tensor([1.0, 1, 1, -1, -1, 1]), persistent=False)
        self.across: Tensor
        size = (self.config.texels, self.config.texels, 3)
        self.control = nn.Parameter(torch.empty_like(self.sphere))
        self.texture = nn.Parameter(torch.empty(size))
        self.normal_map = nn.Parameter(torch.empty(size))
        self.reset(generator)

    @property
    def device(self) -> torch.device:
        """The device of all tensors."""
        return self.control.device

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Begin anew in the same memory.

        Args:
            generator: draws the texture, on the host.
        """
        self.control.copy_(self.sphere)
        self.texture.copy_(torch.rand(self.texture.shape, generator=generator))
        self.normal_map.zero_()
        self.normal_map[..., 2] = 1.0

    def positions(self) -> Tensor:
        """Return the vertices of the surface, [V, 3]; differentiable in the control vertices."""
        points: Tensor = self.control
        for step in self.topology.maps:
            points = step(points)
        return points

    def maps(self) -> Tensor:
        """Return texture and normal map as they are seen, [T, T, 6]; differentiable.

        They are blurred, and continuous over the edges of the square.
        """
        maps = torch.cat([self.texture, self.normal_map], -1)
        std = maps.new_full((1,), self.config.smoothing)
        smooth = blurred(maps.permute(2, 0, 1)[None], std, REACH)[0].permute(1, 2, 0)
        return self._joined(self._joined(smooth).transpose(0, 1)).transpose(0, 1)

    def _joined(self, maps: Tensor) -> Tensor:
        """Return maps [T, T, 6] whose first and last row agree where they meet on the surface.

        The halves of each edge of the square are one line of the surface, on whose other side the
        tangent and the bitangent point the other way.
        """
        first, last = (0.5 * (row + row.flip(1) * self.across) for row in (maps[:1], maps[-1:]))
        return torch.cat([first, maps[1:-1], last])

    def laplacian(self) -> Tensor:
        """Return the mean square distance of control vertices from the mean of their neighbours.

        In units of the first radius, so that its weight does not depend on that. Differentiable.
        """
        points = self.control / self.config.radius
        return (self.topology.mean(points) - points).square().mean()

    @torch.no_grad()
    def project(self) -> None:
        """Bring colours into [0, 1], and normals to the outside of the surface."""
        self.texture.clamp_(0.0, 1.0)
        self.normal_map[..., :2].clamp_(-1.0, 1.0)
        self.normal_map[..., 2].clamp_(STEEPEST, 1.0)

    def half_copies(self) -> dict[str, Tensor | None]:
        """Return nothing: no parameter has a copy in half precision, see `Scene.half_copies`."""
        return {}

    def object_state(self) -> dict[str, Tensor]:
        """Return the part of the `state_dict` that is the object: all of it."""
        return dict(self.state_dict())

    def load_object(self, state: Mapping[str, Tensor]) -> None:
        """Load what `object_state` returned, in the same memory.

        Args:
            state: tensors by name, on any device; other names are ignored.

        Raises:
            KeyError: when a tensor is missing.
            RuntimeError: when a tensor has the wrong shape.
        """
        copy_into(self.object_state(), state)

    load_tensors = load_object

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Convert or move every tensor; `nn.Module.to` and its relatives call this."""
        super()._apply(fn, recurse)
        self.topology = self.topology.to(self.control.device)
        return self


def _topology(control: int, subdivisions: int) -> Topology:
    """Return the topology of a subdivided octasphere."""
    sphere = octasphere(control)
    count = len(sphere.positions)
    one, other, valence = neighbours_of(split(sphere.faces, count).edges, count)
    mean = Means(one, other, (1.0 / valence[one]).float(), count)
    maps, faces = limit_surface(sphere.faces, count, subdivisions)
    # Triangles of the texture are split alike, so that corners keep their order.
    uv, uv_faces, source, last = sphere.uv, sphere.uv_faces, sphere.source, sphere.faces
    for _ in range(subdivisions):
        fine = split(last, count)
        finer = split(uv_faces, len(uv))
        uv = torch.cat([uv, uv[finer.edges].mean(1)])
        source = torch.empty(len(uv), dtype=torch.int64)
        source[finer.faces] = fine.faces
        uv_faces, last, count = finer.faces, fine.faces, count + len(fine.edges)
    twins = half_edge_twins(faces.int())
    return Topology(tuple(maps), mean, faces.int(), twins, uv, uv_faces.int(), source)
