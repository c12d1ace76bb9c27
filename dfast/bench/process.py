"""A process whose lines are read as they come, and which ends with the block that reads them.

It has a process group of its own, so that what it starts (such as a compiler) ends with it. While
it runs, Ctrl-C, SIGTERM and SIGHUP end the group first and then this process, by an exception.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from time import monotonic
from typing import IO, Literal

from dfast.host.threads import torch_loaded
from dfast.runs.signals import StopRequest, stop_on_signals, stopped_by

POLL_S, GRACE_S = 0.1, 5.0
"""Seconds between two looks for signals, and those a process has to end when it is asked to."""


def same_imports() -> dict[str, str]:
    """Return an environment in which a Python process finds the modules that this one finds.

    Variables that dfast has set for its own torch are not in it: the process decides for itself.
    """
    torch_loaded()
    folders = (path or os.getcwd() for path in sys.path)
    return os.environ | {"PYTHONPATH": os.pathsep.join(folders)}


class Process:
    """A running process, made by `started`."""

    fault = ""
    """How it ended, such as "stopped by SIGSEGV"; "" while it runs and if it returned 0."""
    code: int | None = None
    """What it returned, negative for a signal; None while it runs and if it was ended."""

    def __init__(
        self, popen: subprocess.Popen[str], stream: IO[str], limit_s: float, request: StopRequest
    ) -> None:
        """Read a stream of a process, which is ended when it is silent for `limit_s` seconds."""
        self._popen, self._limit_s, self._request = popen, limit_s, request
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def lines(self) -> Iterator[str]:
        """Yield its lines until it ends or is silent for too long, then set `fault`.

        Raises:
            Interrupted: Ctrl-C was pressed.
            Terminated: SIGTERM or SIGHUP came.
        """
        heard = monotonic()
        while True:
            raise_if_asked(self._request)
            gone = self._popen.poll() is not None
            try:
                line = self._queue.get(timeout=POLL_S)
            except Empty:
                if gone:  # what it has started may still hold the pipe
                    break
                if monotonic() - heard > self._limit_s:
                    self.fault = f"stopped after {self._limit_s:g} s without an answer"
                    return
                continue
            if line is None:
                break
            heard = monotonic()
            yield line
        self.fault = self._ending()

    def end(self) -> None:
        """End the process and all that it has started: by SIGTERM, then by SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):  # none is left
                os.killpg(self._popen.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._popen.wait(GRACE_S)

    def _read(self, stream: IO[str]) -> None:
        """Pass on lines, then None."""
        with stream, suppress(OSError):
            for line in stream:
                self._queue.put(line.rstrip("\n"))
        self._queue.put(None)

    def _ending(self) -> str:
        """Return how the process ended, after its last line."""
        try:
            self.code = code = self._popen.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return f"stopped, because it ran on for {GRACE_S:g} s after its last line"
        if code >= 0:
            return f"ended with exit code {code}" if code else ""
        names = {int(s): s.name for s in signal.Signals}
        return f"stopped by {names.get(-code, f'signal {-code}')}"


@contextmanager
def started(
    command: Sequence[str],
    environment: Mapping[str, str],
    limit_s: float,
    stream: Literal["stdout", "stderr"] = "stdout",
) -> Iterator[Process]:
    """Start a process, and end it when the block ends.

    Args:
        command: program and arguments.
        environment: its environment variables.
        limit_s: seconds without a line after which it is ended.
        stream: the one that is read. Beside "stdout" the other is shown; beside "stderr" dropped.

    Raises:
        Interrupted: Ctrl-C was pressed.
        Terminated: SIGTERM or SIGHUP came.
    """
    reads_stdout = stream == "stdout"
    with stop_on_signals() as request:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if reads_stdout else subprocess.DEVNULL,
            stderr=None if reads_stdout else subprocess.PIPE,
            env=dict(environment),
            text=True,
            errors="replace",
            start_new_session=True,
        )
        pipe = popen.stdout if reads_stdout else popen.stderr
        assert pipe is not None
        process = Process(popen, pipe, limit_s, request)
        try:
            yield process
        finally:
            process.end()
        raise_if_asked(request)


def raise_if_asked(request: StopRequest) -> None:
    """Raise the exception of the signal that came, if one came."""
    if request.number is not None:
        raise stopped_by(request.number)
