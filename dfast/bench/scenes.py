"""The inputs of the workloads, the same numbers on every device.

A camera at radius 2.5, elevation 20, azimuth 30 with a field of view of 50 degrees looks at a torus
(R 0.5, r 0.2, axis z) and a ball (0.25) at the origin, in an occupancy grid of 128^3 cells.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from dfast.config import FieldConfig, GridConfig, MarchConfig
from dfast.nn.occupancy import OccupancyGrid
from dfast.ops.bitfield import pack_bits
from dfast.ops.grid_spec import GridSpec
from dfast.ops.march import Samples, march
from dfast.scene.cameras import CameraBatch, spherical
from dfast.scene.lighting import Lighting, fixed_lighting

CELLS = 128
STEP = 2.0 * math.sqrt(3.0) / 1024
EARLY_STOP = 1e-4
GRID = GridSpec(
    levels=16, features=2, log2_entries=19, base_resolution=16, max_resolution=2048,
    interpolation="linear",
)  # fmt: skip
FIELD = FieldConfig(
    grid=GridConfig(
        levels=16, features=2, log2_entries=19, base_resolution=16, max_resolution=2048,
        interpolation="linear",
    ),
    hidden=64, layers=2, density_activation="exp", density_scale=1.0, density_bias=0.0,
    blob="none",
)  # fmt: skip
"""Workload D's field: 16 levels, MLP 32-64-64-4, density exp."""
MARCH = MarchConfig(step_size=STEP, early_stop_eps=EARLY_STOP)
SEED = 2026


class View(NamedTuple):
    """R rays of one camera."""

    origins: Tensor
    """[R,3]"""
    directions: Tensor
    """[R,3] unit"""
    jitter: Tensor
    """[R] in [0, 1): puts the samples at whole steps from where the ray enters the cube"""


def generator(seed: int = SEED) -> torch.Generator:
    """A host generator: what it draws is the same for every device."""
    return torch.Generator().manual_seed(seed)


def uniform(device: torch.device, *shape: int, seed: int = SEED) -> Tensor:
    """Uniform in [0, 1), float32."""
    return torch.rand(*shape, generator=generator(seed)).to(device)


def normal(device: torch.device, *shape: int, seed: int = SEED) -> Tensor:
    """Standard normal, float32."""
    return torch.randn(*shape, generator=generator(seed)).to(device)


@cache
def solid() -> Tensor:
    """Bool [CELLS] * 3: cells whose centre is in the torus or in the ball."""
    centre = (torch.arange(CELLS, dtype=torch.float64) + 0.5) * (2.0 / CELLS) - 1.0
    x, y, z = torch.meshgrid(centre, centre, centre, indexing="ij")
    torus = ((x * x + y * y).sqrt() - 0.5).square() + z * z <= 0.2**2
    return torus | (x * x + y * y + z * z <= 0.25**2)


def occupancy(device: torch.device) -> OccupancyGrid:
    """The grid of the torus and the ball, as if it had been learnt."""
    grid = OccupancyGrid(CELLS)
    grid.density.copy_(solid().reshape(-1).float())
    grid.bits.copy_(pack_bits(solid()))
    return grid.to(device)


def _camera() -> CameraBatch:
    return spherical(torch.tensor([30.0]), elevation=20.0, distance=2.5, fov=50.0)


def light(look: str, device: torch.device) -> Lighting:
    """Ambient light only for "albedo", a point light above and to the left for "diffuse"."""
    return fixed_lighting(look, _camera()).to(device)


def view(size: int, device: torch.device) -> View:
    """Rays through the centres of size * size pixels.

    dfast starts a ray's first interval where it enters the unit sphere, and the packages it is
    compared with where it enters the cube [-1, 1]^3: `jitter` shifts dfast's samples onto theirs.
    """
    origins, directions = _camera().rays(size)
    enter = _cube(origins, directions)[0]
    along = (origins * directions).sum(-1)
    across = (origins - along[:, None] * directions).square().sum(-1)
    near = -along - (1.0 - across).clamp(min=0.0).sqrt()
    jitter = ((enter - near) / STEP % 1.0).clamp(max=1.0 - 2.0**-23)
    return View(*(v.contiguous().to(device) for v in (origins, directions, jitter)))


def _cube(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Distances [R] at which rays enter and leave [-1, 1]^3; entering lies behind leaving for
    those that miss it."""
    low, high = (-1.0 - origins) / directions, (1.0 - origins) / directions
    return torch.minimum(low, high).amax(-1), torch.maximum(low, high).amin(-1)


def samples(size: int, device: torch.device, capacity: int | None = None) -> Samples:
    """Workload B's samples: 110 309, 1 761 052 and 7 044 194 at 64, 256 and 512 pixels."""
    v = view(size, device)
    bits = occupancy(device).bits
    return march(
        v.origins, v.directions, bits, resolution=CELLS, radius=1.0, step_size=STEP,
        jitter=v.jitter, max_samples=capacity,
    )  # fmt: skip


def points(count: int, device: torch.device, layout: str = "uniform") -> Tensor:
    """Workload A's points [count,3] in [0, 1], "uniform" or along 64x64 "rays".

    count / 4096 points divide each ray's chord of the cube evenly; rays that miss the cube run
    along its border, between 1.5 and 3.5 from the camera.
    """
    if layout == "uniform":
        return uniform(device, count, 3)
    if count % 4096:
        raise ValueError(f"count must be a multiple of 4096 along rays, got {count}")
    v = view(64, torch.device("cpu"))
    enter, leave = _cube(v.origins, v.directions)
    meets = enter < leave
    enter, leave = torch.where(meets, enter, 1.5), torch.where(meets, leave, 3.5)
    per_ray = count // 4096
    fraction = (torch.arange(per_ray) + 0.5) / per_ray
    t = enter[:, None] + (leave - enter)[:, None] * fraction
    x = v.origins[:, None] + t[..., None] * v.directions[:, None]
    return ((x + 1.0) * 0.5).clamp(0.0, 1.0).reshape(-1, 3).to(device)
