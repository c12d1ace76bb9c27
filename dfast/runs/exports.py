"""The files for people that a finished run ends with. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from dfast.runs.unfinished import RESULT

OBJECT, SHEET, TURN = "object.glb", "contact_sheet.png", "turntable.gif"
"""Mesh and pictures."""
REFINED = "refined"
"""Folder of the refine stage inside that of its run, as the command line has it."""
REPORT, SCORES = "report.html", "scores.json"
"""The report of a run folder, and the scores that it shows: what `dfast evaluate --json` wrote."""


class Exported(Protocol):
    """What is written: a `dfast.runs.result.Result`, whose module imports torch."""

    def mesh(self, path: Path, /) -> Any:
        """Write the mesh."""

    def contact_sheet(self, path: Path, /) -> Any:
        """Write the contact sheet."""

    def turntable(self, path: Path, /) -> Any:
        """Write the turntable."""

    def report(self, path: Path, /) -> Any:
        """Write the report."""


def older_than_result(path: Path) -> bool:
    """Return whether a file of a run folder is of a shorter run, whose object another replaced.

    Args:
        path: the file, which need not exist.
    """
    try:
        return path.stat().st_mtime_ns < (path.parent / RESULT).stat().st_mtime_ns
    except OSError:
        return False


def export(result: Exported, folder: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Write the files one by one, but for those of this object that are there.

    Args:
        result: the finished object.
        folder: the run folder.

    Yields:
        Each file when it is there, with notes on it: what its mesh had to leave out.
    """
    writers = {
        OBJECT: result.mesh,
        SHEET: result.contact_sheet,
        TURN: result.turntable,
        REPORT: result.report,  # last: it shows the others
    }
    for name, write in writers.items():
        path = folder / name
        written = None if path.exists() and not older_than_result(path) else write(path)
        yield path, tuple(getattr(written, "notes", ()))
