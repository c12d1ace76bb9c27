"""Where the pictures are taken from.

World: right-handed, z up. Azimuth 0 looks at the object's front from +x and grows counterclockwise
seen from above; elevation 0 is the horizon. Camera axes are the columns of `rotation`: right, up,
backward (the camera looks along minus the third). All angles are in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize


@dataclass(frozen=True)
class CameraBatch:
    """B pinhole cameras with square images; azimuth, elevation and distance are the origin's."""

    origin: Tensor
    """[B,3]"""
    rotation: Tensor
    """[B,3,3], camera to world"""
    fov: Tensor
    """[B] degrees, of the whole image, vertical and horizontal"""
    azimuth: Tensor
    """[B] degrees in [0, 360)"""
    elevation: Tensor
    """[B] degrees"""
    distance: Tensor
    """[B]"""

    def __len__(self) -> int:
        return self.origin.shape[0]

    def to(self, device: torch.device | str) -> CameraBatch:
        """The same cameras on `device`."""
        values = (self.origin, self.rotation, self.fov, self.azimuth, self.elevation, self.distance)
        return CameraBatch(*(v.to(device, non_blocking=True) for v in values))

    def rays(self, resolution: int) -> tuple[Tensor, Tensor]:
        """Origins and unit directions [R,3] of the rays through the pixel centres.

        R = B * resolution^2, row-major, row 0 the top.
        """
        device, dtype = self.origin.device, self.origin.dtype
        index = torch.arange(resolution, device=device, dtype=dtype)
        centres = (index + 0.5) * (2.0 / resolution) - 1.0
        up, right = torch.meshgrid(-centres, centres, indexing="ij")
        local = torch.stack([right, up, torch.zeros_like(up)], -1).reshape(1, -1, 3)
        slope = torch.tan(torch.deg2rad(self.fov) / 2).view(-1, 1, 1)
        local = local * slope
        local = torch.cat([local[..., :2], torch.full_like(local[..., 2:], -1.0)], -1)
        directions = normalize(local @ self.rotation.transpose(1, 2), dim=-1)
        origins = self.origin[:, None].expand_as(directions)
        return origins.reshape(-1, 3), directions.reshape(-1, 3)


def position(azimuth: Tensor, elevation: Tensor, distance: Tensor) -> Tensor:
    """[...,3] world points from spherical coordinates in degrees."""
    az, el = torch.deg2rad(azimuth), torch.deg2rad(elevation)
    x, y = torch.cos(el) * torch.cos(az), torch.cos(el) * torch.sin(az)
    return distance[..., None] * torch.stack([x, y, torch.sin(el)], -1)


def look_at(origin: Tensor, target: Tensor, up: Tensor, fov: Tensor) -> CameraBatch:
    """Cameras at `origin` [B,3] that look at `target` [B,3]; `up` [B,3] may lean, fov [B]."""
    back = normalize(origin - target, dim=-1)
    right = torch.linalg.cross(up, back)
    # Straight up or down `up` says nothing; take the limit of azimuth 0, where right is +y.
    steep = right.norm(dim=-1, keepdim=True) < 1e-4
    right = normalize(torch.where(steep, torch.linalg.cross(_front_up(back), back), right), dim=-1)
    rotation = torch.stack([right, torch.linalg.cross(back, right), back], -1)
    distance = origin.norm(dim=-1)
    height = (origin[:, 2] / distance.clamp(min=1e-12)).clamp(-1.0, 1.0)
    elevation = torch.rad2deg(torch.asin(height))
    azimuth = torch.rad2deg(torch.atan2(origin[:, 1], origin[:, 0])) % 360.0
    return CameraBatch(origin, rotation, fov, azimuth, elevation, distance)


def _front_up(back: Tensor) -> Tensor:
    """Up vector of a camera over (under) the object that stands on the front side: -x (+x)."""
    sign = torch.where(back[..., 2:] >= 0, -1.0, 1.0)
    return sign * torch.tensor([1.0, 0.0, 0.0], device=back.device, dtype=back.dtype)


def orbit(
    n: int,
    elevation: float = 15.0,
    distance: float = 3.0,
    fov: float = 40.0,
    azimuth: float = 0.0,
    device: torch.device | str = "cpu",
) -> CameraBatch:
    """n cameras evenly around the object, the first at `azimuth`."""
    azimuths = azimuth + torch.arange(n, dtype=torch.float32) * (360.0 / max(n, 1))
    return spherical(azimuths, elevation, distance, fov).to(device)


def spherical(azimuth: Tensor, elevation: float, distance: float, fov: float) -> CameraBatch:
    """Cameras at azimuths [B] that look at the origin; azimuth and elevation are kept as given, so
    a camera straight overhead still has a heading."""
    n = azimuth.shape[0]
    elevations, distances = torch.full((n,), elevation), torch.full((n,), distance)
    camera = aimed(azimuth, elevations, distances, torch.full((n,), fov))
    return CameraBatch(
        camera.origin, camera.rotation, camera.fov, azimuth % 360.0, elevations, distances
    )


def aimed(azimuth: Tensor, elevation: Tensor, distance: Tensor, fov: Tensor) -> CameraBatch:
    """Cameras from spherical coordinates [B] that look at the origin, upright at the poles too."""
    up = position(azimuth, elevation + 90.0, torch.ones_like(distance))
    origin = position(azimuth, elevation, distance)
    return look_at(origin, torch.zeros_like(origin), up, fov)
