"""Things in the house and on a desk."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun

HOUSEHOLD: dict[str, Noun] = {}
"""Its nouns."""
