"""One run of a batch as a process of its own, wherever a batch's engine starts it.

The process gets its job as a line of JSON on stdin and keeps stdin open: when that ends, because
whoever started it has ended in any way, the run saves a checkpoint and ends as after SIGTERM. It
prints one line of JSON, its outcome. Threads and devices are chosen by its environment before it
imports torch, so a run does not depend on what the starting process did before.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from dfast.errors import RunFolderError
from dfast.runs.lock import FolderLock

LOGS = "logs"
"""Folder in that of a batch for what its runs say."""
COMMAND = (sys.executable, "-m", "dfast.batches.process")
"""What runs a job."""
AHEAD = "--ahead"
"""With it the process imports what a run needs before it reads its job."""
BEGIN = "== "
"""Beginning of the line in a run's log that an attempt begins with."""
TICK = 0.1
"""Seconds between looks at a process."""
GRACE = 60.0
"""Seconds that a process has to finish a step and to save, before it is killed; also how long an
attempt waits for the process of an earlier one to leave the run folder."""

State = Literal["done", "failed", "crashed", "stopped"]


@dataclass(frozen=True)
class Job:
    """One run, complete: a worker needs nothing else but dfast and the folder."""

    batch: str
    """Folder of the batch, absolute; every machine of a cluster must see it."""
    name: str
    """The run's folder in it."""
    prompt: str
    seed: int
    prior: str
    config: dict[str, Any] = field(repr=False)
    """Every setting."""
    device: str
    """"cpu" or "cuda"."""
    threads: int
    export: bool = True
    """Whether to write mesh, pictures and report."""
    score: bool = False
    """Whether to score the object against the procedural world."""
    download: bool = False
    """Whether to fetch a prior that is not there."""
    clip: str = ""
    """The CLIP that guides it, of a method that a CLIP guides."""

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.batch) / self.name

    @property
    def log(self) -> Path:
        """What the run said, over all attempts."""
        return Path(self.batch) / LOGS / f"{self.name}.log"


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a run ended."""

    state: State
    """"failed" would end so again; "crashed" may not, such as a killed process or a full memory."""
    error: str = ""
    """One line."""
    seconds: float = 0.0
    """From the start of the process to its end."""


def perform(
    job: Job,
    stopping: Callable[[], bool] = bool,
    environment: dict[str, str] | None = None,
    ahead: Ahead | None = None,
) -> Outcome:
    """Run a job in a new process and wait for its end.

    Args:
        job: the run.
        stopping: asked now and then; when it is true, the run saves and ends.
        environment: variables for the process beside those of this one.
        ahead: the process that waits for this job, if there is one; the next job's starts.

    Raises:
        BaseException: what interrupts the waiting, such as the cancelling of a Ray task; the run
            has then saved and ended.
    """
    began = time.monotonic()
    try:
        if not _wait_for_folder(job, stopping):
            return Outcome("stopped")
    except RunFolderError as error:
        return Outcome("failed", str(error))
    variables = _environment(job) | (environment or {})
    process = _start(job, variables, ahead)
    try:
        with suppress(BrokenPipeError):
            assert process.stdin is not None
            process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
            process.stdin.flush()
        if ahead is not None:
            ahead.start(variables)
        while process.poll() is None and not stopping():
            time.sleep(TICK)
    finally:
        said = _end(process)
    return _outcome(process.returncode, said, stopping(), time.monotonic() - began, job)


class Ahead:
    """A process that waits for its job and imports what a run needs meanwhile.

    That takes about as long as the exports of a run on a GPU.

    Args:
        wanted: asked before a process is started, whether there will be a job for it.
    """

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted
        self._waiting: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}

    def start(self, environment: dict[str, str]) -> None:
        """Start a process for a job with these variables, in place of one that waits."""
        self.close()
        if not self._wanted():
            return
        self._environment = environment
        # It writes into its job's log when it has one.
        with suppress(OSError):  # the run that needs it says what is wrong
            self._waiting = _popen((*COMMAND, AHEAD), environment, subprocess.DEVNULL)

    def take(self, environment: dict[str, str]) -> subprocess.Popen[bytes] | None:
        """Return the process that waits, None if there is none for these variables."""
        if self._waiting is None or environment != self._environment:
            return None
        process, self._waiting = self._waiting, None
        if process.poll() is None:
            return process
        _forget(process)  # it ended by itself: the next one says why in its job's log
        return None

    def close(self) -> None:
        """End the process that waits, if there is one."""
        if self._waiting is not None:
            self._waiting.kill()  # it has done nothing yet
            _forget(self._waiting)
            self._waiting = None


def _forget(process: subprocess.Popen[bytes]) -> None:
    """Take the end of a process that says nothing of interest."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    process.wait()


def _start(job: Job, environment: dict[str, str], ahead: Ahead | None) -> subprocess.Popen[bytes]:
    """Return a process for a job, which its log names: one that waits, or a new one."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        log.write(f"{BEGIN}{time.strftime('%F %T')} on {socket.gethostname()}\n".encode())
        log.flush()
        process = None if ahead is None else ahead.take(environment)
        if process is None:
            process = _popen(COMMAND, environment, log)
    return process


def _popen(
    command: Sequence[str], environment: dict[str, str], log: IO[bytes] | int
) -> subprocess.Popen[bytes]:
    """Start the process of a run."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environment,
        start_new_session=True,  # Ctrl-C reaches the driver alone, which stops the runs
    )


def attempts(log: Path) -> int:
    """Return how often a run was started.

    Args:
        log: its log, which need not exist.
    """
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return sum(line.startswith(BEGIN) for line in lines)


def _wait_for_folder(job: Job, stopping: Callable[[], bool]) -> bool:
    """Wait until no process writes the run folder; return False if the batch is stopped first.

    The process of an attempt whose worker was killed saves for a moment after it.

    Raises:
        RunFolderError: another process still writes it after `GRACE`.
    """
    until = time.monotonic() + GRACE
    while not stopping():
        try:
            FolderLock(job.folder).check()
            return True
        except RunFolderError:
            if time.monotonic() > until:
                raise
        time.sleep(TICK)
    return False


def _environment(job: Job) -> dict[str, str]:
    """Return the variables of a run's process."""
    changes = {"OMP_NUM_THREADS": str(job.threads), "MKL_NUM_THREADS": str(job.threads)}
    if job.device == "cpu":
        changes["CUDA_VISIBLE_DEVICES"] = ""  # Ray leaves those of the driver visible
    return os.environ | changes


def _end(process: subprocess.Popen[bytes]) -> bytes:
    """Have a process save and end if it still runs; return what it printed."""
    if process.poll() is None:
        process.terminate()
    try:
        said, _ = process.communicate(timeout=GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
    return said


def _outcome(code: int, said: bytes, stopped: bool, seconds: float, job: Job) -> Outcome:
    """Return the outcome that a process printed, or what its end means."""
    with suppress(ValueError, TypeError, IndexError):
        return Outcome(**json.loads(said.splitlines()[-1]), seconds=seconds)
    if stopped:
        return Outcome("stopped", seconds=seconds)
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    return Outcome("crashed", f"its process ended {how}; see {LOGS}/{job.log.name}", seconds)


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line of at most 600 characters."""
    return " ".join(str(error).split())[:600]


def print_outcome(file: IO[str], state: State, error: str = "") -> None:
    """Print the outcome of a job, in its process.

    Args:
        file: read by `perform`.
        state: how it ended.
        error: one line.
    """
    print(json.dumps({"state": state, "error": error}), file=file, flush=True)
