"""The coloured parts that the objects of the procedural world consist of; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

PALETTE: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.08, 0.08),
    "orange": (1.00, 0.50, 0.02),
    "yellow": (0.98, 0.88, 0.10),
    "green": (0.10, 0.60, 0.15),
    "cyan": (0.10, 0.80, 0.85),
    "blue": (0.10, 0.20, 0.85),
    "purple": (0.50, 0.12, 0.68),
    "pink": (1.00, 0.52, 0.74),
    "brown": (0.40, 0.22, 0.10),
    "black": (0.06, 0.06, 0.06),
    "white": (0.95, 0.95, 0.95),
    "gray": (0.48, 0.48, 0.48),
    "beige": (0.90, 0.80, 0.62),
    "lime": (0.62, 0.92, 0.12),
    "magenta": (0.88, 0.06, 0.55),
    "lavender": (0.74, 0.64, 0.96),
}
"""Albedo of every colour word, display RGB in [0, 1]."""

ALL_COLORS: tuple[str, ...] = tuple(PALETTE)
"""Colour words."""
PATTERNS: tuple[str, ...] = ("striped", "dotted", "checkered")
"""Words of patterns; each has two colours."""
KINDS: tuple[str, ...] = (
    "ellipsoid",
    "box",
    "cone",
    "torus",
    "capsule",
    "superquadric",
    "wedge",
    "pyramid",
    "arc",
    "lathe",
    "bowl",
    "tube",
)
"""Kinds of primitives; a `PartTable` stores their indices."""
NOUN_PARTS = 24
"""Largest number of parts of one thing."""


@dataclass(frozen=True)
class Part:
    """One primitive of a scene, with axis z before it is rotated."""

    kind: str
    """One of `KINDS`."""
    center: tuple[float, float, float]
    """In world units."""
    size: tuple[float, float, float]
    """Three lengths, in world units unless stated otherwise:

    ellipsoid: radii.
    box: half sizes.
    cone: bottom radius, top radius, half height (a cylinder when both radii are equal).
    torus: ring radius, tube radius, unused; the ring lies in the plane of x and y.
    capsule: radius, half length of the core, unused.
    superquadric: radii; `extra` is the exponent (2 an ellipsoid, 6 nearly a box).
    wedge: half sizes of a triangular prism along y, whose base lies at the bottom and whose edge at
        the top is at x = `extra` * half size (0 a roof, 1 or -1 a ramp).
    pyramid: half side at the bottom, half side at the top, half height.
    arc: ring radius, tube radius, half angle in degrees about +x; the ring lies in the plane of x
        and y, and the ends are round.
    lathe: radius at the bottom, at the middle, half height; `extra` is the radius at the top.
    bowl: radius of a hollow sphere, half thickness of its wall, height above which it is cut off.
    tube: outer radius, half thickness of the wall, half height; open at both ends.
    """
    color: str | int = 0
    """A colour word, or the number of a slot that the caption fills."""
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Degrees about x, then y, then z."""
    rounding: float = 0.0
    """Radius of rounded edges, added to the size."""
    extra: float = 0.0
    """What `size` says of it."""
    blend: float = 0.0
    """Width of the smooth joint with the nearest other part; a joint has the smaller of both."""


@dataclass(frozen=True)
class Placement:
    """How a thing, all of its parts, stands in the world."""

    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Where its origin is."""
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Its size along each axis, relative to how it was made."""
    taper: float = 0.0
    """t: it is 1 + t z times as wide at the height z, -0.2 to 0.2."""


IN_PLACE = Placement()
"""A thing as it was made."""
