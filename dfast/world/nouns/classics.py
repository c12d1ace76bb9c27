"""The simple solids, and the first things that the world had."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun, both
from dfast.world.parts import Part


def _solid(part: Part, seat: float | None = None) -> Noun:
    """Return a solid as a noun."""
    return Noun((part,), "gray", has_front=False, seat=seat)


SOLIDS: dict[str, Noun] = {
    "sphere": _solid(Part("ellipsoid", (0, 0, 0), (0.66, 0.66, 0.66))),
    "cube": _solid(Part("box", (0, 0, 0), (0.50, 0.50, 0.50))),
    "cylinder": _solid(Part("cone", (0, 0, 0), (0.42, 0.42, 0.64))),
    # What stands on a tip overlaps it a little.
    "cone": _solid(Part("cone", (0, 0, 0), (0.62, 0.01, 0.64)), seat=0.54),
    "torus": _solid(Part("torus", (0, 0, 0), (0.55, 0.22, 1.0))),
    "capsule": _solid(Part("capsule", (0, 0, 0), (0.34, 0.44, 1.0))),
}


def _legs(x: float, y: float, z: float, half: float, thick: float) -> tuple[Part, ...]:
    """Return four legs at (+-x, +-y, z), of half height `half` and half thickness `thick`."""
    size = (thick, thick, half)
    return tuple(Part("box", (sx * x, sy * y, z), size, 0) for sx in (-1, 1) for sy in (-1, 1))


FIRST: dict[str, Noun] = {
    "chair": Noun(
        (
            Part("box", (0, 0, -0.05), (0.42, 0.42, 0.07), 0),
            Part("box", (-0.35, 0, 0.28), (0.07, 0.42, 0.38), 0),
            *_legs(0.34, 0.34, -0.40, 0.30, 0.075),
        ),
        "brown",
        seat=-0.02,
    ),
    "table": Noun(
        (
            Part("box", (0, 0, 0.30), (0.55, 0.55, 0.07), 0),
            *_legs(0.43, 0.43, -0.13, 0.42, 0.075),
        ),
        "brown",
        has_front=False,
    ),
    "snowman": Noun(
        (
            Part("ellipsoid", (0, 0, -0.48), (0.38, 0.38, 0.36), 0),
            Part("ellipsoid", (0, 0, -0.02), (0.28, 0.28, 0.27), 0),
            Part("ellipsoid", (0, 0, 0.32), (0.21, 0.21, 0.20), 0),
            Part("cone", (0, 0, 0.48), (0.27, 0.27, 0.03), 1),
            Part("cone", (0, 0, 0.64), (0.18, 0.16, 0.16), 1),
            Part("cone", (0.28, 0, 0.31), (0.06, 0.01, 0.13), "orange", (0, 90, 0)),
            *both(Part("ellipsoid", (0.18, 0.09, 0.38), (0.045, 0.045, 0.045), "black")),
            Part("ellipsoid", (0.27, 0, 0.02), (0.045, 0.045, 0.045), "black"),
        ),
        "white",
        ("hat", "black"),
    ),
    "house": Noun(
        (
            Part("box", (0, 0, -0.25), (0.52, 0.46, 0.36), 0),
            Part("box", (0, 0, 0.12), (0.56, 0.39, 0.39), 1, (45, 0, 0)),
            Part("box", (0.50, 0, -0.38), (0.06, 0.13, 0.22), "brown"),
        ),
        "white",
        ("roof", "red"),
    ),
    "mug": Noun(
        (
            Part("cone", (0, -0.12, 0), (0.44, 0.44, 0.52), 0),
            Part("torus", (0, 0.36, 0), (0.27, 0.08, 1.0), 0, (0, 90, 0)),
            Part("cone", (0, -0.12, 0.50), (0.37, 0.37, 0.04), "brown"),
        ),
        "blue",
    ),
    "car": Noun(
        (
            Part("box", (0, 0, -0.12), (0.72, 0.34, 0.14), 0, rounding=0.04),
            Part("box", (-0.16, 0, 0.17), (0.34, 0.28, 0.13), "cyan", rounding=0.04),
            Part("box", (-0.16, 0, 0.34), (0.35, 0.30, 0.03), 0),
            *both(Part("cone", (0.44, 0.35, -0.28), (0.19, 0.19, 0.07), "black", (90, 0, 0))),
            *both(Part("cone", (-0.44, 0.35, -0.28), (0.19, 0.19, 0.07), "black", (90, 0, 0))),
            *both(Part("ellipsoid", (0.75, 0.22, -0.08), (0.06, 0.08, 0.08), "yellow")),
        ),
        "red",
    ),
    "duck": Noun(
        (
            Part("ellipsoid", (-0.08, 0, -0.26), (0.58, 0.40, 0.36), 0),
            Part("ellipsoid", (0.26, 0, 0.30), (0.29, 0.28, 0.28), 0),
            Part("ellipsoid", (0.58, 0, 0.25), (0.18, 0.15, 0.06), "orange"),
            Part("cone", (-0.62, 0, -0.08), (0.18, 0.02, 0.20), 0, (0, -50, 0)),
            *both(Part("ellipsoid", (0.46, 0.16, 0.40), (0.055, 0.055, 0.055), "black")),
        ),
        "yellow",
    ),
    "mushroom": Noun(
        (
            Part("cone", (0, 0, 0.28), (0.62, 0.24, 0.20), 0, rounding=0.06),
            Part("cone", (0, 0, -0.32), (0.24, 0.18, 0.42), "white"),
        ),
        "red",
        has_front=False,
    ),
    "tree": Noun(
        (
            Part("cone", (0, 0, -0.02), (0.52, 0.10, 0.30), 0),
            Part("cone", (0, 0, 0.46), (0.38, 0.01, 0.32), 0),
            Part("cone", (0, 0, -0.54), (0.12, 0.12, 0.24), "brown"),
        ),
        "green",
        has_front=False,
    ),
    "airplane": Noun(
        (
            Part("capsule", (0, 0, 0), (0.17, 0.62, 1.0), 0, (0, 90, 0)),
            Part("box", (0.08, 0, -0.02), (0.17, 0.80, 0.045), 0),
            Part("box", (-0.62, 0, 0.06), (0.10, 0.32, 0.04), 0),
            Part("box", (-0.64, 0, 0.24), (0.11, 0.04, 0.20), 0),
            Part("ellipsoid", (0.50, 0, 0.12), (0.18, 0.13, 0.12), "cyan"),
        ),
        "white",
    ),
    "lamp": Noun(
        (
            Part("cone", (0, 0, 0.42), (0.44, 0.24, 0.28), 0),
            Part("cone", (0, 0, -0.18), (0.07, 0.07, 0.40), "black"),
            Part("cone", (0, 0, -0.62), (0.34, 0.30, 0.06), "black"),
        ),
        "yellow",
        has_front=False,
    ),
}
