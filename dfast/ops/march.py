"""Ray marching through an occupancy bitfield: where along each ray the field is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import transforms
from dfast.ops.custom_op import custom_op


class Samples(NamedTuple):
    """Samples of R rays, ray after ray and front to back within a ray.

    Slots from ``num_samples`` on, if there are any, are uninitialised memory and must not be read.

    Attributes:
        t: [M] distance along the ray.
        dt: [M] length of the interval that the sample stands for.
        ray: [M] int32, the sample's ray.
        x: [M, 3] position in the world, ``origin + t * direction``.
        offsets: [R + 1] int32; ray r owns slots ``offsets[r]:offsets[r + 1]``.
        num_samples: [1] int64, samples that all rays keep, which is more than M on overflow.
        overflow: [1] bool, whether ``num_samples`` exceeded ``max_samples``.
        num_rays_hit: [1] int64, how many rays meet the sphere.
    """

    t: Tensor
    dt: Tensor
    ray: Tensor
    x: Tensor
    offsets: Tensor
    num_samples: Tensor
    overflow: Tensor
    num_rays_hit: Tensor


SMALLEST, LARGEST = 1e-15, 1e15
"""Bounds of the radius, whose square and its product with other lengths are float32 numbers."""


def _max_runs() -> int:
    """Return how many runs of kept intervals per ray the first pass stores for the second.

    Rays with more runs are walked twice.
    """
    runs: int = _native.constant("march_max_runs")
    return runs


def _lanes(rays: int) -> int:
    """Return how many CUDA threads share a ray, 1 to 32: as many as it takes to fill a GPU."""
    lanes = 32
    while lanes > 1 and rays * lanes > 2**19:
        lanes //= 2
    return lanes


def march(
    origins: Tensor,
    directions: Tensor,
    occupancy_bitfield: Tensor,
    *,
    resolution: int,
    radius: float,
    step_size: float,
    cone_angle: float = 0.0,
    jitter: Tensor | None = None,
    max_samples: int | None = None,
) -> Samples:
    """Place samples where rays cross occupied cells inside the scene's sphere.

    A ray is cut to the sphere and divided into intervals from its near end on. An interval that
    starts at distance ``a`` is ``max(step_size, a * cone_angle)`` long; the last one is cut at the
    far end. Its sample lies at ``a + jitter * dt`` and is kept when its cell is occupied. Skipping
    empty space never moves a sample, and with every cell occupied the ``dt`` of a ray sum to its
    chord. Nothing here is differentiable.

    Args:
        origins: [R, 3] world, float32 or float64.
        directions: [R, 3] of unit length (not checked).
        occupancy_bitfield: uint8 [resolution**3 / 8], from :func:`dfast.ops.bitfield.pack_bits`.
        resolution: cells a side, a multiple of 4; the grid spans ``[-radius, radius]**3``.
        radius: radius of the sphere around the origin, world units.
        step_size: shortest interval, world units, at least ``1e-5 * radius``.
        cone_angle: interval length per distance, >= 0; 0 makes all intervals ``step_size`` long.
        jitter: [R] in [0, 1), one number per ray; None places samples in the middle of their
            intervals (0.5).
        max_samples: number of slots M. With None, M is the exact count, which costs one host
            synchronisation on CUDA. Samples beyond M are left out, from the last ray on:
            ``overflow`` reports it, and ``num_samples`` how many slots would have been needed.

    Returns:
        The samples of all rays.

    Raises:
        ValueError: on a wrong shape, dtype, device or range.
    """
    resolution = _native.whole_number("resolution", resolution, 4, 2048)
    if resolution % 4:
        raise ValueError(f"resolution must be a positive multiple of 4, got {resolution}")
    if max_samples is not None:
        max_samples = _native.whole_number("max_samples", max_samples, 0)
    check_lengths(radius, step_size, cone_angle)
    origins, directions = transforms.widen(origins, directions)
    jitter = transforms.widen_optional(jitter)
    origins = _native.contiguous("origins", transforms.constant(origins), (None, 3), origins)
    rays = origins.shape[0]
    directions = _native.contiguous(
        "directions", transforms.constant(directions), (rays, 3), origins
    )
    if jitter is not None:
        jitter = _native.contiguous("jitter", transforms.constant(jitter), (rays,), origins)
    _native.dense("occupancy_bitfield", occupancy_bitfield)
    if occupancy_bitfield.dtype != torch.uint8 or occupancy_bitfield.shape != (resolution**3 // 8,):
        raise ValueError(
            f"occupancy_bitfield must be uint8 [{resolution**3 // 8}] for resolution {resolution}, "
            f"got {occupancy_bitfield.dtype} {list(occupancy_bitfield.shape)}"
        )
    if occupancy_bitfield.device != origins.device:
        raise ValueError(
            f"occupancy_bitfield must be on {origins.device}, got {occupancy_bitfield.device}"
        )
    return Samples(
        *transforms.call(
            _march,
            origins,
            directions,
            occupancy_bitfield,
            jitter,
            resolution,
            radius,
            step_size,
            cone_angle,
            max_samples,
        )
    )


def check_lengths(radius: float, step_size: float, cone_angle: float) -> None:
    """Raise ValueError for lengths of a march that end in no samples, or in no end of them.

    The kernels square lengths, in float32 as well.
    """
    if not SMALLEST <= radius <= LARGEST:
        raise ValueError(f"radius must be positive, in [{SMALLEST:g}, {LARGEST:g}], got {radius}")
    if not 1e-5 * radius <= step_size <= LARGEST:
        raise ValueError(
            f"step_size must be finite and at least 1e-5 * radius, at most {LARGEST:g}, "
            f"got {step_size}"
        )
    if not 0 <= cone_angle <= LARGEST:
        raise ValueError(f"cone_angle must be in [0, {LARGEST:g}], got {cone_angle}")


@custom_op(
    "march",
    "(Tensor origins, Tensor directions, Tensor occupancy_bitfield, Tensor? jitter,"
    " int resolution, float radius, float step_size, float cone_angle, int? max_samples)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _march(
    origins: Tensor,
    directions: Tensor,
    occupancy_bitfield: Tensor,
    jitter: Tensor | None,
    resolution: int,
    radius: float,
    step_size: float,
    cone_angle: float,
    max_samples: int | None,
) -> tuple[Tensor, ...]:
    # The first pass counts, the second scans the counts and writes, so that the order of the
    # samples depends on no race.
    occupancy_bitfield = occupancy_bitfield.contiguous()
    if occupancy_bitfield.data_ptr() % 8:  # the kernels read 64-bit bricks
        occupancy_bitfield = occupancy_bitfield.clone()
    rays, max_runs = origins.shape[0], _max_runs()

    def integers(count: int) -> Tensor:
        return origins.new_empty(count, dtype=torch.int32)

    first_pass = {
        "counts": integers(rays),
        "runs": integers(2 * max_runs * rays),
        "sums": integers(_native.library().march_sums(rays=rays)),
    }
    shared = {
        "origins": origins,
        "directions": directions,
        "jitter": jitter,
        "occupancy_bitfield": occupancy_bitfield,
        "rays": rays,
        "resolution": resolution,
        "radius": radius,
        "step_size": step_size,
        "cone_angle": cone_angle,
        "max_runs": max_runs,
        "lanes": _lanes(rays),
        **first_pass,
    }
    _native.call("march_count", like=origins, **shared)
    if max_samples is None:
        max_samples = int(first_pass["counts"].sum())  # the only host synchronisation
        if max_samples >= 2**31:
            raise ValueError(
                f"march wants {max_samples} samples, more than int32 can index; split the rays"
            )
    t, dt = origins.new_empty(max_samples), origins.new_empty(max_samples)
    ray, x = integers(max_samples), origins.new_empty(max_samples, 3)
    offsets = integers(rays + 1)
    num_samples = origins.new_empty(1, dtype=torch.int64)
    overflow, num_rays_hit = origins.new_empty(1, dtype=torch.bool), torch.empty_like(num_samples)
    _native.call(
        "march_write",
        like=origins,
        **shared,
        max_samples=max_samples,
        offsets=offsets,
        t=t,
        dt=dt,
        ray=ray,
        x=x,
        num_samples=num_samples,
        overflow=overflow,
        num_rays_hit=num_rays_hit,
    )
    return t, dt, ray, x, offsets, num_samples, overflow, num_rays_hit


@_march.register_fake
def _(  # type: ignore[no-untyped-def]
    origins,
    directions,
    occupancy_bitfield,
    jitter,
    resolution,
    radius,
    step_size,
    cone_angle,
    max_samples,
):
    slots = torch.library.get_ctx().new_dynamic_size() if max_samples is None else max_samples
    return (
        origins.new_empty(slots),
        origins.new_empty(slots),
        origins.new_empty(slots, dtype=torch.int32),
        origins.new_empty(slots, 3),
        origins.new_empty(origins.shape[0] + 1, dtype=torch.int32),
        origins.new_empty(1, dtype=torch.int64),
        origins.new_empty(1, dtype=torch.bool),
        origins.new_empty(1, dtype=torch.int64),
    )


def _no_vmap(batch: int, in_dims: Sequence[Any], args: Sequence[Any]) -> Any:
    raise RuntimeError("dfast.ops.march takes any number of rays: pass them flat instead of vmap")


transforms.register(_march, vmap=_no_vmap)
