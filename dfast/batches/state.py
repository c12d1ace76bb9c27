"""What is known of the runs of a batch: from their folders, and from the batch's table.

The folders decide what is finished. The table (`table.json`, replaced as a whole after every
change) adds what folders do not say: which runs failed and why, and how long they took.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dfast._files import replacing
from dfast._numbers import shown
from dfast._version import __version__
from dfast.batches.job import Job, attempts
from dfast.config import Config
from dfast.errors import RunFolderError
from dfast.runs.exports import REPORT, SCORES
from dfast.runs.names import run_name
from dfast.runs.records import ABOUT, SETTINGS, read_about, read_settings
from dfast.runs.unfinished import RESULT, last_metrics

TABLE = "table.json"
"""The table in the folder of a batch."""
LONGEST_HEADER = 2**24
"""Bytes of the header of a result, at most."""
RunState = Literal["waiting", "done", "failed"]
"""Of a row; "waiting" is all that is neither finished nor has failed: new, running or stopped."""


@dataclass
class Status:
    """A row of the table."""

    name: str
    """The run's folder in that of the batch."""
    prompt: str
    seed: int
    settings: dict[str, Any]
    """What the row changes, by dotted names."""
    state: RunState = "waiting"
    steps: int = 0
    """Of the whole run."""
    attempts: int = 0
    """How often its process was started, by any driver of the batch."""
    seconds: float = 0.0
    """That its processes took, without those of a driver that was killed."""
    error: str = ""
    """Why it failed, in one line."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The last line of its metrics."""
    scores: dict[str, Any] = field(default_factory=dict)
    """Numbers of its `scores.json`, if there is one."""


def finished(job: Job) -> bool:
    """Return whether a run and all that belongs to it is there.

    Args:
        job: the run.
    """
    folder = job.folder
    try:
        written = (folder / RESULT).stat().st_mtime_ns
        about = _result_header(folder / RESULT)
        wanted = [REPORT] * job.export + [SCORES] * job.score
        rest = all((folder / name).stat().st_mtime_ns >= written for name in wanted)
        steps: bool = about["run"]["steps"] == job.config["train"]["steps"]
        return steps and rest and (folder / ABOUT).exists()
    except (OSError, ValueError, LookupError, TypeError, struct.error):
        return False


def _result_header(path: Path) -> dict[str, Any]:
    """Return the values beside the tensors of a result, which is not read otherwise."""
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        if size > LONGEST_HEADER:
            raise ValueError(f"a header of {size} bytes")
        found: dict[str, Any] = json.loads(json.loads(file.read(size))["__metadata__"]["dfast"])
        return found


def check_same(where: str, job: Job) -> None:
    """Raise unless a run folder is free for a job, or holds the job's run.

    The run may have been begun with fewer steps.

    Args:
        where: file and row, for the message.
        job: the run.

    Raises:
        RunFolderError: it holds another run, or something else.
    """
    folder = job.folder
    if not (folder / ABOUT).exists():
        return  # `dfast.train` refuses a folder of other files
    found, config = read_about(folder), read_settings(folder)
    wanted = Config.from_dict(job.config)
    for column, mine in (("prompt", job.prompt), ("seed", job.seed)):
        same_words = column == "prompt" and job.prior == "shapes"
        if same_words and run_name(found[column], "shapes") == run_name(job.prompt, "shapes"):
            continue
        if found[column] != mine:
            raise RunFolderError(
                f"{where}, column '{column}': expected {shown(found[column])}, of the run that is "
                f"in '{folder}', got {shown(mine)}; choose another name"
            )
    steps = config.train.steps
    if config != wanted.replace(train={"steps": steps}) or wanted.train.steps < steps:
        raise RunFolderError(
            f"{where}: expected the settings in '{folder / SETTINGS}', of the run that is there "
            "(steps may be more), got others; choose another name"
        )


def look(status: Status, job: Job) -> None:
    """Bring a row up to date with the files of its run.

    Args:
        status: the row, which is changed.
        job: its run.
    """
    if finished(job):
        status.state, status.error = "done", ""
    elif status.state == "done":
        status.state = "waiting"
    status.attempts = attempts(job.log)
    status.metrics = last_metrics(job.folder)
    status.scores = _scores(job.folder)


def _scores(folder: Path) -> dict[str, Any]:
    """Return the plain values of a run's scores, means over a layout's parts, {} if it has none."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        scores: list[dict[str, Any]] = json.loads((folder / SCORES).read_bytes())["scores"]
        plain = [
            {k: v for k, v in one.items() if k != "seed" and isinstance(v, int | float)}
            for one in scores
        ]
        if len(plain) == 1:
            return plain[0]
        common = [key for key in plain[0] if all(key in one for one in plain)]
        return {key: sum(one[key] for one in plain) / len(plain) for key in common}
    return {}


def flat(settings: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return nested tables as values by dotted names.

    Args:
        settings: the tables.
        path: dotted name of what they are in.
    """
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{path}.{key}" if path else str(key)
        found |= flat(value, name) if isinstance(value, Mapping) else {name: value}
    return found


def write_table(folder: Path, rows: Sequence[Status]) -> None:
    """Replace the table of a batch.

    Args:
        folder: that of the batch.
        rows: all rows.

    Raises:
        RunFolderError: it cannot be written.
    """
    values = {"dfast": __version__, "runs": [asdict(row) for row in rows]}
    try:
        with replacing(folder / TABLE) as temporary:
            temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise RunFolderError(
            f"'{folder / TABLE}': cannot be written ({error.strerror or error})"
        ) from error


def read_states(folder: Path) -> dict[str, Status]:
    """Return the rows of the table of a batch by name, {} if there is none.

    Args:
        folder: that of the batch.

    Raises:
        RunFolderError: it cannot be read.
    """
    path = folder / TABLE
    try:
        rows = [Status(**row) for row in json.loads(path.read_bytes())["runs"]]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunFolderError(
            f"'{path}': cannot be read ({error}); delete it, and it is made again"
        ) from error
    return {row.name: row for row in rows}
