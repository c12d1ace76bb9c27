"""What a run makes, as people see it: pictures, films, pages, and the file of its tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfast._device import pick_device
from dfast._numbers import shown
from dfast.config import Config
from dfast.config.views import BACKGROUNDS, check_view
from dfast.errors import ConfigError
from dfast.io.tensors import write_tensors
from dfast.ops.ambient import neutral_torch_state
from dfast.runs.paths import as_path
from dfast.runs.unfinished import RESULT, SUFFIX, result_file
from dfast.scene.cameras import CameraBatch, spherical

if TYPE_CHECKING:
    from dfast.mesh.density_grid import DensityField
    from dfast.mesh.mesh import Mesh


class Shown(ABC):
    """An object in the unit sphere: azimuth 0 is its front (+x), z is up.

    Attributes:
        config: all settings of the run.
        prompt: what the object is.
        seed: of the run.
        prior: name of the run's prior.
        steps: steps done.
        folder: run folder that it was written to or read from, None if there is none.
    """

    folder: Path | None = None

    def __init__(self, config: Config, prompt: str, seed: int, prior: str, steps: int) -> None:
        """Keep what the object is.

        Args:
            config: all settings of the run.
            prompt: what the object is.
            seed: of the run.
            prior: name of the run's prior.
            steps: steps done.
        """
        self.config, self.prompt, self.seed = config, prompt, seed
        self.prior, self.steps = prior, steps

    @classmethod
    @neutral_torch_state()
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> Self:
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
        found = cls._read(result_file(given), where)
        found.folder = given if given.is_dir() else None
        return found

    @classmethod
    @abstractmethod
    def _read(cls, path: Path, device: torch.device) -> Self:
        """Return the object in a file, on a device."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device of the object's tensors."""

    @abstractmethod
    def mesh(self, path: str | Path | None = None, **options: Any) -> Mesh:
        """Return the surface as a mesh, and write it to a file if there is a path."""

    @abstractmethod
    def pictures(
        self, cameras: CameraBatch, resolution: int, backgrounds: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Render B pictures in several shading modes.

        Args:
            cameras: B cameras on the object's device.
            resolution: pixels a side.
            backgrounds: for each shading mode [3] display RGB in [0, 1].

        Returns:
            [B, H, W, 3] display RGB in [0, 1] for each shading mode.
        """

    @property
    @abstractmethod
    def _field(self) -> DensityField:
        """The object as a density field: of a mesh, what is inside and its colours."""

    @property
    @abstractmethod
    def own_mesh(self) -> Mesh | None:
        """The surface of an object that is a mesh; None for a field, whose surface is searched."""

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

    @abstractmethod
    def _stored(self) -> tuple[Mapping[str, Tensor], dict[str, Any]]:
        """Return the tensors of the object's file, and what is beside settings and run in it."""

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
        images = self.pictures(
            spherical(torch.tensor([azimuth]), *where).to(self.device),
            size,
            {
                mode: _color(BACKGROUNDS.get(mode, usual) if background is None else background)
                for mode in shading
            },
        )
        return [images[m][0].mul(255.0).round().to(torch.uint8).cpu().numpy() for m in shading]

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
        tensors, about = self._stored()
        write_tensors(path, tensors, about | {"config": self.config.to_dict(), "run": run})
        return path

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.prompt!r}, prior={self.prior!r}, seed={self.seed}, "
            f"steps={self.steps})"
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
