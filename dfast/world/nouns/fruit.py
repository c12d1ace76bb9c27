"""Fruit."""

from __future__ import annotations

from dfast.world.nouns.noun import (
    ALONG_Y,
    Noun,
    arc,
    both,
    bowl,
    cone,
    cylinder,
    ellipsoid,
    lathe,
    limb,
    torus,
)
from dfast.world.nouns.pieces import around, leaves

FRUIT: dict[str, Noun] = {
    "apple": Noun(
        (
            torus((0, 0, 0.10), 0.28, 0.42),
            ellipsoid((0, 0, -0.06), (0.70, 0.70, 0.64), 0),
            ellipsoid((0, 0, -0.46), (0.46, 0.46, 0.28), 0),
            limb((0, 0, 0.30), (0, 0.08, 0.80), 0.07, "brown"),
            ellipsoid((0, 0.28, 0.72), (0.13, 0.26, 0.06), "green", (20, 0, 0)),
        ),
        "red",
        has_front=False,
    ),
    "pear": Noun(
        (
            ellipsoid((0, 0, -0.36), (0.54, 0.54, 0.50), 0, blend=0.1),
            lathe((0, 0, 0.10), 0.50, 0.36, 0.25, 0.34, 0, blend=0.1),
            ellipsoid((0, 0, 0.44), (0.26, 0.26, 0.22), 0, blend=0.1),
            limb((0, 0, 0.60), (0, 0.06, 0.84), 0.05, "brown"),
            ellipsoid((0, 0.20, 0.76), (0.10, 0.20, 0.05), "green", (15, 0, 0)),
        ),
        "lime",
        has_front=False,
    ),
    "banana": Noun(
        (
            arc((0, 0, 0.55), 0.76, 0.20, 40, 0, (0, 90, 0), blend=0.1),
            *both(cone((0, 0.63, 0.12), 0.17, 0.08, 0.18, 0, (-50, 0, 0), blend=0.1)),
            limb((0, 0.68, 0.16), (0, 0.74, 0.36), 0.07, "brown"),
            ellipsoid((0, -0.72, 0.21), 0.09, "brown"),
        ),
        "yellow",
        has_front=False,
    ),
    "lemon": Noun(
        (
            ellipsoid((0, 0, 0), (0.52, 0.66, 0.52), 0, blend=0.1),
            *both(cone((0, 0.66, 0), 0.22, 0.08, 0.16, 0, ALONG_Y, blend=0.1)),
            ellipsoid((0, 0.52, 0.42), (0.16, 0.30, 0.05), "green", (-30, 0, 0)),
        ),
        "yellow",
        has_front=False,
    ),
    "strawberry": Noun(
        (
            ellipsoid((0, 0, 0.24), (0.58, 0.58, 0.42), 0, blend=0.1),
            cone((0, 0, -0.28), 0.24, 0.57, 0.44, 0, blend=0.1),
            ellipsoid((0, 0, -0.68), 0.23, 0, blend=0.1),
            *(ellipsoid((x, y, 0.20), 0.09, "yellow") for x, y, _ in around(5, 0.57, 0)),
            *(ellipsoid((x, y, -0.10), 0.09, "yellow") for x, y, _ in around(5, 0.49, 36)),
            *(ellipsoid((x, y, -0.42), 0.09, "yellow") for x, y, _ in around(3, 0.37, 0)),
            *(
                ellipsoid((x, y, 0.62), (0.32, 0.16, 0.07), 1, (0, 24, a))
                for x, y, a in around(5, 0.26)
            ),
            limb((0, 0, 0.60), (0, 0, 0.82), 0.07, 1),
        ),
        "red",
        ("leaves", "green"),
        has_front=False,
    ),
    "cherry": Noun(
        (
            *both(
                ellipsoid((0, 0.40, -0.44), 0.36, 0),
                limb((0, 0.40, -0.14), (0, 0.28, 0.30), 0.05, "brown"),
                limb((0, 0.28, 0.30), (0, 0, 0.72), 0.05, "brown"),
            ),
            ellipsoid((0, 0.32, 0.70), (0.14, 0.32, 0.06), "green", (-10, 0, 0)),
        ),
        "red",
        has_front=False,
    ),
    "grapes": Noun(
        (
            *(ellipsoid((x, y, 0.34), 0.23, 0) for x, y, _ in around(7, 0.42)),
            *(ellipsoid((x, y, 0.00), 0.23, 0) for x, y, _ in around(6, 0.33, 20)),
            *(ellipsoid((x, y, -0.34), 0.22, 0) for x, y, _ in around(4, 0.20, 45)),
            ellipsoid((0, 0, -0.64), 0.21, 0),
            ellipsoid((0, 0, 0.42), 0.26, 0),
            limb((0, 0, 0.50), (0, 0, 0.88), 0.06, "brown"),
            ellipsoid((0, 0.24, 0.72), (0.20, 0.26, 0.06), "green", (-15, 0, 0)),
        ),
        "purple",
        has_front=False,
    ),
    "pineapple": Noun(
        (
            ellipsoid((0, 0, -0.34), (0.44, 0.44, 0.56), 0),
            *(ellipsoid((x, y, -0.08), 0.10, "brown") for x, y, _ in around(5, 0.37, 36)),
            *(ellipsoid((x, y, -0.36), 0.10, "brown") for x, y, _ in around(5, 0.39, 0)),
            *(ellipsoid((x, y, -0.62), 0.10, "brown") for x, y, _ in around(5, 0.33, 36)),
            *leaves(0.16, 0.28, 0.10, 5, 38),
            *leaves(0.20, 0.34, 0.10, 3, 14),
        ),
        "orange",
        ("leaves", "green"),
        has_front=False,
    ),
    "watermelon": Noun(
        (
            bowl((0, 0, 0.08), 0.76, 0.10, 0.0, 0, (0, 28, 0)),
            cylinder((0, 0, 0.08), 0.68, 0.07, 1, (0, 28, 0)),
            *(
                ellipsoid((0.88 * x + 0.02, y, 0.14 - 0.47 * x), 0.10, "black")
                for x, y, _ in (
                    *around(7, 0.44, 180),
                    (0.02, 0, 0),
                    (0.16, 0.18, 0),
                    (0.16, -0.18, 0),
                )
            ),
            *both(arc((0, 0, 0.08), 0.83, 0.06, 78, "lime", (60, 118, 0))),
        ),
        "green",
        ("flesh", "red"),
    ),
    "peach": Noun(
        (
            *both(ellipsoid((0, 0.13, -0.06), (0.66, 0.56, 0.64), 0)),
            limb((0, 0, 0.46), (0, 0, 0.74), 0.07, "brown"),
            ellipsoid((0.30, 0, 0.62), (0.34, 0.15, 0.06), "green", (0, 14, 0)),
            ellipsoid((-0.26, 0, 0.62), (0.28, 0.13, 0.06), "green", (0, -14, 0)),
        ),
        "pink",
        has_front=False,
    ),
    "coconut": Noun(
        (
            bowl((0, 0, 0.06), 0.74, 0.09, 0.12, 0, (0, 28, 0)),
            bowl((0.02, 0, 0.10), 0.58, 0.10, 0.10, 1, (0, 28, 0)),
        ),
        "brown",
        ("flesh", "white"),
    ),
    "avocado": Noun(
        (
            ellipsoid((-0.06, 0, -0.26), (0.40, 0.58, 0.60), 0, blend=0.1),
            ellipsoid((-0.06, 0, 0.36), (0.28, 0.36, 0.50), 0, blend=0.1),
            ellipsoid((0.12, 0, -0.26), (0.28, 0.44, 0.48), "lime", blend=0.1),
            ellipsoid((0.08, 0, 0.30), (0.18, 0.24, 0.38), "lime", blend=0.1),
            ellipsoid((0.32, 0, -0.26), 0.25, "brown"),
        ),
        "green",
    ),
}
"""Its nouns."""
