"""Images of a result for people: contact sheets, previews and image files."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dfast._files import user_path
from dfast.errors import ExportError
from dfast.io.exporting import exporting

Image = NDArray[np.uint8]
"""Display RGB in [0, 255], [H, W, 3]."""

IMAGE_FORMATS = (".png", ".jpg", ".jpeg", ".webp")
SHEET_VIEWS = ((0.0, 10.0), (90.0, 10.0), (180.0, 10.0), (45.0, 35.0), (0.0, 85.0))
"""(azimuth, elevation) in degrees of a contact sheet's columns: front, side, back, three-quarter,
top."""
SHEET_ROWS = ("diffuse", "textureless", "normal")
"""Shading modes of a contact sheet's rows."""
PREVIEW_AZIMUTHS = (0.0, 120.0, 240.0)
"""Azimuths in degrees of a preview's views."""


class Renders(Protocol):
    """Anything that renders an image of itself, such as a `dfast.runs.result.Result`."""

    @property
    def render(self) -> Callable[..., Image]:
        """Return a function that renders one view.

        Its keyword arguments are azimuth and elevation (degrees), resolution (pixels a side) and
        shading (a shading mode, or "normal").
        """


def contact_sheet(
    result: Renders, path: str | Path | None = None, *, resolution: int = 128
) -> Image:
    """Render five views (columns) as shaded colour, shape alone and normals (rows) in one image.

    Args:
        result: what to render.
        path: an image file to write as well, by default none.
        resolution: pixels a side of each view, at least 1.

    Returns:
        The sheet, [3 * resolution, 5 * resolution, 3].

    Raises:
        ExportError: if the resolution or the path's ending is not valid.
    """
    if resolution < 1:
        raise ExportError(f"resolution must be at least 1, got {resolution}")
    rows = [
        np.concatenate(
            [
                result.render(azimuth=az, elevation=el, resolution=resolution, shading=shading)
                for az, el in SHEET_VIEWS
            ],
            axis=1,
        )
        for shading in SHEET_ROWS
    ]
    sheet = np.concatenate(rows, axis=0)
    if path is not None:
        save_image(sheet, path)
    return sheet


def preview_image(result: Renders, *, resolution: int = 128) -> Image:
    """Render three views side by side, a third of a turn apart.

    Args:
        result: what to render.
        resolution: pixels a side of each view.

    Returns:
        The preview, [resolution, 3 * resolution, 3].
    """
    views = [result.render(azimuth=az, resolution=resolution) for az in PREVIEW_AZIMUTHS]
    return np.concatenate(views, axis=1)


def encode_png(image: Image) -> bytes:
    """Return an image [H, W, 3] as the bytes of a PNG file."""
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def save_image(image: Image, path: str | Path) -> Path:
    """Write an image file, atomically.

    Args:
        image: [H, W, 3].
        path: ends in one of `IMAGE_FORMATS`, which selects the format.

    Returns:
        The path.

    Raises:
        ExportError: if the path has another ending or cannot be written.
    """
    from PIL import Image as Pillow

    path = user_path(path)
    if path.suffix.lower() not in IMAGE_FORMATS:
        raise ExportError(f"an image's path must end in .png, .jpg or .webp, got {str(path)!r}")
    with exporting(path) as temporary:
        Pillow.fromarray(image).save(temporary)
    return path
