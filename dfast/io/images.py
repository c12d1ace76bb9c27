"""Pictures of a result for people: a turntable film and a contact sheet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dfast._files import replacing
from dfast.errors import ExportError

Image = NDArray[np.uint8]  # [H, W, 3]
SHEET_VIEWS = ((0.0, 10.0), (90.0, 10.0), (180.0, 10.0), (45.0, 35.0), (0.0, 85.0))
"""(azimuth, elevation) of a contact sheet's columns: front, side, back, three-quarter, top."""
SHEET_ROWS = ("diffuse", "textureless", "normal")


class Renders(Protocol):
    """What a picture needs of a result."""

    @property
    def render(self) -> Callable[..., Image]:
        """Called with azimuth, elevation (degrees), resolution (pixels), shading: an image."""


def contact_sheet(
    result: Renders, path: str | Path | None = None, *, resolution: int = 128
) -> Image:
    """Front, side, back, three-quarter and top views (columns) as shaded colour, shape alone and
    normals (rows), as one image [3 * resolution, 5 * resolution, 3]; written as PNG when a path is
    given.
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


def save_image(image: Image, path: str | Path) -> Path:
    """Write an image [H, W, 3] in the format that the path's ending names (PNG, JPEG, ...)."""
    from PIL import Image as Pillow

    path = Path(path)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise ExportError(f"an image's path must end in .png, .jpg or .webp, got {str(path)!r}")
    with replacing(path) as temporary:
        Pillow.fromarray(image).save(temporary)
    return path
