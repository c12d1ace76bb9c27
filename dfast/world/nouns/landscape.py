"""Landscape and sky."""

from __future__ import annotations

from math import cos, pi, sin

from dfast.world.nouns.noun import (
    ALONG_X,
    Noun,
    arc,
    both,
    box,
    cone,
    cylinder,
    ellipsoid,
    limb,
    pyramid,
    torus,
    wedge,
)
from dfast.world.nouns.pieces import ring

LANDSCAPE: dict[str, Noun] = {
    "mountain": Noun(
        (
            cone((0, 0, -0.06), 0.62, 0.02, 0.56),
            cone((0, 0, 0.28), 0.26, 0.02, 0.23, 1),
            *both(limb((0.12, 0.08, 0.18), (0.24, 0.16, -0.06), 0.07, 1)),
            limb((-0.14, 0.04, 0.18), (-0.26, 0.06, 0), 0.07, 1),
            cone((0.14, 0.38, -0.32), 0.36, 0.02, 0.30),
            cone((0.14, -0.40, -0.38), 0.32, 0.02, 0.24),
            cone((-0.34, 0.10, -0.34), 0.36, 0.02, 0.28),
            cone((0.14, 0.38, -0.10), 0.13, 0.02, 0.10, 1),
        ),
        "gray",
        ("peak", "white"),
        has_front=False,
    ),
    "volcano": Noun(
        (
            cone((0, 0, -0.22), 0.74, 0.22, 0.38),
            torus((0, 0, 0.15), 0.19, 0.07),
            cylinder((0, 0, 0.14), 0.18, 0.07, "red"),
            *(
                limb((0.20 * c, 0.20 * s, 0.16), (r * c, r * s, z), 0.08, "red")
                for (c, s, _), r, z in zip(
                    ring(5),
                    (0.54, 0.42, 0.60, 0.48, 0.38),
                    (-0.3, -0.1, -0.38, -0.2, -0.06),
                    strict=True,
                )
            ),
            ellipsoid((0, 0, 0.32), (0.12, 0.12, 0.20), "orange"),
            *both(ellipsoid((0, 0.14, 0.48), 0.18, 1, blend=0.04)),
            ellipsoid((-0.04, 0, 0.62), 0.22, 1, blend=0.04),
            ellipsoid((0.14, 0, 0.48), 0.14, 1, blend=0.04),
        ),
        "brown",
        ("smoke", "gray"),
        has_front=False,
    ),
    "rock": Noun(
        (
            box((0, 0, -0.06), (0.60, 0.50, 0.34), 0, (8, -10, 20), 0.20, 0.10),
            box((0.20, -0.16, 0.10), (0.40, 0.36, 0.32), 0, (25, 20, 50), 0.12, 0.10),
            box((-0.24, 0.16, 0.04), (0.36, 0.40, 0.36), 0, (-20, 15, 10), 0.12, 0.10),
            box((-0.46, -0.34, -0.26), (0.22, 0.20, 0.16), 0, (10, 10, 40), 0.10, 0.06),
        ),
        "gray",
        has_front=False,
    ),
    "cloud": Noun(
        (
            ellipsoid((0, 0, -0.10), (0.34, 0.78, 0.22), blend=0.05),
            ellipsoid((0, 0.10, 0.16), (0.34, 0.38, 0.38), blend=0.05),
            ellipsoid((0, -0.30, 0.04), (0.30, 0.30, 0.28), blend=0.05),
            ellipsoid((0, 0.48, -0.02), (0.26, 0.28, 0.24), blend=0.05),
            ellipsoid((0, -0.58, -0.10), (0.24, 0.26, 0.20), blend=0.05),
            ellipsoid((0.16, 0, -0.08), (0.26, 0.30, 0.22), blend=0.05),
        ),
        "white",
        has_front=False,
    ),
    "moon": Noun(
        tuple(
            cylinder((0, 0.20 - (0.84 - w) * cos(a), (0.84 - w) * sin(a)), w, 0.13, 0, ALONG_X)
            for a, w in (
                (2.05 * k, 0.05 + 0.27 * (1 - k * k))
                for k in (sin(pi / 22 * n) for n in range(-11, 12))
            )
        ),
        "yellow",
        has_front=False,
    ),
    "star": Noun(
        (
            *(
                wedge((0, 0.42 * s, 0.42 * c), (0.30, 0.14, 0.43), 0, (0, a, 90))
                for c, s, a in ring(5)
            ),
        ),
        "yellow",
        has_front=False,
    ),
    "iceberg": Noun(
        (
            pyramid((0, 0.04, 0.30), 0.40, 0.03, 0.44, 0, (0, 0, 20)),
            pyramid((0.20, -0.34, 0.12), 0.30, 0.06, 0.28, 0, (0, 0, 50)),
            pyramid((-0.20, 0.36, 0.06), 0.28, 0.10, 0.20, 0, (0, 0, 65)),
            cone((0, 0, -0.10), 0.64, 0.62, 0.06),
            pyramid((0, 0, -0.44), 0.44, 0.16, 0.32, "cyan", (180, 0, 20)),
            pyramid((0, 0, -0.36), 0.44, 0.20, 0.24, "cyan", (180, 0, 65)),
        ),
        "white",
        has_front=False,
    ),
    "island": Noun(
        (
            cylinder((0, 0, -0.46), 0.80, 0.06, "blue"),
            ellipsoid((0, 0, -0.42), (0.64, 0.64, 0.32)),
            limb((0.16, 0, -0.20), (0, 0, 0.16), 0.08, "brown"),
            limb((0, 0, 0.16), (0.04, 0, 0.46), 0.07, "brown"),
            *(
                leaf
                for c, s, a in ring(5)
                for leaf in (
                    ellipsoid(
                        (0.04 + 0.16 * c, 0.16 * s, 0.52), (0.2, 0.1, 0.05), "green", (0, -14, a)
                    ),
                    ellipsoid(
                        (0.04 + 0.4 * c, 0.4 * s, 0.44), (0.2, 0.1, 0.05), "green", (0, 42, a)
                    ),
                )
            ),
        ),
        "yellow",
        has_front=False,
    ),
    "snowflake": Noun(
        (
            *(
                limb((0, -0.86 * s, -0.86 * c), (0, 0.86 * s, 0.86 * c), 0.06)
                for c, s, _ in ring(6)[:3]
            ),
            *(
                limb((0, 0.42 * s, 0.42 * c), (0, 0.42 * s + 0.3 * t, 0.42 * c + 0.3 * d), 0.05)
                for k, (c, s, _) in enumerate(ring(6))
                for d, t, _ in (ring(6)[k - 5], ring(6)[k - 1])
            ),
            cylinder((0, 0, 0), 0.18, 0.06, 0, ALONG_X),
        ),
        "cyan",
        has_front=False,
    ),
    "rainbow": Noun(
        (
            *(
                arc((0, 0, -0.34), 0.80 - 0.09 * k, 0.055, 90, color, (0, -90, 0))
                for k, color in enumerate(("red", "orange", "yellow", "green", "blue", "purple"))
            ),
            *both(
                ellipsoid((0, 0.54, -0.36), (0.26, 0.34, 0.22), blend=0.04),
                ellipsoid((0.04, 0.44, -0.24), (0.24, 0.22, 0.19), blend=0.04),
                ellipsoid((0.04, 0.64, -0.26), (0.24, 0.20, 0.18), blend=0.04),
            ),
        ),
        "white",
        has_front=False,
    ),
}
"""Its nouns."""
