"""What commands print, to readers who may have gone."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

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
