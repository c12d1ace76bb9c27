"""The files for people that a finished run ends with. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

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


def export(result: Exported, folder: Path, *, keep: bool) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Write the files one by one.

    Args:
        result: the finished object.
        folder: the run folder.
        keep: leave files that are there; they are those of this object.

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
        written = None if keep and path.exists() else write(path)
        yield path, tuple(getattr(written, "notes", ()))
