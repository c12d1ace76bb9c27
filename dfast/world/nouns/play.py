"""Musical instruments, toys and sports."""

from __future__ import annotations

from math import cos, radians, sin

from dfast.world.nouns.noun import (
    ALONG_X,
    ALONG_Y,
    Noun,
    Part,
    arc,
    both,
    box,
    capsule,
    cone,
    cylinder,
    ellipsoid,
    four,
    lathe,
    limb,
    squircle,
    torus,
    tube,
    wedge,
)


def _neck(bottom: float, top: float, width: float) -> tuple[Part, ...]:
    """Return the upright neck of a string instrument with its head and tuning pegs."""
    middle, half = (bottom + top) / 2, (top - bottom) / 2
    return (
        box((0.04, 0, middle), (0.07, width, half), "black", rounding=0.03),
        box((0, 0, top), (0.08, width + 0.05, 0.13), "brown", rounding=0.03),
        *both(capsule((0, width + 0.08, top + 0.05), 0.05, 0.04, "white", ALONG_Y)),
        *both(capsule((0, width + 0.08, top - 0.08), 0.05, 0.04, "white", ALONG_Y)),
    )


def _around(count: int, radius: float, first: float = 0.0) -> list[tuple[float, float, float]]:
    """Return points (x, y) on a circle about the axis z, and their angles in degrees."""
    angles = [first + 360 * k / count for k in range(count)]
    return [(radius * cos(radians(a)), radius * sin(radians(a)), a) for a in angles]


def _dots(
    color: str, size: tuple[float, float, float], *centers: tuple[float, float, float]
) -> tuple[Part, ...]:
    """Return equal ellipsoids: pips, buttons, flakes."""
    return tuple(ellipsoid(center, size, color) for center in centers)


