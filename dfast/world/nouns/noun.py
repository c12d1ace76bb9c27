"""What a noun of the procedural world is, and short names for the parts it is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dfast.world.parts import Part

Triple = tuple[float, float, float]
Color = str | int
UPRIGHT: Triple = (0.0, 0.0, 0.0)
ALONG_X: Triple = (0.0, 90.0, 0.0)
"""Rotation that lays the axis z along +x (towards the front)."""
ALONG_Y: Triple = (-90.0, 0.0, 0.0)
"""Rotation that lays the axis z along +y (towards the side)."""


@dataclass(frozen=True)
class Noun:
    """A thing: its parts inside the unit sphere, front towards +x, z up."""

    parts: tuple[Part, ...]
    """At most `NOUN_PARTS`."""
    color: str
    """Colour word of slot 0 where a sentence states none."""
    part: tuple[str, str] | None = None
    """The word of slot 1 and its colour where a sentence states none, such as ("roof", "red")."""
    has_front: bool = True
    """Whether it looks different from the front and from behind."""
    head: tuple[float, float, float, float] | None = None
    """Where a hat sits: the point (x, y, z) on top of the head, and the head's radius."""
    seat: float | None = None
    """Height at which another thing stands on it; by default its highest point."""


def ellipsoid(
    center: Triple, size: Triple | float, color: Color = 0, turn: Triple = UPRIGHT, blend: float = 0
) -> Part:
    """Return an ellipsoid, or a sphere if `size` is one radius."""
    radii = size if isinstance(size, tuple) else (size, size, size)
    return Part("ellipsoid", center, radii, color, turn, blend=blend)


def box(
    center: Triple,
    size: Triple,
    color: Color = 0,
    turn: Triple = UPRIGHT,
    rounding: float = 0,
    blend: float = 0,
) -> Part:
    """Return a box of half sizes `size`; `rounding` rounds its edges without making it larger."""
    rounding = min(rounding, *size)
    inner = (size[0] - rounding, size[1] - rounding, size[2] - rounding)
    return Part("box", center, inner, color, turn, rounding, blend=blend)


def squircle(
    center: Triple, size: Triple, color: Color = 0, turn: Triple = UPRIGHT, exponent: float = 4.0
) -> Part:
    """Return a superquadric of radii `size`: an ellipsoid (exponent 2) to a box (6 and more)."""
    return Part("superquadric", center, size, color, turn, extra=exponent)


def cylinder(
    center: Triple,
    radius: float,
    half: float,
    color: Color = 0,
    turn: Triple = UPRIGHT,
    blend: float = 0,
) -> Part:
    """Return a cylinder along z of half length `half`."""
    return Part("cone", center, (radius, radius, half), color, turn, blend=blend)


def cone(
    center: Triple,
    bottom: float,
    top: float,
    half: float,
    color: Color = 0,
    turn: Triple = UPRIGHT,
    blend: float = 0,
) -> Part:
    """Return a cone cut off at the top: radii at the bottom and the top, half height."""
    return Part("cone", center, (bottom, max(top, 0.01), half), color, turn, blend=blend)


def torus(
    center: Triple, ring: float, tube: float, color: Color = 0, turn: Triple = UPRIGHT
) -> Part:
    """Return a torus in the plane of x and y: radius of the ring, radius of its tube."""
    return Part("torus", center, (ring, tube, 1.0), color, turn)


def capsule(
    center: Triple,
    radius: float,
    half: float,
    color: Color = 0,
    turn: Triple = UPRIGHT,
    blend: float = 0,
) -> Part:
    """Return a capsule along z: radius, and half length without its round ends."""
    return Part("capsule", center, (radius, half, 1.0), color, turn, blend=blend)


def limb(a: Triple, b: Triple, radius: float, color: Color = 0, blend: float = 0) -> Part:
    """Return a capsule from point `a` to point `b`: a leg, a handle, a branch."""
    from math import acos, atan2, degrees, dist

    length = max(dist(a, b), 1e-6)
    x, y, z = (q - p for p, q in zip(a, b, strict=True))
    turn = (0.0, degrees(acos(max(-1.0, min(1.0, z / length)))), degrees(atan2(y, x)))
    middle = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2)
    return capsule(middle, radius, length / 2, color, turn, blend)


def wedge(
    center: Triple, size: Triple, color: Color = 0, turn: Triple = UPRIGHT, edge: float = 0.0
) -> Part:
    """Return a triangular prism along y: a roof (edge 0), a ramp (edge 1 or -1: highest there)."""
    return Part("wedge", center, size, color, turn, extra=edge)


def pyramid(
    center: Triple,
    bottom: float,
    top: float,
    half: float,
    color: Color = 0,
    turn: Triple = UPRIGHT,
) -> Part:
    """Return a square pyramid cut off at the top: half sides at the bottom and top, half height."""
    return Part("pyramid", center, (bottom, max(top, 0.01), half), color, turn)


def arc(
    center: Triple,
    ring: float,
    tube: float,
    half_angle: float,
    color: Color = 0,
    turn: Triple = UPRIGHT,
    blend: float = 0,
) -> Part:
    """Return a bent tube: a piece of a torus in the plane of x and y, `half_angle` about +x."""
    return Part("arc", center, (ring, tube, half_angle), color, turn, blend=blend)


def lathe(
    center: Triple,
    bottom: float,
    middle: float,
    top: float,
    half: float,
    color: Color = 0,
    turn: Triple = UPRIGHT,
    blend: float = 0,
) -> Part:
    """Return a turned solid along z, a smooth profile through three radii: a vase, a barrel."""
    return Part("lathe", center, (bottom, middle, half), color, turn, extra=top, blend=blend)


def bowl(
    center: Triple,
    radius: float,
    wall: float,
    cut: float = 0.0,
    color: Color = 0,
    turn: Triple = UPRIGHT,
) -> Part:
    """Return a hollow sphere of half wall thickness `wall`, cut off above the height `cut`."""
    return Part("bowl", center, (radius, wall, cut), color, turn)


def tube(
    center: Triple,
    radius: float,
    wall: float,
    half: float,
    color: Color = 0,
    turn: Triple = UPRIGHT,
) -> Part:
    """Return a hollow cylinder along z: outer radius, half thickness of the wall, half height."""
    return Part("tube", center, (radius, wall, half), color, turn)


def both(*parts: Part) -> tuple[Part, ...]:
    """Return parts and their mirror images across the plane y = 0 (left and right)."""
    return (*parts, *(_mirrored(p) for p in parts))


def four(*parts: Part) -> tuple[Part, ...]:
    """Return parts at (+-x, +-y): legs, wheels. Their turns are mirrored, too."""
    return (*both(*parts), *both(*(_behind(p) for p in parts)))


def _mirrored(part: Part) -> Part:
    """Return the mirror image across the plane y = 0; the kinds are symmetric in y themselves."""
    (x, y, z), (rx, ry, rz) = part.center, part.rotation
    return replace(part, center=(x, -y, z), rotation=(-rx, ry, -rz))


def _behind(part: Part) -> Part:
    """Return the part turned by half a turn about z, then mirrored back to its own side of y."""
    (x, y, z), (rx, ry, rz) = part.center, part.rotation
    turned = replace(part, center=(-x, -y, z), rotation=(rx, ry, rz + 180))
    return _mirrored(turned)
