"""The mesh that a refine stage makes: to render, to export and to save."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from dfast._numbers import shown
from dfast.config import Config
from dfast.config.meshes import check_mesh
from dfast.errors import ExportError
from dfast.mesh.inside import MeshField
from dfast.ops.ambient import neutral_torch_state
from dfast.render.mesh_picture import mesh_pictures
from dfast.runs.refined_file import FORMAT, read_refined, sizes_of
from dfast.runs.shown import Shown
from dfast.scene.background import Background
from dfast.scene.cameras import CameraBatch
from dfast.scene.mesh_scene import MeshScene, MeshTensors

if TYPE_CHECKING:
    from dfast.mesh.mesh import Mesh

FIELD_OPTIONS = ("faces", "texture", "level", "keep")
"""Options of a field's mesh that a refined one has behind it."""


class Refined(Shown):
    """A refined mesh in the unit sphere: azimuth 0 is its front (+x), z is up.

    Attributes:
        scene: mesh, texture and background.
        config: all settings of the stage.
        prompt: what the object is.
        seed: of the stage.
        prior: name of the stage's prior.
        steps: steps of the stage that are done.
        folder: run folder that it was written to or read from, None if there is none.
    """

    def __init__(
        self, scene: MeshScene, config: Config, prompt: str, seed: int, prior: str, steps: int
    ) -> None:
        """Make a result of a mesh.

        Args:
            scene: what was refined; its tensors are shared, not copied.
            config: all settings of the stage.
            prompt: what the object is.
            seed: of the stage.
            prior: name of the stage's prior.
            steps: steps done.
        """
        super().__init__(config, prompt, seed, prior, steps)
        self.scene = scene

    @property
    def device(self) -> torch.device:
        """The device of the object's tensors."""
        return self.scene.device

    @cached_property
    def _field(self) -> MeshField:
        """What is inside the mesh, and its colours."""
        mesh = self.own_mesh
        arrays = mesh.vertices, mesh.faces, mesh.colors
        return MeshField(*(torch.from_numpy(np.asarray(a)).to(self.device) for a in arrays))

    @cached_property
    def own_mesh(self) -> Mesh:
        """The mesh, see `Shown.own_mesh`."""
        return self.mesh()

    @neutral_torch_state()
    def mesh(
        self,
        path: str | Path | None = None,
        *,
        vertex_colors: bool = False,
        size: float | None = None,
        resolution: int | None = None,
        **options: Any,
    ) -> Mesh:
        """Return the mesh as it is; docs/meshes.md has the formats.

        Args:
            path: a mesh file to write as well; .glb, .usdz and .obj files are textured.
            vertex_colors: leave the textures out; the colours at the vertices remain.
            size: largest extent in the file, in metres; by default that of the format.
            resolution: of the grid in which a field's surface is searched. A mesh needs none, so it
                changes nothing.
            **options: others of `dfast.mesh.export.export_mesh`, which were chosen with the stage.

        Raises:
            ExportError: an option that cannot be, or a path that has an unknown ending or cannot be
                written.
        """
        from dfast.mesh.scene import mesh_of_scene

        for name, value in options.items():
            if name not in FIELD_OPTIONS:
                raise TypeError(f"mesh() got an unexpected keyword argument {name!r}")
            if value is not None:
                raise ExportError(
                    f"{name}: expected None, since a refined mesh has its faces and texels from "
                    f"its stage (refine.faces, refine.texture), got {shown(value)}"
                )
        extent = check_mesh(path, vertex_colors=vertex_colors, size=size).size
        mesh = mesh_of_scene(self.scene)
        mesh = replace(mesh, texture=None) if vertex_colors else mesh
        if path is not None:
            mesh.save(path, extent)
        return mesh

    @classmethod
    def _read(cls, path: Path, device: torch.device) -> Self:
        tensors, config, run = read_refined(path)
        scene = MeshScene(MeshTensors(**tensors), Background(config.background))
        return cls(scene.to(device), config, **run)

    def pictures(
        self, cameras: CameraBatch, resolution: int, backgrounds: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Render B pictures in several shading modes, see `Shown.pictures`."""
        return mesh_pictures(self.scene, cameras, resolution=resolution, backgrounds=backgrounds)

    def _stored(self) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
        tensors = self.scene.object_state()
        return tensors, {"format": FORMAT, "sizes": sizes_of(tensors)}
