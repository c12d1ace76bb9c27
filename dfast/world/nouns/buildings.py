"""Buildings, and what stands outdoors."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun

BUILDINGS: dict[str, Noun] = {}
"""Its nouns."""
