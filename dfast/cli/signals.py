"""Signals to the `dfast` command: one line and an exit code, at any moment.

From its first moment on the command ends at once on Ctrl-C, SIGTERM and SIGHUP, and leaves no
temporary file behind. No exception is raised for it, because imports of large libraries swallow
some. While a run steps, `dfast.runs.signals` takes over, so that the step is finished and saved.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from dfast import _files

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

_hints: list[str] = []
"""What can be done after an interruption, for each `hinting` block, the innermost last."""


def end_on_signals() -> None:
    """Let signals end the process at once, unless it has been told to ignore them."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        with suppress(ValueError, OSError):
            if number is not None and signal.getsignal(number) not in (None, signal.SIG_IGN):
                signal.signal(number, _end)


@contextmanager
def hinting(hint: str) -> Iterator[None]:
    """Add a hint to the line that an interruption of the block prints.

    Args:
        hint: what can be done then.
    """
    _hints.append(hint)
    try:
        yield
    finally:
        _hints.pop()


def interrupted(hint: str = "") -> None:
    """Print the line of an interruption, where it can be read.

    Args:
        hint: what can be done now.
    """
    with suppress(OSError, ValueError, AttributeError):
        print(f"dfast: interrupted{'; ' if hint else ''}{hint}", file=sys.stderr, flush=True)


def exit_code(stopped: KeyboardInterrupt | SystemExit) -> int:
    """Return the exit code of a command that a signal stopped."""
    return INTERRUPTED if isinstance(stopped, KeyboardInterrupt) else int(stopped.code or 0)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """End the process with the exit code of a signal."""
    for file in list(_files.open_temporaries):
        with suppress(OSError):
            file.unlink(missing_ok=True)
    with suppress(OSError, ValueError, AttributeError, RuntimeError):
        sys.stdout.flush()
    with suppress(RuntimeError):  # the signal came while something else was printed
        interrupted(_hints[-1] if _hints else "")
    os._exit(128 + number)


_end.dfast_replaceable = True  # type: ignore[attr-defined]  # see dfast.runs.signals
