"""Join the processes that torchrun started for one object."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from dfast._numbers import shown
from dfast.errors import ConfigError
from dfast.training.ranks import Ranks

PATIENCE = timedelta(minutes=10)
"""How long a process waits for another one, which may be loading weights."""


def device_of_rank(device: str | torch.device | None) -> str | torch.device | None:
    """Return the device of this process: without a number, CUDA is that of its local rank.

    Args:
        device: as it was asked for; None takes CUDA if it is there.

    Raises:
        ConfigError: a GPU that all processes would share.
    """
    kind = str(device) if device is not None else "cuda" if torch.cuda.is_available() else "cpu"
    if kind.startswith("cuda:"):
        raise ConfigError(f"device: expected 'cuda' or 'cpu' under torchrun, got {shown(kind)}")
    return f"cuda:{os.environ['LOCAL_RANK']}" if kind == "cuda" else device


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the other processes, for the duration of a block.

    Args:
        device: of this process.

    Yields:
        The group.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", timeout=PATIENCE, device_id=device)
        host = dist.new_group(backend="gloo", timeout=PATIENCE)
    else:
        dist.init_process_group("gloo", timeout=PATIENCE)
        host = None
    try:
        yield Ranks(rank, size, host)
    finally:
        dist.destroy_process_group()
