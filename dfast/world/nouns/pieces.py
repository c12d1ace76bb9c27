"""Pieces that several things have: wheels, faces, leaves, dots, points on a circle."""

from __future__ import annotations

from math import cos, pi, radians, sin

from dfast.world.nouns.noun import ALONG_Y, arc, both, cylinder, ellipsoid
from dfast.world.parts import Part


def around(count: int, radius: float, first: float = 0.0) -> list[tuple[float, float, float]]:
    """Return points (x, y) on a circle about the axis z, and their angles in degrees."""
    angles = [first + 360 * k / count for k in range(count)]
    return [(radius * cos(radians(a)), radius * sin(radians(a)), a) for a in angles]


def ring(count: int, start: float = 0.0) -> tuple[tuple[float, float, float], ...]:
    """Return cosine, sine and degrees of angles all around."""
    angles = (start + 360 * k / count for k in range(count))
    return tuple((cos(a * pi / 180), sin(a * pi / 180), a) for a in angles)


def dots(
    color: str, size: tuple[float, float, float], *centers: tuple[float, float, float]
) -> tuple[Part, ...]:
    """Return equal ellipsoids: pips, buttons, flakes."""
    return tuple(ellipsoid(center, size, color) for center in centers)


def leaves(z: float, length: float, width: float, count: int, lean: float) -> tuple[Part, ...]:
    """Return a tuft of leaves of slot 1 that rise from the height `z`, leaning outwards."""
    out, up = length * sin(radians(lean)), length * cos(radians(lean))
    return tuple(
        ellipsoid((out * x, out * y, z + up), (width, width, length), 1, (0, lean, a))
        for x, y, a in around(count, 1.0)
    )


def wheels(x: float, y: float, z: float, radius: float, half: float = 0.07) -> tuple[Part, ...]:
    """Return a left and a right wheel."""
    return both(cylinder((x, y, z), radius, half, "black", ALONG_Y))


def face(x: float, y: float, z: float) -> tuple[Part, ...]:
    """Return two eyes at (x, +-y, z) and a mouth below."""
    return (
        arc((x - 0.10, 0, z - 0.08), 0.16, 0.045, 45, "red", (0, 55, 0)),
        *both(ellipsoid((x, y, z), 0.065, "black")),
    )
