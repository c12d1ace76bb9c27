"""What a thing with a head may wear, in units of the head's radius, on top of it."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun, cone, cylinder, four, tube

ACCESSORIES: dict[str, Noun] = {
    "hat": Noun(
        (cylinder((0, 0, 0.0), 1.25, 0.12, 1), cone((0, 0, 0.55), 0.85, 0.75, 0.55, 1)),
        "black",
        has_front=False,
    ),
    "crown": Noun(
        (
            tube((0, 0, 0.30), 0.95, 0.16, 0.40, 1),
            *four(cone((0.57, 0.57, 0.85), 0.26, 0.02, 0.28, 1)),
        ),
        "yellow",
        has_front=False,
    ),
}
"""By the word of the sentence."""
