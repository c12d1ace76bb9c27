"""Sweets."""

from __future__ import annotations

from math import cos, radians, sin

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
)

SWEETS: dict[str, Noun] = {
    "cake": Noun(
        (
            cylinder((0, 0, -0.28), 0.70, 0.32),
            torus((0, 0, 0.00), 0.64, 0.11, 1),
            cylinder((0, 0, 0.01), 0.60, 0.07),
            *(
                cylinder((0.30 * cos(a), 0.30 * sin(a), 0.25), 0.06, 0.25, "cyan")
                for a in map(radians, (0, 120, 240))
            ),
            *(
                ellipsoid((0.30 * cos(a), 0.30 * sin(a), 0.60), (0.12, 0.12, 0.16), "orange")
                for a in map(radians, (0, 120, 240))
            ),
        ),
        "pink",
        ("icing", "white"),
        has_front=False,
    ),
    "cupcake": Noun(
        (
            cone((0, 0, -0.48), 0.38, 0.54, 0.32, 1),
            ellipsoid((0, 0, -0.08), (0.64, 0.64, 0.22), 0),
            ellipsoid((0, 0, 0.16), (0.50, 0.50, 0.19), 0),
            ellipsoid((0, 0, 0.36), (0.35, 0.35, 0.17), 0),
            cone((0, 0, 0.54), 0.20, 0.05, 0.14, 0),
            ellipsoid((0, 0, 0.70), 0.13, "red"),
        ),
        "pink",
        ("wrapper", "blue"),
        has_front=False,
    ),
    "pie": Noun(
        (
            cone((0, 0, -0.14), 0.56, 0.78, 0.20, "gray"),
            cylinder((0, 0, 0.04), 0.72, 0.06, "red"),
            torus((0, 0, 0.07), 0.76, 0.12),
            ellipsoid((0, 0, 0.06), (0.70, 0.70, 0.16), "red"),
            *(box((0, 0.30 * k, 0.15), (0.72 - 0.12 * k * k, 0.07, 0.10)) for k in (-1, 0, 1)),
            *(box((0.30 * k, 0, 0.15), (0.07, 0.72 - 0.12 * k * k, 0.10)) for k in (-1, 0, 1)),
        ),
        "orange",
        has_front=False,
    ),
    "pretzel": Noun(
        (
            arc((0, 0, 0.10), 0.72, 0.13, 92, 0, (0, 90, 0)),
            *both(
                arc((0, 0.36, 0.12), 0.36, 0.13, 92, 0, (0, -90, 0)),
                limb((0, -0.04, 0.10), (0, 0.38, -0.50), 0.12),
                ellipsoid((0, 0.36, 0.48), (0.17, 0.06, 0.06), "white"),
                ellipsoid((0, 0.66, -0.18), (0.17, 0.06, 0.06), "white"),
            ),
        ),
        "brown",
        has_front=False,
    ),
    "cookie": Noun(
        (
            lathe((0, 0, 0), 0.70, 0.84, 0.70, 0.16, 0, ALONG_X),
            *(
                ellipsoid((0, y, z), (0.26, 0.14, 0.14), "black")
                for y, z in (
                    *((0.05, 0), (0.42, 0.25), (-0.35, 0.35), (-0.45, -0.20)),
                    *((0.30, -0.40), (-0.10, -0.52), (0.10, 0.50)),
                )
            ),
        ),
        "orange",
        has_front=False,
    ),
    "lollipop": Noun(
        (
            limb((0, 0, 0), (0, 0, -0.86), 0.06, "white"),
            lathe((0, 0, 0.38), 0.46, 0.54, 0.46, 0.12, 0, ALONG_X),
            *(
                arc((0.12 * s, y, 0.38), ring, 0.05, 90, "white", (0, 90 * t, 0))
                for s in (-1, 1)
                for t, y, ring in ((1, 0, 0.11), (-1, 0.10, 0.21), (1, 0, 0.31))
            ),
        ),
        "red",
        has_front=False,
    ),
    "popsicle": Noun(
        (
            box((0, 0, 0.10), (0.18, 0.36, 0.42), 0, rounding=0.12),
            cylinder((0, 0, 0.48), 0.36, 0.18, 0, ALONG_X),
            *both(capsule((0.16, 0.14, 0.26), 0.06, 0.26, "white")),
            *both(capsule((-0.16, 0.14, 0.26), 0.06, 0.26, "white")),
            box((0, 0, -0.56), (0.06, 0.11, 0.32), "beige", rounding=0.05),
        ),
        "red",
        has_front=False,
    ),
    "icecream": Noun(
        (
            cone((0, 0, -0.44), 0.05, 0.36, 0.48, "orange"),
            torus((0, 0, 0.04), 0.33, 0.09),
            ellipsoid((0, 0, 0.22), 0.42, 0),
            ellipsoid((0, 0, 0.60), 0.32, 0),
        ),
        "pink",
        has_front=False,
    ),
    "candy": Noun(
        (
            ellipsoid((0, 0, 0), (0.38, 0.42, 0.38), 0),
            torus((0, 0.18, 0), 0.32, 0.06, 1, ALONG_Y),
            torus((0, -0.18, 0), 0.32, 0.06, 1, ALONG_Y),
            *both(cone((0, 0.62, 0), 0.07, 0.38, 0.26, 0, ALONG_Y)),
        ),
        "red",
        ("stripes", "white"),
        has_front=False,
    ),
    "muffin": Noun(
        (
            cone((0, 0, -0.36), 0.40, 0.56, 0.36, 1),
            ellipsoid((0, 0, 0.18), (0.74, 0.74, 0.48), 0),
            *(
                ellipsoid((0.70 * cos(a), 0.70 * sin(a), 0.22), 0.12, "blue")
                for a in (0.1, 1.2, 2.5, 3.6, 5.1)
            ),
            *(
                ellipsoid((0.46 * cos(a), 0.46 * sin(a), 0.50), 0.12, "blue")
                for a in (0.7, 2.0, 3.3, 4.4, 5.8)
            ),
        ),
        "orange",
        ("wrapper", "beige"),
        has_front=False,
    ),
    "milkshake": Noun(
        (
            cylinder((0, 0, -0.82), 0.34, 0.06),
            cone((0, 0, -0.30), 0.24, 0.42, 0.48),
            torus((0, 0, 0.18), 0.40, 0.06, 1),
            ellipsoid((0, 0, 0.28), (0.38, 0.38, 0.20), 1),
            ellipsoid((0, 0, 0.46), (0.26, 0.26, 0.15), 1),
            ellipsoid((0.06, -0.06, 0.66), 0.13, "red"),
            limb((0, 0.14, 0.30), (-0.04, 0.34, 0.86), 0.06, "cyan"),
        ),
        "pink",
        ("cream", "white"),
        has_front=False,
    ),
}
"""Its nouns."""
