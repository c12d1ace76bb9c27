"""Settings of the refine stage: from a finished field to an optimised mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dfast.config.checks import check, check_numbers
from dfast.config.meshes import RANGES


@dataclass(frozen=True)
class RefineConfig:
    """The refine stage, `dfast refine`: the mesh of a finished run, optimised under its prior.

    A run itself reads none of these settings.
    """

    steps: int = 200
    """Steps of the stage, >= 1; they take the place of `train.steps`."""
    resolution: int = 512
    """Pixels a side of the images, 4 to 4096; it takes the place of `camera.resolution`."""
    faces: int = 20_000
    """Most faces of the mesh, 100 to 10 000 000."""
    texture: int = 1024
    """Texels a side of the texture, a power of two, 16 to 4096."""
    grid: int = 128
    """Cells a side of the grid in which the field's surface is searched, 8 to 512."""
    material: Literal["rough", "pbr"] = "rough"
    """What the mesh is made of. rough: albedo alone, lit as a field is; pbr: also roughness and
    metalness (GGX), with highlights and surroundings, as glTF has them."""
    lr_vertices: float = 2e-3
    """Peak learning rate of the vertices, about the way of one in a step, world units, >= 0."""
    lr_texture: float = 2e-2
    """Peak learning rate of the texture, all of its channels, >= 0."""
    laplacian: float = 0.01
    """Weight >= 0 of how much the mesh bends away from its start, relative to its edges: no
    spikes."""
    normal_consistency: float = 0.01
    """Weight >= 0 of the angles between neighbouring faces (Magic3D): no creases."""

    def __post_init__(self) -> None:
        check_numbers(self, "refine", ("steps",), 1)
        check_numbers(self, "refine", ("resolution",), 4, 4096)
        for key, name in (("faces", "faces"), ("texture", "texture"), ("grid", "resolution")):
            check_numbers(self, "refine", (key,), *RANGES[name])
        ok = self.texture & (self.texture - 1) == 0
        check("refine", "texture", self.texture, ok, "a power of two")
        weights = ("lr_vertices", "lr_texture", "laplacian", "normal_consistency")
        check_numbers(self, "refine", weights, 0)
