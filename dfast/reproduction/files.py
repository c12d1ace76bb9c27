"""Write the table of a comparison: Markdown, JSON and a picture."""

from __future__ import annotations

import json
from pathlib import Path

from dfast._files import replacing
from dfast.errors import RunFolderError
from dfast.evaluation.clip_views import DREAMFUSION_COLOR
from dfast.io.images import encode_png
from dfast.reproduction.picture import THUMBNAILS, View, table_picture
from dfast.reproduction.report import Report
from dfast.reproduction.truth import truth_images
from dfast.runs.result import Result

TRUTH = "truth"
"""Name of the row of exact images, which the paper calls ground truth."""
AZIMUTH, ELEVATION = DREAMFUSION_COLOR.azimuths[1], DREAMFUSION_COLOR.elevations[1]
"""Degrees, of the view of each run in the picture."""
RESOLUTION = 128
"""Pixels a side of that view."""


def write_files(report: Report, folder: Path, runs: Path) -> tuple[Path, ...]:
    """Write the table in its three forms, each atomically.

    Args:
        report: the table.
        folder: where they go; the files are named after what the table is.
        runs: folder of the run folders.

    Raises:
        RunFolderError: a file that cannot be written.
    """
    contents = {
        ".md": report.markdown().encode(),
        ".json": (json.dumps(report.as_dict(), indent=1) + "\n").encode(),
        ".png": encode_png(table_picture(report, _views(report, runs))),
    }
    files = []
    for suffix, content in contents.items():
        path = folder / f"{report.what}{suffix}"
        try:
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            reason = error.strerror or error
            raise RunFolderError(f"out: '{path}' cannot be written ({reason})") from error
        files.append(path)
    return tuple(files)


def _views(report: Report, runs: Path) -> dict[tuple[str, str], View]:
    """Return what the first prompts look like in each row, of seed 0."""
    shown = report.prompts[:THUMBNAILS]
    found: dict[tuple[str, str], View] = {}
    for row in report.rows:
        for run in row.runs:
            if run.prompt in shown and run.seed == 0 and run.state == "done":
                of_truth = row.name == TRUTH
                view = _truth(run.prompt) if of_truth else _view(runs / run.name, report.device)
                found[row.name, run.prompt] = view
    return found


def _view(folder: Path, device: str) -> View:
    """Return a picture of a finished run."""
    return Result.load(folder, device).render(
        azimuth=AZIMUTH, elevation=ELEVATION, resolution=RESOLUTION, shading="albedo"
    )


def _truth(prompt: str) -> View:
    """Return the same picture of what a prompt means."""
    image = truth_images(prompt, "cpu", DREAMFUSION_COLOR)[1]
    pixels: View = (255.0 * image.permute(1, 2, 0)).round().byte().numpy()
    return pixels
