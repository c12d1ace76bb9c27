"""A lock on a run folder: one process writes it at a time.

The lock is the file `run.lock`, which names its owner: host, process, and what tells that process
from a later one of the same number. Beside that the file is locked by `flock`, which the system
drops when the owner ends, however it ends; over NFS, `flock` may or may not reach other hosts.
A lock that is found is stale, and is taken over,

- when `flock` is free and the owner ran under the same kernel, or on this host before a restart;
- where the file system knows no `flock`: when the owner's process is gone from this host.

Whether an owner on another host still runs cannot be known: such a lock is respected, and the
message says which host and which file it is. Readers of a run folder need no lock, as every file
in it is replaced as a whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dfast.errors import RunFolderError

if os.name == "posix":
    import fcntl

LOCK = "run.lock"
"""Name of the lock in a run folder."""
ATTEMPTS = 5
"""How often to try again when other processes come and go in between."""
PAUSE = 0.02
"""Seconds between attempts."""
UNSIGNED_SECONDS = 10.0
"""Age after which a lock without an owner's name is stale: its process died before it wrote it."""

_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock."""

    pid: int
    """Its number on its host."""
    host: str
    """Name of its host."""
    boot: str
    """The running kernel, "" where the system does not say."""
    started: str
    """When the process started, in the system's own unit; "" where the system does not say."""

    @classmethod
    def this(cls) -> Owner:
        """Return this process."""
        return cls(os.getpid(), socket.gethostname(), _boot(), _started(os.getpid()))

    @classmethod
    def read(cls, text: bytes) -> Owner | None:
        """Return the owner that a lock names, None if it names none."""
        try:
            values: Any = json.loads(text)
            owner = cls(*(values[key] for key in ("pid", "host", "boot", "started")))
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        texts = (owner.host, owner.boot, owner.started)
        known = type(owner.pid) is int and owner.pid > 0
        return owner if known and all(isinstance(text, str) for text in texts) else None

    def encode(self) -> bytes:
        """Return what a lock holds."""
        return (json.dumps(vars(self)) + "\n").encode()

    @property
    def same_kernel(self) -> bool:
        """Whether it runs, or ran, under the kernel of this process."""
        return self.boot == _boot() if self.boot else self.here

    @property
    def here(self) -> bool:
        """Whether it runs, or ran, on this host."""
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether its process is there, for an owner on this host."""
        if not self.same_kernel:
            return False  # the host was restarted since
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except OSError:
            pass  # it is there and belongs to another user
        return not self.started or _started(self.pid) in ("", self.started)


class FolderLock:
    """The lock of one run folder, held from `acquire` to `release`.

    Attributes:
        path: the file of the lock.
    """

    def __init__(self, folder: Path) -> None:
        """Make a lock that is not held.

        Args:
            folder: the run folder, which need not exist yet.
        """
        self.path = folder / LOCK
        self._file: int | None = None

    def check(self) -> None:
        """Raise if another process holds the lock; write nothing.

        Raises:
            RunFolderError: another process holds it, or may hold it.
        """
        if os.name != "posix":
            return
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return  # there is none, or `acquire` will say what is wrong
        try:
            self._judge(file, _flock(file, fcntl.LOCK_SH))
        except IsADirectoryError:
            return  # the same
        finally:
            os.close(file)

    def acquire(self) -> None:
        """Take the lock; the folder must exist. Where there is no POSIX, do nothing.

        Raises:
            RunFolderError: another process holds it, or the folder cannot be written.
        """
        if os.name != "posix" or self._file is not None:
            return
        refusal = RunFolderError(f"out: '{self.path.parent}' is in use by other processes")
        for _ in range(ATTEMPTS):
            try:
                if (file := self._take(self.path)) is not None:
                    self._file = file
                    _held.add(self)
                    return
            except OSError as error:
                reason = error.strerror or error
                raise RunFolderError(f"'{self.path}': cannot be written ({reason})") from error
            except RunFolderError as error:  # `check` of another process locks for a moment, too
                refusal = error
            time.sleep(PAUSE)
        raise refusal

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            if _is_open_as(self.path, self._file):
                self.path.unlink()
        self.forget()

    def forget(self) -> None:
        """Close the lock's file and leave the lock to its owner, as a forked process must."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
        self._file = None

    def _take(self, path: Path) -> int | None:
        """Return the open file of a lock that was taken, None when it changed hands meanwhile."""
        try:
            file, is_new = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        except FileExistsError:
            try:
                file, is_new = os.open(path, os.O_RDWR), False
            except FileNotFoundError:
                return None  # released in between
        taken: int | None = None
        try:
            state = _flock(file, fcntl.LOCK_EX)
            if state == "taken" or not is_new:
                self._judge(file, state)
            if state == "unknown" and not is_new:
                taken = self._replace(path, file)
            elif _is_open_as(path, file):
                os.ftruncate(file, 0)
                os.pwrite(file, Owner.this().encode(), 0)
                taken = file
            return taken
        finally:
            if taken != file:
                os.close(file)

    def _replace(self, path: Path, stale: int) -> int | None:
        """Put a new lock in the place of a stale one, where there is no `flock`.

        The new lock is made beside the old one, under a name that only one process can create,
        and is then moved onto it. A second process that found the same stale lock is refused that
        name before the move, and finds another file in the lock's place after it.
        """
        successor = path.with_name(f"{path.name}.next")
        file = self._take(successor)  # one left by a process that died here is stale in its turn
        if file is None:
            return None
        if _is_open_as(path, stale):
            successor.replace(path)
            return file
        successor.unlink()
        os.close(file)
        return None

    def _judge(self, file: int, state: Literal["free", "taken", "unknown"]) -> None:
        """Raise if the owner of an open lock file runs, or may run."""
        owner = Owner.read(os.pread(file, 4096, 0))
        folder = f"out: '{self.path.parent}'"
        if owner is None:
            age = time.time() - os.fstat(file).st_mtime
            if state == "taken" or (state == "unknown" and age < UNSIGNED_SECONDS):
                raise RunFolderError(f"{folder} is in use by another process")
        elif owner.here or owner.same_kernel:
            if state == "taken" or (state == "unknown" and (not owner.here or owner.alive)):
                where = "" if owner.here else f" of '{owner.host}'"
                raise RunFolderError(f"{folder} is in use by another process, {owner.pid}{where}")
        else:
            since = time.strftime("%Y-%m-%d %H:%M", time.localtime(os.fstat(file).st_mtime))
            raise RunFolderError(
                f"{folder} is in use by process {owner.pid} on the host '{owner.host}' since "
                f"{since}; if that has ended, delete '{self.path}'"
            )


def _flock(file: int, kind: int) -> Literal["free", "taken", "unknown"]:
    """Lock an open file; return whether it was free, or unknown where there is no `flock`."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return "taken"
    except OSError:
        return "unknown"
    return "free"


def _is_open_as(path: Path, file: int) -> bool:
    """Return whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def _boot() -> str:
    """Return what tells this run of this kernel from all others, "" where that is not known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Return when a process started, in ticks since the kernel did; "" where that is not known."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError):
        return ""
    fields = stat.rpartition(")")[2].split()  # the name of the program may hold spaces
    return fields[19] if len(fields) > 19 else ""


def _forget_all() -> None:
    """Leave every lock to the parent, in a process that was forked."""
    for lock in list(_held):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
