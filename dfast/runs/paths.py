"""Paths as callers give them, checked before the system is asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dfast._files import user_path
from dfast._numbers import shown
from dfast.errors import RunFolderError


def as_path(value: Any, argument: str = "path") -> Path:
    """Return a path that the system can be asked about; it need not exist. "~" is the home folder.

    Args:
        value: a str or an `os.PathLike`.
        argument: its name, for messages.

    Raises:
        RunFolderError: it is no path, its names are too long, or it holds characters that no path
            can hold.
    """
    try:
        path = user_path(value)
        os.fsencode(path)
    except (TypeError, UnicodeEncodeError):
        raise RunFolderError(f"{argument}: expected a path, got {shown(value)}") from None
    if "\0" in str(path):
        raise RunFolderError(f"{argument}: expected a path without NUL, got {shown(str(path))}")
    try:
        path.exists()
    except OSError as error:
        reason = error.strerror or error
        raise RunFolderError(f"{argument}: {shown(str(path))} cannot be read ({reason})") from error
    return path
