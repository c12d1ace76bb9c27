"""Food and sweets."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun

FOOD: dict[str, Noun] = {}
"""Its nouns."""
