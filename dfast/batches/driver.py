"""Give the runs of a batch to an engine, again where they crash, and keep the table."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path

from dfast.batches.engine import Engine
from dfast.batches.job import Job, Outcome, one_line
from dfast.batches.live import LiveTable, counted
from dfast.batches.state import RunState, Status, finished, look, write_table
from dfast.batches.summary import write_summary
from dfast.runs.announce import duration
from dfast.runs.signals import StopRequest

SUMMARY_EVERY = 30.0
"""Seconds between two summaries while runs proceed; one is written in the end."""
LOOK = 0.5
"""Seconds between looks at signals and at what is shown."""


class Driver:
    """Makes the runs of a batch that are not finished.

    Args:
        folder: of the batch; this process holds its lock.
        rows: the table, which changes.
        retries: how often a run is started again that crashed.
        live: shows the table; None shows nothing.
    """

    def __init__(
        self,
        folder: Path,
        rows: Sequence[Status],
        *,
        retries: int,
        live: LiveTable | None,
    ) -> None:
        self._folder, self._rows, self._retries, self._live = folder, rows, retries, live
        self._row_of = {row.name: row for row in rows}
        self._crashes: Counter[str] = Counter()
        self._summed = 0.0

    def run(self, engine: Engine, at_once: int, todo: Sequence[Job], request: StopRequest) -> None:
        """Make runs until none is left or a signal asks for the end.

        Args:
            engine: starts them.
            at_once: runs that it is given at once.
            todo: the runs to make.
            request: asks for the end.
        """
        queue, running = deque(todo), dict[Future[Outcome], Job]()
        stopping = False
        self.write(summary=True)
        while running or (queue and not request.asked):
            while queue and len(running) < at_once and not request.asked:
                job = queue.popleft()
                running[engine.submit(job)] = job
            ended, _ = wait(running, timeout=LOOK, return_when=FIRST_COMPLETED)
            if request.asked and not stopping:
                stopping = True
                self._tell("stopping: what runs saves a checkpoint first")
                engine.stop()
            for future in ended:
                job = running.pop(future)
                if self._settle(job, _outcome(future, stopping)):
                    queue.appendleft(job)
            if ended:
                self.write(summary=time.monotonic() - self._summed > SUMMARY_EVERY)
            if self._live is not None:
                self._live.show()
        self.write(summary=True)

    def write(self, *, summary: bool) -> None:
        """Write the table.

        Args:
            summary: write the page and the CSV file as well.
        """
        write_table(self._folder, self._rows)
        if summary:
            write_summary(self._folder, self._rows)
            self._summed = time.monotonic()

    def _settle(self, job: Job, outcome: Outcome) -> bool:
        """Take the outcome of a run into its row; return whether to start it again."""
        row = self._row_of[job.name]
        row.seconds += outcome.seconds
        again = False
        if not finished(job):
            row.state, row.error = self._judge(job, outcome)
            again = row.state == "waiting" and outcome.state == "crashed"
        look(row, job)
        if row.state == "done":
            self._tell(f"{row.name}: done in {duration(row.seconds)}; {counted(self._rows)}")
        elif outcome.state != "stopped":
            then = "starting it again" if again else counted(self._rows)
            self._tell(f"{row.name}: {row.error}; {then}")
        return again

    def _judge(self, job: Job, outcome: Outcome) -> tuple[RunState, str]:
        """Return state and error of a run that is not finished."""
        if outcome.state == "stopped":
            return "waiting", ""
        if outcome.state == "done":
            return "failed", f"expected its files in '{job.folder}', got none; see its log"
        if outcome.state == "crashed":
            self._crashes[job.name] += 1
            if self._crashes[job.name] <= self._retries:
                return "waiting", outcome.error
        return "failed", outcome.error

    def _tell(self, text: str) -> None:
        if self._live is not None:
            self._live.tell(text)


def _outcome(future: Future[Outcome], stopping: bool) -> Outcome:
    """Return the outcome of a run, also where its place was lost or told to stop."""
    try:
        outcome = future.result()
    except Exception as error:  # of Ray: a worker was lost, a task was cancelled
        return Outcome("stopped") if stopping else Outcome("failed", one_line(error))
    cut_short = stopping and outcome.state == "crashed"
    return Outcome("stopped", seconds=outcome.seconds) if cut_short else outcome
