"""What a benchmark case is: a workload in one variant, built for a device when it is its turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from dfast.bench.counts import Cost

DFAST, EAGER = "dfast", "dfast eager"
"""dfast as it trains (on CUDA in a CUDA graph), and call by call."""
REFERENCE, GATHERED = "torch reference", "torch gathered"
"""`dfast.reference` as it is, and with the grid's corners gathered in one go (`torch_baseline`)."""
DIFFUSERS = "diffusers"
"""A network as diffusers has it; on CUDA in a CUDA graph all the same."""


@dataclass(frozen=True)
class Work:
    """A workload with its inputs, ready to run."""

    run: Callable[[], object]
    """Runs the workload once; its result is dropped."""
    cost: Cost
    """The fewest bytes and operations that it needs."""
    amounts: dict[str, int]
    """Numbers of points, samples, rays; recorded beside the times."""
    details: dict[str, object] = field(default_factory=dict)
    """Other facts to record, such as which path was taken."""
    generators: tuple[torch.Generator, ...] = ()
    """Generators of the device that `run` draws from; a CUDA graph has to register them."""


@dataclass(frozen=True)
class Case:
    """A workload in one variant."""

    workload: str
    """Such as "E-lambertian-64": the letter is a key of `dfast.bench.suite.TITLES`, the number is
    pixels a side, or points."""
    variant: str
    """Who computes it: one of the names above, or a peer's."""
    build: Callable[[torch.device], Work]
    """Makes the inputs on a device."""
    cuda_graph: bool = False
    """Whether it is recorded in a CUDA graph and replayed."""
    apart: str = ""
    """Module whose `cases` yields it, if it has to run in a process of its own (`apart`)."""

    @property
    def letter(self) -> str:
        """Return the letter of the workload, A to G."""
        return self.workload[0]


def dfast_cases(
    device_type: str, workload: str, build: Callable[[torch.device], Work]
) -> list[Case]:
    """Return dfast's own variants: on CUDA in a graph and call by call, on the CPU one.

    Args:
        device_type: "cpu" or "cuda".
        workload: its name.
        build: makes the work on a device.
    """
    first = Case(workload, DFAST, build, cuda_graph=device_type == "cuda")
    return [first] if device_type == "cpu" else [first, Case(workload, EAGER, build)]


def baseline_cases(workload: str, build: Callable[..., Work], *, quick: bool) -> list[Case]:
    """Return the variants in plain torch.

    Args:
        workload: its name.
        build: called with a device and `gathered`, makes the work.
        quick: omit the slow one, which gathers corner by corner.
    """
    made = [Case(workload, GATHERED, partial(build, gathered=True))]
    return made if quick else [*made, Case(workload, REFERENCE, partial(build, gathered=False))]


def count_name(count: int) -> str:
    """Return "16k" for 2^14, "1m" for 2^20."""
    return f"{count >> 20}m" if count >= 1 << 20 else f"{count >> 10}k"
