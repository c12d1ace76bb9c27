"""Draw what a page shows: an object from a browser's camera, in one of several modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from dfast.config.views import BACKGROUNDS
from dfast.ops.ambient import neutral_torch_state
from dfast.render.picture import see_rays, shade_pixels
from dfast.runs.refined import Refined
from dfast.runs.result import Result
from dfast.scene.cameras import CameraBatch
from dfast.scene.loop_scene import LoopScene
from dfast.scene.mesh_scene import MeshScene
from dfast.scene.rays import RayBatch

CHUNK = 1 << 14
"""Rays drawn between two looks at whether the picture is still wanted."""
MODES = {
    "colour": "studio",
    "albedo": "albedo",
    "textureless": "clay",
    "normals": "normal",
    "depth": "depth",
    "opacity": "opacity",
}
"""What a page can show, by the name that it gives it: one of `dfast.config.views.SHADING`."""


@dataclass(frozen=True)
class Pose:
    """Where a browser's camera is and how large its image."""

    position: tuple[float, ...]
    """World coordinates."""
    wxyz: tuple[float, ...]
    """Unit quaternion, camera to world; the camera's axes are right, down, forward."""
    fov: float
    """Radians, vertical."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""

    def camera(self, device: torch.device) -> CameraBatch:
        """Return the same camera as a batch of one, with the axes right, up, backward."""
        origin = torch.tensor([self.position], dtype=torch.float32)
        rotation = _rotation(self.wxyz) * torch.tensor([1.0, -1.0, -1.0])
        zero, fov = torch.zeros(1), torch.tensor([np.degrees(self.fov)], dtype=torch.float32)
        distance = origin.norm(dim=-1)
        return CameraBatch(origin, rotation[None], fov, zero, zero, distance).to(device)

    def directions(self, camera: CameraBatch, width: int, height: int) -> Tensor:
        """Return unit vectors through the pixel centres of an image of this camera.

        Args:
            camera: the camera, on the device of the result.
            width: pixels.
            height: pixels.

        Returns:
            [height * width, 3], row 0 at the top.
        """
        device = camera.origin.device
        slope = float(np.tan(0.5 * self.fov))
        down = ((torch.arange(height, device=device) + 0.5) * (2.0 / height) - 1.0) * slope
        right = ((torch.arange(width, device=device) + 0.5) * (2.0 / width) - 1.0) * slope
        y, x = torch.meshgrid(-down, right * (self.width / self.height), indexing="ij")
        local = torch.stack([x, y, torch.full_like(x, -1.0)], -1).view(-1, 3)
        return normalize(local @ camera.rotation[0].T, dim=-1)


def _rotation(wxyz: tuple[float, ...]) -> Tensor:
    """Return the rotation matrix [3, 3] of a unit quaternion."""
    w, x, y, z = wxyz
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float32,
    )


@neutral_torch_state()
@torch.no_grad()
def draw(
    result: Result | Refined,
    pose: Pose,
    size: tuple[int, int],
    mode: str,
    wanted: Callable[[], bool] = lambda: True,
) -> NDArray[np.uint8] | None:
    """Draw an object as a browser's camera sees it; nothing random is drawn.

    Args:
        result: the object.
        pose: the camera.
        size: width and height of the picture in pixels.
        mode: one of `MODES`.
        wanted: asked between chunks of rays; False ends the work.

    Returns:
        [height, width, 3] display RGB in [0, 255], None where it was not wanted any more.
    """
    width, height = size
    camera = pose.camera(result.device)
    shading = MODES[mode]
    if isinstance(result.scene, LoopScene | MeshScene):
        return _draw_mesh(result, camera, size, shading)
    directions = pose.directions(camera, width, height)
    background = torch.tensor(BACKGROUNDS.get(shading, BACKGROUNDS["studio"]))
    camera_ids = torch.zeros(len(directions), device=result.device, dtype=torch.int32)
    rays = RayBatch(camera.origin.expand_as(directions), directions, camera_ids)
    parts = []
    for batch in rays.split(CHUNK):
        if not wanted():
            return None
        pixels = see_rays(result.scene, batch, camera, result.config.march, shading)
        parts.append(shade_pixels(pixels, batch.directions, camera, shading, background))
    return _levels(torch.cat(parts).view(height, width, 3))


def _draw_mesh(
    result: Result | Refined, camera: CameraBatch, size: tuple[int, int], shading: str
) -> NDArray[np.uint8]:
    """Draw a mesh: the middle of a square picture whose side is the longer one."""
    width, height = size
    side = max(size)
    slope = torch.tan(torch.deg2rad(camera.fov) / 2) * (side / height)
    wide = replace(camera, fov=torch.rad2deg(2 * torch.atan(slope)))
    background = torch.tensor(BACKGROUNDS.get(shading, BACKGROUNDS["studio"]))
    image = result.pictures(wide, side, {shading: background})[shading]
    top, left = (side - height) // 2, (side - width) // 2
    return _levels(image[0, top : top + height, left : left + width])


def _levels(image: Tensor) -> NDArray[np.uint8]:
    """Return display RGB in [0, 1] as whole numbers in [0, 255]."""
    return image.mul(255.0).round().to(torch.uint8).cpu().numpy()
