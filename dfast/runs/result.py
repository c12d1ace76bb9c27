"""What a run leaves behind: an object to look at, to measure and to take away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfast._device import pick_device
from dfast._numbers import whole
from dfast.config import Config
from dfast.errors import ConfigError, RunFolderError
from dfast.io.tensors import read_tensors, write_tensors
from dfast.nn.field import Field
from dfast.nn.occupancy import OccupancyGrid
from dfast.render.volume import render_rays
from dfast.runs.folder import RESULT
from dfast.scene.cameras import CameraBatch, spherical
from dfast.scene.coarse_to_fine import level_weights
from dfast.scene.lighting import SHADING_MODES, fixed_lighting
from dfast.scene.scene import build_field

if TYPE_CHECKING:
    from dfast.mesh.mesh import Mesh

FORMAT = "dfast result 1"
CHUNK = 1 << 16
"""Rays rendered at once, which bounds the memory of a picture whatever its size."""


class Result:
    """A trained object in the unit sphere: azimuth 0 is its front (+x), z is up."""

    def __init__(
        self,
        field: Field,
        occupancy: OccupancyGrid,
        config: Config,
        prompt: str,
        seed: int,
        prior: str,
        steps: int,
    ) -> None:
        self.field, self.occupancy, self.config = field, occupancy, config
        self.prompt, self.seed, self.prior, self.steps = prompt, seed, prior, steps
        levels = level_weights(1.0, field.spec.grid.resolutions, config.coarse_to_fine)
        self._levels = None if levels is None else levels.to(self.device)

    @property
    def device(self) -> torch.device:
        """Where the object's tensors are."""
        return self.field.table.device

    @torch.no_grad()
    def density(self, x: Tensor) -> Tensor:
        """Density per unit length [N] at world points x [N,3]; 0 outside the unit sphere."""
        x = x.to(self.device, torch.float32)
        return self.field.density(x, self._levels) * (x.square().sum(-1) <= 1.0)

    @torch.no_grad()
    def albedo(self, x: Tensor) -> Tensor:
        """RGB in [0, 1], [N,3], at world points x [N,3]."""
        return self.field(x.to(self.device, torch.float32), level_weights=self._levels).albedo

    def render(
        self,
        *,
        azimuth: float = 30.0,
        elevation: float = 20.0,
        distance: float = 3.0,
        fov: float = 40.0,
        resolution: int = 256,
        shading: str = "diffuse",
        background: tuple[float, float, float] | None = None,
    ) -> NDArray[np.uint8]:
        """A picture [H, W, 3] with H = W = resolution.

        shading: "albedo", "diffuse", "textureless" or "normal"; angles in degrees; background: RGB
        in [0, 1], white by default. Raises ConfigError on a bad resolution, shading or
        background.
        """
        pixels_a_side = whole(resolution)
        if pixels_a_side is None or not 1 <= pixels_a_side <= 8192:
            raise ConfigError(f"resolution: expected 1 to 8192 pixels, got {resolution!r}")
        if shading not in (*SHADING_MODES, "normal"):
            raise ConfigError(
                f"shading: expected one of {', '.join(SHADING_MODES)}, normal, got {shading!r}"
            )
        behind = _color(self.config.background.color if background is None else background)
        cameras = spherical(torch.tensor([azimuth]), elevation, distance, fov).to(self.device)
        image, opacity = self._picture(cameras, pixels_a_side, shading)
        image = image + (1.0 - opacity) * behind.to(image)
        pixels = image.clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)
        return pixels.view(pixels_a_side, pixels_a_side, 3).cpu().numpy()

    def opacity(self, cameras: CameraBatch, resolution: int) -> Tensor:
        """[B,H,W] opacity in [0, 1] as rendered."""
        _, opacity = self._picture(cameras.to(self.device), resolution, "albedo")
        return opacity.view(len(cameras), resolution, resolution)

    @torch.no_grad()
    def _picture(self, cameras: CameraBatch, resolution: int, look: str) -> tuple[Tensor, Tensor]:
        """Premultiplied colour [R,3] and opacity [R,1]."""
        origins, directions = cameras.rays(resolution)
        shading = fixed_lighting("albedo" if look == "normal" else look, cameras)
        view = torch.arange(len(cameras), device=self.device, dtype=torch.int32)
        view = view.repeat_interleave(resolution * resolution)
        colors, opacities = [], []
        for o, d, v in zip(
            origins.split(CHUNK), directions.split(CHUNK), view.split(CHUNK), strict=True
        ):
            rays = render_rays(
                self.field, self.occupancy, o, d, v, shading, self.config.march,
                level_weights=self._levels, normal_picture=look == "normal",
            )  # fmt: skip
            opacity = rays.opacity[:, None]
            colors.append(rays.color if rays.normal is None else 0.5 * (rays.normal + opacity))
            opacities.append(opacity)
        return torch.cat(colors), torch.cat(opacities)

    def mesh(self, path: str | Path | None = None, **options: Any) -> Mesh:
        """The surface with vertex colours, written too if `path` is given; see
        `dfast.mesh.extract.extract_mesh`.
        """
        from dfast.mesh.extract import extract_mesh

        mesh = extract_mesh(self, **options)
        if path is not None:
            mesh.save(path)
        return mesh

    def turntable(self, path: str | Path, **options: Any) -> Path:
        """A film of one turn, .gif or .mp4; see `dfast.io.video.turntable`."""
        from dfast.io.video import turntable

        return turntable(self, path, **options)

    def contact_sheet(self, path: str | Path | None = None, **options: Any) -> NDArray[np.uint8]:
        """Views around the object in one image, written too if `path` is given; see
        `dfast.io.images.contact_sheet`.
        """
        from dfast.io.images import contact_sheet

        return contact_sheet(self, path, **options)

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file: `path` itself if it ends in .safetensors, else
        result.safetensors in it.
        """
        path = Path(path)
        path = path if path.suffix == ".safetensors" else path / RESULT
        tensors = {f"field.{k}": v for k, v in self.field.state_dict().items()}
        tensors |= {f"occupancy.{k}": v for k, v in self.occupancy.state_dict().items()}
        run = {"prompt": self.prompt, "seed": self.seed, "prior": self.prior, "steps": self.steps}
        write_tensors(
            path, tensors, {"format": FORMAT, "config": self.config.to_dict(), "run": run}
        )
        return path

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> Result:
        """Read what `save` wrote: the file, or the folder it is in.

        Raises RunFolderError, and DeviceError or NativeMissingError as `dfast.train` does.
        """
        where = pick_device(device)
        path = Path(path)
        path = path / RESULT if path.is_dir() else path
        tensors, about = read_tensors(path, FORMAT)
        try:
            config = Config.from_dict(about["config"])
            field = build_field(config.field)
            occupancy = OccupancyGrid(
                config.occupancy.resolution,
                decay=config.occupancy.decay,
                threshold=config.occupancy.threshold,
            )
            for prefix, module in (("field.", field), ("occupancy.", occupancy)):
                own = {
                    k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)
                }
                module.load_state_dict(own)
            field = field.to(where)
            field.refresh_storage()
            return cls(field, occupancy.to(where), config, **about["run"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise RunFolderError(f"'{path}': damaged ({str(error).splitlines()[0]})") from error

    def __repr__(self) -> str:
        return (
            f"Result({self.prompt!r}, prior={self.prior!r}, seed={self.seed}, steps={self.steps})"
        )


def _color(background: Any) -> Tensor:
    """RGB [3] of an argument `background`."""
    try:
        color = torch.tensor([float(v) for v in background])
    except (TypeError, ValueError):
        color = torch.empty(0)
    if color.shape != (3,) or not bool(((color >= 0) & (color <= 1)).all()):
        raise ConfigError(f"background: expected three numbers in [0, 1], got {background!r}")
    return color
