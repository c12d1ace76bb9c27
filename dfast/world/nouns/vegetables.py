"""Vegetables."""

from __future__ import annotations

from dfast.world.nouns.noun import (
    ALONG_Y,
    Noun,
    arc,
    both,
    capsule,
    cone,
    cylinder,
    ellipsoid,
    lathe,
    limb,
    torus,
)
from dfast.world.nouns.pieces import around, leaves

VEGETABLES: dict[str, Noun] = {
    "carrot": Noun(
        (
            cone((0, 0, -0.32), 0.06, 0.30, 0.56, 0, blend=0.08),
            ellipsoid((0, 0, 0.24), (0.30, 0.30, 0.16), 0, blend=0.08),
            torus((0, 0, 0.02), 0.24, 0.05, 0),
            torus((0, 0, -0.28), 0.17, 0.05, 0),
            torus((0, 0, -0.58), 0.10, 0.05, 0),
            *leaves(0.30, 0.30, 0.12, 5, 34),
            *leaves(0.30, 0.32, 0.12, 1, 0),
        ),
        "orange",
        ("leaves", "green"),
        has_front=False,
    ),
    "tomato": Noun(
        (
            ellipsoid((0, 0, -0.08), (0.80, 0.80, 0.64), 0),
            *(
                ellipsoid((x, y, 0.50), (0.28, 0.11, 0.07), "green", (0, 16, a))
                for x, y, a in around(5, 0.26)
            ),
            limb((0, 0, 0.50), (0, 0, 0.72), 0.08, "green"),
        ),
        "red",
        has_front=False,
    ),
    "potato": Noun(
        (
            ellipsoid((0, -0.24, -0.04), (0.46, 0.56, 0.42), 0, blend=0.1),
            ellipsoid((0.04, 0.28, 0.04), (0.46, 0.54, 0.46), 0, blend=0.1),
            ellipsoid((-0.06, 0.02, 0.10), (0.44, 0.50, 0.42), 0, blend=0.1),
            *(
                ellipsoid((x, y, z), (0.08, 0.10, 0.06), "brown")
                for x, y, z in (
                    (0.42, -0.24, 0.10),
                    (0.48, 0.34, 0.14),
                    (0.46, 0.10, -0.20),
                    (-0.46, 0.16, 0.20),
                    (-0.40, -0.30, -0.10),
                    (0.00, -0.34, 0.40),
                    (0.06, 0.36, 0.48),
                )
            ),
        ),
        "beige",
        has_front=False,
    ),
    "cucumber": Noun(
        (
            capsule((0, 0, 0), 0.27, 0.60, 0, ALONG_Y),
            *(
                capsule((0.25 * x, 0, 0.25 * z), 0.05, 0.52, "lime", ALONG_Y)
                for x, z, _ in around(6, 1.0, 30)
            ),
            cylinder((0, -0.62, 0), 0.28, 0.28, 0, ALONG_Y),
            cylinder((0, -0.90, 0), 0.23, 0.03, "lime", ALONG_Y),
        ),
        "green",
        has_front=False,
    ),
    "eggplant": Noun(
        (
            ellipsoid((0, -0.10, -0.36), (0.50, 0.50, 0.50), 0, blend=0.1),
            cone((0, 0, 0.10), 0.46, 0.26, 0.36, 0, (-12, 0, 0), blend=0.1),
            ellipsoid((0, 0.08, 0.42), (0.29, 0.29, 0.18), 1),
            *(
                ellipsoid((x, y + 0.06, 0.28), (0.20, 0.12, 0.06), 1, (0, 66, a))
                for x, y, a in around(5, 0.30)
            ),
            limb((0, 0.08, 0.50), (0, 0.20, 0.82), 0.09, 1),
        ),
        "purple",
        ("stem", "green"),
        has_front=False,
    ),
    "corn": Noun(
        (
            lathe((0, 0, 0.06), 0.26, 0.34, 0.12, 0.80, 0),
            *(torus((0, 0, 0.78 - 0.16 * k), 0.12 + 0.05 * min(k, 3.4), 0.09, 0) for k in range(6)),
            *both(ellipsoid((0, 0.30, -0.36), (0.26, 0.12, 0.56), 1, (-14, 0, 0))),
            ellipsoid((0.26, 0, -0.48), (0.12, 0.26, 0.46), 1, (0, 12, 0)),
            ellipsoid((-0.26, 0, -0.48), (0.12, 0.26, 0.46), 1, (0, -12, 0)),
            ellipsoid((0, 0, -0.74), (0.22, 0.22, 0.18), 1),
        ),
        "yellow",
        ("husk", "green"),
        has_front=False,
    ),
    "onion": Noun(
        (
            ellipsoid((0, 0, -0.16), (0.68, 0.68, 0.58), 0, blend=0.1),
            lathe((0, 0, 0.48), 0.38, 0.12, 0.10, 0.32, 0, blend=0.1),
            *(arc((0, 0, -0.16), 0.61, 0.08, 60, 0, (90, 0, a)) for _, _, a in around(10, 1)),
            *(limb((0, 0, -0.68), (x, y, -0.86), 0.05, "beige") for x, y, _ in around(4, 0.12)),
        ),
        "purple",
        has_front=False,
    ),
    "pepper": Noun(
        (
            *(ellipsoid((x, y, 0.04), (0.40, 0.40, 0.56), 0) for x, y, _ in around(4, 0.30, 45)),
            *(ellipsoid((x, y, -0.36), (0.28, 0.28, 0.44), 0) for x, y, _ in around(4, 0.22, 45)),
            ellipsoid((0, 0, 0.46), (0.26, 0.26, 0.12), "green"),
            limb((0, 0, 0.46), (0, 0.06, 0.66), 0.11, "green"),
            limb((0, 0.06, 0.66), (0, 0.18, 0.80), 0.09, "green"),
        ),
        "red",
        has_front=False,
    ),
    "broccoli": Noun(
        (
            lathe((0, 0, -0.46), 0.26, 0.18, 0.30, 0.42, 1),
            *(limb((0, 0, -0.30), (x, y, 0.10), 0.12, 1) for x, y, _ in around(4, 0.40, 45)),
            *(ellipsoid((x, y, 0.20), 0.30, 0) for x, y, _ in around(6, 0.48)),
            *(ellipsoid((x, y, 0.50), 0.26, 0) for x, y, _ in around(4, 0.26, 45)),
            ellipsoid((0, 0, 0.66), 0.24, 0),
        ),
        "green",
        ("stem", "lime"),
        has_front=False,
    ),
    "pumpkin": Noun(
        (
            *(
                ellipsoid((x, y, -0.12), (0.38, 0.27, 0.56), 0, (0, 0, a))
                for x, y, a in around(9, 0.46)
            ),
            limb((0, 0, 0.30), (0, 0.03, 0.56), 0.13, "green"),
            limb((0, 0.03, 0.56), (0, 0.20, 0.70), 0.10, "green"),
        ),
        "orange",
        has_front=False,
    ),
    "pea": Noun(
        (
            ellipsoid((-0.18, 0, -0.10), (0.10, 0.84, 0.30), 0, (0, -35, 0), blend=0.06),
            ellipsoid((0.14, 0, -0.22), (0.10, 0.84, 0.28), 0, (0, 52, 0), blend=0.06),
            ellipsoid((0, 0, -0.30), (0.14, 0.78, 0.10), 0, blend=0.06),
            *(
                ellipsoid((0.04, 0.29 * k, -0.04), 0.21 - 0.03 * abs(k), "lime")
                for k in (-2, -1, 0, 1, 2)
            ),
            limb((-0.06, 0.70, -0.16), (-0.08, 0.88, -0.02), 0.06),
        ),
        "green",
    ),
    "radish": Noun(
        (
            ellipsoid((0, 0, -0.12), (0.50, 0.50, 0.46), 0, blend=0.08),
            cone((0, 0, -0.62), 0.05, 0.24, 0.20, "white", blend=0.08),
            limb((0, 0, -0.74), (0, 0.05, -0.90), 0.05, "white"),
            *leaves(0.24, 0.32, 0.14, 4, 28),
        ),
        "magenta",
        ("leaves", "green"),
        has_front=False,
    ),
    "garlic": Noun(
        (
            *(
                ellipsoid((x, y, -0.26), (0.32, 0.29, 0.46), 0, (0, -10, a), blend=0.03)
                for x, y, a in around(6, 0.36)
            ),
            lathe((0, 0, 0.36), 0.48, 0.16, 0.12, 0.44, 0, blend=0.1),
            *(
                arc((0, 0, -0.26), 0.65, 0.07, 24, "lavender", (90, 0, a))
                for _, _, a in around(6, 1)
            ),
            cylinder((0, 0, -0.70), 0.22, 0.06, "brown"),
        ),
        "white",
        has_front=False,
    ),
    "chili": Noun(
        (
            limb((0, 0.42, 0.28), (0, 0.36, 0.02), 0.22, 0, blend=0.1),
            limb((0, 0.36, 0.02), (0, 0.14, -0.26), 0.18, 0, blend=0.1),
            limb((0, 0.14, -0.26), (0, -0.20, -0.42), 0.13, 0, blend=0.1),
            cone((0, -0.44, -0.46), 0.13, 0.03, 0.26, 0, (96, 0, 0), blend=0.1),
            ellipsoid((0, 0.42, 0.44), (0.24, 0.24, 0.13), "green"),
            limb((0, 0.42, 0.48), (0, 0.34, 0.78), 0.07, "green"),
        ),
        "red",
        has_front=False,
    ),
    "lettuce": Noun(
        (
            ellipsoid((0, 0, 0.02), (0.44, 0.44, 0.46), "lime"),
            *(
                ellipsoid((x, y, 0.00), (0.14, 0.38, 0.48), 0, (0, 10, a))
                for x, y, a in around(5, 0.42)
            ),
            *(
                ellipsoid((x, y, -0.16), (0.10, 0.46, 0.46), 0, (0, 34, a))
                for x, y, a in around(6, 0.58, 30)
            ),
            cone((0, 0, -0.52), 0.24, 0.50, 0.16, "white"),
        ),
        "green",
        has_front=False,
    ),
}
"""Its nouns."""
