"""The inputs of the workloads, the same numbers on every device.

A camera at distance 2.5, elevation 20 and azimuth 30 degrees, with a field of view of 50 degrees,
looks at a torus (radii 0.5 and 0.2, axis z) and a ball (radius 0.25) at the origin, in an occupancy
grid of 128^3 cells.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from dfast.config import FieldConfig, GridConfig, MarchConfig
from dfast.nn.occupancy import OccupancyGrid
from dfast.ops.bitfield import pack_bits
from dfast.ops.march import Samples, march
from dfast.scene.cameras import CameraBatch, spherical
from dfast.scene.lighting import Lighting, fixed_lighting
from dfast.scene.rays import RayBatch
from dfast.scene.scene import grid_spec

CELLS = 128
"""Cells a side of the occupancy grid."""
STEP = 2.0 * math.sqrt(3.0) / 1024
"""Length of a ray's steps: the cube's diagonal over 1024."""
EARLY_STOP = 1e-4
"""Transmittance below which a ray ends."""
FIELD = FieldConfig(
    grid=GridConfig(
        levels=16,
        features=2,
        log2_entries=19,
        base_resolution=16,
        max_resolution=2048,
        interpolation="linear",
    ),
    hidden=64,
    layers=2,
    density_activation="exp",
    density_scale=1.0,
    density_bias=0.0,
    blob="none",
)
"""The field of workload D: 16 levels, MLP 32-64-64-4, density exp."""
GRID = grid_spec(FIELD)
"""Its hash grid, that of workload A."""
MARCH = MarchConfig(step_size=STEP, early_stop_eps=EARLY_STOP)
SEED = 2026


def generator(seed: int = SEED) -> torch.Generator:
    """Return a generator on the host, whose numbers are the same for every device."""
    return torch.Generator().manual_seed(seed)


def uniform(device: torch.device, *shape: int, seed: int = SEED) -> Tensor:
    """Return uniform numbers in [0, 1), float32."""
    return torch.rand(*shape, generator=generator(seed)).to(device)


def normal(device: torch.device, *shape: int, seed: int = SEED) -> Tensor:
    """Return standard normal numbers, float32."""
    return torch.randn(*shape, generator=generator(seed)).to(device)


@cache
def solid() -> Tensor:
    """Return which cells have their centre in the torus or the ball, bool [CELLS] * 3."""
    centre = (torch.arange(CELLS, dtype=torch.float64) + 0.5) * (2.0 / CELLS) - 1.0
    x, y, z = torch.meshgrid(centre, centre, centre, indexing="ij")
    torus = ((x * x + y * y).sqrt() - 0.5).square() + z * z <= 0.2**2
    return torus | (x * x + y * y + z * z <= 0.25**2)


def occupancy(device: torch.device) -> OccupancyGrid:
    """Return the grid of the torus and the ball, as if it had been learnt."""
    grid = OccupancyGrid(CELLS)
    grid.density.copy_(solid().reshape(-1).float())
    grid.bits.copy_(pack_bits(solid()))
    return grid.to(device)


def _camera() -> CameraBatch:
    """Return the camera of all workloads."""
    return spherical(torch.tensor([30.0]), elevation=20.0, distance=2.5, fov=50.0)


def lighting(shading_mode: str, device: torch.device) -> Lighting:
    """Return ambient light for "albedo", a point light above and to the left for "diffuse"."""
    return fixed_lighting(shading_mode, _camera()).to(device)


def rays(size: int, device: torch.device) -> RayBatch:
    """Return rays through the centres of size * size pixels.

    dfast starts a ray's first interval where the ray enters the unit sphere. The packages it is
    compared with start where the ray enters the cube [-1, 1]^3. The jitter shifts dfast's samples
    onto theirs.
    """
    origins, directions = _camera().rays(size)
    enter = _cube(origins, directions)[0]
    along = (origins * directions).sum(-1)
    across = (origins - along[:, None] * directions).square().sum(-1)
    near = -along - (1.0 - across).clamp(min=0.0).sqrt()
    jitter = ((enter - near) / STEP % 1.0).clamp(max=1.0 - 2.0**-23)
    return RayBatch(
        origins.contiguous().to(device),
        directions.contiguous().to(device),
        jitter=jitter.contiguous().to(device),
    )


def _cube(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distances [R] at which rays enter and leave [-1, 1]^3.

    A ray that misses the cube enters after it leaves.
    """
    low, high = (-1.0 - origins) / directions, (1.0 - origins) / directions
    return torch.minimum(low, high).amax(-1), torch.maximum(low, high).amin(-1)


def samples(size: int, device: torch.device) -> Samples:
    """Return the samples of workload B.

    There are 110 309, 1 761 052 and 7 044 194 of them at 64, 256 and 512 pixels.
    """
    r, grid = rays(size, device), occupancy(device)
    return march(
        r.origins,
        r.directions,
        grid.bits,
        resolution=CELLS,
        radius=1.0,
        step_size=STEP,
        jitter=r.jitter,
    )


def points(count: int, device: torch.device, layout: str = "uniform") -> Tensor:
    """Return the points of workload A, [count, 3] in [0, 1].

    Args:
        count: number of points, a multiple of 4096 along rays.
        device: where they are.
        layout: "uniform", or "rays" for count / 4096 points along each of 64 x 64 rays, which
            divide its chord of the cube evenly. Rays that miss the cube run along its border,
            between 1.5 and 3.5 from the camera.
    """
    if layout == "uniform":
        return uniform(device, count, 3)
    if count % 4096:
        raise ValueError(f"count must be a multiple of 4096 along rays, got {count}")
    r = rays(64, torch.device("cpu"))
    enter, leave = _cube(r.origins, r.directions)
    meets = enter < leave
    enter, leave = torch.where(meets, enter, 1.5), torch.where(meets, leave, 3.5)
    per_ray = count // 4096
    fraction = (torch.arange(per_ray) + 0.5) / per_ray
    t = enter[:, None] + (leave - enter)[:, None] * fraction
    x = r.origins[:, None] + t[..., None] * r.directions[:, None]
    return ((x + 1.0) * 0.5).clamp(0.0, 1.0).reshape(-1, 3).to(device)
