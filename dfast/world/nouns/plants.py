"""Plants."""

from __future__ import annotations

from dfast.world.nouns.noun import (
    ALONG_X,
    Noun,
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
    wedge,
)
from dfast.world.nouns.pieces import ring

PLANTS: dict[str, Noun] = {
    "cactus": Noun(
        (
            capsule((0, 0, 0), 0.18, 0.60),
            limb((0, 0, -0.10), (0, 0.42, -0.10), 0.12, blend=0.04),
            limb((0, 0.42, -0.10), (0, 0.42, 0.34), 0.12, blend=0.04),
            limb((0, 0, 0.10), (0, -0.40, 0.10), 0.11, blend=0.04),
            limb((0, -0.40, 0.10), (0, -0.40, 0.48), 0.11, blend=0.04),
            cone((0, 0, -0.66), 0.26, 0.34, 0.18, 1),
        ),
        "green",
        ("pot", "orange"),
        has_front=False,
    ),
    "flower": Noun(
        (
            *(ellipsoid((0, 0.34 * s, 0.42 + 0.34 * c), (0.1, 0.22, 0.22)) for c, s, _ in ring(6)),
            ellipsoid((0, 0, 0.42), (0.17, 0.20, 0.20), "yellow"),
            limb((0, 0, 0.30), (0, 0, -0.88), 0.06, 1),
            *both(ellipsoid((0, 0.20, -0.52), (0.06, 0.22, 0.11), 1, (30, 0, 0))),
        ),
        "pink",
        ("stem", "green"),
        has_front=False,
    ),
    "tulip": Noun(
        (
            ellipsoid((0, 0, 0.40), (0.30, 0.30, 0.32)),
            *(
                cone((0.17 * c, 0.17 * s, 0.66), 0.17, 0.03, 0.22, 0, (0, 8, a))
                for c, s, a in ring(4)
            ),
            limb((0, 0, 0.10), (0, 0, -0.84), 0.07, "green"),
            *both(
                ellipsoid((0, 0.18, -0.46), (0.09, 0.09, 0.40), "green", (-22, 0, 0)),
            ),
        ),
        "red",
        has_front=False,
    ),
    "sunflower": Noun(
        (
            *(
                ellipsoid((0.08, 0.36 * s, 0.40 + 0.36 * c), (0.06, 0.10, 0.18), 0, (-a, 0, 0))
                for c, s, a in ring(12)
            ),
            cylinder((0.08, 0, 0.40), 0.30, 0.06, 0, ALONG_X),
            ellipsoid((0.14, 0, 0.40), (0.12, 0.27, 0.27), "brown"),
            limb((0, 0, 0.34), (0, 0, -0.86), 0.08, "green"),
            *both(ellipsoid((0, 0.24, -0.40), (0.06, 0.26, 0.14), "green", (25, 0, 0))),
        ),
        "yellow",
    ),
    "palm": Noun(
        (
            limb((0.14, 0, -0.84), (-0.02, 0, -0.30), 0.11, "brown"),
            limb((-0.02, 0, -0.30), (0, 0, 0.44), 0.09, "brown"),
            *(
                leaf
                for c, s, a in ring(7)
                for leaf in (
                    ellipsoid((0.22 * c, 0.22 * s, 0.50), (0.26, 0.12, 0.05), 0, (0, -16, a)),
                    ellipsoid((0.56 * c, 0.56 * s, 0.40), (0.27, 0.13, 0.05), 0, (0, 42, a)),
                )
            ),
            *(ellipsoid((0.12 * c, 0.12 * s, 0.34), 0.10, "orange") for c, s, _ in ring(3)),
        ),
        "green",
        has_front=False,
    ),
    "bush": Noun(
        (
            ellipsoid((0, 0, -0.10), (0.46, 0.46, 0.44), blend=0.04),
            *(ellipsoid((0.42 * c, 0.42 * s, -0.24), 0.34, blend=0.04) for c, s, _ in ring(6)),
            *(ellipsoid((0.24 * c, 0.24 * s, 0.20), 0.27, blend=0.04) for c, s, _ in ring(4, 45)),
            *(
                ellipsoid((0.62 * c, 0.62 * s, z), 0.10, "red")
                for z, (c, s, _) in zip((-0.1, 0.1, -0.2, 0, -0.15, 0.1), ring(6, 30), strict=True)
            ),
            ellipsoid((0.10, 0.10, 0.48), 0.09, "red"),
        ),
        "green",
        has_front=False,
    ),
    "pine": Noun(
        (
            *(
                cone((0, 0, z), r, 0.04, 0.24)
                for z, r in ((-0.42, 0.54), (-0.10, 0.46), (0.22, 0.36), (0.56, 0.26))
            ),
            cylinder((0, 0, -0.72), 0.11, 0.14, "brown"),
        ),
        "green",
        has_front=False,
    ),
    "bonsai": Noun(
        (
            box((0, 0, -0.58), (0.36, 0.50, 0.12), "blue", rounding=0.04),
            box((0, 0, -0.45), (0.30, 0.44, 0.03), "beige"),
            limb((0, -0.04, -0.48), (0, 0.16, -0.16), 0.10, "brown", 0.04),
            limb((0, 0.16, -0.16), (0, -0.06, 0.18), 0.08, "brown", 0.04),
            limb((0, 0.12, -0.10), (0, 0.42, 0.02), 0.06, "brown", 0.04),
            limb((0, 0, 0.06), (0, -0.40, 0.14), 0.06, "brown", 0.04),
            ellipsoid((0, 0.46, 0.10), (0.30, 0.32, 0.15)),
            ellipsoid((0, -0.42, 0.24), (0.30, 0.32, 0.15)),
            ellipsoid((0, 0.02, 0.46), (0.36, 0.40, 0.20)),
        ),
        "green",
        has_front=False,
    ),
    "log": Noun(
        (
            cylinder((0, 0, 0), 0.32, 0.76, 0, ALONG_X),
            *(cylinder((x, 0, 0), 0.25, 0.05, "beige", ALONG_X) for x in (-0.75, 0.75)),
            *(torus((x, 0, 0), 0.13, 0.035, "brown", ALONG_X) for x in (-0.79, 0.79)),
            limb((0.10, 0.20, 0.20), (0.20, 0.36, 0.40), 0.11),
            limb((-0.36, -0.20, 0.16), (-0.44, -0.38, 0.30), 0.09),
        ),
        "brown",
        has_front=False,
    ),
    "stump": Noun(
        (
            cone((0, 0, -0.10), 0.50, 0.44, 0.36),
            cylinder((0, 0, 0.25), 0.37, 0.05, "beige"),
            *(torus((0, 0, 0.29), r, 0.04, "brown") for r in (0.12, 0.25)),
            *(
                limb((0.36 * c, 0.36 * s, -0.20), (0.66 * c, 0.66 * s, -0.40), 0.13, 0, 0.06)
                for c, s, _ in ring(5)
            ),
        ),
        "brown",
        has_front=False,
        seat=0.30,
    ),
    "leaf": Noun(
        (
            ellipsoid((0, 0, 0.06), (0.09, 0.44, 0.48), 0, blend=0.06),
            cone((0, 0, 0.54), 0.26, 0.02, 0.28, blend=0.06),
            limb((0, 0, 0.66), (0, 0, -0.84), 0.05, "lime"),
            *both(
                *(
                    limb((x, 0, z), (x, 0.26 - 0.1 * z, z + 0.22), 0.04, "lime")
                    for x in (-0.06, 0.06)
                    for z in (-0.26, -0.02, 0.22)
                ),
            ),
        ),
        "green",
        has_front=False,
    ),
    "acorn": Noun(
        (
            lathe((0, 0, -0.22), 0.18, 0.50, 0.50, 0.44),
            cone((0, 0, -0.74), 0.03, 0.18, 0.12),
            ellipsoid((0, 0, 0.28), (0.56, 0.56, 0.28), 1),
            torus((0, 0, 0.22), 0.54, 0.07, 1),
            limb((0, 0, 0.50), (0.06, 0, 0.78), 0.08, 1),
        ),
        "orange",
        ("cap", "brown"),
        has_front=False,
    ),
    "bamboo": Noun(
        (
            *(
                limb((x, y, -0.72), (x, y, z), 0.12)
                for x, y, z in ((0, 0, 0.78), (0.1, 0.34, 0.44))
            ),
            ellipsoid((0, 0, -0.74), (0.34, 0.52, 0.12), "brown"),
            limb((-0.10, -0.32, -0.72), (-0.10, -0.32, 0.14), 0.12),
            *(torus((0, 0, z), 0.11, 0.045, "lime") for z in (-0.52, -0.12, 0.28, 0.66)),
            *(torus((0.10, 0.34, z), 0.11, 0.045, "lime") for z in (-0.40, 0, 0.40)),
            *(torus((-0.10, -0.32, z), 0.11, 0.045, "lime") for z in (-0.60, -0.20)),
            *(
                ellipsoid((0, y, z), (0.10, 0.24, 0.05), 0, (t, 0, 0))
                for y, z, t in ((0.28, 0.74, -30), (-0.28, 0.62, -150), (-0.28, 0.30, -20))
            ),
        ),
        "green",
        has_front=False,
    ),
    "rose": Noun(
        (
            ellipsoid((0, 0, 0.36), (0.30, 0.30, 0.28)),
            *(
                ellipsoid((0.26 * c, 0.26 * s, 0.40), (0.10, 0.25, 0.28), 0, (0, 22, a))
                for c, s, a in ring(5)
            ),
            tube((0, 0, 0.60), 0.22, 0.045, 0.10),
            tube((0, 0, 0.64), 0.10, 0.045, 0.10),
            limb((0, 0, 0.20), (0, 0, -0.86), 0.07, "green"),
            *both(ellipsoid((0, 0.26, -0.34), (0.08, 0.24, 0.15), "green", (30, 0, 0))),
            *(cone((0.10, 0, z), 0.06, 0.01, 0.08, "green", (0, 70, 0)) for z in (-0.10, -0.60)),
        ),
        "red",
        has_front=False,
    ),
    "clover": Noun(
        (
            *(
                ellipsoid((0, 0.5 * s + t * c, 0.14 + 0.5 * c - t * s), (0.09, 0.2, 0.2))
                for c, s, _ in ring(4, 45)
                for t in (-0.17, 0.17)
            ),
            *(
                wedge((0, 0.26 * s, 0.14 + 0.26 * c), (0.31, 0.08, 0.28), 0, (0, a + 180, 90))
                for c, s, a in ring(4, 45)
            ),
            limb((0, 0, 0.14), (0, 0.14, -0.84), 0.07),
        ),
        "green",
        has_front=False,
    ),
}
"""Its nouns."""
