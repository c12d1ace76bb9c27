"""The processors that this process may use: how many, and what arithmetic they are fast in."""

from __future__ import annotations

import os
from pathlib import Path

from dfast.host.groups import PROC, groups_of, read

SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
"""Which processors share a core with one."""


CPU_INFO = Path("/proc/cpuinfo")
"""Where Linux lists the instructions of each processor."""
BFLOAT16 = frozenset({"amx_bf16", "avx512_bf16"})
"""Instructions that multiply bfloat16 matrices, by Linux's names."""


def multiplies_bfloat16(info: Path = CPU_INFO) -> bool:
    """Return whether the processor has matrix instructions for bfloat16.

    Args:
        info: file with a line "flags : ..." such as Linux's /proc/cpuinfo.
    """
    try:
        lines = info.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not BFLOAT16.isdisjoint(flags.split())


def usable_cpus() -> int:
    """Return how many threads can run at once: affinity, or the quota where that is less."""
    quota = cpu_quota()
    cpus = len(affinity())
    return cpus if quota is None else max(1, min(cpus, int(quota + 0.5)))


def affinity() -> set[int]:
    """Return the processors that this process may run on; all, where a system cannot tell."""
    try:
        return os.sched_getaffinity(0)
    except (AttributeError, OSError):
        return set(range(os.cpu_count() or 1))


def physical_cores() -> int:
    """Return on how many cores the processors of `affinity` lie."""
    cores = set()
    for cpu in affinity():
        try:
            cores.add(Path(SIBLINGS.format(cpu)).read_text(encoding="ascii").strip())
        except (OSError, ValueError):
            cores.add(str(cpu))
    return len(cores)


def cpu_quota(proc: Path = PROC) -> float | None:
    """Return the least quota of the process's control groups, such as a container's `--cpus`.

    Args:
        proc: folder with the files `cgroup` and `mountinfo` of Linux's /proc/self.

    Returns:
        Processors' worth of time, such as 1.5; None if there is no limit or none can be read.
    """
    try:
        limits = [
            limit for folder in groups_of("cpu", proc) if (limit := _limit(folder)) is not None
        ]
    except (OSError, ValueError):
        return None
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(folder: Path) -> float | None:
    """Return the quota of one group, by version 2's file or version 1's pair of files."""
    if (both := folder / "cpu.max").is_file():
        quota, period = read(both).split()
    elif (file := folder / "cpu.cfs_quota_us").is_file():
        quota, period = read(file), read(folder / "cpu.cfs_period_us")
    else:
        return None
    if quota.strip() == "max" or int(quota) <= 0 or int(period) <= 0:
        return None
    return int(quota) / int(period)
