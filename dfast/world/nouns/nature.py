"""Plants, landscape and sky."""

from __future__ import annotations

from dfast.world.nouns.noun import Noun

NATURE: dict[str, Noun] = {}
"""Its nouns."""
