"""The process of one run: `python -m dfast.batches.process`, see `dfast.batches.job`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING

from dfast._files import replacing
from dfast._version import __version__
from dfast.batches.job import AHEAD, Job, one_line, print_outcome
from dfast.config import Config
from dfast.errors import DfastError, OutOfMemoryError
from dfast.runs.exports import REPORT, SCORES, export, older_than_result
from dfast.runs.notices import warnings_as_notices
from dfast.runs.records import ABOUT

if TYPE_CHECKING:
    from dfast.runs.result import Result


def main() -> int:
    """Do the job that stdin names; return the exit code."""
    outcome = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes into the log
    ahead = sys.argv[1:] == [AHEAD]
    if ahead:
        import_module("dfast.runs.train")
    line = _first_line()
    if not line:  # whoever started it ahead needs it no more
        return 0
    job = Job(**json.loads(line))
    if ahead:
        _log_to(job.log)
    threading.Thread(target=_end_with_starter, daemon=True).start()
    with warnings_as_notices():
        return _do(job, outcome)


def _log_to(path: Path) -> None:
    """Let stdout and stderr go into a log, after what is in it."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)


def _first_line() -> bytes:
    """Return the line that stdin begins with, and read nothing after it."""
    line = b""
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return line


def _end_with_starter() -> None:
    """End this process as SIGTERM does when stdin ends."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _do(job: Job, outcome: IO[str]) -> int:
    """Train, export and score; print the outcome."""
    try:
        result = _train(job)
        finish(job, result)
    except OutOfMemoryError as error:  # another process may have had the memory
        print_outcome(outcome, "crashed", one_line(error))
    except DfastError as error:
        print(f"dfast: error: {one_line(error)}", file=sys.stderr)
        print_outcome(outcome, "failed", one_line(error))
    except Exception as error:
        traceback.print_exc()
        print_outcome(outcome, "crashed", f"{type(error).__name__}: {one_line(error)}")
    else:
        print_outcome(outcome, "done")
        return 0
    return 1


def _train(job: Job) -> Result:
    """Return the finished object of a job, which is only read where it is there."""
    from dfast.runs.train import train

    return train(
        job.prompt,
        prior=job.prior,
        clip=job.clip or None,
        download=job.download,
        out=job.folder,
        seed=job.seed,
        device=job.device,
        config=Config.from_dict(job.config),
        resume=(job.folder / ABOUT).exists(),
    )


def finish(job: Job, result: Result) -> None:
    """Write what a run ends with, but for files that are there.

    Args:
        job: says which files.
        result: the finished object.
    """
    folder = result.folder or job.folder  # another one if the run was rescued
    if older_than_result(folder / SCORES):
        (folder / SCORES).unlink()
    if job.score and not (folder / SCORES).exists():
        from dfast.evaluation.score import score, with_parts
        from dfast.evaluation.scorecard import as_dict

        scores = [score(each, seed=job.seed) for each in with_parts(result)]
        values = as_dict(scores, dfast=__version__, device=job.device)
        with replacing(folder / SCORES) as temporary:
            temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        (folder / REPORT).unlink(missing_ok=True)  # it shows the scores
    if job.export:
        for path, notes in export(result, folder):
            for note in notes:
                print(f"dfast: {path}: {note}", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
