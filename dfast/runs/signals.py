"""Signals that end a run: the step is finished and saved first.

SIGINT (Ctrl-C), SIGTERM (docker stop, clouds, batch queues) and SIGHUP (a closed terminal) ask for
the end of a run. Handlers that belong to the host stay: those that were set outside Python, those
that ignore a signal (as `nohup` has it), and a host's own for SIGTERM and SIGHUP.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

STOPPING = tuple(
    number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))
)
"""Signals that end a run."""
REPLACEABLE = "dfast_replaceable"
"""Attribute of a signal handler that a run may replace, whatever the signal."""

Handler = Callable[[int, FrameType | None], Any] | int | None
"""What `signal.getsignal` returns; None is a handler from outside Python."""


class Interrupted(KeyboardInterrupt):
    """A run was ended by Ctrl-C, after a checkpoint was saved.

    Attributes:
        folder: the run folder, None for a run without one.
    """

    folder: Path | None = None


class Terminated(SystemExit):
    """A run was ended by SIGTERM or SIGHUP, after a checkpoint was saved.

    Attributes:
        code: exit code of the process, 128 more than the signal.
        folder: the run folder, None for a run without one.
    """

    folder: Path | None = None


def stopped_by(number: int, folder: Path | None = None) -> Interrupted | Terminated:
    """Return the exception that a signal ends a run with.

    Args:
        number: one of `STOPPING`.
        folder: the run folder.
    """
    saved = f"a checkpoint is in '{folder}'" if folder else "nothing was saved without a run folder"
    stopped = Interrupted(saved) if number == signal.SIGINT else Terminated(128 + number)
    stopped.folder = folder
    return stopped


class StopRequest:
    """Whether a run is asked to stop, by a signal (`stop_on_signals`) or by the program.

    Attributes:
        number: of the first signal, None before.
        flag: is set by a callback or by another thread.
    """

    def __init__(self, flag: threading.Event | None = None) -> None:
        """Make a request that asks for nothing yet.

        Args:
            flag: lets the program ask; None makes one.
        """
        self.flag = threading.Event() if flag is None else flag
        self.number: int | None = None
        self._urgent = False
        self._writing = 0

    @property
    def asked(self) -> bool:
        """Whether anything asks the run to stop."""
        return self.number is not None or self.flag.is_set()

    def ask(self, number: int) -> None:
        """Take a signal; a second Ctrl-C raises at once, but lets a file be finished.

        Args:
            number: one of `STOPPING`.

        Raises:
            KeyboardInterrupt: on a second signal, if it is Ctrl-C.
        """
        if self.number is None:
            self.number = number
        elif number == signal.SIGINT:  # of the others, a closing terminal sends several
            self._urgent = True
            self._raise_if_urgent()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Put off a second Ctrl-C until the block, which writes a file, has ended."""
        self._writing += 1
        try:
            yield
        finally:
            self._writing -= 1
        self._raise_if_urgent()

    def _raise_if_urgent(self) -> None:
        """Raise for a second Ctrl-C unless a file is being written."""
        if self._urgent and not self._writing:
            self._urgent = False
            raise KeyboardInterrupt


@contextmanager
def stop_on_signals(flag: threading.Event | None = None) -> Iterator[StopRequest]:
    """Let signals ask for the end of a run, so that no step ends halfway.

    Args:
        flag: lets the program ask as well.

    Yields:
        The request. Outside the main thread, where signals cannot be handled, none reaches it.
    """
    request = StopRequest(flag)
    previous: dict[int, Handler] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        request.ask(number)

    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            before = signal.getsignal(number)
            if _may_replace(number, before):
                with suppress(ValueError, OSError):  # such as in a subinterpreter
                    signal.signal(number, handle)
                    previous[number] = before
    try:
        yield request
    finally:
        for number, before in previous.items():
            # A handler that cannot be restored costs the host its Ctrl-C, not the run its result.
            with suppress(ValueError, OSError, TypeError):
                signal.signal(number, before)


def _may_replace(number: int, handler: Handler) -> bool:
    """Return whether the handler of a signal is not the host's own."""
    if handler is None or handler == signal.SIG_IGN:
        return False
    ours = handler == signal.SIG_DFL or hasattr(handler, REPLACEABLE)
    return ours or number == signal.SIGINT
