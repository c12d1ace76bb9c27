"""Ray marching through an occupancy bitfield: where along each ray the field is evaluated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dfast import _native
from dfast.ops import transforms


class Samples(NamedTuple):
    """Samples of R rays, ray after ray and front to back within a ray.

    Slots from ``total`` on, if there are any, are left as the allocator gave them: nobody may use
    what they hold.

    Attributes:
        t: [M] distance along the ray.
        dt: [M] length of the interval that the sample stands for.
        ray: [M] int32, the sample's ray.
        x: [M, 3] where it is in the world, ``origin + t * direction``.
        offsets: [R + 1] int32; ray r owns slots ``offsets[r]:offsets[r + 1]``.
        total: [1] int64, samples that were wanted, more than M on overflow.
        overflow: [1] bool, whether ``total`` exceeded the capacity.
        met: [1] int64, how many rays meet the sphere.
    """

    t: Tensor
    dt: Tensor
    ray: Tensor
    x: Tensor
    offsets: Tensor
    total: Tensor
    overflow: Tensor
    met: Tensor


RUNS = 8
"""Runs of kept intervals that the counting pass hands a ray to the writing pass; rays with more of
them are walked twice."""


def _lanes(rays: int) -> int:
    """CUDA threads that share a ray: as many as it takes to fill a GPU, 1 .. 32."""
    lanes = 32
    while lanes > 1 and rays * lanes > 2**19:
        lanes //= 2
    return lanes


def march(
    origins: Tensor,
    directions: Tensor,
    bits: Tensor,
    *,
    resolution: int,
    radius: float,
    step: float,
    growth: float = 0.0,
    jitter: Tensor | None = None,
    capacity: int | None = None,
) -> Samples:
    """Place samples where rays cross occupied cells inside the scene's sphere.

    A ray is cut to the sphere and divided into intervals from its near end on. One that starts at
    distance ``a`` is ``max(step, a * growth)`` long; the last is cut at the far end. An interval's
    sample sits at ``a + jitter * dt`` and is kept when its cell is occupied: skipping empty space
    never moves a sample, and with every cell occupied the ``dt`` of a ray add up to its chord.
    Nothing here is differentiable.

    Args:
        origins: [R, 3] float32 or float64, world.
        directions: [R, 3], unit length (not checked).
        bits: uint8 [resolution**3 / 8], as :func:`dfast.nn.occupancy.pack_bits` makes it.
        resolution: cells a side, a multiple of 4; the grid spans ``[-radius, radius]**3``.
        radius: of the sphere at the origin, world units.
        step: shortest interval, world units, at least ``1e-5 * radius``.
        growth: interval length per distance, >= 0; 0 makes all intervals ``step`` long.
        jitter: [R] in [0, 1), one number a ray; None puts samples in the middle of their intervals
            (0.5).
        capacity: number of slots M. With None, M is the exact count, which costs one host
            synchronisation on CUDA. Samples beyond the capacity are left out, rays from the end of
            the list first: ``overflow`` says so and ``total`` how many slots would have been
            needed.

    Raises:
        ValueError: on a wrong shape, dtype, device or range.
    """
    if resolution < 4 or resolution % 4:
        raise ValueError(f"resolution must be a positive multiple of 4, got {resolution}")
    if not (radius > 0 and math.isfinite(radius)):
        raise ValueError(f"radius must be positive and finite, got {radius}")
    if not (step >= 1e-5 * radius and math.isfinite(step)):
        raise ValueError(f"step must be finite and at least 1e-5 * radius, got {step}")
    if not (growth >= 0 and math.isfinite(growth)):
        raise ValueError(f"growth must be finite and not negative, got {growth}")
    if capacity is not None and not 0 <= capacity < 2**31:
        raise ValueError(f"capacity must be in [0, 2**31), got {capacity}")
    origins, directions = transforms.widen(origins, directions)
    jitter = transforms.widen_optional(jitter)
    origins = _native.contiguous("origins", transforms.constant(origins), (None, 3), origins)
    rays = origins.shape[0]
    directions = _native.contiguous(
        "directions", transforms.constant(directions), (rays, 3), origins
    )
    if jitter is not None:
        jitter = _native.contiguous("jitter", transforms.constant(jitter), (rays,), origins)
    if bits.dtype != torch.uint8 or bits.shape != (resolution**3 // 8,):
        raise ValueError(
            f"bits must be uint8 [{resolution**3 // 8}] for resolution {resolution}, "
            f"got {bits.dtype} {list(bits.shape)}"
        )
    if bits.device != origins.device:
        raise ValueError(f"bits must be on {origins.device}, got {bits.device}")
    return Samples(
        *transforms.call(
            _march, origins, directions, bits, jitter, resolution, radius, step, growth, capacity
        )
    )


@torch.library.custom_op(
    "dfast::march",
    mutates_args=(),
    schema="(Tensor origins, Tensor directions, Tensor bits, Tensor? jitter, int resolution,"
    " float radius, float step, float growth, int? capacity)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _march(
    origins: Tensor,
    directions: Tensor,
    bits: Tensor,
    jitter: Tensor | None,
    resolution: int,
    radius: float,
    step: float,
    growth: float,
    capacity: int | None,
) -> tuple[Tensor, ...]:
    # Count, then scan and write: the order of samples depends on no race.
    bits = bits.contiguous()
    if bits.data_ptr() % 8:  # the kernels read 64-bit bricks
        bits = bits.clone()
    rays = origins.shape[0]

    def integers(count: int) -> Tensor:
        return origins.new_empty(count, dtype=torch.int32)

    counts, runs, sums = integers(rays), integers(2 * RUNS * rays), integers(rays // 4 + 2)
    setup = (
        origins, directions, jitter, bits, rays, resolution, radius, step, growth, RUNS,
        _lanes(rays),
    )  # fmt: skip
    _native.call("march_count", origins, *setup, counts, runs, sums)
    if capacity is None:
        slots = int(counts.sum())  # the one synchronisation
        if slots >= 2**31:
            raise ValueError(
                f"march wants {slots} samples, more than int32 can index; split the rays"
            )
    else:
        slots = capacity
    t, dt, ray, x = (
        origins.new_empty(slots),
        origins.new_empty(slots),
        integers(slots),
        origins.new_empty(slots, 3),
    )
    offsets = integers(rays + 1)
    total = origins.new_empty(1, dtype=torch.int64)
    overflow, met = origins.new_empty(1, dtype=torch.bool), torch.empty_like(total)
    _native.call(
        "march_write", origins,
        *setup, counts, runs, sums, slots, offsets, t, dt, ray, x, total, overflow, met,
    )  # fmt: skip
    return t, dt, ray, x, offsets, total, overflow, met


@_march.register_fake
def _(  # type: ignore[no-untyped-def]
    origins, directions, bits, jitter, resolution, radius, step, growth, capacity
):
    slots = torch.library.get_ctx().new_dynamic_size() if capacity is None else capacity
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
