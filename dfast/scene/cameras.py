"""Pinhole cameras and their rays.

World coordinates are right-handed with z up. A camera at azimuth 0 is on the +x axis and sees the
front of the object; azimuth grows counterclockwise seen from above; elevation 0 is the horizon.
The columns of a camera's `rotation` are its axes: right, up, backward (the camera looks along
minus the third). All angles are in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from dfast.scene.tree import map_tensors


@dataclass(frozen=True)
class CameraBatch:
    """B pinhole cameras with square images.

    Azimuth, elevation and distance are those of the origin, seen from the world's origin.
    """

    origin: Tensor
    """[B, 3] world coordinates"""
    rotation: Tensor
    """[B, 3, 3] camera to world"""
    fov: Tensor
    """[B] field of view of the whole image in degrees, vertical and horizontal"""
    azimuth: Tensor
    """[B] degrees in [0, 360)"""
    elevation: Tensor
    """[B] degrees in [-90, 90]"""
    distance: Tensor
    """[B] world units"""

    def __len__(self) -> int:
        return self.origin.shape[0]

    def to(self, device: torch.device | str) -> CameraBatch:
        """Return the same cameras on `device`."""
        return map_tensors(lambda values: values.to(device, non_blocking=True), self)

    def rays(self, resolution: int) -> tuple[Tensor, Tensor]:
        """Return the rays through the pixel centres.

        Args:
            resolution: pixels a side.

        Returns:
            Origins and unit directions, [R, 3] each, R = B * resolution^2: camera by camera,
            row-major, row 0 at the top.
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
    """Return world points from spherical coordinates.

    Args:
        azimuth: [...] degrees.
        elevation: [...] degrees.
        distance: [...] from the origin.

    Returns:
        [..., 3].
    """
    az, el = torch.deg2rad(azimuth), torch.deg2rad(elevation)
    x, y = torch.cos(el) * torch.cos(az), torch.cos(el) * torch.sin(az)
    return distance[..., None] * torch.stack([x, y, torch.sin(el)], -1)


def look_at(origin: Tensor, target: Tensor, up: Tensor, fov: Tensor) -> CameraBatch:
    """Return cameras that look at a target.

    Args:
        origin: [B, 3] positions of the cameras, world coordinates.
        target: [B, 3] points in the middle of the images.
        up: [B, 3] directions that point up in the images, need not be perpendicular to the view.
        fov: [B] degrees.
    """
    back = normalize(origin - target, dim=-1)
    right = torch.linalg.cross(up, back)
    # Looking straight up or down, `up` is parallel to the view and its projection vanishes. The
    # limit of a camera at azimuth 0, whose right is +y, takes its place.
    steep = right.norm(dim=-1, keepdim=True) < 1e-4
    right = normalize(torch.where(steep, torch.linalg.cross(_front_up(back), back), right), dim=-1)
    rotation = torch.stack([right, torch.linalg.cross(back, right), back], -1)
    distance = origin.norm(dim=-1)
    height = (origin[:, 2] / distance.clamp(min=1e-12)).clamp(-1.0, 1.0)
    elevation = torch.rad2deg(torch.asin(height))
    azimuth = torch.rad2deg(torch.atan2(origin[:, 1], origin[:, 0])) % 360.0
    return CameraBatch(origin, rotation, fov, azimuth, elevation, distance)


def _front_up(back: Tensor) -> Tensor:
    """Return the up vector [B, 3] of cameras straight above (-x) or below (+x) the object."""
    sign = torch.where(back[..., 2:] >= 0, -1.0, 1.0)
    return sign * torch.eye(3, device=back.device, dtype=back.dtype)[0]


def orbit(
    n: int,
    elevation: float = 15.0,
    distance: float = 3.0,
    fov: float = 40.0,
    azimuth: float = 0.0,
    device: torch.device | str = "cpu",
    ring: int = 1,
) -> CameraBatch:
    """Return n cameras spaced evenly around the object.

    Args:
        n: number of cameras.
        elevation: degrees, of all cameras.
        distance: from the origin, world units.
        fov: degrees.
        azimuth: degrees, of the first camera.
        device: where the tensors live.
        ring: so many neighbours are evenly around the object by themselves; n is a multiple. 1: all
            cameras are in the order of their azimuths.
    """
    order = torch.arange(n).view(ring, -1).t().flatten()
    azimuths = azimuth + order.float() * (360.0 / max(n, 1))
    return spherical(azimuths, elevation, distance, fov).to(device)


def spherical(azimuth: Tensor, elevation: float, distance: float, fov: float) -> CameraBatch:
    """Return cameras that look at the origin, at equal elevation and distance.

    Azimuth and elevation are kept as given, so that a camera straight overhead has an azimuth, too.

    Args:
        azimuth: [B] degrees.
        elevation: degrees.
        distance: from the origin, world units.
        fov: degrees.
    """
    n = azimuth.shape[0]
    elevations, distances = torch.full((n,), elevation), torch.full((n,), distance)
    camera = aimed(azimuth, elevations, distances, torch.full((n,), fov))
    return CameraBatch(
        camera.origin, camera.rotation, camera.fov, azimuth % 360.0, elevations, distances
    )


def aimed(azimuth: Tensor, elevation: Tensor, distance: Tensor, fov: Tensor) -> CameraBatch:
    """Return cameras that look at the origin, with a defined up direction at the poles, too.

    Args:
        azimuth: [B] degrees.
        elevation: [B] degrees.
        distance: [B] from the origin, world units.
        fov: [B] degrees.
    """
    up = position(azimuth, elevation + 90.0, torch.ones_like(distance))
    origin = position(azimuth, elevation, distance)
    return look_at(origin, torch.zeros_like(origin), up, fov)
