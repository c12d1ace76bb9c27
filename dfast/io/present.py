"""Look at files before they are read, without torch."""

from __future__ import annotations

from pathlib import Path

from dfast._numbers import shown
from dfast.errors import RunFolderError


def check_file(path: Path) -> None:
    """Raise RunFolderError unless a path is a file.

    Args:
        path: the path.
    """
    try:
        there = path.is_file()
    except OSError as error:  # such as a name that is too long
        raise RunFolderError(
            f"{shown(str(path))}: cannot be read ({error.strerror or error})"
        ) from error
    if not there:
        what = "expected a file of dfast" if path.exists() else "no such file"
        raise RunFolderError(f"'{path}': {what}")


def begins_as_tensors(path: Path) -> bool:
    """Return whether a file begins as safetensors do: the length of a header, then the header.

    Args:
        path: the file.
    """
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError:  # whoever reads it says why it cannot be read
        return True
