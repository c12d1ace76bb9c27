"""Animals of the house and the farm."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun, both, capsule, ellipsoid, limb

FARM: dict[str, Noun] = {
    "dog": Noun(
        (
            capsule((-0.10, 0, -0.02), 0.21, 0.30, 0, (0, 90, 0), blend=0.08),
            ellipsoid((0.42, 0, 0.32), (0.24, 0.21, 0.21), 0, blend=0.08),
            limb((0.25, 0, 0.08), (0.40, 0, 0.25), 0.15, 0, blend=0.08),
            capsule((0.62, 0, 0.25), 0.10, 0.09, 0, (0, 90, 0), blend=0.05),
            ellipsoid((0.80, 0, 0.28), 0.06, "black"),
            *both(
                ellipsoid((0.36, 0.20, 0.34), (0.09, 0.05, 0.18), "black", (-15, 0, 0)),
                ellipsoid((0.60, 0.10, 0.40), 0.045, "black"),
                limb((0.18, 0.13, -0.05), (0.20, 0.13, -0.60), 0.08, 0, blend=0.05),
                limb((-0.40, 0.13, -0.05), (-0.40, 0.13, -0.60), 0.08, 0, blend=0.05),
            ),
            limb((-0.52, 0, 0.08), (-0.75, 0, 0.38), 0.06, 0, blend=0.05),
        ),
        "brown",
        head=(0.40, 0, 0.52, 0.20),
    ),
}
"""Its nouns."""
