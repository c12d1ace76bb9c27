"""The processors that this process may use: how many, and what arithmetic they are fast in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self")
"""Where Linux describes this process."""
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
        limits = [limit for folder in _groups(proc) if (limit := _limit(folder)) is not None]
    except (OSError, ValueError):
        return None
    return min(limits, default=None)


def _groups(proc: Path) -> Iterator[Path]:
    """Yield the folders of the process's groups that have to do with processors, and above."""
    groups = {}
    for line in _read(proc / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):  # version 2 names no controllers
            groups["cgroup" if controllers else "cgroup2"] = path
    for line in _read(proc / "mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        words, kind = left.split(), right.split()
        if len(words) < 5 or len(kind) < 3 or kind[0] not in groups:
            continue
        if kind[0] == "cgroup" and "cpu" not in kind[2].split(","):
            continue
        root, mount = _unescaped(words[3]), Path(_unescaped(words[4]))
        group = PurePosixPath(groups[kind[0]])
        # A container sees its group at the mount itself; its path may be that of the host.
        inside = group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()
        folder = mount / inside if (mount / inside).is_dir() else mount
        yield folder
        while folder != mount:
            folder = folder.parent
            yield folder


def _limit(folder: Path) -> float | None:
    """Return the quota of one group, by version 2's file or version 1's pair of files."""
    if (both := folder / "cpu.max").is_file():
        quota, period = _read(both).split()
    elif (file := folder / "cpu.cfs_quota_us").is_file():
        quota, period = _read(file), _read(folder / "cpu.cfs_period_us")
    else:
        return None
    if quota.strip() == "max" or int(quota) <= 0 or int(period) <= 0:
        return None
    return int(quota) / int(period)


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _unescaped(path: str) -> str:
    """Return a path of mountinfo, which writes a space as \\040."""
    return path.replace("\\040", " ")
