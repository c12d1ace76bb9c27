"""What the files of a run folder say of a run that has not finished, and how to go on."""

from __future__ import annotations

import json
import shlex
from contextlib import suppress
from pathlib import Path

from dfast._files import TEMPORARY
from dfast.errors import RunFolderError
from dfast.io.present import begins_as_tensors, check_file
from dfast.runs.lock import LOCK
from dfast.runs.paths import as_path
from dfast.runs.records import ABOUT, REFINE, SETTINGS, read_about

CHECKPOINT, RESULT, METRICS = "checkpoint.safetensors", "result.safetensors", "metrics.jsonl"
PREVIEWS = "previews"
SUFFIX = ".safetensors"
"""Ending of the files that hold tensors."""
LAST_LINE = 4096
"""Bytes at the end of a run's metrics that hold its last line."""


def resume_command(path: Path) -> str:
    """Return the command that resumes the run in a folder, to be pasted into a shell.

    Args:
        path: the folder.
    """
    name, command = str(path), "train"
    with suppress(RunFolderError):  # whoever reads the folder next says what is wrong with it
        command = "refine" if read_about(path).get("stage") == REFINE else "train"
    return f"dfast {command} --resume --out {shlex.quote(f'./{name}' if name[:1] == '-' else name)}"


def result_file(path: str | Path) -> Path:
    """Return the file of a finished run's result.

    Args:
        path: the file, or the folder it is in.

    Raises:
        RunFolderError: there is none, the run has not finished, or it is a file of another kind.
    """
    path = as_path(path)
    file = path / RESULT if path.is_dir() else path
    _explain_missing(file)
    if file != path and not file.exists():
        raise RunFolderError(f"'{path}': expected a run folder, got one without {RESULT}")
    check_file(file)
    if file.suffix != SUFFIX and not begins_as_tensors(file):
        raise RunFolderError(f"'{file}': expected a run folder, or a {SUFFIX} file of dfast")
    return file


def _explain_missing(path: Path) -> None:
    """Raise RunFolderError for a result that its run has not made yet."""
    folder = path.parent
    if path.name != RESULT or path.exists() or not folder.is_dir():
        return
    if (folder / ABOUT).exists():
        raise RunFolderError(f"'{folder}': unfinished, resume with: {resume_command(folder)}")
    if begun_only(folder):
        raise RunFolderError(
            f"'{folder}': begun and stopped before anything was saved; start it again with: "
            f"dfast train PROMPT --out {shlex.quote(str(folder))}"
        )


def begun_only(folder: Path) -> bool:
    """Return whether a folder holds no more than the beginning of a run.

    Args:
        folder: any path.
    """
    try:
        names = {file.name for file in folder.iterdir()}
    except OSError:
        return False
    rest = {name for name in names - {SETTINGS, LOCK} if not TEMPORARY.fullmatch(name)}
    return bool(names) and not rest


def last_metrics(folder: Path) -> dict[str, float]:
    """Return the last complete line of a run's metrics, {} if there is none.

    Args:
        folder: the run folder.
    """
    with suppress(OSError, ValueError, LookupError):
        with (folder / METRICS).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - LAST_LINE))
            values = json.loads(file.read().split(b"\n")[-2])
        if isinstance(values, dict) and isinstance(values.get("step"), int):
            return values
    return {}
