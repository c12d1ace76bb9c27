"""Gather what the report of a run shows: from the result, and from the files of its folder."""

from __future__ import annotations

import json
import platform
import warnings
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any, Protocol

import torch

from dfast._files import user_path
from dfast._numbers import shown
from dfast._version import __version__
from dfast.config import Config
from dfast.config.methods import DEFAULT, METHODS
from dfast.errors import ExportError, RunFolderError
from dfast.io.exporting import exporting
from dfast.io.images import Renders, contact_sheet, encode_png
from dfast.pages.html import KINDS, PAGES, picture
from dfast.pages.object3d import object_frame
from dfast.pages.report import Facts, Picture, report_page
from dfast.runs.announce import duration
from dfast.runs.exports import OBJECT, REPORT, SCORES, SHEET, TURN, older_than_result
from dfast.runs.records import ABOUT, read_about, read_metrics
from dfast.runs.unfinished import METRICS, PREVIEWS

LARGEST_OBJECT = 6 << 20
"""Bytes of the largest GLB file that a report holds; of larger objects it holds a coarse one."""
COARSE = 64
"""Cells a side of the grid from which a coarse object is made."""
NOTEBOOK = 320
"""Pixels of the height of what a notebook shows."""
MOST_PREVIEWS = 8
"""Previews shown of a run, at most."""


class Reported(Renders, Protocol):
    """What a report is about: a `dfast.runs.result.Result`, which imports this module."""

    prompt: str
    seed: int
    prior: str
    steps: int
    config: Config
    folder: Path | None

    def mesh(self, path: str | Path | None = None, **options: Any) -> Any:
        """Return the surface as a `dfast.mesh.mesh.Mesh`."""


def write_report(result: Reported, path: str | Path | None = None) -> Path:
    """Write the report of a run: one HTML file that needs no other file and no network.

    Pictures and the object are those in the run folder where they are there, else made anew.

    Args:
        result: the finished object.
        path: an .html file, by default report.html in the run folder.

    Returns:
        The file.

    Raises:
        ExportError: there is no run folder and no path, the path has another ending, or the file
            cannot be written.
    """
    target = check_report_path(path, result)
    text = report_page(gather(result))
    with exporting(target) as temporary:
        temporary.write_bytes(text.encode("utf-8", "replace"))  # a prompt may hold surrogates
    return target


def check_report_path(path: str | Path | None, result: Reported | None = None) -> Path:
    """Return the file of a report.

    Args:
        path: ends in .html; None means report.html in the run folder of the result.
        result: the finished object.

    Raises:
        ExportError: it has another ending, is no path, or there is no run folder.
    """
    if path is None:
        if result is None or result.folder is None:
            raise ExportError("path: expected an .html file, since this result has no run folder")
        return result.folder / REPORT
    if not isinstance(path, str | Path) or Path(path).suffix.lower() not in PAGES:
        raise ExportError(f"a report's path must end in .html, got {shown(path)}")
    return user_path(path)


def gather(result: Reported) -> Facts:
    """Return what the report of a result shows.

    Args:
        result: the finished object; its folder is read if it has one.
    """
    folder = result.folder
    metrics = _metrics(folder)
    last = metrics[-1].get("seconds_per_step") if metrics else None
    times = (
        [("each step", duration(last)), ("all steps", duration(last * result.steps))]
        if last
        else []
    )
    return Facts(
        prompt=result.prompt,
        run=[*_guide(result), ("seed", result.seed), ("steps", result.steps)],
        times=times,
        versions=_versions(folder),
        scores=_scores(folder),
        pictures=_pictures(result, folder),
        previews=_previews(folder),
        glb=_glb(result, folder),
        metrics=metrics,
        settings=result.config.dumps(),
    )


