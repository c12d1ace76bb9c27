"""The kernels as modules for any PyTorch project.

Coordinates: `HashGrid` takes points of the unit cube, [0, 1] along each axis. `Field`,
`OccupancyGrid` and `VolumeRenderer` take world points: a field covers [-1, 1]^3, an occupancy grid
[-radius, radius]^3 of which only the sphere of that radius is marched through, and rays, distances
and step sizes are in the same units. `SphericalHarmonics` takes unit vectors. So a world point x
of a scene of radius r is encoded by ``grid((x / r + 1) / 2)``.

Points, rays and directions may have any leading dimensions. Under autocast every module computes
and returns the dtype of its parameters, float32 unless they were changed, whatever it is given.
"""

from dfast.nn.adam import Adam
from dfast.nn.directions import SphericalHarmonics, spherical_harmonics
from dfast.nn.field import Field
from dfast.nn.hash_grid import HashGrid
from dfast.nn.ipe_field import IPEField, IPESpec
from dfast.nn.occupancy import OccupancyGrid
from dfast.nn.volume_renderer import RayColors, VolumeRenderer

__all__ = [
    "Adam",
    "Field",
    "HashGrid",
    "IPEField",
    "IPESpec",
    "OccupancyGrid",
    "RayColors",
    "SphericalHarmonics",
    "VolumeRenderer",
    "spherical_harmonics",
]
