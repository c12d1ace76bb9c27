"""How a batch shows that it proceeds: a table in a terminal, lines in a log, on stderr."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TextIO

from dfast.batches.job import Job
from dfast.batches.state import Status
from dfast.runs.lock import LOCK
from dfast.runs.notices import notice
from dfast.runs.unfinished import last_metrics

TERMINAL, LOG = 1.0, 30.0
"""Seconds between two tables, and between two lines."""
SHARE = 10.0
"""The time between two of them is at least so many times what it takes to make one."""
MOST = 20
"""Running runs that are shown, at most."""


class LiveTable:
    """Shows counts, and what is running with its steps; it reads the run folders for that.

    Args:
        rows: all rows of the batch, which change while it proceeds.
        jobs: their runs, in the same order.
        file: where to write, by default stderr; nothing is written where there is none.
    """

    def __init__(
        self, rows: Sequence[Status], jobs: Sequence[Job], file: TextIO | None = None
    ) -> None:
        self._rows, self._jobs = rows, jobs
        self._file = sys.stderr if file is None else file
        self._terminal = False
        with suppress(OSError, ValueError, AttributeError):
            self._terminal = self._file.isatty()
        self._drawn = 0
        self._due = time.monotonic() + (TERMINAL if self._terminal else LOG)

    def tell(self, text: str) -> None:
        """Print a line that stays.

        Args:
            text: what happened.
        """
        self._erase()
        notice(text)

    def show(self) -> None:
        """Draw the table, or print a line, if one is due."""
        began = time.monotonic()
        if began < self._due:
            return
        counts, running = counted(self._rows), self._running()
        took = time.monotonic() - began  # long where there are many runs in a slow place
        self._due = began + max(TERMINAL if self._terminal else LOG, SHARE * took)
        if not self._terminal:
            notice(f"{counts}{'; ' if running else ''}{', '.join(running)}")
            return
        self._erase()
        width = shutil.get_terminal_size().columns - 1
        lines = [line[:width] for line in (f"  {counts}", *(f"  {line}" for line in running))]
        with suppress(OSError, ValueError, AttributeError):
            print("\n".join(lines), file=self._file, flush=True)
            self._drawn = len(lines)

    def close(self) -> None:
        """Remove the table from the terminal."""
        self._erase()

    def _running(self) -> list[str]:
        """Return the runs that a process writes now, each with its step."""
        found = []
        for row, job in zip(self._rows, self._jobs, strict=True):
            if row.state == "waiting" and (job.folder / LOCK).exists():
                step = last_metrics(job.folder).get("step", 0)
                found.append(f"{row.name}: step {step:g} of {row.steps}")
        more = len(found) - MOST
        return [*found[:MOST], f"and {more} others"] if more > 0 else found

    def _erase(self) -> None:
        """Remove the lines of the table, so that the next ones take their place."""
        if self._drawn:
            with suppress(OSError, ValueError, AttributeError):
                print(f"\x1b[{self._drawn}A\x1b[J", end="", file=self._file, flush=True)
        self._drawn = 0


def counted(rows: Sequence[Status]) -> str:
    """Return how many runs are in which state, as text.

    Args:
        rows: all rows.
    """
    number = {s: sum(row.state == s for row in rows) for s in ("done", "failed", "waiting")}
    failed = f", {number['failed']} failed" if number["failed"] else ""
    return f"{number['done']} of {len(rows)} done{failed}, {number['waiting']} to do"
