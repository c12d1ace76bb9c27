"""Food."""

from __future__ import annotations

from math import cos, radians, sin

from dfast.world.nouns.noun import (
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
    pyramid,
    squircle,
    torus,
    wedge,
)

FOOD: dict[str, Noun] = {
    "hamburger": Noun(
        (
            lathe((0, 0, -0.46), 0.60, 0.70, 0.70, 0.15),
            cylinder((0, 0, -0.24), 0.76, 0.11, 1),
            box((0, 0, -0.11), (0.58, 0.58, 0.04), "yellow", (0, 0, 45)),
            torus((0, 0, -0.03), 0.66, 0.09, "green"),
            ellipsoid((0, 0, 0.02), (0.72, 0.72, 0.56)),
            *(
                ellipsoid((0.34 * x, 0.34 * y, 0.44), 0.09, "white")
                for x in (-1, 1)
                for y in (-1, 1)
            ),
            ellipsoid((0, 0, 0.54), 0.09, "white"),
        ),
        "orange",
        ("patty", "brown"),
        has_front=False,
    ),
    "hotdog": Noun(
        (
            capsule((0.24, 0, -0.14), 0.25, 0.50, 0, ALONG_Y),
            capsule((-0.24, 0, -0.14), 0.25, 0.50, 0, ALONG_Y),
            capsule((0, 0, 0.10), 0.19, 0.70, "red", ALONG_Y),
            *(
                limb(
                    (0.09 * s, 0.18 * k - 0.54, 0.28),
                    (-0.09 * s, 0.18 * k - 0.36, 0.28),
                    0.06,
                    "yellow",
                )
                for k, s in enumerate((1, -1, 1, -1, 1, -1))
            ),
        ),
        "orange",
        has_front=False,
    ),
    "pizza": Noun(
        (
            cylinder((0, 0, 0.06), 0.78, 0.05, "yellow"),
            torus((0, 0, 0.02), 0.77, 0.15),
            cylinder((0, 0, -0.06), 0.78, 0.07),
            *(
                cylinder((0.50 * cos(a), 0.50 * sin(a), 0.11), 0.17, 0.06, "red")
                for a in map(radians, (30, 90, 150, 210, 270, 330))
            ),
            cylinder((0, 0, 0.11), 0.17, 0.06, "red"),
            *(
                ellipsoid((0.36 * cos(a), 0.36 * sin(a), 0.12), 0.08, "green")
                for a in map(radians, (0, 120, 240))
            ),
        ),
        "orange",
        has_front=False,
    ),
    "sandwich": Noun(
        (
            wedge((0, 0, -0.34), (0.78, 0.14, 0.44), 0, (90, 0, -90)),
            wedge((0.02, 0, -0.16), (0.80, 0.07, 0.46), "green", (90, 0, -90)),
            wedge((0.02, 0, -0.02), (0.76, 0.08, 0.44), "red", (90, 0, -90)),
            wedge((0.02, 0, 0.12), (0.80, 0.07, 0.46), "yellow", (90, 0, -90)),
            wedge((0, 0, 0.32), (0.78, 0.16, 0.44), 0, (90, 0, -90)),
        ),
        "beige",
    ),
    "bread": Noun(
        (
            squircle((0, 0, 0), (0.40, 0.88, 0.36), 0, (0, 0, 0), 2.6),
            *(
                limb((-0.20, y - 0.12, 0.32 - z), (0.20, y + 0.12, 0.32 - z), 0.07, "beige")
                for y, z in ((-0.48, 0.05), (-0.16, 0.0), (0.16, 0.0), (0.48, 0.05))
            ),
        ),
        "brown",
        has_front=False,
    ),
    "croissant": Noun(
        (
            *(
                ellipsoid(
                    (0.26 - 0.56 * cos(a), 0.62 * sin(a), r - 0.34),
                    (r, 0.22 - 0.0006 * abs(k), r),
                    0,
                    (0, 0, -k),
                    blend=0.04,
                )
                for a, k, r in (
                    (radians(k), k, r)
                    for k, r in (
                        (-116, 0.10),
                        (-92, 0.17),
                        (-64, 0.25),
                        (-33, 0.31),
                        (0, 0.34),
                        (33, 0.31),
                        (64, 0.25),
                        (92, 0.17),
                        (116, 0.10),
                    )
                )
            ),
        ),
        "orange",
    ),
    "egg": Noun(
        (
            ellipsoid((0, 0, -0.18), (0.62, 0.62, 0.62), 0, blend=0.1),
            ellipsoid((0, 0, 0.06), (0.55, 0.55, 0.78), 0, blend=0.1),
        ),
        "beige",
        has_front=False,
    ),
    "cheese": Noun(
        (
            wedge((0, 0, 0), (0.50, 0.36, 0.72), 0, (90, 0, 90)),
            *both(
                ellipsoid((0.10, 0.26, 0.08), (0.16, 0.10, 0.16), "orange", (0, 0, -36)),
                ellipsoid((-0.36, 0.42, -0.10), (0.14, 0.08, 0.14), "orange", (0, 0, -20)),
                ellipsoid((0.36, 0.13, -0.16), (0.10, 0.07, 0.10), "orange", (0, 0, -20)),
            ),
            ellipsoid((-0.10, 0.05, 0.34), (0.14, 0.14, 0.05), "orange"),
            ellipsoid((-0.45, -0.15, 0.34), (0.16, 0.16, 0.05), "orange"),
        ),
        "yellow",
    ),
    "sausage": Noun(
        (
            arc((0, 0, 0.52), 0.72, 0.24, 52, 0, (0, 90, 0)),
            *both(ellipsoid((0, 0.70, 0.22), 0.12, "beige")),
            *(
                limb((0.23 * s, y - 0.07, z - 0.12), (0.23 * s, y + 0.07, z + 0.12), 0.05, "black")
                for s in (-1, 1)
                for y, z in ((-0.30, -0.13), (0, -0.20), (0.30, -0.13))
            ),
        ),
        "brown",
        has_front=False,
    ),
    "sushi": Noun(
        (
            squircle((0, 0, -0.18), (0.38, 0.66, 0.26), 1, (0, 0, 0), 3),
            ellipsoid((0, 0, 0.12), (0.44, 0.84, 0.22), 0),
            *both(ellipsoid((0, 0.70, -0.02), (0.34, 0.18, 0.16), 0, (-35, 0, 0), blend=0.05)),
            *both(arc((0, 0.46, -0.08), 0.40, 0.04, 60, "white", (90, -90, 0))),
            box((0, 0, -0.06), (0.46, 0.15, 0.42), "black", rounding=0.08),
        ),
        "orange",
        ("rice", "white"),
        has_front=False,
    ),
    "taco": Noun(
        (
            *(
                arc((0.16 * s, 0, -0.36), ring, 0.11, 90, 0, (0, -90 + 14 * s, 0), blend=0.08)
                for s in (-1, 1)
                for ring in (0.72, 0.54, 0.36, 0.18)
            ),
            limb((0, -0.72, -0.36), (0, 0.72, -0.36), 0.16, 0, blend=0.08),
            arc((0, 0, -0.36), 0.76, 0.12, 72, "green", (0, -90, 0)),
            *both(ellipsoid((0, 0.34, 0.38), 0.13, "red")),
            ellipsoid((0, 0, 0.48), 0.13, "red"),
        ),
        "yellow",
        has_front=False,
    ),
    "pancakes": Noun(
        (
            *(
                lathe((0.03 * k, 0, z), 0.64, 0.76, 0.64, 0.13)
                for k, z in ((0, -0.42), (-1, -0.16), (1, 0.10))
            ),
            cylinder((0, 0, 0.23), 0.50, 0.05, "brown"),
            *(
                capsule((0.70 * cos(a), 0.70 * sin(a), 0.24 - h), 0.08, h, "brown")
                for a, h in ((0.3, 0.20), (1.8, 0.10), (3.2, 0.24), (4.6, 0.14))
            ),
            *(
                limb((0, 0, 0.24), (0.70 * cos(a), 0.70 * sin(a), 0.23), 0.08, "brown")
                for a in (0.3, 1.8, 3.2, 4.6)
            ),
            box((0, 0, 0.36), (0.18, 0.18, 0.10), "yellow", (0, 0, 20), 0.03),
        ),
        "orange",
        has_front=False,
    ),
    "waffle": Noun(
        (
            box((0, 0, 0), (0.09, 0.64, 0.64), "brown", rounding=0.04),
            *(
                box((0, y, 0), (0.16, 0.06, 0.66), rounding=0.03)
                for y in (-0.60, -0.20, 0.20, 0.60)
            ),
            *(
                box((0, 0, z), (0.16, 0.66, 0.06), rounding=0.03)
                for z in (-0.60, -0.20, 0.20, 0.60)
            ),
            box((0.20, 0, 0), (0.10, 0.20, 0.20), "yellow", rounding=0.04),
        ),
        "orange",
    ),
    "popcorn": Noun(
        (
            pyramid((0, 0, -0.42), 0.34, 0.50, 0.44, 1),
            *(
                ellipsoid((0.33 * x, 0.33 * y, 0.12), 0.25, 0)
                for x in (-1, 0, 1)
                for y in (-1, 0, 1)
            ),
            *(ellipsoid((0.19 * x, 0.19 * y, 0.40), 0.23, 0) for x in (-1, 1) for y in (-1, 1)),
            ellipsoid((0, 0, 0.60), 0.20, 0),
        ),
        "beige",
        ("carton", "red"),
        has_front=False,
    ),
    "drumstick": Noun(
        (
            ellipsoid((0, 0.10, 0.40), (0.40, 0.42, 0.42), 0, blend=0.1),
            cone((0, -0.14, 0.08), 0.16, 0.34, 0.30, 0, (-34, 0, 0), blend=0.1),
            limb((0, -0.24, -0.10), (0, -0.46, -0.60), 0.12, 1),
            ellipsoid((0, -0.60, -0.56), 0.18, 1),
            ellipsoid((0, -0.38, -0.70), 0.18, 1),
        ),
        "brown",
        ("bone", "white"),
        has_front=False,
    ),
}
"""Its nouns."""