def notebook_view(result: Reported) -> str:
    """Return a picture of a result beside the object to turn, as a piece of HTML.

    Args:
        result: the object, finished or on its way.
    """
    image = picture(encode_png(result.render(resolution=NOTEBOOK)), KINDS[".png"], result.prompt)
    glb = object_glb(result)
    turning = f"<div style='flex: 1; height: {NOTEBOOK}px'>{object_frame(glb)}</div>" if glb else ""
    return (
        f"<div style='display: flex; gap: 12px'><div>{image}</div>{turning}</div>"
        f"<div>{escape(repr(result))}</div>"
    )


def object_glb(result: Reported, resolution: int = COARSE) -> bytes | None:
    """Return a coarse mesh of a result as a GLB file, None if there is no surface.

    Args:
        result: the object.
        resolution: cells a side of the grid that the mesh is made from.
    """
    with suppress(ExportError):
        return bytes(result.mesh(resolution=resolution).glb())
    return None


def _read(path: Path) -> bytes | None:
    """Return the content of a file, None if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _glb(result: Reported, folder: Path | None) -> bytes | None:
    """Return the run folder's object if it is small, else a coarse one."""
    data = _read(folder / OBJECT) if folder else None
    return data if data and len(data) <= LARGEST_OBJECT else object_glb(result)


def _pictures(result: Reported, folder: Path | None) -> list[Picture]:
    """Return the turntable, if there is one, and the contact sheet."""
    turn = _read(folder / TURN) if folder else None
    sheet = _read(folder / SHEET) if folder else None
    found = [Picture(turn, KINDS[".gif"], f"a turn around {result.prompt}")] if turn else []
    data = sheet or encode_png(contact_sheet(result))
    return [*found, Picture(data, KINDS[".png"], f"views of {result.prompt}")]


def _previews(folder: Path | None) -> list[Picture]:
    """Return some previews of the run, spread over it, the last among them."""
    files = sorted((folder / PREVIEWS).glob("step_*.png")) if folder else []
    count = min(MOST_PREVIEWS, len(files))
    chosen = [files[(i + 1) * len(files) // count - 1] for i in range(count)]
    chosen = [*files[:1], *chosen[1:]] if count > 1 else chosen
    read = [(path, _read(path)) for path in chosen]
    return [
        Picture(data, KINDS[".png"], f"step {path.stem.removeprefix('step_').lstrip('0')}")
        for path, data in read
        if data
    ]


def _guide(result: Reported) -> list[tuple[str, Any]]:
    """Return what the report says of the method, unless it is the default one, and of its guide."""
    name = result.config.method.name
    method = [] if name == DEFAULT else [("method", name)]
    return [*method, (METHODS[name].guide, result.prior)]


def _metrics(folder: Path | None) -> list[dict[str, float]]:
    """Return the metrics of a run, none if they cannot be read."""
    if folder is None:
        return []
    with warnings.catch_warnings(), suppress(RunFolderError):
        warnings.simplefilter("ignore")  # damaged lines are named where the run is resumed
        return read_metrics(folder / METRICS)
    return []


def _versions(folder: Path | None) -> list[tuple[str, object]]:
    """Return the version that made the run, and those that write its report."""
    made = "unknown"
    if folder is not None and (folder / ABOUT).exists():
        with suppress(RunFolderError):
            made = str(read_about(folder).get("dfast", made))
    return [
        ("dfast, the run", made),
        ("dfast, this report", __version__),
        ("torch", torch.__version__),
        ("Python", platform.python_version()),
    ]


def _scores(folder: Path | None) -> list[tuple[str, object]]:
    """Return the numbers that `dfast evaluate RUN --json RUN/scores.json` wrote, if it did.

    Those of an object that a longer run has replaced do not count.
    """
    if folder is None or older_than_result(folder / SCORES):
        return []
    data = _read(folder / SCORES)
    if data is None:
        return []
    try:
        first: dict[str, Any] = json.loads(data)["scores"][0]
        return [
            (name, _number(value))
            for name, value in first.items()
            if name not in ("prompt", "seed") and _is_plain(value)
        ]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []


def _is_plain(value: object) -> bool:
    return isinstance(value, int | float | str) and value != ""


def _number(value: object) -> object:
    return f"{value:.3f}" if isinstance(value, float) else value
