"""Locks that processes on other machines left, which cannot be judged from this one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from dfast.runs.lock import LOCK, Owner


def foreign_owner(folder: Path) -> Owner | None:
    """Return the process on another machine that a lock names, None if there is none.

    Args:
        folder: of a run or a batch.
    """
    try:
        owner = Owner.read((folder / LOCK).read_bytes())
    except OSError:
        return None
    return None if owner is None or owner.here or owner.same_kernel else owner


def drop_foreign_lock(folder: Path) -> None:
    """Remove the lock of a process on another machine, which must have ended.

    Args:
        folder: of a run or a batch.
    """
    if foreign_owner(folder) is not None:
        with suppress(OSError):
            (folder / LOCK).unlink()
