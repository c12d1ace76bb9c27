"""The files that `dfast train` writes of a finished object."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dfast.cli.output import say

if TYPE_CHECKING:
    from dfast.runs.result import Result

RESULT = "result.safetensors"
"""As in `dfast.runs.folder`, which imports torch."""


def export(result: Result, out: Path, *, keep: bool) -> None:
    """Write the mesh and the images into the run folder, and print their names.

    Args:
        result: the finished object.
        out: the run folder.
        keep: leave files that are there; they are those of this object.
    """
    writers: dict[str, Callable[[Path], object]] = {
        "object.glb": result.mesh,
        "contact_sheet.png": result.contact_sheet,
        "turntable.gif": result.turntable,
        "report.html": result.report,  # last: it shows the others
    }
    for name, write in writers.items():
        if not (keep and (out / name).exists()):
            written = write(out / name)
            for note in getattr(written, "notes", ()):  # of a mesh
                say(f"{out}/{name}: {note}")
        say(f"{out}/{name}")
