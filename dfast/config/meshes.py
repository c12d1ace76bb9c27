"""What an exported mesh may be: formats with their axes and units, and the options of export."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from dfast._numbers import real, shown, whole
from dfast.errors import ExportError

TEXTURED_FACES = 20_000
"""Face budget of a textured mesh, unless another is given."""
PLAIN_FACES = 50_000
"""Face budget of other files: their colours lie at the vertices."""
TEXELS = 1024
"""Texels a side of a texture, unless another number is given."""
RANGES = {"faces": (100, 10_000_000), "texture": (16, 4096), "resolution": (8, 512)}
"""Smallest and largest value of each whole number."""


class Format(NamedTuple):
    """How a mesh format has its meshes."""

    axes: str
    """"y-up" (front +z), "plate" (z up, front -y, standing in the positive octant) or "world"."""
    unit: float
    """Of its coordinates, in metres."""
    colors: bool
    """Whether it holds colours of vertices."""
    textures: bool
    """Whether it holds textures."""
    size: float | None
    """Largest extent in metres unless another is given; None takes a world unit as a metre."""


FORMATS = {
    ".glb": Format("y-up", 1.0, True, True, None),
    ".usdz": Format("y-up", 1.0, True, True, None),
    ".obj": Format("y-up", 1.0, True, True, None),
    ".ply": Format("world", 1.0, True, False, None),
    ".stl": Format("plate", 0.001, False, False, 0.1),
    ".3mf": Format("plate", 0.001, True, False, 0.1),
}
"""The formats by their endings."""


class MeshOptions(NamedTuple):
    """Options of a mesh after all checks."""

    faces: int | None
    """Face budget; None keeps every face of the extraction."""
    texture: int | None
    """Texels a side; None is a mesh with colours at its vertices only."""
    size: float | None
    """Largest extent in the file, in metres; None is the format's."""


def format_of(path: object) -> Format:
    """Return the format of a mesh file.

    Args:
        path: ends in one of `FORMATS`.

    Raises:
        ExportError: it has another ending, or is no path, or the library for it is missing.
    """
    ending = Path(path).suffix.lower() if isinstance(path, str | Path) else None
    if ending not in FORMATS:
        raise ExportError(f"path must end in one of {', '.join(FORMATS)}, got {shown(path)}")
    if ending == ".usdz" and find_spec("pxr") is None:
        raise ExportError(
            "a .usdz file needs usd-core, which is not installed: pip install 'dfast[usd]'"
        )
    return FORMATS[ending]


def check_mesh(
    path: object = None,
    *,
    faces: object = None,
    texture: object = None,
    vertex_colors: object = False,
    size: object = None,
) -> MeshOptions:
    """Return the options that the arguments describe.

    Args:
        path: the file to write; None if the mesh is only wanted in memory, which then has all
            faces and no texture unless these are asked for.
        faces: face budget, 100 to 10 000 000.
        texture: texels a side, 16 to 4096.
        vertex_colors: colours at the vertices instead of a texture.
        size: largest extent in the file, in metres.

    Raises:
        ExportError: an argument that cannot be, or that the format has no place for.
    """
    where = None if path is None else format_of(path)
    if not isinstance(vertex_colors, bool):
        raise ExportError(f"vertex_colors must be True or False, got {shown(vertex_colors)}")
    budget = None if faces is None else in_range("faces", faces)
    texels = None if texture is None else in_range("texture", texture)
    if texels is not None and vertex_colors:
        raise ExportError("texture and vertex_colors: expected one of them, got both")
    if where is not None:
        if texels is not None and not where.textures:
            raise ExportError(
                f"texture: {Path(str(path)).suffix.lower()} files hold none, use "
                f"{', '.join(end for end, f in FORMATS.items() if f.textures)}; got {texels}"
            )
        if texels is None and where.textures and not vertex_colors:
            texels = TEXELS
        if budget is None:
            budget = PLAIN_FACES if texels is None else TEXTURED_FACES
    extent = check_size(size)
    if extent is not None and where is None:
        raise ExportError(f"size: expected a path of a file beside it, got {extent:g} alone")
    return MeshOptions(budget, texels, extent)


def check_size(size: object) -> float | None:
    """Return the largest extent of a mesh in metres, or None for None.

    Raises:
        ExportError: if it is no length that a file can have.
    """
    extent = None if size is None else real(size)
    if size is not None and not (extent is not None and 1e-6 <= extent <= 1e6):
        raise ExportError(f"size must be a length in metres, 1e-06 to 1e+06, got {shown(size)}")
    return extent


def check_level(level: object) -> float | None:
    """Return a density, or None for None.

    Args:
        level: density at the surface.

    Raises:
        ExportError: it is no positive number.
    """
    number = None if level is None else real(level)
    if level is not None and not (number is not None and number > 0):
        raise ExportError(f"level must be a positive density, got {shown(level)}")
    return number


def in_range(name: str, value: object) -> int:
    """Return a whole number of `RANGES`.

    Args:
        name: which.
        value: what was given.

    Raises:
        ExportError: it is none, or out of range.
    """
    low, high = RANGES[name]
    number = whole(value)
    if number is None or not low <= number <= high:
        raise ExportError(f"{name} must be in {low}..{high}, got {shown(value)}")
    return number
