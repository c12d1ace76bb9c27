"""The control groups of this process, by which Linux bounds processors and memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self")
"""Where Linux describes this process."""


def groups_of(controller: str, proc: Path = PROC) -> Iterator[Path]:
    """Yield the folders of the groups that bound what this process uses, and those above.

    Args:
        controller: what they bound, "cpu" or "memory".
        proc: folder with the files `cgroup` and `mountinfo` of Linux's /proc/self.

    Raises:
        OSError: one of the files cannot be read.
        ValueError: one of them has another form.
    """
    groups = {}
    for line in read(proc / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(
            ","
        ):  # version 2 names no controllers
            groups["cgroup" if controllers else "cgroup2"] = path
    for line in read(proc / "mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        words, kind = left.split(), right.split()
        if len(words) < 5 or len(kind) < 3 or kind[0] not in groups:
            continue
        if kind[0] == "cgroup" and controller not in kind[2].split(","):
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


def read(file: Path) -> str:
    """Return the text of a file of Linux.

    Args:
        file: the file.
    """
    return file.read_text(encoding="utf-8", errors="replace")


def _unescaped(path: str) -> str:
    """Return a path of mountinfo, which writes a space as \\040."""
    return path.replace("\\040", " ")
