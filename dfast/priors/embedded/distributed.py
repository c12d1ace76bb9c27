"""Data-parallel training over the GPUs of torchrun; a single process needs no setup."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train together, one a GPU."""

    rank: int
    """number of this process, in [0, size)"""
    size: int
    """number of processes"""
    device: torch.device
    """the GPU of this process"""

    @property
    def is_first(self) -> bool:
        """Return whether this process prints and writes files."""
        return self.rank == 0

    def average(self, x: Tensor) -> None:
        """Replace x by its mean over all processes."""
        if self.size > 1:
            dist.all_reduce(x, dist.ReduceOp.AVG)

    def broadcast(self, x: Tensor) -> None:
        """Replace x by that of the first process."""
        if self.size > 1:
            dist.broadcast(x, 0)


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started, for the duration of a block.

    Yields:
        The group; one of size 1 without torchrun.
    """
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
    if size > 1:
        dist.init_process_group("nccl", device_id=device)
    yield ProcessGroup(rank, size, device)
    if size > 1:
        dist.barrier()
        dist.destroy_process_group()


def flatten_gradients(module: nn.Module) -> Tensor:
    """Make every parameter's gradient a view of one buffer, so that one all-reduce serves all.

    Args:
        module: whose gradients are replaced.

    Returns:
        The buffer, zeros of as many elements as the module has parameters.
    """
    parameters = list(module.parameters())
    flat = torch.zeros(sum(p.numel() for p in parameters), device=parameters[0].device)
    start = 0
    for p in parameters:
        # The gradient has the memory layout of the parameter itself.
        p.grad = torch.as_strided(flat, p.size(), p.stride(), start)
        start += p.numel()
    return flat
