"""The files that `dfast train` writes of a finished object."""

from __future__ import annotations

from pathlib import Path

from dfast.cli.output import say
from dfast.runs import exports


def export(result: exports.Exported, out: Path) -> None:
    """Write the mesh and the images into the run folder, and print their names.

    Args:
        result: the finished object.
        out: the run folder, where files of this object stay as they are.
    """
    for path, notes in exports.export(result, out):
        for note in notes:  # of a mesh
            say(f"{path}: {note}")
        say(f"{path}")
