"""What a view of a finished object may be."""

from __future__ import annotations

from typing import NamedTuple

from dfast._numbers import real, shown, whole
from dfast.errors import ConfigError

SHADING = ("studio", "clay", "albedo", "diffuse", "textureless", "normal", "depth", "opacity")
"""How a picture is shaded. studio: in a light for people; clay: its shape alone in that light;
albedo, diffuse, textureless: as the diffusion model sees it; normal: the normals as colours; depth:
white is near; opacity: white is opaque."""
BACKGROUNDS = {
    "studio": (0.77, 0.78, 0.79),
    "clay": (0.77, 0.78, 0.79),
    "depth": (0.0, 0.0, 0.0),
    "opacity": (0.0, 0.0, 0.0),
}
"""Display RGB behind the object by shading mode; others show the configured background. That of the
studio is darker than white in its shade and lighter than black in the light."""
MAX_RESOLUTION = 8192
"""Most pixels a side of an image."""
RANGES = {
    "azimuth": (-1e6, 1e6, "degrees"),
    "elevation": (-90.0, 90.0, "degrees"),
    "distance": (1e-3, 1e3, "world units"),
    "fov": (0.1, 179.0, "degrees"),
}
"""(low, high, unit) of each number, both ends included. A camera may be inside the object."""


class View(NamedTuple):
    """A view after all checks."""

    azimuth: float
    """Degrees around the object; 0 is its front."""
    elevation: float
    """Degrees above the horizon."""
    distance: float
    """Of the camera from the origin, in world units."""
    fov: float
    """Degrees of the whole square image."""
    resolution: int
    """Pixels a side."""
    shading: str
    """One of `SHADING`."""


def check_view(
    *,
    azimuth: object = 30.0,
    elevation: object = 20.0,
    distance: object = 3.0,
    fov: object = 40.0,
    resolution: object = 256,
    shading: object = "studio",
) -> View:
    """Return the view that the arguments describe.

    Args:
        azimuth: degrees around the object; 0 is its front.
        elevation: degrees above the horizon, -90 to 90.
        distance: of the camera from the origin, 0.001 to 1000 world units.
        fov: degrees of the whole image, 0.1 to 179.
        resolution: pixels a side, 1 to `MAX_RESOLUTION`.
        shading: one of `SHADING`.

    Raises:
        ConfigError: an argument that cannot be.
    """
    size = whole(resolution)
    if size is None or not 1 <= size <= MAX_RESOLUTION:
        raise ConfigError(
            f"resolution: expected 1 to {MAX_RESOLUTION} pixels, got {shown(resolution)}"
        )
    if not isinstance(shading, str) or shading not in SHADING:
        raise ConfigError(f"shading: expected one of {', '.join(SHADING)}, got {shown(shading)}")
    return View(
        _number("azimuth", azimuth),
        _number("elevation", elevation),
        _number("distance", distance),
        _number("fov", fov),
        size,
        shading,
    )


def _number(name: str, value: object) -> float:
    """Return a number of `RANGES`."""
    low, high, unit = RANGES[name]
    number = real(value)
    if number is None or not low <= number <= high:
        raise ConfigError(f"{name}: expected {low:g} to {high:g} {unit}, got {shown(value)}")
    return number
