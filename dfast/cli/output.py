"""What commands print, to readers who may have gone."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from dfast._files import replacing
from dfast.errors import ConfigError

READER_GONE = 141
"""Exit code of a command whose reader has gone, as shells show it for other commands (SIGPIPE)."""
_TROUBLE = (OSError, ValueError, AttributeError)
"""What a closed pipe, a full device, a closed stream or no stream at all raises."""


def say(text: str) -> None:
    """Print a line for people; a command whose product is files goes on without a reader.

    Args:
        text: the line.
    """
    with suppress(*_TROUBLE):
        print(text, flush=True)


def write_json(path: str, value: Any, option: str) -> None:
    """Write a value as JSON to a file, or print it where `path` is "-".

    Args:
        path: the file.
        value: what `json.dumps` takes.
        option: that names the file, for messages.

    Raises:
        ConfigError: the file cannot be written.
    """
    text = json.dumps(value, indent=1) + "\n"
    if path == "-":
        print(text, end="")
        return
    try:
        with replacing(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{option}: '{path}' cannot be written ({error.strerror})") from error


def escape_unprintable() -> None:
    """Let stdout show names of files that its encoding cannot, with escapes as stderr does."""
    with suppress(*_TROUBLE):
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def flush_output() -> None:
    """Write what was printed.

    Raises:
        BrokenPipeError: its reader has gone.
    """
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()


def drop_output() -> None:
    """Drop what streams without a reader still hold, or the end of the process would complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except _TROUBLE:
            with suppress(*_TROUBLE):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
