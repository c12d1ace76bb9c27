"""The objects of the procedural world, each a few parts inside the unit sphere, front towards +x.

Every entry of `OBJECTS` is a composed object: its parts, and the phrase of its caption with the
default colour of each slot. `primitive` makes the six simple solids, which stacks and pairs consist
of.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dfast.world.parts import Part


@dataclass(frozen=True)
class ObjectType:
    """An object of several parts."""

    phrase: str
    """Its caption, with {0} and {1} for the colour slots."""
    defaults: tuple[str, ...]
    """Colours of the slots that a sentence does not state."""
    parts: tuple[Part, ...]
    has_front: bool
    """Whether it looks different from the front and from behind."""


PRIMITIVES: dict[str, Part] = {
    "sphere": Part("ellipsoid", (0, 0, 0), (0.66, 0.66, 0.66)),
    "cube": Part("box", (0, 0, 0), (0.50, 0.50, 0.50)),
    "cylinder": Part("cone", (0, 0, 0), (0.42, 0.42, 0.64)),
    "cone": Part("cone", (0, 0, 0), (0.62, 0.01, 0.64)),
    "torus": Part("torus", (0, 0, 0), (0.55, 0.22, 1.0)),
    "capsule": Part("capsule", (0, 0, 0), (0.34, 0.44, 1.0)),
}
"""The simple solids."""

HALF_HEIGHTS: dict[str, float] = {
    "sphere": 0.66,
    "cube": 0.50,
    "cylinder": 0.64,
    "cone": 0.64,
    "torus": 0.22,
    "capsule": 0.78,
}


def primitive(name: str, slot: int, scale: float, center: tuple[float, float, float]) -> Part:
    """Return the named solid as a part: scaled, moved, coloured by a slot of the caption."""
    part = PRIMITIVES[name]
    a, b, c = (scale * v for v in part.size)
    return replace(part, size=(a, b, c), center=center, color=slot)


def stack(top: str, bottom: str) -> tuple[Part, ...]:
    """Return two solids, the first on top of the second (slots 0 and 1), centred."""
    sink = 0.10 if bottom == "cone" else 0.0  # a solid on a tip overlaps it a little
    total = 2 * (HALF_HEIGHTS[top] + HALF_HEIGHTS[bottom]) - sink
    scale = min(0.62, 1.62 / total)
    z_bottom = scale * (HALF_HEIGHTS[bottom] - total / 2)
    z_top = scale * (total / 2 - HALF_HEIGHTS[top])
    return (primitive(top, 0, scale, (0, 0, z_top)), primitive(bottom, 1, scale, (0, 0, z_bottom)))


def pair(left: str, right: str) -> tuple[Part, ...]:
    """Return two solids side by side, slots 0 and 1, the first on the left seen from the front."""
    scale, floor = 0.56, -0.38
    return tuple(
        primitive(name, slot, scale, (0, y, floor + scale * HALF_HEIGHTS[name]))
        for slot, (name, y) in enumerate(((left, -0.44), (right, 0.44)))
    )


def _legs(x: float, y: float, z: float, half: float, thick: float) -> tuple[Part, ...]:
    """Return four legs at (+-x, +-y, z), of half height `half` and half thickness `thick`."""
    size = (thick, thick, half)
    return tuple(Part("box", (sx * x, sy * y, z), size, 0) for sx in (-1, 1) for sy in (-1, 1))


def _mirrored(part: Part) -> tuple[Part, ...]:
    """Return a part and its mirror image across the plane y = 0."""
    x, y, z = part.center
    return (part, replace(part, center=(x, -y, z)))


OBJECTS: dict[str, ObjectType] = {
    "chair": ObjectType(
        "a {0} chair",
        ("brown",),
        (
            Part("box", (0, 0, -0.05), (0.42, 0.42, 0.07), 0),
            Part("box", (-0.35, 0, 0.28), (0.07, 0.42, 0.38), 0),
            *_legs(0.34, 0.34, -0.40, 0.30, 0.075),
        ),
        True,
    ),
    "table": ObjectType(
        "a {0} table",
        ("brown",),
        (
            Part("box", (0, 0, 0.30), (0.55, 0.55, 0.07), 0),
            *_legs(0.43, 0.43, -0.13, 0.42, 0.075),
        ),
        False,
    ),
    "snowman": ObjectType(
        "a snowman with a {0} hat",
        ("black",),
        (
            Part("ellipsoid", (0, 0, -0.48), (0.38, 0.38, 0.36), "white"),
            Part("ellipsoid", (0, 0, -0.02), (0.28, 0.28, 0.27), "white"),
            Part("ellipsoid", (0, 0, 0.32), (0.21, 0.21, 0.20), "white"),
            Part("cone", (0, 0, 0.48), (0.27, 0.27, 0.03), 0),
            Part("cone", (0, 0, 0.64), (0.18, 0.16, 0.16), 0),
            Part("cone", (0.28, 0, 0.31), (0.06, 0.01, 0.13), "orange", (0, 90, 0)),
            *_mirrored(Part("ellipsoid", (0.18, 0.09, 0.38), (0.045, 0.045, 0.045), "black")),
            Part("ellipsoid", (0.27, 0, 0.02), (0.045, 0.045, 0.045), "black"),
        ),
        True,
    ),
    "house": ObjectType(
        "a {0} house with a {1} roof",
        ("white", "red"),
        (
            Part("box", (0, 0, -0.25), (0.52, 0.46, 0.36), 0),
            Part("box", (0, 0, 0.12), (0.56, 0.39, 0.39), 1, (45, 0, 0)),
            Part("box", (0.50, 0, -0.38), (0.06, 0.13, 0.22), "brown"),
        ),
        True,
    ),
    "mug": ObjectType(
        "a {0} mug",
        ("blue",),
        (
            Part("cone", (0, -0.12, 0), (0.44, 0.44, 0.52), 0),
            Part("torus", (0, 0.36, 0), (0.27, 0.08, 1.0), 0, (0, 90, 0)),
            Part("cone", (0, -0.12, 0.50), (0.37, 0.37, 0.04), "brown"),
        ),
        True,
    ),
    "car": ObjectType(
        "a {0} car",
        ("red",),
        (
            Part("box", (0, 0, -0.12), (0.72, 0.34, 0.14), 0, rounding=0.04),
            Part("box", (-0.16, 0, 0.17), (0.34, 0.28, 0.13), "cyan", rounding=0.04),
            Part("box", (-0.16, 0, 0.34), (0.35, 0.30, 0.03), 0),
            *_mirrored(Part("cone", (0.44, 0.35, -0.28), (0.19, 0.19, 0.07), "black", (90, 0, 0))),
            *_mirrored(Part("cone", (-0.44, 0.35, -0.28), (0.19, 0.19, 0.07), "black", (90, 0, 0))),
            *_mirrored(Part("ellipsoid", (0.75, 0.22, -0.08), (0.06, 0.08, 0.08), "yellow")),
        ),
        True,
    ),
    "duck": ObjectType(
        "a {0} duck",
        ("yellow",),
        (
            Part("ellipsoid", (-0.08, 0, -0.26), (0.58, 0.40, 0.36), 0),
            Part("ellipsoid", (0.26, 0, 0.30), (0.29, 0.28, 0.28), 0),
            Part("ellipsoid", (0.58, 0, 0.25), (0.18, 0.15, 0.06), "orange"),
            Part("cone", (-0.62, 0, -0.08), (0.18, 0.02, 0.20), 0, (0, -50, 0)),
            *_mirrored(Part("ellipsoid", (0.46, 0.16, 0.40), (0.055, 0.055, 0.055), "black")),
        ),
        True,
    ),
    "mushroom": ObjectType(
        "a {0} mushroom",
        ("red",),
        (
            Part("cone", (0, 0, 0.28), (0.62, 0.24, 0.20), 0, rounding=0.06),
            Part("cone", (0, 0, -0.32), (0.24, 0.18, 0.42), "white"),
        ),
        False,
    ),
    "tree": ObjectType(
        "a {0} tree",
        ("green",),
        (
            Part("cone", (0, 0, -0.02), (0.52, 0.10, 0.30), 0),
            Part("cone", (0, 0, 0.46), (0.38, 0.01, 0.32), 0),
            Part("cone", (0, 0, -0.54), (0.12, 0.12, 0.24), "brown"),
        ),
        False,
    ),
    "airplane": ObjectType(
        "a {0} airplane",
        ("white",),
        (
            Part("capsule", (0, 0, 0), (0.17, 0.62, 1.0), 0, (0, 90, 0)),
            Part("box", (0.08, 0, -0.02), (0.17, 0.80, 0.045), 0),
            Part("box", (-0.62, 0, 0.06), (0.10, 0.32, 0.04), 0),
            Part("box", (-0.64, 0, 0.24), (0.11, 0.04, 0.20), 0),
            Part("ellipsoid", (0.50, 0, 0.12), (0.18, 0.13, 0.12), "cyan"),
        ),
        True,
    ),
    "lamp": ObjectType(
        "a {0} lamp",
        ("yellow",),
        (
            Part("cone", (0, 0, 0.42), (0.44, 0.24, 0.28), 0),
            Part("cone", (0, 0, -0.18), (0.07, 0.07, 0.40), "black"),
            Part("cone", (0, 0, -0.62), (0.34, 0.30, 0.06), "black"),
        ),
        False,
    ),
}
