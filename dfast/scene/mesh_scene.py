"""A scene that is a textured triangle mesh: what the refine stage optimises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfast.ops.antialias import half_edge_twins
from dfast.scene.background import Background
from dfast.scene.tree import copy_into, map_tensors

PBR_CHANNELS = 5
"""Channels of a texture with roughness and metalness beside the albedo."""
SMOOTHEST = 0.1
"""Least roughness: highlights of smoother surfaces are smaller than pixels."""


@dataclass(frozen=True)
class MeshTensors:
    """A mesh with a texture, as tensors."""

    vertices: Tensor
    """[V, 3] world coordinates"""
    texture: Tensor
    """[T, T, C] in [0, 1], row 0 at v = 0: the albedo, display RGB, and for a PBR material two more
    channels, roughness and metalness"""
    faces: Tensor
    """[F, 3] int32, counterclockwise as seen from outside"""
    uv: Tensor
    """[W, 2] positions in the texture"""
    uv_faces: Tensor
    """[F, 3] int32 rows of `uv` of each triangle's corners"""
    nearest: Tensor | None = None
    """[T T] int32, for each texel the one whose values it shows: itself where a triangle covers it,
    else one nearby, so that filters mix in no other colour; None is each texel itself"""


class MeshScene(nn.Module):
    """A mesh inside the unit sphere, and what is behind it.

    Keys of the `state_dict`: the names of `MeshTensors`, and `start`. It has what
    `dfast.training.trainer.Trainer` asks of a scene.

    Attributes:
        vertices: [V, 3], trained.
        texture: [T, T, C], trained.
        faces, uv, uv_faces, nearest: see `MeshTensors`.
        start: [V, 3], the vertices at the start of the stage.
        twins: `dfast.ops.half_edge_twins` of the faces.
        background: the colour of pixels that miss the mesh; it has no parameters.
    """

    faces: Tensor
    uv: Tensor
    uv_faces: Tensor
    nearest: Tensor
    start: Tensor
    twins: Tensor

    def __init__(self, mesh: MeshTensors, background: Background) -> None:
        """Make a scene of a mesh.

        Args:
            mesh: what it shows at first.
            background: of one colour, or of a random one for each view.
        """
        super().__init__()
        mesh = map_tensors(lambda tensor: tensor.detach().clone().contiguous(), mesh)
        self.vertices, self.texture = nn.Parameter(mesh.vertices), nn.Parameter(mesh.texture)
        nearest = mesh.nearest
        if nearest is None:
            nearest = torch.arange(mesh.texture.shape[:2].numel(), dtype=torch.int32)
        for name in ("faces", "uv", "uv_faces"):
            self.register_buffer(name, getattr(mesh, name))
        self.register_buffer("nearest", nearest)
        self.register_buffer("start", mesh.vertices.clone())
        self.register_buffer("twins", half_edge_twins(mesh.faces), persistent=False)
        self.background = background

    @property
    def device(self) -> torch.device:
        """The device of all tensors."""
        return self.vertices.device

    @property
    def is_pbr(self) -> bool:
        """Whether the texture has roughness and metalness."""
        return self.texture.shape[2] == PBR_CHANNELS

    def shown_texture(self) -> Tensor:
        """Return the texture [T, T, C] with the gaps between its charts filled, differentiable."""
        texels = self.texture.flatten(0, 1).index_select(0, self.nearest)
        return texels.view_as(self.texture)

    @torch.no_grad()
    def constrain(self) -> None:
        """Move what a step has led out of its range back: vertices into the sphere, colours."""
        length = self.vertices.norm(dim=1, keepdim=True)
        self.vertices.mul_(length.clamp(min=1.0).reciprocal())
        self.texture.clamp_(0.0, 1.0)
        self.texture[..., 3:4].clamp_(min=SMOOTHEST)

    def half_copies(self) -> dict[str, Tensor | None]:
        """Return float16 copies of parameters by name: a mesh has none."""
        return {}

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Give the mesh the shape that it had at the start, in the same memory.

        Args:
            generator: not used; nothing here is random.
        """
        self.vertices.copy_(self.start)

    def object_state(self) -> dict[str, Tensor]:
        """Return the tensors of the mesh, by the names of `MeshTensors`."""
        return {k: v for k, v in self.state_dict().items() if k != "start"}

    def load_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Load a whole `state_dict` in place.

        Args:
            state: tensors by name, on any device. Other names are ignored.

        Raises:
            KeyError: when a tensor is missing.
            RuntimeError: when a tensor has the wrong shape.
        """
        copy_into(self.state_dict(), state)
        self.twins.copy_(half_edge_twins(self.faces))
