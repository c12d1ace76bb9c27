"""The object that a run makes: to render, to measure, to export and to save."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from dfast.config import Config, Layout
from dfast.config.methods import METHODS
from dfast.mesh.inside import MeshField
from dfast.ops.ambient import neutral_torch_state
from dfast.render.picture import pictures, see
from dfast.runs.result_file import FORMAT, read_result
from dfast.runs.shown import Shown
from dfast.scene.cameras import CameraBatch
from dfast.scene.composition import Composition
from dfast.scene.loop_scene import LoopScene
from dfast.scene.scene import Scene
from dfast.scene.stored import empty_scene

if TYPE_CHECKING:
    from dfast.mesh.mesh import Mesh


class Result(Shown):
    """A trained object in the unit sphere: azimuth 0 is its front (+x), z is up.

    Attributes:
        scene: field, occupancy grid and background; or the mesh of a method that makes one.
        config: all settings of the run.
        prompt: what the object is.
        seed: of the run.
        prior: name of the run's prior.
        steps: steps done.
        folder: run folder that it was written to or read from, None if there is none.
    """

    def __init__(
        self,
        scene: Scene | LoopScene,
        config: Config,
        prompt: str,
        seed: int,
        prior: str,
        steps: int,
    ) -> None:
        """Make a result of a scene.

        Args:
            scene: what was trained; its tensors are shared, not copied.
            config: all settings of the run.
            prompt: what the object is.
            seed: of the run.
            prior: name of the run's prior.
            steps: steps done.
        """
        super().__init__(config, prompt, seed, prior, steps)
        self.scene = scene

    @cached_property
    def _field(self) -> Scene | MeshField:
        """The object as a density field: of a mesh, what is inside and its colours."""
        return MeshField.of(self.scene) if isinstance(self.scene, LoopScene) else self.scene

    @property
    def own_mesh(self) -> Mesh | None:
        """The mesh of a method that optimises one, see `Shown.own_mesh`."""
        return self.mesh() if isinstance(self.scene, LoopScene) else None

    @property
    def parts(self) -> dict[str, Result]:
        """The things of a layout by their names, each alone in its own frame; of one object none.

        They share the tensors of this result, and render, export and save as results of their own.
        """
        if not isinstance(self.scene, Composition):
            return {}
        config = self.config.replace(layout=Layout())
        run = self.seed, self.prior, self.steps
        return {
            part.name: Result(self.scene.part(index), config, part.prompt, *run)
            for index, part in enumerate(self.config.layout.parts)
        }

    @property
    def device(self) -> torch.device:
        """The device of the object's tensors."""
        return self.scene.device

    @neutral_torch_state()
    def opacity(self, cameras: CameraBatch, resolution: int) -> Tensor:
        """Render the opacity.

        Args:
            cameras: B cameras, on any device.
            resolution: pixels a side, H = W.

        Returns:
            [B, H, W] in [0, 1].
        """
        pixels = see(
            self.scene,
            cameras.to(self.device),
            self.config.march,
            resolution=resolution,
            shading="opacity",
        )
        return pixels.opacity.view(len(cameras), resolution, resolution)

    def mesh(self, path: str | Path | None = None, **options: Any) -> Mesh:
        """Return the surface as a mesh; docs/meshes.md has the formats.

        Args:
            path: a mesh file to write as well; .glb, .usdz and .obj files are textured.
            **options: of `dfast.mesh.export.export_mesh`, such as faces=10_000.

        Raises:
            ExportError: there is no surface, or the path has an unknown ending.
        """
        if METHODS[self.config.method.name].shape == "mesh":
            from dfast.mesh.optimised import export_optimised

            assert isinstance(self.scene, LoopScene), "a method that makes meshes made a field"
            return export_optimised(self, self.scene, path, **options)
        if self.config.layout.parts:
            from dfast.mesh.layout import export_layout

            return export_layout(self.parts, self.config.layout, path, **options)
        from dfast.mesh.export import export_mesh

        return export_mesh(self, path, **options)

    @classmethod
    def _read(cls, path: Path, device: torch.device) -> Self:
        tensors, config, run = read_result(path)
        scene = empty_scene(config)
        scene.load_object(tensors)
        return cls(scene.to(device), config, **run)

    def pictures(
        self, cameras: CameraBatch, resolution: int, backgrounds: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Render B pictures in several shading modes, see `Shown.pictures`."""
        return pictures(
            self.scene,
            cameras,
            self.config.march,
            resolution=resolution,
            backgrounds=backgrounds,
        )

    def _stored(self) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
        return self.scene.object_state(), {"format": FORMAT}
