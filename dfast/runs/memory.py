"""Sizes that settings lead to, compared with the memory of the machine before anything is made."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import torch

from dfast.config import Config
from dfast.host.groups import PROC, groups_of, read
from dfast.scene.stored import object_bytes

COPIES = 4
"""Tensors of the size of the parameters in a run: themselves, their gradient, two moments."""
RAY_BYTES = 64
"""Bytes of a ray at least: its origin, direction, colours and their gradients."""
CONTROL_GROUPS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Files with the limit of a control group and with what is used, and the entry of `memory.stat` for
files that can be dropped, which count as used; for both versions of Linux's."""


def available_bytes(device: torch.device) -> int | None:
    """Return the bytes that can still be allocated, None where that is not known.

    Args:
        device: for the CPU, the memory of the system and of the container count.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    limits = [_system_bytes(), *_container_bytes()]
    return min((n for n in limits if n is not None), default=None)


def state_bytes(config: Config) -> int:
    """Return the bytes that field, optimiser and occupancy grid take.

    Args:
        config: the settings of a run.
    """
    return COPIES * object_bytes(config)


def least_bytes(config: Config) -> int:
    """Return the bytes that a run allocates whatever happens: state and rays.

    Args:
        config: the settings of the run.
    """
    pixels = max(size for _, size in config.camera.resolution) ** 2
    return state_bytes(config) + config.camera.views * pixels * RAY_BYTES


def _system_bytes() -> int | None:
    """Return the memory and swap space of the system that are free, or can be freed."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = dict(re.findall(r"^(MemAvailable|SwapFree):\s*(\d+) kB", text, re.MULTILINE))
    return 1024 * sum(map(int, found.values())) if "MemAvailable" in found else None


def _container_bytes(proc: Path = PROC) -> list[int]:
    """Return what is left of the memory limits of the process's control groups."""
    left = []
    try:
        folders = list(groups_of("memory", proc))
    except (OSError, ValueError):  # no control groups
        return []
    for folder, (limit, used, files) in product(folders, CONTROL_GROUPS):
        try:
            bound, taken = int(read(folder / limit)), int(read(folder / used))
        except (OSError, ValueError):  # no such group, or "max"
            continue
        left.append(bound - taken + _reclaimable(folder, files))
    return [n for n in left if n > 0]


def _reclaimable(folder: Path, entry: str) -> int:
    """Return the bytes of files in memory that a control group can drop."""
    try:
        found = re.search(rf"^{entry} (\d+)$", read(folder / "memory.stat"), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0
