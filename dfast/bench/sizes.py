"""How large the workloads are on a device."""

from __future__ import annotations

from dataclasses import dataclass

RAYS_256K, RAYS_1M = ("rays", 1 << 18), ("rays", 1 << 20)
UNIFORM_256K, UNIFORM_1M = ("uniform", 1 << 18), ("uniform", 1 << 20)


@dataclass(frozen=True)
class Sizes:
    """The sizes of all workloads."""

    points: tuple[tuple[str, int], ...]
    """Workload A: (layout, number of points), see `dfast.bench.inputs.points`."""
    marched: tuple[int, ...]
    """Workloads B and C: pixels a side."""
    field_points: int
    """Workload D: number of points."""
    steps: tuple[int, ...]
    """Workload E: pixels a side."""
    reference_points: int
    """Workloads A and D: largest number of points for the plain-torch variants."""
    reference_pixels: int
    """Workloads B, C and E: largest number of pixels a side for the plain-torch variants."""
    cells: int
    """Workload E: cells a side of the occupancy grid that is updated."""
    quick: bool
    """Whether slow variants are omitted."""


def sizes(device_type: str, quick: bool) -> Sizes:
    """Return the sizes for a device.

    Args:
        device_type: "cpu" or "cuda".
        quick: sizes that take seconds instead of the full ones.
    """
    if device_type == "cuda":
        layouts = (RAYS_256K,) if quick else (RAYS_256K, RAYS_1M, UNIFORM_256K, UNIFORM_1M)
        pixels = (64,) if quick else (64, 256, 512)
        return Sizes(
            points=layouts,
            marched=pixels,
            field_points=1 << 18,
            steps=pixels,
            reference_points=1 << 18,
            reference_pixels=64,
            cells=128,
            quick=quick,
        )
    return Sizes(
        points=(("rays", 1 << 14),) if quick else (("rays", 1 << 16), RAYS_256K, UNIFORM_256K),
        marched=(32,) if quick else (64, 256),
        field_points=1 << 13 if quick else 1 << 16,
        steps=(16,) if quick else (64,),
        reference_points=1 << 14 if quick else 1 << 16,
        reference_pixels=32 if quick else 64,
        cells=32 if quick else 128,
        quick=quick,
    )
