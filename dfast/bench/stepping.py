"""Take steps on a device and time them by the host's clock."""

from __future__ import annotations

import gc
from collections.abc import Callable
from time import perf_counter

import torch


def wait(device: torch.device) -> None:
    """Wait until the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free(device: torch.device) -> None:
    """Free what is no longer used, such as earlier trainers, which refer to themselves."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def seconds(step: Callable[[], object], count: int, device: torch.device) -> float:
    """Return the seconds that `count` steps take, queued one behind the other."""
    wait(device)
    began = perf_counter()
    for _ in range(count):
        step()
    wait(device)
    return perf_counter() - began
