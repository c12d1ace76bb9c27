"""People."""

from __future__ import annotations

from math import cos, radians, sin

from dfast.world.nouns.noun import (
    ALONG_X,
    ALONG_Y,
    Color,
    Noun,
    arc,
    both,
    box,
    cone,
    cylinder,
    ellipsoid,
    limb,
    squircle,
    torus,
)
from dfast.world.nouns.pieces import face
from dfast.world.parts import Part


def _body(hands: Color = "beige", shoes: Color = "black", legs: Color = 0) -> tuple[Part, ...]:
    """Return a dressed body without its head: a trunk, arms, hands, legs and shoes."""
    return (
        cone((0, 0, -0.24), 0.28, 0.20, 0.28, 0, blend=0.04),
        *both(
            limb((0, 0.22, -0.04), (0.06, 0.40, -0.34), 0.11, 0, blend=0.04),
            ellipsoid((0.08, 0.43, -0.44), 0.11, hands),
            limb((0, 0.15, -0.48), (0, 0.16, -0.72), 0.13, legs),
            box((0.06, 0.16, -0.81), (0.20, 0.13, 0.08), shoes, rounding=0.06),
        ),
    )


PEOPLE: dict[str, Noun] = {
    "person": Noun(
        (
            *_body(),
            ellipsoid((0.02, 0, 0.30), (0.28, 0.28, 0.30), "beige"),
            ellipsoid((-0.06, 0, 0.38), (0.28, 0.32, 0.29), 1),
            *face(0.28, 0.11, 0.30),
        ),
        "red",
        ("hair", "brown"),
        head=(-0.05, 0, 0.67, 0.28),
    ),
    "astronaut": Noun(
        (
            *_body(0, "gray"),
            ellipsoid((0.00, 0, 0.38), (0.40, 0.42, 0.42)),
            ellipsoid((0.18, 0, 0.38), (0.28, 0.32, 0.28), "orange"),
            torus((0.00, 0, 0.03), 0.22, 0.07, "gray"),
            box((-0.34, 0, -0.12), (0.14, 0.26, 0.30), "gray", rounding=0.06),
            box((0.22, 0, -0.20), (0.08, 0.14, 0.10), "blue", rounding=0.03),
            ellipsoid((0.28, 0.07, -0.20), 0.06, "red"),
            *both(cylinder((0.00, 0.42, 0.38), 0.12, 0.06, "gray", ALONG_Y)),
        ),
        "white",
        head=(0, 0, 0.80, 0.36),
    ),
    "knight": Noun(
        (
            *_body(0, 0),
            cylinder((0.00, 0, 0.28), 0.29, 0.26),
            ellipsoid((0.00, 0, 0.52), (0.29, 0.29, 0.20)),
            box((0.24, 0, 0.36), (0.08, 0.22, 0.05), "black"),
            box((0.25, 0, 0.28), (0.07, 0.05, 0.22), "yellow"),
            arc((-0.12, 0, 0.60), 0.22, 0.09, 70, "red", (90, -120, 0)),
            squircle((0.20, 0.42, -0.30), (0.09, 0.30, 0.38), 1, exponent=3),
            box((0.26, 0.42, -0.30), (0.06, 0.05, 0.22), "white"),
            box((0.26, 0.42, -0.24), (0.06, 0.16, 0.05), "white"),
            box((0.16, -0.46, 0.02), (0.05, 0.07, 0.48), "white"),
            box((0.16, -0.46, -0.32), (0.08, 0.18, 0.05), "brown"),
        ),
        "gray",
        ("shield", "blue"),
        head=(0.0, 0, 0.71, 0.26),
    ),
    "pirate": Noun(
        (
            *_body(),
            cone((0, 0, -0.50), 0.36, 0.27, 0.20),
            ellipsoid((0.02, 0, 0.26), (0.24, 0.26, 0.26), "beige"),
            ellipsoid((0.12, 0, 0.12), (0.17, 0.20, 0.14), "black"),
            ellipsoid((0.00, 0, 0.46), (0.24, 0.38, 0.11), "black"),
            ellipsoid((0.00, 0, 0.54), (0.17, 0.25, 0.16), "black"),
            ellipsoid((0.19, 0, 0.55), (0.06, 0.10, 0.09), "white"),
            ellipsoid((0.23, 0.11, 0.31), (0.06, 0.09, 0.08), "black"),
            ellipsoid((0.25, -0.11, 0.31), 0.055, "black"),
            ellipsoid((0.28, 0, 0.24), 0.07, "beige"),
            box((0.24, 0, -0.16), (0.05, 0.07, 0.16), "white", (0, -8, 0)),
            cylinder((0, 0, -0.34), 0.29, 0.05, "black"),
            box((0.14, -0.44, -0.12), (0.09, 0.045, 0.40), "gray", (0, 12, 0)),
            box((0.08, -0.44, -0.38), (0.15, 0.12, 0.045), "yellow", (0, 12, 0)),
        ),
        "red",
    ),
    "clown": Noun(
        (
            *_body("white", "red"),
            ellipsoid((0.00, 0, 0.32), (0.29, 0.30, 0.30), "white"),
            ellipsoid((0.31, 0, 0.30), 0.10, "red"),
            torus((0.00, 0, 0.04), 0.22, 0.09, "white"),
            cone((0, 0, 0.74), 0.20, 0.02, 0.18),
            ellipsoid((-0.20, 0, 0.36), (0.16, 0.26, 0.22), 1),
            arc((0.16, 0, 0.28), 0.18, 0.045, 50, "red", (0, 50, 0)),
            ellipsoid((0.24, 0, -0.12), 0.08, "red"),
            ellipsoid((0.27, 0, -0.34), 0.09, "red"),
            *both(
                ellipsoid((-0.04, 0.34, 0.38), (0.20, 0.18, 0.20), 1),
                ellipsoid((0.25, 0.12, 0.42), 0.07, "black"),
            ),
        ),
        "yellow",
        ("hair", "orange"),
    ),
    "baby": Noun(
        (
            ellipsoid((-0.14, 0, -0.38), (0.32, 0.32, 0.36), blend=0.05),
            ellipsoid((0.08, 0, 0.28), (0.36, 0.40, 0.36), "beige"),
            ellipsoid((-0.08, 0, 0.34), (0.40, 0.44, 0.42), blend=0.04),
            cylinder((0.43, 0, 0.16), 0.10, 0.05, "yellow", ALONG_X),
            ellipsoid((0.50, 0, 0.16), 0.06, "red"),
            ellipsoid((0.12, 0, -0.34), (0.12, 0.18, 0.18), "white"),
            *both(
                ellipsoid((0.39, 0.16, 0.34), 0.065, "black"),
                limb((-0.06, 0.26, -0.18), (0.22, 0.38, -0.28), 0.11, 0, blend=0.04),
                ellipsoid((0.28, 0.40, -0.28), 0.10, "beige"),
                limb((0.00, 0.20, -0.58), (0.38, 0.28, -0.60), 0.14, 0, blend=0.04),
                ellipsoid((0.52, 0.30, -0.56), (0.09, 0.11, 0.15), "beige"),
            ),
        ),
        "cyan",
        head=(-0.08, 0, 0.75, 0.38),
    ),
    "king": Noun(
        (
            cone((0, 0, -0.38), 0.42, 0.26, 0.40),
            box((0.31, 0, -0.44), (0.08, 0.05, 0.36), "white", (0, -13, 0)),
            cone((-0.10, 0, -0.36), 0.42, 0.28, 0.40),
            torus((-0.06, 0, -0.74), 0.38, 0.07, "white"),
            torus((-0.02, 0, 0.04), 0.23, 0.07, "white"),
            ellipsoid((0.02, 0, 0.30), (0.26, 0.27, 0.27), "beige"),
            ellipsoid((-0.10, 0, 0.30), (0.22, 0.29, 0.26), "brown"),
            ellipsoid((0.20, 0, 0.14), (0.13, 0.17, 0.14), "brown"),
            cylinder((0, 0, 0.54), 0.27, 0.08, "yellow"),
            *(
                cone((0.23 * cos(radians(a)), 0.23 * sin(radians(a)), 0.74), 0.10, 0.01, 0.13, c)
                for a, c in ((0, "yellow"), (72, "yellow"), (144, "yellow"))
            ),
            cone((-0.19, -0.14, 0.74), 0.10, 0.01, 0.13, "yellow"),
            cone((0.07, -0.22, 0.74), 0.10, 0.01, 0.13, "yellow"),
            ellipsoid((0.28, 0, 0.55), 0.08, "red"),
            *both(
                ellipsoid((0.27, 0.12, 0.37), 0.065, "black"),
                limb((0.02, 0.24, -0.08), (0.22, 0.38, -0.30), 0.14),
                ellipsoid((0.30, 0.40, -0.42), 0.10, "beige"),
            ),
        ),
        "purple",
    ),
    "wizard": Noun(
        (
            cone((0, 0, -0.42), 0.44, 0.20, 0.44),
            ellipsoid((0.00, 0, 0.16), (0.25, 0.26, 0.24), "beige"),
            cylinder((0, 0, 0.30), 0.42, 0.05),
            cone((0, 0, 0.60), 0.28, 0.02, 0.30),
            cylinder((0, 0, 0.38), 0.285, 0.04, "yellow"),
            cone((0.22, 0, -0.20), 0.04, 0.27, 0.32, 1, (0, -8, 0)),
            ellipsoid((0.28, 0, 0.12), (0.09, 0.17, 0.06), 1),
            ellipsoid((-0.16, 0, 0.00), (0.18, 0.26, 0.25), 1),
            ellipsoid((0.29, 0, 0.18), 0.08, "pink"),
            *both(
                ellipsoid((0.26, 0.13, 0.21), 0.06, "black"),
                limb((0.00, 0.20, -0.12), (0.22, 0.40, -0.26), 0.11),
                ellipsoid((0.26, 0.44, -0.28), 0.10, "beige"),
            ),
            limb((0.30, -0.46, -0.70), (0.30, -0.46, 0.30), 0.05, "brown"),
            ellipsoid((0.30, -0.46, 0.38), 0.12, "cyan"),
        ),
        "purple",
        ("beard", "white"),
    ),
    "scarecrow": Noun(
        (
            cylinder((0, 0, -0.62), 0.07, 0.26, "brown"),
            cone((0, 0, -0.16), 0.34, 0.24, 0.30),
            limb((0, -0.58, 0.02), (0, 0.58, 0.02), 0.16),
            ellipsoid((0.02, 0, 0.34), (0.24, 0.25, 0.24), "beige"),
            cylinder((0, 0, 0.50), 0.38, 0.05, "yellow"),
            cone((0, 0, 0.66), 0.23, 0.12, 0.15, "yellow"),
            cylinder((0, 0, 0.58), 0.24, 0.05, "brown"),
            cone((0.34, 0, 0.32), 0.08, 0.01, 0.14, "orange", ALONG_X),
            cylinder((0, 0, -0.26), 0.335, 0.05, "brown"),
            box((0.25, 0.10, -0.08), (0.08, 0.09, 0.09), "yellow", (0, -10, 0)),
            arc((0.14, 0, 0.26), 0.15, 0.04, 45, "black", (0, 50, 0)),
            *both(
                ellipsoid((0.22, 0.11, 0.38), 0.065, "black"),
                cone((0, 0.76, 0.02), 0.10, 0.15, 0.10, "yellow", ALONG_Y),
                limb((0, 0.17, -0.40), (0, 0.18, -0.64), 0.15),
                cone((0, 0.18, -0.80), 0.15, 0.10, 0.07, "yellow"),
            ),
        ),
        "red",
    ),
    "mermaid": Noun(
        (
            ellipsoid((-0.16, 0, -0.28), (0.24, 0.25, 0.30), blend=0.06),
            limb((-0.16, 0, -0.50), (0.10, 0, -0.62), 0.22, 0, blend=0.08),
            limb((0.10, 0, -0.62), (0.38, 0, -0.48), 0.15, 0, blend=0.08),
            ellipsoid((-0.18, 0, 0.04), (0.17, 0.19, 0.22), "beige"),
            ellipsoid((-0.16, 0, 0.44), (0.25, 0.27, 0.28), "beige"),
            ellipsoid((-0.24, 0, 0.50), (0.27, 0.31, 0.30), 1),
            ellipsoid((-0.38, 0, 0.14), (0.14, 0.30, 0.34), 1),
            *face(0.08, 0.11, 0.42),
            *both(
                ellipsoid((-0.05, 0.10, 0.06), (0.10, 0.10, 0.10), "purple"),
                limb((-0.16, 0.18, 0.10), (-0.04, 0.32, -0.16), 0.07, "beige"),
                ellipsoid((0.48, 0.16, -0.32), (0.08, 0.22, 0.13), 0, (35, 25, 0), blend=0.03),
            ),
        ),
        "green",
        ("hair", "red"),
        head=(-0.23, 0, 0.80, 0.26),
    ),
}
"""Its nouns."""
