"""Images of a result for people: contact sheets, previews and image files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dfast._files import user_path
from dfast._numbers import shown, whole
from dfast.errors import ExportError
from dfast.io.exporting import exporting

Image = NDArray[np.uint8]
"""Display RGB in [0, 255], [H, W, 3]."""

IMAGE_FORMATS = (".png", ".jpg", ".jpeg", ".webp")
PNG_LEVEL = 4
"""Of zlib; its default, 6, takes twice as long for files that are 2 to 12 % smaller."""
SHEET_VIEWS = {
    (0.0, 10.0): "front",
    (90.0, 10.0): "side",
    (180.0, 10.0): "back",
    (45.0, 35.0): "three-quarter",
    (0.0, 85.0): "top",
}
"""(azimuth, elevation) in degrees of a contact sheet's columns, and their names."""
SHEET_ROWS = ("studio", "clay", "normal")
"""Shading of a contact sheet's rows."""
SHEET_CELL = 256
"""Pixels a side of one view of a contact sheet."""
SMALLEST_NAMED = 96
"""Pixels a side of the smallest view that has room for its name."""
MAX_CELL = 2048
"""Most pixels a side of one view of a contact sheet."""
PREVIEW_AZIMUTHS = (0.0, 120.0, 240.0)
"""Azimuths in degrees of a preview's views."""


class Renders(Protocol):
    """Anything that renders an image of itself, such as a `dfast.runs.result.Result`."""

    @property
    def render(self) -> Callable[..., Image]:
        """Return a function that renders one view.

        Its keyword arguments are azimuth and elevation (degrees), resolution (pixels a side) and
        shading (one of `dfast.config.views.SHADING`).
        """


def contact_sheet(
    result: Renders,
    path: str | Path | None = None,
    *,
    resolution: int = SHEET_CELL,
    views: Iterable[tuple[float, float]] = tuple(SHEET_VIEWS),
    shading: str | Sequence[str] = SHEET_ROWS,
) -> Image:
    """Render several views (columns) in several shading modes (rows) in one image.

    By default they are five views as shaded colour, shape alone and normals. Each cell is named by
    its view and its shading, unless it is too small for that.

    Args:
        result: what to render.
        path: an image file to write as well, by default none.
        resolution: pixels a side of each view, at least 1.
        views: V pairs (azimuth, elevation) in degrees, a column each.
        shading: S shading modes, a row each, or one of them.

    Returns:
        The sheet, [S * resolution, V * resolution, 3].

    Raises:
        ExportError: if an argument or the path's ending is not valid.
        ConfigError: if there is no such view or shading mode.
    """
    size = whole(resolution)
    if size is None or not 1 <= size <= MAX_CELL:
        limit = "at least 1" if size is None or size < 1 else f"at most {MAX_CELL}"
        raise ExportError(f"resolution must be {limit}, got {shown(resolution)}")
    columns = _pairs(views)
    rows = (shading,) if isinstance(shading, str) else tuple(shading)
    if not columns or not rows:
        raise ExportError("a contact sheet needs at least one view and one shading mode")
    if path is not None:
        check_image_path(path)
    sheet = np.concatenate([_column(result, view, size, rows) for view in columns], axis=1)
    if path is not None:
        save_image(sheet, path)
    return sheet


def _column(result: Renders, view: tuple[float, float], size: int, rows: Sequence[str]) -> Image:
    """Return one view of a contact sheet in all of its shading modes, each with its name."""
    where = {"azimuth": view[0], "elevation": view[1], "resolution": size}
    together = getattr(result, "render_modes", None)  # what a Result can do faster
    if together is None:
        images = [result.render(**where, shading=mode) for mode in rows]
    else:
        images = together(rows, **where)
    if size >= SMALLEST_NAMED:
        place = float(view[0]), float(view[1])
        angles = " ".join(f"{angle:g}\N{DEGREE SIGN}" for angle in place)
        name = SHEET_VIEWS.get(place, angles)
        images = [named(i, f"{name}, {mode}") for i, mode in zip(images, rows, strict=True)]
    return np.concatenate(images, axis=0)


def named(image: Image, name: str) -> Image:
    """Return an image with a name in its upper left corner, dark on light or light on dark.

    Args:
        image: [H, W, 3].
        name: a few words.
    """
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    height = max(11, image.shape[0] // 20)
    corner = image[: 2 * height, : image.shape[1] // 2]
    shade = 70 if corner.mean() > 110 else 200
    picture = Pillow.fromarray(image)
    font = ImageFont.load_default(height)
    ImageDraw.Draw(picture).text((height // 2, height // 3), name, (shade,) * 3, font)
    return np.asarray(picture)


def _pairs(views: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the views of a contact sheet; raise ExportError for what is no list of pairs."""
    try:
        return [(azimuth, elevation) for azimuth, elevation in views]
    except (TypeError, ValueError):
        raise ExportError(f"views must be pairs (azimuth, elevation), got {shown(views)}") from None


def preview_image(result: Renders, *, resolution: int = 192) -> Image:
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
    Pillow.fromarray(image).save(buffer, "PNG", compress_level=PNG_LEVEL)
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

    path = check_image_path(path)
    with exporting(path) as temporary:
        Pillow.fromarray(image).save(temporary, compress_level=PNG_LEVEL)  # others ignore it
    return path


def check_image_path(path: str | Path) -> Path:
    """Return the path of an image file.

    Args:
        path: ends in one of `IMAGE_FORMATS`.

    Raises:
        ExportError: if it has another ending, or is no path.
    """
    if not isinstance(path, str | Path) or Path(path).suffix.lower() not in IMAGE_FORMATS:
        raise ExportError(f"an image's path must end in .png, .jpg or .webp, got {shown(path)}")
    return user_path(path)
