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
}
"""Albedo of every colour word, display RGB in [0, 1]."""

COLORS: tuple[str, ...] = tuple(PALETTE)
PLAIN = "plain"
"""Colour word of a textureless image: "a plain chair"."""
KINDS: tuple[str, ...] = ("ellipsoid", "box", "cone", "torus", "capsule")
"""Kinds of primitives; a `PartTable` stores their indices."""
MAX_PARTS = 10
"""Largest number of parts of a scene."""


@dataclass(frozen=True)
class Part:
    """One primitive of a scene, with axis z before it is rotated."""

    kind: str
    """One of `KINDS`."""
    center: tuple[float, float, float]
    """In world units."""
    size: tuple[float, float, float]
    """Ellipsoid: radii. Box: half sizes. Cone: bottom radius, top radius, half height (a cylinder
    when both radii are equal). Torus: ring radius, tube radius. Capsule: radius, half length of
    the core."""
    color: str | int = 0
    """A colour word, or the number of a slot that the caption fills."""
    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Degrees about x, then y, then z."""
    rounding: float = 0.0
    """Radius of rounded edges."""
