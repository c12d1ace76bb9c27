"""Refuse files that are not there, without torch."""

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
        raise RunFolderError(f"'{path}': no such file")
