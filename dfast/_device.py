"""The device of a run, chosen before anything else happens, and whether its memory ran out."""

from __future__ import annotations

import errno

import torch

from dfast._native import build_info
from dfast.errors import DeviceError, NativeMissingError


def parse_device(device: str | torch.device) -> torch.device:
    """Return the device of that name, whether or not it is there.

    Args:
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        DeviceError: any other name.
    """
    try:
        where = torch.device(device)
    except (RuntimeError, TypeError):
        where = torch.device("meta")
    if where.type not in ("cpu", "cuda"):
        raise DeviceError(f"device: expected cpu, cuda or cuda:N, got {str(device)!r}")
    return where


def pick_device(device: str | torch.device | None) -> torch.device:
    """Return the device to run on.

    Args:
        device: "cpu", "cuda" or "cuda:N"; None takes CUDA where torch and dfast both have it.

    Raises:
        DeviceError: there is no such device, or it cannot be used after a fork.
        NativeMissingError: dfast has no kernels for it.
    """
    if device is None:
        ready = torch.cuda.is_available() and build_info()["cuda"]
        return torch.device("cuda" if ready else "cpu")
    where = parse_device(device)
    if where.type == "cuda":
        if torch.cuda._is_in_bad_fork():
            raise DeviceError(
                f"device: '{where}' cannot be used in a process that was forked after its parent "
                "had used CUDA; start processes by 'spawn', or use CUDA only in the child"
            )
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (where.index or 0) >= count:
            raise DeviceError(
                f"device: '{where}' was asked for, but torch sees {count} CUDA devices; "
                "use device='cpu', or see `dfast doctor`"
            )
        if not build_info()["cuda"]:
            raise NativeMissingError(
                f"device: '{where}' was asked for, but dfast was built without CUDA kernels "
                f"({build_info().get('no_cuda')}); use device='cpu', or see `dfast doctor`"
            )
    return where


def ran_out(error: BaseException) -> bool:
    """Return whether an error says that memory ran out: on a device, in Python or in the system.

    Args:
        error: any error.
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # On the CPU torch raises a plain RuntimeError.
    refused = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return refused or isinstance(error, torch.OutOfMemoryError | MemoryError)
