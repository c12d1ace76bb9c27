"""What is timed: every workload in every variant, sized for the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from dfast.bench.counts import Cost
DFAST, EAGER = "dfast", "dfast eager"
REFERENCE, GATHERED = "torch reference", "torch gathered"
"""`dfast.reference` as it is, and with the grid's corners gathered in one go (see `plain`)."""
UNTOUCHED = "diffusers"
"""A network as diffusers has it; on CUDA in a graph all the same."""


@dataclass(frozen=True)
class Work:
    """A workload that has been set up."""

    run: Callable[[], object]
    """does it once; what it returns is dropped"""
    cost: Cost
    """what it cannot do without"""
    amounts: dict[str, int]
    """points, samples, rays"""
    details: dict[str, object] = field(default_factory=dict)
    """what else to record, such as which path was taken"""
    generators: tuple[torch.Generator, ...] = ()
    """the device's generators that `run` draws from; a recorded graph has to know them"""


@dataclass(frozen=True)
class Case:
    """A workload in one variant."""

    workload: str
    """such as "E-lambertian-64"; the letter is TARGETS' workload"""
    variant: str
    build: Callable[[torch.device], Work]
    captured: bool = False
    """whether it is recorded in a CUDA graph and replayed"""

    @property
    def letter(self) -> str:
        """Of the workload, A to F."""
        return self.workload[0]


def count_name(count: int) -> str:
    """16k for 2^14, 1m for 2^20."""
    return f"{count >> 20}m" if count >= 1 << 20 else f"{count >> 10}k"


@dataclass(frozen=True)
class Sizes:
    """How large each workload is on a device."""

    points: tuple[tuple[str, int], ...]
    """A: (layout, how many)"""
    marched: tuple[int, ...]
    """B and C: pixels a side"""
    field_points: int
    """D"""
    steps: tuple[int, ...]
    """E: pixels a side"""
    reference_points: int
    """A and D: most points that the torch reference is given"""
    reference_pixels: int
    """B, C and E: most pixels a side that it is given"""
    cells: int
    """E: cells a side of the occupancy grid that is updated"""
    quick: bool


def sizes(device_type: str, quick: bool) -> Sizes:
    """The full workloads, or with `quick` what takes seconds."""
    if device_type == "cuda":
        small = (("rays", 1 << 18),)
        every = (*small, ("rays", 1 << 20), ("uniform", 1 << 18), ("uniform", 1 << 20))
        layouts, pixels = (small, (64,)) if quick else (every, (64, 256, 512))
        return Sizes(layouts, pixels, 1 << 18, pixels, 1 << 18, 64, 128, quick)
    if quick:
        return Sizes((("rays", 1 << 14),), (32,), 1 << 13, (16,), 1 << 14, 32, 32, True)
    several = (("rays", 1 << 16), ("rays", 1 << 18), ("uniform", 1 << 18))
    return Sizes(several, (64, 256), 1 << 16, (64,), 1 << 16, 64, 128, False)


def plain_cases(workload: str, build: Callable[..., Work], *, quick: bool) -> list[Case]:
    """Plain torch, both ways; `quick` leaves out the slow one."""
    made = [Case(workload, GATHERED, partial(build, gathered=True))]
    return made if quick else [*made, Case(workload, REFERENCE, partial(build, gathered=False))]


def dfast_cases(
    device_type: str, workload: str, build: Callable[[torch.device], Work]
) -> list[Case]:
    """dfast's own two: on CUDA in a graph and call by call, on the CPU the one there is."""
    first = Case(workload, DFAST, build, captured=device_type == "cuda")
    return [first] if device_type == "cpu" else [first, Case(workload, EAGER, build)]
