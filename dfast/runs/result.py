"""The object that a run makes: to render, to measure, to export and to save."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfast._device import pick_device
from dfast._numbers import shown
from dfast.config import Config
from dfast.config.methods import METHODS
from dfast.config.views import BACKGROUNDS, check_view
from dfast.errors import ConfigError
from dfast.io.tensors import write_tensors
from dfast.mesh.inside import MeshField
from dfast.ops.ambient import neutral_torch_state
from dfast.render.picture import pictures, see
from dfast.runs.paths import as_path
from dfast.runs.result_file import FORMAT, read_result
from dfast.runs.unfinished import RESULT, SUFFIX, result_file
from dfast.scene.cameras import CameraBatch, spherical
from dfast.scene.mesh_scene import MeshScene
from dfast.scene.scene import Scene
from dfast.scene.stored import empty_scene

if TYPE_CHECKING:
    from dfast.mesh.mesh import Mesh


class Result:
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

    folder: Path | None = None

    def __init__(
        self,
        scene: Scene | MeshScene,
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
        self.scene, self.config = scene, config
        self.prompt, self.seed, self.prior, self.steps = prompt, seed, prior, steps

    @cached_property
    def _field(self) -> Scene | MeshField:
        """The object as a density field: of a mesh, what is inside and its colours."""
        return MeshField(self.scene) if isinstance(self.scene, MeshScene) else self.scene

    @property
    def device(self) -> torch.device:
        """The device of the object's tensors."""
        return self.scene.device

    @neutral_torch_state()
    @torch.no_grad()
    def density(self, x: Tensor) -> Tensor:
        """Return the density, without gradients; 0 outside the unit sphere.

        Args:
            x: [N, 3] world points, on any device.

        Returns:
            [N] per unit length, >= 0.
        """
        x = x.to(self.device, torch.float32)
        return self._field.density(x) * (x.square().sum(-1) <= 1.0)

    @neutral_torch_state()
    @torch.no_grad()
    def albedo(self, x: Tensor) -> Tensor:
        """Return the albedo, without gradients.

        Args:
            x: [N, 3] world points, on any device.

        Returns:
            [N, 3] RGB in [0, 1].
        """
        return self._field.albedo(x.to(self.device, torch.float32))

    def render(
        self,
        *,
        azimuth: float = 30.0,
        elevation: float = 20.0,
        distance: float = 3.0,
        fov: float = 40.0,
        resolution: int = 256,
        shading: str = "studio",
        background: tuple[float, float, float] | None = None,
    ) -> NDArray[np.uint8]:
        """Render an image from one side.

        Args:
            azimuth: degrees around the object; 0 is its front.
            elevation: degrees above the horizon, -90 to 90.
            distance: of the camera from the origin, 0.001 to 1000 world units; below 1 the camera
                may be inside the object.
            fov: degrees of the whole image, 0.1 to 179.
            resolution: pixels a side, 1 to `dfast.config.views.MAX_RESOLUTION`.
            shading: one of `dfast.config.views.SHADING`: "studio" and "clay" are for people,
                "albedo", "diffuse" and "textureless" are what the diffusion model sees, "normal",
                "depth" and "opacity" are quantities.
            background: RGB in [0, 1], by default `dfast.config.views.BACKGROUNDS`, else the
                configuration's.

        Returns:
            [resolution, resolution, 3] display RGB in [0, 255].

        Raises:
            ConfigError: an argument that cannot be.
        """
        view = {"azimuth": azimuth, "elevation": elevation, "distance": distance, "fov": fov}
        return self.render_modes((shading,), **view, resolution=resolution, background=background)[
            0
        ]

    @neutral_torch_state()
    def render_modes(
        self,
        shading: Sequence[str],
        *,
        background: tuple[float, float, float] | None = None,
        **view: Any,
    ) -> list[NDArray[np.uint8]]:
        """Render an image in each of several shading modes, faster than one after the other.

        Args:
            shading: the modes, each one of `dfast.config.views.SHADING`.
            background: of all images, as `render` takes it.
            **view: the other arguments of `render`.

        Returns:
            An image as `render` returns it for each mode.

        Raises:
            ConfigError: an argument that cannot be.
        """
        views = [check_view(**view, shading=mode) for mode in shading]
        if not views:
            return []
        usual = self.config.background.color
        azimuth, *where, size, _ = views[0]
        images = pictures(
            self.scene,
            spherical(torch.tensor([azimuth]), *where).to(self.device),
            self.config.march,
            resolution=size,
            backgrounds={
                mode: _color(BACKGROUNDS.get(mode, usual) if background is None else background)
                for mode in shading
            },
        )
        return [images[m][0].mul(255.0).round().to(torch.uint8).cpu().numpy() for m in shading]

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

            assert isinstance(self.scene, MeshScene), "a method that makes meshes made a field"
            return export_optimised(self, self.scene, path, **options)
        from dfast.mesh.export import export_mesh

        return export_mesh(self, path, **options)

    def turntable(self, path: str | Path, **options: Any) -> Path:
        """Write a film of one turn around the object.

        Args:
            path: a .gif or .mp4 file.
            **options: of `dfast.io.video.turntable`.

        Raises:
            ExportError: the film cannot be made, or the path has an unknown ending.
        """
        from dfast.io.video import turntable

        return turntable(self, path, **options)

    def contact_sheet(self, path: str | Path | None = None, **options: Any) -> NDArray[np.uint8]:
        """Render views around the object in one image.

        Args:
            path: an image file to write as well.
            **options: of `dfast.io.images.contact_sheet`.

        Returns:
            [H, W, 3] display RGB in [0, 255].

        Raises:
            ExportError: the path has an unknown ending.
        """
        from dfast.io.images import contact_sheet

        return contact_sheet(self, path, **options)

    def report(self, path: str | Path | None = None) -> Path:
        """Write one HTML file with pictures, curves, settings, versions and the object to turn.

        Args:
            path: an .html file, by default report.html in the run folder.

        Raises:
            ExportError: it cannot be written, or there is neither a path nor a run folder.
        """
        from dfast.runs.report import write_report

        return write_report(self, path)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: a picture, and the object to turn with the pointer."""
        from dfast.runs.report import notebook_view

        return notebook_view(self)

    def save(self, path: str | Path) -> Path:
        """Write the object as one safetensors file, atomically.

        Args:
            path: a .safetensors file, or a folder that gets result.safetensors.

        Returns:
            The file.

        Raises:
            RunFolderError: it cannot be written.
        """
        path = as_path(path)
        path = path if path.suffix == SUFFIX else path / RESULT
        run = {"prompt": self.prompt, "seed": self.seed, "prior": self.prior, "steps": self.steps}
        write_tensors(
            path,
            self.scene.object_state(),
            {"format": FORMAT, "config": self.config.to_dict(), "run": run},
        )
        return path

    @classmethod
    @neutral_torch_state()
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> Result:
        """Read what `save` wrote.

        Args:
            path: the file, or the folder it is in.
            device: "cpu", "cuda" or "cuda:N".

        Raises:
            RunFolderError: there is no such result, or it is damaged.
            DeviceError: the device is not there.
            NativeMissingError: dfast has no kernels for the device.
        """
        where = pick_device(device)
        given = as_path(path)
        tensors, config, run = read_result(result_file(given))
        scene = empty_scene(config)
        scene.load_object(tensors)
        result = cls(scene.to(where), config, **run)
        result.folder = given if given.is_dir() else None
        return result

    def __repr__(self) -> str:
        return (
            f"Result({self.prompt!r}, prior={self.prior!r}, seed={self.seed}, steps={self.steps})"
        )


def _color(background: Any) -> Tensor:
    """Return the argument `background` as RGB [3]; raise ConfigError for what is not a colour."""
    try:
        color = torch.tensor([float(v) for v in background])
    except (TypeError, ValueError):
        color = torch.empty(0)
    if color.shape != (3,) or not bool(((color >= 0) & (color <= 1)).all()):
        raise ConfigError(f"background: expected three numbers in [0, 1], got {shown(background)}")
    return color
