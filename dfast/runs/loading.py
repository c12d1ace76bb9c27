"""Read what a run folder holds: the field of a run, or the mesh of a refine stage."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch

from dfast.errors import RunFolderError
from dfast.io.tensors import format_of
from dfast.runs.folder import RunFolder
from dfast.runs.notices import notice
from dfast.runs.refined import Refined
from dfast.runs.refined_file import FORMAT
from dfast.runs.result import Result
from dfast.runs.unfinished import result_file

Kind = TypeVar("Kind", Result, Refined)


def load(path: str | Path, device: torch.device | str = "cpu") -> Result | Refined:
    """Return the result of a finished run or stage.

    Args:
        path: the file, or the folder it is in.
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        RunFolderError: there is no such result, or it is damaged.
        DeviceError: the device is not there.
        NativeMissingError: dfast has no kernels for the device.
    """
    refined = format_of(result_file(path)) == FORMAT
    return Refined.load(path, device) if refined else Result.load(path, device)


def needs_field(found: Result | Refined, path: str | Path) -> Result:
    """Return what was loaded, if it is a field.

    Args:
        found: what `load` returned.
        path: where it was.

    Raises:
        RunFolderError: it is a refined mesh.
    """
    if isinstance(found, Refined):
        raise RunFolderError(
            f"'{path}': holds a refined mesh, and this needs a field: use the run that it came from"
        )
    return found


def finished(kind: type[Kind], folder: RunFolder, device: torch.device) -> Kind | None:
    """Return what a run or stage made that has nothing left to do, None for any other.

    Args:
        kind: `Result` or `Refined`.
        folder: of the run or stage.
        device: where it is loaded.
    """
    if not folder.has_run:
        return None
    try:
        found = kind.load(folder.path, device)
    except RunFolderError:  # missing or damaged: the checkpoint makes it again
        return None
    steps = folder.config.train.steps
    if found.steps != steps:
        return None
    found.folder = folder.path
    notice(f"'{folder.path}' is finished: {steps} of {steps} steps are done")
    return found
