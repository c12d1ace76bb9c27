"""Musical instruments."""

from __future__ import annotations

from dfast.world.nouns.noun import (
    ALONG_X,
    ALONG_Y,
    Noun,
    arc,
    both,
    box,
    capsule,
    cone,
    cylinder,
    ellipsoid,
    lathe,
    limb,
    torus,
    tube,
)
from dfast.world.nouns.pieces import around, dots
from dfast.world.parts import Part


def _neck(bottom: float, top: float, width: float) -> tuple[Part, ...]:
    """Return the upright neck of a string instrument with its head and tuning pegs."""
    middle, half = (bottom + top) / 2, (top - bottom) / 2
    return (
        box((0.04, 0, middle), (0.07, width, half), "black", rounding=0.03),
        box((0, 0, top), (0.08, width + 0.05, 0.13), "brown", rounding=0.03),
        *both(capsule((0, width + 0.08, top + 0.05), 0.05, 0.04, "white", ALONG_Y)),
        *both(capsule((0, width + 0.08, top - 0.08), 0.05, 0.04, "white", ALONG_Y)),
    )


MUSIC: dict[str, Noun] = {
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
                for x, y, _ in around(6, 0.61)
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
            *dots("white", (0.09, 0.18, 0.09), *((-0.14, 0, z) for z in (-0.30, -0.05, 0.20))),
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
                for y, z, _ in around(8, 0.73, 22.5)
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
}
"""Its nouns."""