PLAY: dict[str, Noun] = {
    "guitar": Noun(
        (
            cylinder((0, 0, -0.48), 0.42, 0.14, 0, ALONG_X, blend=0.06),
            cylinder((0, 0, -0.04), 0.31, 0.14, 0, ALONG_X, blend=0.06),
            cylinder((0.12, 0, -0.16), 0.13, 0.04, "black", ALONG_X),
            box((0.14, 0, -0.56), (0.05, 0.20, 0.05), "black"),
            *_neck(0.02, 0.76, 0.08),
        ),
        "orange",
    ),
    "violin": Noun(
        (
            cylinder((-0.02, 0, -0.52), 0.33, 0.11, 0, ALONG_X, blend=0.03),
            cylinder((-0.02, 0, -0.02), 0.27, 0.11, 0, ALONG_X, blend=0.03),
            box((-0.02, 0, -0.28), (0.11, 0.19, 0.22), 0, blend=0.03),
            limb((0.06, 0, -0.36), (0.06, 0, 0.60), 0.07, "black"),
            box((0.13, 0, -0.40), (0.05, 0.13, 0.04), "beige"),
            *both(limb((0.09, 0.17, -0.42), (0.09, 0.13, -0.16), 0.04, "black")),
            torus((0.02, 0, 0.66), 0.09, 0.06, "brown", (90, 0, 0)),
            *both(capsule((0, 0.12, 0.52), 0.05, 0.06, "black", ALONG_Y)),
            ellipsoid((0.06, 0.12, -0.72), (0.10, 0.12, 0.09), "black"),
        ),
        "brown",
    ),
    "piano": Noun(
        (
            box((-0.14, 0, 0.06), (0.22, 0.62, 0.54), 0),
            box((-0.14, 0, 0.58), (0.26, 0.66, 0.05), 0),
            box((0.26, 0, -0.12), (0.22, 0.62, 0.09), 0),
            box((0.30, 0, -0.02), (0.18, 0.54, 0.05), "white"),
            *(box((0.22, 0.16 * k, 0.04), (0.11, 0.05, 0.05), "black") for k in (-3, -2, 0, 1, 2)),
            *both(box((0.38, 0.54, -0.34), (0.08, 0.08, 0.16), 0)),
            box((0.09, 0, 0.30), (0.05, 0.22, 0.14), "white", (0, -12, 0)),
            box((-0.14, 0, -0.45), (0.24, 0.64, 0.05), 0),
        ),
        "brown",
    ),
    "drum": Noun(
        (
            cylinder((0, 0, -0.18), 0.62, 0.40, 0),
            torus((0, 0, 0.22), 0.60, 0.07, 1),
            torus((0, 0, -0.58), 0.60, 0.07, 1),
            cylinder((0, 0, 0.22), 0.58, 0.06, "white"),
            *(
                limb((x, y, 0.18), (0.88 * x - 0.48 * y, 0.48 * x + 0.88 * y, -0.54), 0.05, "white")
                for x, y, _ in _around(6, 0.61)
            ),
            *both(limb((0.44, 0.20, 0.36), (-0.40, 0.10, 0.46), 0.05, "beige")),
            *both(ellipsoid((-0.42, 0.10, 0.46), 0.10, "beige")),
        ),
        "red",
        ("rim", "yellow"),
        has_front=False,
    ),
    "trumpet": Noun(
        (
            lathe((0.60, 0, 0.08), 0.07, 0.15, 0.36, 0.28, 0, ALONG_X),
            cylinder((0.87, 0, 0.08), 0.26, 0.04, "black", ALONG_X),
            limb((-0.80, 0, 0.10), (0.50, 0, 0.10), 0.07),
            cone((-0.84, 0, 0.10), 0.13, 0.07, 0.08, 0, ALONG_X),
            limb((-0.36, 0, -0.22), (0.30, 0, -0.22), 0.07),
            arc((-0.36, 0, -0.06), 0.16, 0.07, 90, 0, (90, 0, 180)),
            arc((0.30, 0, -0.06), 0.16, 0.07, 90, 0, (90, 0, 0)),
            *(cylinder((x, 0, -0.04), 0.09, 0.28, 0) for x in (-0.22, 0, 0.22)),
            *(capsule((x, 0, 0.32), 0.07, 0.05, "white") for x in (-0.22, 0, 0.22)),
        ),
        "yellow",
    ),
    "flute": Noun(
        (
            cylinder((0, 0, 0), 0.12, 0.88, 0, ALONG_Y),
            *(cylinder((0, y, 0), 0.14, 0.04, "black", ALONG_Y) for y in (-0.80, -0.40, 0.80)),
            ellipsoid((0, -0.62, 0.10), (0.12, 0.14, 0.08), "black"),
            *(cylinder((0.02, 0.17 * k - 0.14, 0.12), 0.07, 0.05, "black") for k in range(6)),
        ),
        "lavender",
        has_front=False,
    ),
    "harp": Noun(
        (
            limb((0, -0.44, -0.60), (0, -0.44, 0.70), 0.10, 0, blend=0.06),
            limb((0, -0.44, 0.68), (0, -0.06, 0.46), 0.10, 0, blend=0.06),
            limb((0, -0.06, 0.46), (0, 0.50, 0.46), 0.10, 0, blend=0.06),
            limb((0, 0.52, 0.40), (0, -0.30, -0.62), 0.13, 0, blend=0.06),
            box((0, -0.24, -0.70), (0.26, 0.36, 0.08), 0, rounding=0.04),
            *(
                limb((0, y, 0.50), (0, y, -0.25 + 1.24 * y), 0.035, "white")
                for y in (-0.28, -0.13, 0.02, 0.17, 0.32)
            ),
        ),
        "yellow",
        has_front=False,
    ),
    "xylophone": Noun(
        (
            *(
                box((0, 0.21 * k - 0.63, 0.12), (0.63 - 0.05 * k, 0.085, 0.06), c, rounding=0.03)
                for k, c in enumerate(
                    ("red", "orange", "yellow", "green", "cyan", "blue", "purple")
                )
            ),
            limb((0.42, -0.68, -0.10), (0.26, 0.68, -0.10), 0.17, 0),
            limb((-0.42, -0.68, -0.10), (-0.26, 0.68, -0.10), 0.17, 0),
            limb((-0.40, -0.66, -0.10), (0.40, -0.66, -0.10), 0.17, 0),
            limb((-0.24, 0.66, -0.10), (0.24, 0.66, -0.10), 0.17, 0),
            limb((0.10, -0.30, 0.26), (0.40, 0.34, 0.36), 0.045, 0),
            ellipsoid((0.08, -0.34, 0.26), 0.10, "black"),
        ),
        "brown",
        has_front=False,
    ),
    "saxophone": Noun(
        (
            cone((-0.16, 0, 0.05), 0.14, 0.08, 0.54, 0),
            arc((0.08, 0, -0.48), 0.24, 0.14, 90, 0, (90, 90, 0)),
            lathe((0.40, 0, -0.18), 0.14, 0.17, 0.36, 0.36, 0, (0, 14, 0)),
            cylinder((0.48, 0, 0.15), 0.27, 0.04, "black", (0, 14, 0)),
            limb((-0.16, 0, 0.56), (-0.26, 0, 0.78), 0.08, 0),
            limb((-0.26, 0, 0.78), (-0.46, 0, 0.78), 0.08, 0),
            limb((-0.46, 0, 0.78), (-0.64, 0, 0.66), 0.08, "black"),
            *_dots("white", (0.09, 0.18, 0.09), *((-0.14, 0, z) for z in (-0.30, -0.05, 0.20))),
        ),
        "yellow",
    ),
    "microphone": Noun(
        (
            cone((0, 0, -0.32), 0.22, 0.31, 0.56, 0),
            cylinder((0, 0, 0.26), 0.31, 0.06, "white"),
            ellipsoid((0, 0, 0.52), (0.36, 0.36, 0.36), "gray"),
            torus((0, 0, 0.52), 0.34, 0.05, "white"),
            box((0.27, 0, -0.10), (0.06, 0.06, 0.11), "red", rounding=0.03),
        ),
        "black",
    ),
    "tambourine": Noun(
        (
            tube((0, 0, 0), 0.80, 0.08, 0.17, 0, ALONG_X),
            *(
                cylinder((0, y, z), 0.18, 0.07, "yellow", ALONG_X)
                for y, z, _ in _around(8, 0.73, 22.5)
            ),
        ),
        "red",
        has_front=False,
    ),
    "banjo": Noun(
        (
            cylinder((0, 0, -0.46), 0.40, 0.14, 0, ALONG_X),
            torus((0.06, 0, -0.46), 0.37, 0.09, 0, ALONG_X),
            cylinder((0.12, 0, -0.46), 0.30, 0.05, "white", ALONG_X),
            box((0.18, 0, -0.62), (0.04, 0.14, 0.04), "black"),
            *_neck(-0.18, 0.76, 0.07),
        ),
        "red",
    ),
    "accordion": Noun(
        (
            *(box((0, 0.13 * k, 0), (0.26, 0.05, 0.46), 1) for k in (-2, -1, 0, 1, 2)),
            box((0, 0, 0), (0.22, 0.32, 0.42), "white"),
            *both(box((0, 0.52, 0), (0.30, 0.22, 0.52), 0, rounding=0.06)),
            box((0.31, 0.58, 0), (0.05, 0.13, 0.44), "white"),
            *(
                box((0.35, 0.54, 0.20 * k), (0.05, 0.10, 0.06), "black")
                for k in (-1.5, -0.5, 0.5, 1.5)
            ),
            *(ellipsoid((0.30, -0.52, z), 0.10, "white") for z in (-0.30, 0, 0.30)),
        ),
        "red",
        ("bellows", "black"),
    ),
    "die": Noun(
        (
            box((0, 0, 0), (0.54, 0.54, 0.54), 0, rounding=0.10),
            ellipsoid((0.54, 0, 0), (0.05, 0.15, 0.15), "black"),
            *_dots("black", (0.11, 0.11, 0.05), *((0.28 * k, 0.28 * k, 0.54) for k in (-1, 1))),
            *_dots("black", (0.11, 0.05, 0.11), *((0.30 * k, 0.54, 0.30 * k) for k in (-1, 0, 1))),
            *four(ellipsoid((0.28, 0.28, -0.54), (0.11, 0.11, 0.05), "black")),
            *(
                ellipsoid((0.28 * i, -0.54, 0.28 * k), (0.11, 0.05, 0.11), "black")
                for i, k in ((-1, -1), (-1, 1), (0, 0), (1, -1), (1, 1))
            ),
            *both(
                *_dots("black", (0.05, 0.11, 0.11), *((-0.54, 0.22, 0.30 * k) for k in (-1, 0, 1)))
            ),
        ),
        "white",
    ),
    "yoyo": Noun(
        (
            *(lathe((0.20 * s, 0, -0.30), 0.46, 0.58, 0.46, 0.13, 0, ALONG_X) for s in (-1, 1)),
            cylinder((0, 0, -0.30), 0.16, 0.20, "white", ALONG_X),
            *(cylinder((0.33 * s, 0, -0.30), 0.26, 0.04, "white", ALONG_X) for s in (-1, 1)),
            limb((0, 0.14, -0.30), (0, 0.06, 0.66), 0.05, "white"),
            torus((0, 0.04, 0.78), 0.10, 0.05, "white", ALONG_X),
        ),
        "red",
        has_front=False,
    ),
    "basketball": Noun(
        (
            ellipsoid((0, 0, 0), 0.84, 0),
            torus((0, 0, 0), 0.83, 0.04, "black"),
            torus((0, 0, 0), 0.83, 0.04, "black", ALONG_X),
            torus((0, 0, 0), 0.83, 0.04, "black", ALONG_Y),
            *both(torus((0, 0.44, 0), 0.71, 0.04, "black", ALONG_Y)),
        ),
        "orange",
        has_front=False,
    ),
    "football": Noun(
        (
            ellipsoid((0, 0, 0), (0.50, 0.74, 0.50), 0, blend=0.08),
            *both(cone((0, 0.70, 0), 0.26, 0.05, 0.20, 0, ALONG_Y, blend=0.08)),
            *both(torus((0, 0.46, 0), 0.37, 0.06, "white", ALONG_Y)),
            limb((0.40, -0.22, 0.28), (0.40, 0.22, 0.28), 0.06, "white"),
            *(limb((0.48, y, 0.13), (0.34, y, 0.38), 0.06, "white") for y in (-0.22, 0, 0.22)),
        ),
        "brown",
    ),
    "dumbbell": Noun(
        (
            cylinder((0, 0, 0), 0.10, 0.60, "gray", ALONG_Y),
            *both(lathe((0, 0.42, 0), 0.42, 0.46, 0.42, 0.11, 0, ALONG_Y)),
            *both(lathe((0, 0.64, 0), 0.32, 0.36, 0.32, 0.12, 0, ALONG_Y)),
            *both(cylinder((0, 0.80, 0), 0.13, 0.07, "gray", ALONG_Y)),
        ),
        "black",
        has_front=False,
    ),
    "racket": Noun(
        (
            torus((0, 0, 0.42), 0.42, 0.08, 0, ALONG_X),
            *(limb((0, 0.2 * k, 0.06), (0, 0.2 * k, 0.78), 0.04, 1) for k in (-1, 0, 1)),
            *(limb((0, -0.36, z), (0, 0.36, z), 0.04, 1) for z in (0.22, 0.42, 0.62)),
            *both(limb((0, 0.20, 0.02), (0, 0.02, -0.22), 0.07, 0)),
            limb((0, 0, -0.20), (0, 0, -0.50), 0.09, 0),
            limb((0, 0, -0.48), (0, 0, -0.84), 0.11, "black"),
        ),
        "red",
        ("strings", "white"),
        has_front=False,
    ),
    "helmet": Noun(
        (
            ellipsoid((-0.06, 0, 0.06), (0.78, 0.70, 0.76), 0),
            cylinder((-0.04, 0, -0.36), 0.60, 0.30, 0),
            ellipsoid((0.16, 0, 0.06), (0.64, 0.62, 0.28), "black"),
            squircle((0.40, 0, -0.44), (0.34, 0.42, 0.20), 0, (0, 0, 0), 3),
            *both(ellipsoid((0.22, 0.62, 0.06), (0.13, 0.08, 0.13), "gray")),
            arc((-0.06, 0, 0.05), 0.73, 0.09, 70, "white", (90, -90, 0)),
        ),
        "red",
    ),
    "pawn": Noun(
        (
            lathe((0, 0, -0.68), 0.52, 0.52, 0.40, 0.14, 0),
            lathe((0, 0, -0.16), 0.40, 0.20, 0.17, 0.42, 0),
            cylinder((0, 0, 0.26), 0.34, 0.06, 0),
            ellipsoid((0, 0, 0.54), 0.34, 0),
        ),
        "white",
        has_front=False,
    ),
    "rook": Noun(
        (
            lathe((0, 0, -0.70), 0.52, 0.52, 0.42, 0.12, 0),
            lathe((0, 0, -0.16), 0.44, 0.27, 0.32, 0.46, 0),
            cylinder((0, 0, 0.36), 0.44, 0.12, 0),
            tube((0, 0, 0.44), 0.44, 0.07, 0.14, 0),
            *(box((x, y, 0.68), (0.08, 0.12, 0.14), 0, (0, 0, a)) for x, y, a in _around(6, 0.37)),
        ),
        "black",
        has_front=False,
    ),
    "swing": Noun(
        (
            limb((0, -0.58, 0.62), (0, 0.58, 0.62), 0.08, 0),
            *four(limb((0.36, 0.56, -0.56), (0, 0.52, 0.62), 0.08, 0)),
            *both(limb((0, 0.26, 0.60), (0, 0.26, -0.28), 0.04, "gray")),
            box((0, 0, -0.30), (0.18, 0.34, 0.06), "yellow"),
        ),
        "red",
        seat=-0.24,
        has_front=False,
    ),
    "slide": Noun(
        (
            box((0.12, 0, -0.06), (0.60, 0.24, 0.05), 0, (0, 42, 0)),
            *both(box((0.16, 0.22, -0.02), (0.60, 0.05, 0.12), 0, (0, 42, 0))),
            box((0.60, 0, -0.46), (0.14, 0.27, 0.05), 0),
            box((-0.44, 0, 0.36), (0.17, 0.26, 0.05), 0),
            *both(
                limb((-0.36, 0.23, 0.64), (-0.36, 0.23, -0.46), 0.06, 1),
                limb((-0.55, 0.23, 0.64), (-0.70, 0.23, -0.46), 0.06, 1),
                limb((-0.36, 0.23, 0.64), (-0.55, 0.23, 0.64), 0.06, 1),
            ),
            *(
                limb((x, -0.22, z), (x, 0.22, z), 0.05, 1)
                for x, z in ((-0.60, 0.18), (-0.64, -0.05), (-0.67, -0.28))
            ),
        ),
        "red",
        ("frame", "blue"),
    ),
    "seesaw": Noun(
        (
            box((0, 0, -0.02), (0.16, 0.86, 0.06), 0, (16, 0, 0), 0.03),
            wedge((0, 0, -0.24), (0.26, 0.16, 0.22), 1, (0, 0, 90)),
            box((0, 0.70, 0.26), (0.20, 0.13, 0.06), 0, (16, 0, 0), 0.04),
            box((0, -0.70, -0.14), (0.20, 0.13, 0.06), 0, (16, 0, 0), 0.04),
            limb((0, 0.46, 0.13), (0, 0.40, 0.37), 0.05, "black"),
            limb((0, -0.46, -0.13), (0, -0.52, 0.11), 0.05, "black"),
            limb((-0.13, 0.40, 0.37), (0.13, 0.40, 0.37), 0.05, "black"),
            limb((-0.13, -0.52, 0.11), (0.13, -0.52, 0.11), 0.05, "black"),
        ),
        "red",
        ("stand", "blue"),
        seat=0.04,
        has_front=False,
    ),
    "trampoline": Noun(
        (
            torus((0, 0, 0.08), 0.74, 0.13, 0),
            cylinder((0, 0, 0.08), 0.70, 0.06, "black"),
            *(
                limb((x, y, 0.06), (1.08 * x, 1.08 * y, -0.36), 0.07, "gray")
                for x, y, _ in _around(6, 0.70, 30)
            ),
        ),
        "blue",
        seat=0.14,
        has_front=False,
    ),
    "skate": Noun(
        (
            capsule((0.10, 0, -0.26), 0.22, 0.38, 0, ALONG_X, blend=0.06),
            ellipsoid((0.44, 0, -0.24), (0.30, 0.25, 0.22), 0, blend=0.06),
            cone((-0.30, 0, 0.20), 0.25, 0.28, 0.42, 0, blend=0.06),
            box((0.04, 0, -0.50), (0.58, 0.18, 0.07), "black"),
            *four(cylinder((0.36, 0.22, -0.66), 0.18, 0.10, 1, ALONG_Y)),
            *(
                limb((x, -0.14, z), (x, 0.14, z), 0.05, "black")
                for x, z in ((0.16, 0.02), (0.02, 0.16), (-0.04, 0.34))
            ),
            ellipsoid((0.66, 0, -0.52), (0.12, 0.12, 0.10), "red"),
        ),
        "white",
        ("wheels", "yellow"),
    ),
    "whistle": Noun(
        (
            cylinder((-0.22, 0, -0.10), 0.44, 0.28, 0, ALONG_Y),
            box((0.32, 0, 0.18), (0.50, 0.24, 0.16), 0, rounding=0.03),
            box((0.12, 0, 0.33), (0.10, 0.18, 0.05), "black"),
            *both(cylinder((-0.22, 0.27, -0.10), 0.24, 0.04, "white", ALONG_Y)),
            torus((-0.70, 0, 0.10), 0.14, 0.06, "gray", (90, 0, 0)),
        ),
        "red",
    ),
    "snowglobe": Noun(
        (
            ellipsoid((0, 0, 0.22), 0.62, 0),
            lathe((0, 0, -0.54), 0.60, 0.50, 0.48, 0.20, 1),
            ellipsoid((0, 0, -0.02), (0.60, 0.60, 0.44), "white"),
            *(
                cone((0.57 * s, 0, 0.06 + z), 0.20 - z / 2, 0.02, 0.16, "green")
                for s in (-1, 1)
                for z in (0, 0.20)
            ),
            *_dots("white", (0.09, 0.09, 0.09), (0.42, 0.44, 0.32), (-0.42, 0.44, 0.32)),
            *_dots("white", (0.09, 0.09, 0.09), (0.42, -0.44, 0.34), (-0.42, -0.44, 0.34)),
            *both(ellipsoid((0.06, 0.58, 0.40), 0.09, "white")),
        ),
        "cyan",
        ("base", "brown"),
        has_front=False,
    ),
    "blocks": Noun(
        (
            *both(box((0, 0.34, -0.32), (0.32, 0.32, 0.32), 0, rounding=0.05)),
            *both(cylinder((0, 0.34, -0.32), 0.17, 0.34, "white", ALONG_X)),
            *both(cylinder((0, 0.50, -0.32), 0.17, 0.18, "white", ALONG_Y)),
            box((0, 0, 0.32), (0.32, 0.32, 0.32), "yellow", (0, 0, 14), 0.05),
            *(
                box((0, 0, 0.32), (0.17, 0.17, 0.34), "blue", (t, u, 14))
                for t, u in ((0, 90), (90, 0))
            ),
        ),
        "red",
        has_front=False,
    ),
    "jack": Noun(
        (
            *(limb((0, 0, 0), (0.56 * x, 0.56 * y, 0.40), 0.10) for x, y, _ in _around(3, 1)),
            *(limb((0, 0, 0), (0.56 * x, 0.56 * y, -0.40), 0.10) for x, y, _ in _around(3, 1, 60)),
            *(ellipsoid((x, y, 0.43), 0.19) for x, y, _ in _around(3, 0.60)),
            *(ellipsoid((x, y, -0.43), 0.19) for x, y, _ in _around(3, 0.60, 60)),
        ),
        "lavender",
        has_front=False,
    ),
    "hoop": Noun(
        (
            box((-0.12, 0, 0.44), (0.06, 0.48, 0.33), 0),
            limb((-0.28, 0, 0.40), (-0.28, 0, -0.76), 0.09, 0),
            box((-0.22, 0, 0.30), (0.10, 0.10, 0.10), 0),
            cylinder((-0.22, 0, -0.76), 0.30, 0.06, 0),
            torus((0.22, 0, 0.24), 0.26, 0.06, "red"),
            box((-0.07, 0, 0.50), (0.04, 0.20, 0.15), "red"),
            *(
                limb((0.22 + x, y, 0.22), (0.22 + 0.56 * x, 0.56 * y, -0.14), 0.035, "gray")
                for x, y, _ in _around(6, 0.25)
            ),
            torus((0.22, 0, -0.14), 0.14, 0.035, "gray"),
        ),
        "white",
    ),
    "domino": Noun(
        (
            box((0, 0, 0), (0.20, 0.42, 0.82), 0, rounding=0.08),
            box((0, 0, 0), (0.22, 0.34, 0.04), "white"),
            *_dots("white", (0.28, 0.14, 0.14), (0, 0, 0.42), (0, 0.22, 0.64), (0, -0.22, 0.20)),
            *both(*_dots("white", (0.28, 0.14, 0.14), (0, 0.22, -0.22), (0, 0.22, -0.60))),
        ),
        "black",
        has_front=False,
    ),
    "puzzle": Noun(
        (
            box((0, 0.04, 0.04), (0.14, 0.34, 0.34), 0),
            *(
                box((0, 0.39 * y - 0.08, 0.39 * z - 0.08), (0.14, 0.21, 0.21), 0)
                for y in (-1, 1)
                for z in (-1, 1)
            ),
            box((0, 0.26, -0.08), (0.14, 0.26, 0.56), 0),
            box((0, -0.08, 0.26), (0.14, 0.56, 0.26), 0),
            box((0, 0.56, -0.08), (0.14, 0.14, 0.10), 0),
            cylinder((0, 0.70, -0.08), 0.20, 0.14, 0, ALONG_X),
            box((0, -0.08, 0.56), (0.14, 0.10, 0.14), 0),
            cylinder((0, -0.08, 0.70), 0.20, 0.14, 0, ALONG_X),
        ),
        "blue",
        has_front=False,
    ),
    "rattle": Noun(
        (
            ellipsoid((0, 0, 0.46), 0.44, 0),
            torus((0, 0, 0.46), 0.42, 0.07, "yellow"),
            *both(ellipsoid((0.36, 0.17, 0.64), 0.09, 1)),
            *both(ellipsoid((-0.36, 0.17, 0.64), 0.09, 1)),
            limb((0, 0, 0.06), (0, 0, -0.42), 0.10, 1),
            torus((0, 0, -0.62), 0.20, 0.09, 0, ALONG_X),
        ),
        "pink",
        ("handle", "white"),
        has_front=False,
    ),
    "pinwheel": Noun(
        (
            limb((-0.10, 0, 0.26), (-0.10, 0, -0.88), 0.06, "white"),
            *(
                wedge((0, y, 0.30 + z), (0.30, 0.05, 0.20), 0, (0, 33.69 - a, 90), 1)
                for y, z, a in _around(4, 0.36, 33.69)
            ),
            *(
                wedge((0, y, 0.30 + z), (0.18, 0.08, 0.12), "yellow", (0, 18.43 - a, 90), 1)
                for y, z, a in _around(4, 0.41, 18.43)
            ),
            ellipsoid((0.06, 0, 0.30), 0.10, "white"),
        ),
        "red",
    ),
}
"""Its nouns."""
