"""Files that are complete or not there: written beside their place, then moved into it.

What a place refuses beside the bytes themselves (modes, locks, flushing to the disk) is left out:
no such refusal costs what was written.
"""

from __future__ import annotations

import codecs
import errno
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows; leftovers then stay
    fcntl = None  # type: ignore[assignment]

TEMPORARY = re.compile(r"\..*\.dfast-[0-9a-f]{8}(\..*)?")
"""Names of the temporary files of `replacing`."""
LOST = (errno.EIO, errno.ENOSPC, errno.EDQUOT)
"""Errors of a flush to the disk that mean that bytes are lost; others mean that it cannot flush."""
NO_RENAME = (errno.EBUSY, errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of places where nothing can be moved onto a file, such as a file mounted by itself."""

open_temporaries: set[Path] = set()
"""Temporary files being written now, to be removed by whoever ends the process at once."""


def encodable(text: str) -> bool:
    """Return whether a text can be written to a file: UTF-8 has no half of a surrogate pair.

    Args:
        text: any text.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def user_path(path: str | Path) -> Path:
    """Return a path with a leading "~" or "~user" as that home folder, where there is one.

    Args:
        path: any path.
    """
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:  # no such user, or a user without a home
        return path


def read_text(path: Path) -> str:
    """Return a text file in UTF-8, or in the encoding that its byte order mark names.

    Args:
        path: the file.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is not text in that encoding.
    """
    data = path.read_bytes()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig").replace("\r\n", "\n")


def unreadable(error: OSError | ValueError) -> str:
    """Return why a file cannot be read, in one line that does not repeat its name.

    Args:
        error: of `read_text`.
    """
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or " ".join(str(error).split())


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the words of each line that holds any; # begins a comment.

    Args:
        text: of a file.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if words := line.partition("#")[0].strip():
            yield number, words


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` that is moved to `path` if the block succeeds.

    The folder is made if it is missing. If anything fails, what was at `path` stays. A symbolic
    link stays and its target is replaced; a device or a pipe gets the bytes. A new file has the
    mode of the umask, a replaced one keeps its own. Temporary files that killed processes left of
    the same file are removed.

    Args:
        path: the file to write.

    Yields:
        The temporary file, with the ending of `path`.

    Raises:
        OSError: a file or the folder cannot be written; it names `path`.
    """
    try:
        target = _target(user_path(path))
        before = _status(target)
        special = before is not None and not stat.S_ISREG(before.st_mode)
        folder = Path(tempfile.gettempdir()) if special else target.parent
        folder.mkdir(parents=True, exist_ok=True)
        # A stem may be as long as a name can be; 40 characters tell whose file it is.
        stem = f".{target.stem[:40]}.dfast-"
        sweep(folder, stem)
        temporary, handle = _create(folder, stem, target.suffix)
        open_temporaries.add(temporary)
        try:
            yield temporary
            _flush(temporary)
            if before is not None and not special:
                with suppress(OSError):
                    temporary.chmod(stat.S_IMODE(before.st_mode))
            _move(temporary, target, copy=special)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            open_temporaries.discard(temporary)
            os.close(handle)
    except OSError as error:
        # Errors of writing name no file, or the temporary one, which is of no use to anybody.
        number, reason = error.errno or errno.EIO, error.strerror or str(error) or "failed"
        raise OSError(number, reason, str(path)) from error


def sweep(folder: Path, prefix: str = ".") -> None:
    """Remove the temporary files that killed processes left in a folder.

    A process holds a lock on its temporary file, so those that are still being written stay.

    Args:
        folder: the folder, which need not exist.
        prefix: of the names to look at.
    """
    if fcntl is None:
        return
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if entry.name.startswith(prefix) and TEMPORARY.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_if_abandoned(entry.path)


def _remove_if_abandoned(path: str) -> None:
    """Remove a temporary file unless a process holds its lock."""
    handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    finally:
        os.close(handle)


def _create(folder: Path, stem: str, suffix: str) -> tuple[Path, int]:
    """Create a temporary file with the mode of the umask; return it and a handle with its lock."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    while True:
        path = folder / f"{stem}{secrets.token_hex(4)}{suffix}"
        try:
            handle = os.open(path, flags, 0o666)
        except FileExistsError:
            continue
        if fcntl is not None:
            with suppress(OSError):  # a place without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
        if _status(path) is not None:  # `sweep` can take it between the two calls
            return path, handle
        os.close(handle)


def _status(path: Path) -> os.stat_result | None:
    """Return the status of a file, None if there is none."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _target(path: Path) -> Path:
    """Return the file that a path means: the end of its symbolic links, if it is one."""
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return target


def _flush(path: Path) -> None:
    """Have the system write a file to the disk, where it can."""
    with path.open("rb") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno in LOST:
                raise


def _move(temporary: Path, target: Path, *, copy: bool) -> None:
    """Move a file to its place, or copy its bytes where it has to be."""
    if not copy:
        try:
            temporary.replace(target)
            return
        except OSError as error:
            if error.errno not in NO_RENAME:
                raise
    with temporary.open("rb") as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)
